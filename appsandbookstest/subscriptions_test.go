package appsandbookstest_test

import (
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Subscription management can be enabled repeatedly, and can be disabled only
// if the unit has no licenses of subscriptions.
func TestServer_enableAndDisableSubscriptions(t *testing.T) {
	srv, u, c := newServer(t)
	out := c.post("subscriptions/enable", nil)
	require.Equal(t, true, out["subscriptionManagement"])
	require.True(t, u.SubscriptionsEnabled())
	require.Equal(t, true, c.post("subscriptions/enable", nil)["subscriptionManagement"])

	u.PurchaseSubscription(7, 1, 0)
	c.refused(400, 9818, http.MethodPost, "subscriptions/disable", nil)
	u.PurchaseSubscription(7, -1, 0)
	require.Equal(t, false, c.post("subscriptions/disable", nil)["subscriptionManagement"])
	sub := items(t, c.get("subscriptions"), "subscriptions")[0]
	require.Nil(t, sub["parentAdamId"])
	require.Contains(t, sub, "parentAdamId")
	require.Empty(t, srv.Violations(), "to repeat enable is no violation")
}

// Each filter of the lists of subscriptions, their assignments and their
// administrators, and combinations of them, select the right records.
func TestServer_subscriptionFilters(t *testing.T) {
	_, u, c := newServer(t)
	u.AddSubscription(fake.Subscription{AdamID: 7, ParentAdamID: 70})
	u.AddSubscription(fake.Subscription{AdamID: 8, ParentAdamID: 70})
	u.AddSubscription(fake.Subscription{AdamID: 9, ParentAdamID: 90})
	for _, id := range []int64{7, 8, 9} {
		u.AddSubscriptionAssignments(
			fake.SubscriptionAssignment{AdamID: id, ClientUserID: "a"},
			fake.SubscriptionAssignment{AdamID: id, ClientUserID: "b,c", Renewing: true},
		)
	}
	c.post("subscriptions/admins/add", object{"adamIds": []int{7, 9}, "clientUserIds": []string{"a", "b,c"}})

	for path, want := range map[string]int{
		"subscriptions":                                     3,
		"subscriptions?adamId=7":                            1,
		"subscriptions?adamId=7&adamId=9":                   2,
		"subscriptions?adamId=7,9":                          2,
		"subscriptions?parentAdamId=70":                     2,
		"subscriptions?parentAdamId=70&adamId=9":            0,
		"subscriptions/assignments":                         6,
		"subscriptions/assignments?parentAdamId=70":         4,
		"subscriptions/assignments?clientUserId=b,c":        3,
		"subscriptions/assignments?adamId=7&clientUserId=a": 1,
		"subscriptions/admins":                              4,
		"subscriptions/admins?adamId=9":                     2,
		"subscriptions/admins?adamId=8":                     0,
	} {
		out := c.get(path)
		n := 0
		for _, name := range []string{"subscriptions", "assignments", "admins"} {
			if list, ok := out[name].([]any); ok {
				n = len(list)
			}
		}
		require.Equal(t, want, n, path)
		require.NotContains(t, out, "nextCursor")
		require.NotContains(t, out, "mdmInfo")
	}
}
