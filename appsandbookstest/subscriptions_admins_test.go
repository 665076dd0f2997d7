package appsandbookstest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Administrators are added and removed immediately. A request that changes
// nothing makes no new version.
func TestUnit_SubscriptionAdmins(t *testing.T) {
	_, u, c := newServer(t)
	for _, id := range []int64{7, 8, 9} {
		u.AddSubscriptionAssignments(
			fake.SubscriptionAssignment{AdamID: id, ClientUserID: "a"},
			fake.SubscriptionAssignment{AdamID: id, ClientUserID: "b,c", Renewing: true},
		)
	}
	c.post("subscriptions/admins/add", object{"adamIds": []int{7, 9}, "clientUserIds": []string{"a", "b,c"}})
	version := c.get("subscriptions/admins")["versionId"]
	require.Equal(t, version, c.post("subscriptions/admins/add", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}})["versionId"], "nothing new")

	admin := items(t, c.get("subscriptions/admins?adamId=7"), "admins")[0]
	require.NotContains(t, admin, "userStatus")
	require.Len(t, admin["idHash"], 28)
	require.Equal(t, "Associated", items(t, c.get("subscriptions/admins?adamId=7&includeUserState=true"), "admins")[0]["userStatus"])

	removed := c.post("subscriptions/admins/remove", object{"adamIds": []int{7, 8}, "clientUserIds": []string{"a"}})
	require.NotEqual(t, version, removed["versionId"])
	require.Equal(t, []string{"b,c"}, u.SubscriptionAdmins(7))
	require.Equal(t, u.UID(), removed["uId"])
}
