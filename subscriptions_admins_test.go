package appsandbooks_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// SubscriptionAdmins.Add and Remove send one request, in which each item is listed once.
func TestSubscriptionAdminsService_Add_sendsEachItemOnce(t *testing.T) {
	c, r := recordedClient(t, `{"uId":"204","versionId":"v"}`, `{"uId":"204","versionId":"v"}`)
	change := appsandbooks.SubscriptionChange{AdamIDs: []int64{5, 6, 5}, ClientUserIDs: []string{"a", "b", "a"}}
	require.NoError(t, c.SubscriptionAdmins.Add(t.Context(), change))
	require.NoError(t, c.SubscriptionAdmins.Remove(t.Context(), change))
	for i, path := range []string{"/base/mdm/v2/subscriptions/admins/add", "/base/mdm/v2/subscriptions/admins/remove"} {
		require.Equal(t, path, r.requests[i].URL.Path)
		jsonEqual(t, `{"adamIds":[5,6],"clientUserIds":["a","b"]}`, r.bodies[i])
	}
}

// SubscriptionAdmins.Add and Remove return ErrInvalid without a request when items are missing,
// or when the change has a field that is only for seats.
func TestSubscriptionAdminsService_Add_refusesInvalidChanges(t *testing.T) {
	c, r := recordedClient(t)
	for _, change := range []appsandbooks.SubscriptionChange{
		{},
		{AdamIDs: []int64{5}},
		{ClientUserIDs: []string{"a"}},
		{AdamIDs: []int64{5}, ClientUserIDs: []string{""}},
		{AdamIDs: []int64{5}, ClientUserIDs: []string{"a"}, Expiring: true},
		{AdamIDs: []int64{5}, ClientUserIDs: []string{"a"}, Deferred: true},
		{Pairs: []appsandbooks.SubscriptionPair{{AdamID: 5, ClientUserID: "a"}}},
	} {
		require.ErrorIs(t, c.SubscriptionAdmins.Add(t.Context(), change), appsandbooks.ErrInvalid, "%+v", change)
		require.ErrorIs(t, c.SubscriptionAdmins.Remove(t.Context(), change), appsandbooks.ErrInvalid, "%+v", change)
	}
	require.Empty(t, r.requests)
}
