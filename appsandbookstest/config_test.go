package appsandbookstest_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// After TakeOver, every answer has the mdmInfo of the other device management
// service.
func TestUnit_TakeOver(t *testing.T) {
	_, u, c := newServer(t)
	require.NotContains(t, c.get("users"), "mdmInfo")
	out := c.post("subscriptions/enable", nil)
	require.Contains(t, out, "mdmInfo")
	require.Nil(t, out["mdmInfo"])

	info := object{"id": "me", "name": "Me", "metadata": ""}
	require.Equal(t, info, c.post("client/config", object{"mdmInfo": info})["mdmInfo"])
	event := c.event("users/create", usersBody("a"))
	u.TakeOver(fake.MDMInfo{ID: "them", Name: "Them", Metadata: "x"})
	theirs := object{"id": "them", "name": "Them", "metadata": "x"}
	for _, path := range []string{"users", "assets", "assignments", "client/config", "status?eventId=" + event} {
		require.Equal(t, theirs, c.get(path)["mdmInfo"], path)
	}
	require.Equal(t, theirs, c.post("users/create", usersBody("b"))["mdmInfo"])
	require.Equal(t, theirs, c.post("subscriptions/disable", nil)["mdmInfo"])
	require.Equal(t, "them", u.ClientConfig().MDMInfo.ID)
	require.False(t, u.SubscriptionsEnabled())
}

// A notification URL is stored only if the receiver accepts the test
// notification.
func TestServer_clientConfigNeedsReachableReceiver(t *testing.T) {
	withReceiver(t, nil, func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, c *caller) {
		before := u.ClientConfig()
		c.refused(400, 9728, http.MethodPost, "client/config", clientConfig("https://other.example/", "new-secret"))
		require.Equal(t, before, u.ClientConfig())
		d := srv.Deliveries()
		require.Equal(t, 401, d[len(d)-1].Status)
		require.Len(t, d, 2, "the test notification has one attempt")

		r.mu.Lock()
		r.secret = "new-secret"
		r.mu.Unlock()
		c.post("client/config", clientConfig("https://other.example/", "new-secret"))
		u.Purchase("1", "", 1)
		synctest.Wait()
		require.Len(t, r.of("ASSET_COUNT"), 1)
		require.Equal(t, "new-secret", u.ClientConfig().NotificationAuthToken)
	})

	// No program listens at port 1.
	_, _, c := newServer(t)
	c.refused(400, 9728, http.MethodPost, "client/config", clientConfig("http://127.0.0.1:1/", "secret"))
}
