package appsandbookstest_test

import (
	"fmt"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// An unknown user makes only its own tasks fail, not the whole request.
func TestWithAsyncUserNotFound(t *testing.T) {
	_, u, c := newServer(t, fake.WithAsyncUserNotFound())
	u.AddAsset(fake.Asset{AdamID: "1", Total: 100})
	u.AddAsset(fake.Asset{AdamID: "2", Total: 100})
	for i := range 7 {
		u.AddUser(fake.User{ClientUserID: fmt.Sprint(i)})
	}
	status := c.finish(u, "assets/associate", assetsBody([]string{"1", "2"}, append(ids("", 7), "who"), nil))
	require.EqualValues(t, 14, status["numCompleted"])
	require.EqualValues(t, 16, status["numRequested"])
	require.Len(t, status["failures"], 1)

	for _, path := range []string{"assets/disassociate", "assets/revoke"} {
		body := assetsBody([]string{"1"}, []string{"0", "who"}, nil)
		status = c.finish(u, path, body)
		require.Equal(t, "FAILED", status["eventStatus"])
		f := items(t, status, "failures")[0]
		require.EqualValues(t, 9609, f["errorNumber"])
		require.Equal(t, []any{"who"}, f["errorInfo"].(object)["clientUserIds"])
	}
	for _, path := range []string{"users/update", "users/retire"} {
		status = c.finish(u, path, usersBody("0", "who"))
		require.EqualValues(t, 1, status["numCompleted"])
		require.EqualValues(t, 9609, items(t, status, "failures")[0]["errorNumber"])
	}
}

// The tasks of a user who was retired after the request was accepted fail.
func TestServer_userRetiredBeforeEvent(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
	u.AddUser(fake.User{ClientUserID: "a", Status: fake.UserAssociated})
	u.AddSubscription(fake.Subscription{AdamID: 7, Total: fake.Seats{Renewing: 1}})
	c.event("users/retire", usersBody("a"))
	associate := c.event("assets/associate", assetsBody([]string{"1"}, []string{"a"}, nil))
	subscribe := c.event("subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}, "renewing": true})
	u.FinishEvents()
	for id, number := range map[string]int{associate: 9609, subscribe: 9814} {
		status := c.get("status?eventId=" + id)
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, number, items(t, status, "failures")[0]["errorNumber"])
	}
}
