package appsandbooks_test

import (
	"context"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Notifications that name some assignments do not end the wait for a
// revocation, of which nobody knows how many there are.
func TestStatusService_Wait_notificationsDoNotEndRevocation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 2, 5)
		srv.Unit().AddAssignments(
			appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: "C02"},
			appsandbookstest.Assignment{AdamID: "1001", PricingParam: "STDQ", SerialNumber: "C02"},
			appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: "C03"},
		)
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: []string{"C02", "C03"}})
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: `{"eventStatus":"PENDING","eventType":"REVOKE","numRequested":2,"numCompleted":0}`})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		time.AfterFunc(time.Minute, func() {
			c.Notify(&appsandbooks.Notification{ID: "n", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
				EventResult: appsandbooks.EventResult{EventID: op.EventIDs()[0], Result: appsandbooks.NotificationSuccess},
				Assignments: []appsandbooks.Assignment{
					{AssetPair: appsandbooks.AssetPair{AdamID: "1000", SerialNumber: "C02"}}, {AssetPair: appsandbooks.AssetPair{AdamID: "1001", SerialNumber: "C02"}},
				},
			}})
		})
		_, err = c.Status.Wait(ctx, op.EventIDs()[0])
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, srv.Unit().Assignments(), 3)
	})
}
