package appsandbookstest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Listen binds only loopback addresses unless WithAnyAddress is set, and only
// once.
func TestServer_Listen(t *testing.T) {
	srv, err := fake.NewServer()
	require.NoError(t, err)
	defer srv.Close()
	require.Equal(t, "https://vpp.itunes.apple.com/mdm/v2", srv.URL())
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "example.com:0", "nonsense", "192.0.2.1:80"} {
		require.Error(t, srv.Listen(addr), addr)
	}
	require.NoError(t, srv.Listen(""))
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/mdm/v2$`, srv.URL())
	require.Error(t, srv.Listen(""), "the server is already listening")

	taken, err := fake.NewServer()
	require.NoError(t, err)
	require.Error(t, taken.Listen(strings.TrimSuffix(strings.TrimPrefix(srv.URL(), "http://"), "/mdm/v2")))
	taken.Close()
	taken.Close()
	require.ErrorIs(t, taken.Listen(""), http.ErrServerClosed)

	wide, err := fake.NewServer(fake.WithAnyAddress())
	require.NoError(t, err)
	require.NoError(t, wide.Listen("0.0.0.0:0"))
	wide.Close()
}

// Close ends the requests in progress, and the server refuses later ones.
func TestServer_Close_endsRequests(t *testing.T) {
	srv, err := fake.NewServer()
	require.NoError(t, err)
	require.NoError(t, srv.Listen(""))
	srv.AddFault(fake.Fault{Kind: fake.FaultSlowBody, Delay: time.Hour})
	c := &caller{t: t, srv: srv, client: &http.Client{}, token: srv.Unit().Token()}
	resp, err := c.client.Do(c.request(http.MethodGet, "users", nil))
	require.NoError(t, err)
	defer resp.Body.Close()
	srv.Close()
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err)

	w := httptest.NewRecorder()
	srv.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/mdm/v2/users", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

// Close ends the deliveries in progress, and the server starts no more.
func TestServer_Close_endsDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{}, 10)
		srv, err := fake.NewServer(fake.WithNotificationTransport(fake.HandlerTransport(http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) {
				var b strings.Builder
				_, _ = io.Copy(&b, r.Body)
				if !strings.Contains(b.String(), "TEST_NOTIFICATION") {
					started <- struct{}{}
					<-r.Context().Done()
				}
			}))))
		require.NoError(t, err)
		c := &caller{t: t, srv: srv, client: srv.Client(), token: srv.Unit().Token()}
		c.post("client/config", clientConfig(receiverURL, "secret"))
		srv.Unit().Purchase("1", "", 1)
		srv.Unit().Purchase("1", "", 1)
		c.event("users/create", usersBody("a")) // its timer is pending
		<-started
		start := time.Now()
		srv.Close()
		require.Equal(t, start, time.Now(), "Close does not wait for a timeout")
		time.Sleep(time.Hour)
		require.Empty(t, started)
		require.Len(t, srv.Unit().Users(), 1, "the ledger can still be read")
	})
}
