package appsandbooks_test

import (
	"context"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// The client sends every filter of a list as a query parameter. It also sends a filter that
// is a pointer to a zero value.
func TestClient_sendsEveryFilterOfLists(t *testing.T) {
	const page, cursor = `{"currentPageIndex":0}`, `{}`
	for want, call := range map[string]struct {
		answer string
		call   func(context.Context, *appsandbooks.Client) error
	}{
		"users?activeOnly=true&clientUserId=a+b%26c&pageIndex=3&sinceVersionId=v": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "3"}, ActiveOnly: true, ClientUserID: "a b&c", SinceVersionID: "v"})
			return err
		}},
		"users?retiredOnly=true": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{RetiredOnly: true})
			return err
		}},
		"assets?adamId=1&deviceAssignable=true&maxAssignedCount=0&maxAvailableCount=0&minAssignedCount=0&minAvailableCount=0&pageIndex=1&pricingParam=PLUS&productType=Book&revocable=false&unlimited=false": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			zero := appsandbooks.Ptr(0)
			_, err := c.Assets.List(ctx, appsandbooks.AssetFilter{
				ListOptions: appsandbooks.ListOptions{Start: "1"}, AdamID: "1", ProductType: appsandbooks.ProductBook, PricingParam: appsandbooks.PricingPLUS,
				Revocable: appsandbooks.Ptr(false), DeviceAssignable: appsandbooks.Ptr(true), Unlimited: appsandbooks.Ptr(false),
				MinAvailableCount: zero, MaxAvailableCount: zero, MinAssignedCount: zero, MaxAssignedCount: zero,
			})
			return err
		}},
		"assets": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Assets.List(ctx, appsandbooks.AssetFilter{})
			return err
		}},
		"assignments?adamId=1&clientUserId=u&excludeInactiveUsers=true&includeUserState=true&pageIndex=2&pricingParam=STDQ&serialNumber=C02&sinceVersionId=v": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Assignments.List(ctx, appsandbooks.AssignmentFilter{
				ListOptions: appsandbooks.ListOptions{Start: "2"}, AdamID: "1", PricingParam: appsandbooks.PricingSTDQ, ClientUserID: "u", SerialNumber: "C02",
				ExcludeInactiveUsers: true, IncludeUserState: true, SinceVersionID: "v",
			})
			return err
		}},
		"subscriptions?adamId=1&adamId=2&cursor=c%3D%3D&parentAdamId=9007199254740993": {cursor, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{
				ListOptions: appsandbooks.ListOptions{Start: "c=="}, AdamIDs: []int64{1, 2}, ParentAdamIDs: []int64{9007199254740993},
			})
			return err
		}},
		"subscriptions/assignments?adamId=1&clientUserId=a&clientUserId=b&cursor=c&parentAdamId=2": {cursor, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{
				ListOptions: appsandbooks.ListOptions{Start: "c"}, AdamIDs: []int64{1}, ParentAdamIDs: []int64{2}, ClientUserIDs: []string{"a", "b"},
			})
			return err
		}},
		"subscriptions/admins?adamId=1&cursor=c&includeUserState=true": {cursor, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.SubscriptionAdmins.List(ctx, appsandbooks.SubscriptionAdminFilter{ListOptions: appsandbooks.ListOptions{Start: "c"}, AdamIDs: []int64{1}, IncludeUserState: true})
			return err
		}},
	} {
		t.Run(want, func(t *testing.T) {
			c, r := recordedClient(t, call.answer)
			require.NoError(t, call.call(t.Context(), c))
			require.Equal(t, "/base/mdm/v2/"+want, r.requests[0].URL.RequestURI())
		})
	}
}
