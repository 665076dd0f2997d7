package appsandbookstest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

func TestListen(t *testing.T) {
	srv := fake.NewServer()
	defer srv.Close()
	require.Equal(t, "https://vpp.itunes.apple.com/mdm/v2", srv.URL())
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "example.com:0", "nonsense", "192.0.2.1:80"} {
		require.Error(t, srv.Listen(addr), addr)
	}
	require.NoError(t, srv.Listen(""))
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/mdm/v2$`, srv.URL())
	require.Error(t, srv.Listen(""), "once is enough")

	taken := fake.NewServer()
	require.Error(t, taken.Listen(strings.TrimSuffix(strings.TrimPrefix(srv.URL(), "http://"), "/mdm/v2")))
	taken.Close()
	taken.Close()
	require.ErrorIs(t, taken.Listen(""), http.ErrServerClosed)

	wide := fake.NewServer(fake.WithAnyAddress())
	require.NoError(t, wide.Listen("0.0.0.0:0"))
	wide.Close()
}

func TestCloseEndsEverything(t *testing.T) {
	srv := fake.NewServer()
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

func TestCloseEndsDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{}, 10)
		srv := fake.NewServer(fake.WithNotificationTransport(fake.HandlerTransport(http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) {
				var b strings.Builder
				_, _ = io.Copy(&b, r.Body)
				if !strings.Contains(b.String(), "TEST_NOTIFICATION") {
					started <- struct{}{}
					<-r.Context().Done()
				}
			}))))
		c := &caller{t: t, srv: srv, client: srv.Client(), token: srv.Unit().Token()}
		c.post("client/config", clientConfig(receiverURL, "secret"))
		srv.Unit().Purchase("1", "", 1)
		srv.Unit().Purchase("1", "", 1)
		c.event("users/create", users("a")) // its timer is pending
		<-started
		start := time.Now()
		srv.Close()
		require.Equal(t, start, time.Now(), "nobody waits for a timeout")
		time.Sleep(time.Hour)
		require.Empty(t, started)
		require.Len(t, srv.Unit().Users(), 1, "the ledger can still be read")
	})
}

func TestAHandlerWithoutHijacking(t *testing.T) {
	srv, u, _ := inMemory(t)
	send := func(f fake.Fault) (w *httptest.ResponseRecorder, panicked any) {
		srv.ClearFaults()
		srv.AddFault(f)
		defer func() { panicked = recover() }()
		w = httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "https://vpp.itunes.apple.com/mdm/v2/service/config", nil)
		r.Header.Set("Authorization", "Bearer "+u.Token())
		srv.ServeHTTP(w, r)
		return w, nil
	}
	for _, kind := range []fake.FaultKind{fake.FaultDial, fake.FaultResetBefore, fake.FaultResetAfter, fake.FaultEOF, fake.FaultCutBody} {
		_, panicked := send(fake.Fault{Kind: kind})
		require.Equal(t, http.ErrAbortHandler, panicked, kind)
	}
	w, panicked := send(fake.Fault{Path: "nothing"})
	require.Nil(t, panicked)
	require.Contains(t, w.Body.String(), `"https://vpp.itunes.apple.com/mdm/v2/users"`)

	r := httptest.NewRequest(http.MethodPost, "/mdm/v2/users/create", errReader{})
	w = httptest.NewRecorder()
	srv.ClearFaults()
	srv.ServeHTTP(w, r)
	require.Empty(t, w.Body.String())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		srv.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/mdm/v2/users", nil).WithContext(ctx))
	})
}

func TestARudeClientOverTCP(t *testing.T) {
	srv, _, _ := inMemory(t)
	require.NoError(t, srv.Listen(""))
	host := strings.TrimSuffix(strings.TrimPrefix(srv.URL(), "http://"), "/mdm/v2")
	conn, err := net.Dial("tcp", host)
	require.NoError(t, err)
	fmt.Fprintf(conn, "POST /mdm/v2/users/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
	conn.Close()
	srv.AddFault(fake.Fault{Kind: fake.FaultHugeBody, Size: 1 << 40})
	resp, err := http.Get(srv.URL() + "/service/config")
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, resp.Body, 1<<20)
	require.NoError(t, err)
	resp.Body.Close()
}

func TestTLS(t *testing.T) {
	srv, u, _ := inMemory(t)
	front := httptest.NewTLSServer(srv)
	defer front.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/mdm/v2/service/config", nil)
	req.Header.Set("Authorization", "Bearer "+u.Token())
	resp, err := front.Client().Do(req)
	require.NoError(t, err)
	require.Equal(t, front.URL+"/mdm/v2/assets", decode(t, resp)["urls"].(object)["getAssets"])
}

// Everybody at once, for the race detector.
func TestConcurrency(t *testing.T) {
	r := newReceiver("secret")
	srv, u, c := inMemory(t, fake.WithEventDelay(0), fake.WithNotificationTransport(fake.HandlerTransport(r)), fake.WithPageSize(7))
	c.post("client/config", clientConfig(receiverURL, "secret"))
	u.AddAsset(fake.Asset{AdamID: "1", Total: 100})
	for _, id := range ids("u", 8) {
		u.AddUser(fake.User{ClientUserID: id, Status: fake.UserAssociated})
	}
	u.AddSubscription(fake.Subscription{AdamID: 7, Total: fake.Seats{Renewing: 100}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			serials := ids(fmt.Sprintf("S%d-", i), 5)
			me := []string{fmt.Sprintf("u%d", i)}
			for range 5 {
				for _, path := range []string{"assets/associate", "assets/disassociate", "assets/associate"} {
					c.get("status?eventId=" + c.event(path, manage([]string{"1"}, me, serials)))
				}
				c.event("subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": me, "renewing": true})
				c.get("subscriptions/assignments")
				c.get("assignments?adamId=1")
				c.get("users")
				c.get("assets")
				c.get("service/config")
				u.Purchase("2", "", 1)
				_ = u.Assignments()
				_ = srv.Requests()
				_ = srv.Violations()
				srv.SetLimits(func(l *fake.Limits) { l.MaxAssets++ })
			}
		})
	}
	wg.Wait()
	a, _ := u.Asset("1", "")
	require.Equal(t, 8*6, a.Assigned)
	require.Len(t, u.Assignments(), 8*6)
	require.Len(t, u.SubscriptionAssignments(), 8)
	require.Equal(t, 8*5, func() int { x, _ := u.Asset("2", ""); return x.Total }())
	srv.Close()
}

// The package can be part of a program: it needs no testing package and
// nothing outside the standard library.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}!{{end}}{{.ImportPath}}", ".").Output()
	if err != nil {
		t.Skip("no go command: ", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		require.NotContains(t, []string{"testing", "flag", "net/http/httptest"}, pkg)
		if name, ok := strings.CutPrefix(pkg, "!"); ok {
			require.Equal(t, "github.com/appsandbooks/appsandbooks/appsandbookstest", name)
		}
	}
}
