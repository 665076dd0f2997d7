package appsandbookstest_test

import (
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// The notification USER_MANAGEMENT has the users with their new state.
// USER_ASSOCIATED has the user that accepted the invitation.
func TestServer_userNotifications(t *testing.T) {
	withReceiver(t, nil, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		c.finish(u, "users/create", object{"users": []object{{"clientUserId": "a", "email": "a@x.example"}}})
		c.finish(u, "users/create", usersBody("a", "b"))
		u.AcceptInvitation("a")
		c.finish(u, "users/retire", usersBody("a"))
		synctest.Wait()

		got := r.of("USER_MANAGEMENT")
		require.Len(t, got, 4)
		created := items(t, got[0]["notification"].(object), "users")[0]
		require.Equal(t, "Registered", created["status"])
		require.Len(t, created["inviteCode"], 32)
		require.Equal(t, "FAILURE", got[2]["notification"].(object)["result"])
		require.Equal(t, object{"clientUserId": "a"}, items(t, got[2]["notification"].(object), "users")[0])
		retired := items(t, got[3]["notification"].(object), "users")[0]
		require.Equal(t, "Retired", retired["status"])

		accepted := r.of("USER_ASSOCIATED")
		require.Len(t, accepted, 1)
		person := items(t, accepted[0]["notification"].(object), "associatedUsers")[0]
		require.Equal(t, created["inviteCode"], person["inviteCode"])
		require.Equal(t, "Associated", person["status"])
	})
}

// A unit gets only notifications of the types to which it is subscribed.
func TestServer_onlySubscribedTypesAreSent(t *testing.T) {
	withReceiver(t, []fake.Option{fake.WithEventDelay(0)}, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		u.AddAsset(fake.Asset{AdamID: "1", Total: 5})
		out := c.post("client/config", object{"notificationTypes": []string{"ASSET_COUNT", "TEST_NOTIFICATION", "ASSET_COUNT"}})
		require.Equal(t, []any{"ASSET_COUNT"}, out["subscribedNotificationTypes"])
		require.Equal(t, receiverURL, out["notificationUrl"], "fields that are left out do not change")
		require.Len(t, r.of("TEST_NOTIFICATION"), 1, "a request without a URL sends no test notification")

		c.event("assets/associate", assetsBody([]string{"1"}, nil, []string{"S"}))
		u.Purchase("1", "", 1)
		u.Purchase("1", "", -1)
		synctest.Wait()
		require.Empty(t, r.of("ASSET_MANAGEMENT"))
		require.Len(t, r.of("ASSET_COUNT"), 2)
		require.EqualValues(t, -1, r.of("ASSET_COUNT")[1]["notification"].(object)["countDelta"])

		require.Empty(t, c.post("client/config", object{"notificationTypes": []string{}})["subscribedNotificationTypes"])
		u.Purchase("1", "", 1)
		u.SendNotification("NEWS_OF_TOMORROW", object{"x": 1})
		synctest.Wait()
		require.Len(t, r.of("ASSET_COUNT"), 2)
		require.Len(t, r.of("NEWS_OF_TOMORROW"), 1)
	})
	_, u, _ := newServer(t)
	u.SendNotification("NEWS", nil) // goes nowhere
}

// An event is applied and its notification is sent when the event is due, even
// if the server gets no request.
func TestServer_notificationsWithoutPolling(t *testing.T) {
	withReceiver(t, []fake.Option{fake.WithEventDelayFunc(func(e fake.Event) time.Duration {
		return map[string]time.Duration{"users/create": time.Minute, "users/retire": time.Second}[e.Path]
	})}, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		c.event("users/create", usersBody("a"))
		c.event("users/create", usersBody("b"))
		u.HoldEvents(true)
		time.Sleep(time.Hour)
		require.Empty(t, r.of("USER_MANAGEMENT"))
		u.HoldEvents(false)
		synctest.Wait()
		require.Len(t, r.of("USER_MANAGEMENT"), 2)

		c.event("users/retire", usersBody("a"))
		time.Sleep(500 * time.Millisecond)
		c.event("users/retire", usersBody("b"))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, r.of("USER_MANAGEMENT"), 3)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, r.of("USER_MANAGEMENT"), 4)
	})
}
