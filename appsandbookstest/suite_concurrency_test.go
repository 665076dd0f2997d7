package appsandbookstest_test

import (
	"fmt"
	"sync"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Concurrent requests, and concurrent calls of the methods of Server and Unit,
// have no data race. The counts of licenses are right at the end.
func TestServer_concurrentUse(t *testing.T) {
	r := newReceiver("secret")
	srv, u, c := newServer(t, fake.WithEventDelay(0), fake.WithNotificationTransport(fake.HandlerTransport(r)), fake.WithPageSize(7))
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
					c.get("status?eventId=" + c.event(path, assetsBody([]string{"1"}, me, serials)))
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
