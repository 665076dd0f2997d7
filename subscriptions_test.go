package appsandbooks_test

import (
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Subscriptions can be enabled, assigned to users and removed from users. Subscriptions.Disable
// fails while the unit has subscriptions.
func TestSubscriptionsService_enablesAssociatesAndDisassociates(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		err := c.Subscriptions.Enable(t.Context())
		require.NoError(t, err)
		srv.Unit().AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726})
		srv.Unit().PurchaseSubscription(67890, 4, 1)
		err = c.Subscriptions.Disable(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrSubscriptionsExist)

		ids := addUsers(srv, 5)
		op, err := c.Subscriptions.Associate(t.Context(), appsandbooks.SubscriptionChange{
			AdamIDs: []int64{67890}, ClientUserIDs: ids[:2],
			Pairs: []appsandbooks.SubscriptionPair{{AdamID: 67890, ClientUserID: ids[2]}, {AdamID: 67890, ClientUserID: ids[1]}},
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, report.Total)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, countPath(srv, "subscriptions/associate"))

		op, err = c.Subscriptions.Disassociate(t.Context(), appsandbooks.SubscriptionChange{
			AdamIDs: []int64{67890}, ClientUserIDs: ids[:1],
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		all, err := appsandbooks.Collect(c.SubscriptionAssignments.All(t.Context(), appsandbooks.SubscriptionAssignmentFilter{}))
		require.NoError(t, err)
		require.Len(t, all, 2)

		err = c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: ids[1:2]})
		require.NoError(t, err)
		admins, err := appsandbooks.Collect(c.SubscriptionAdmins.All(t.Context(), appsandbooks.SubscriptionAdminFilter{IncludeUserState: true}))
		require.NoError(t, err)
		require.Len(t, admins, 1)
		err = c.SubscriptionAdmins.Remove(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: ids[1:2]})
		require.NoError(t, err)
	})
}

// Subscriptions.Enable and Disable return ErrAnswerDiffers if the answer does not show the new
// setting.
func TestSubscriptionsService_Enable_checksAnswer(t *testing.T) {
	for body, enabled := range map[string]any{
		`{"mdmInfo":null,"subscriptionManagement":true,"uId":"204"}`:  true,
		`{"mdmInfo":null,"subscriptionManagement":false,"uId":"204"}`: false,
		`{"uId":"204"}`: nil,
	} {
		c, _ := recordedClient(t, body, body)
		if err := c.Subscriptions.Enable(t.Context()); enabled == true {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		}
		if err := c.Subscriptions.Disable(t.Context()); enabled == false {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		}
	}
}
