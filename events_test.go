package appsandbooks_test

import (
	"context"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Notifications about assignments do not end the wait for a revocation, because the number
// of assignments that the revocation removes is unknown.
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

// A null in the list of failures of an event is ignored: the event fails without a reason,
// and the operation can be saved.
func TestEventStatus_ignoresNullAmongFailures(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: `{"eventType":"ASSOCIATE","eventStatus":"FAILED",
			"numRequested":1,"numCompleted":0,"failures":[null]}`})
		addAssets(srv, 1, 0)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: []string{"C02"}},
			appsandbooks.WithJournal(func(context.Context, []byte) error { return nil }))
		require.NoError(t, err)
		_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
		require.Error(t, err)
		require.NotErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.False(t, appsandbooks.IsAuth(err))
		require.NotEmpty(t, err.Error())
		r, err := op.Wait(t.Context())
		require.Error(t, err)
		require.NotEmpty(t, err.Error())
		requireLedgerAgrees(t, srv, r)
		_, err = op.Save()
		require.NoError(t, err)
	})
}
