package appsandbooks_test

import (
	"slices"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// With WithPlanOnly, Associate makes a plan and sends no write. Wait sends the first request.
func TestWithPlanOnly_sendsNothingBeforeWait(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 100_000), SerialNumbers: names("C02", 1500),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		plan := op.Plan()
		require.Equal(t, 2, plan.Requests)
		require.Equal(t, 3000, plan.Pairs)
		require.Equal(t, 1500, plan.Assets[appsandbooks.AssetID{AdamID: "1000", PricingParam: "STDQ"}])
		require.Equal(t, 3000, op.Report().Unsent)
		require.Zero(t, countPath(srv, "assets/associate"))
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// The function of WithProgress gets counts that never decrease, and the complete counts at the
// end.
func TestWithProgress_reportsGrowingCounts(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var reported []appsandbooks.Progress
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 100_000), SerialNumbers: names("C02", 2500),
		}, appsandbooks.WithProgress(func(p appsandbooks.Progress) { reported = append(reported, p) }))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, appsandbooks.Progress{Requests: 3, Accepted: 3, Finished: 3, Pairs: 2500, Succeeded: 2500}, reported[len(reported)-1])
		require.Equal(t, op.Progress(), reported[len(reported)-1])
		for _, p := range reported {
			require.Equal(t, 2500, p.Pairs)
			require.Equal(t, 2500, p.Succeeded+p.Failed+p.Unconfirmed+p.Unsent)
		}
		require.True(t, slices.IsSortedFunc(reported, func(a, b appsandbooks.Progress) int {
			return a.Accepted + a.Finished - b.Accepted - b.Finished
		}))
	})
}

// The function of WithProgress may call every method of the operation. Those that carry the
// operation out return ErrBusy, and none of them blocks.
func TestWithProgress_functionMayUseOperation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		calls := 0
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly(), appsandbooks.WithProgress(func(p appsandbooks.Progress) {
			calls++
			requireBusy(t, op)
			require.Equal(t, p, op.Progress())
			require.Equal(t, 1, op.Report().Total)
			require.Equal(t, 1, op.Plan().Pairs)
			require.LessOrEqual(t, len(op.EventIDs()), 1)
			op.Next()
			op.Notify(&appsandbooks.Notification{Type: appsandbooks.NotificationTest})
			saved, err := op.Save()
			require.NoError(t, err)
			_, err = c.Resume(saved)
			require.NoError(t, err)
		}))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Positive(t, calls)
	})
}

// WithBisection, WithResendOverdue and WithResendLost are saved with the operation, and are added
// when they are given to Resume.
func TestWithResendLost_isSavedWithOperation(t *testing.T) {
	for name, test := range map[string]struct {
		start, resume []appsandbooks.OperationOption
	}{
		"at the start": {start: []appsandbooks.OperationOption{appsandbooks.WithResendLost()}},
		"at Resume":    {resume: []appsandbooks.OperationOption{appsandbooks.WithResendLost()}},
		"both, with another option": {
			start:  []appsandbooks.OperationOption{appsandbooks.WithResendLost()},
			resume: []appsandbooks.OperationOption{appsandbooks.WithResendOverdue(), appsandbooks.WithBisection()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				op, err := associateOne(t.Context(), srv, c, test.start...)
				require.NoError(t, err)
				for range 2 { // Resume keeps what it adds
					saved, err := op.Save()
					require.NoError(t, err)
					op, err = c.Resume(saved, test.resume...)
					require.NoError(t, err)
					test.resume = nil
				}
				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, report)
				require.Equal(t, 2, countPath(srv, "assets/associate"))
			})
		})
	}
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithResendOverdue())
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		time.AfterFunc(12*time.Minute, func() { srv.Unit().HoldEvents(false) })
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
		require.Equal(t, 2, countPath(srv, "assets/associate"), "the overdue event is sent again after the stall time")
	})
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10), ClientUserIDs: append(addUsers(srv, 3), "unknown"),
		}, appsandbooks.WithPlanOnly(), appsandbooks.WithBisection())
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 3, report.Succeeded)
		requireLedgerAgrees(t, srv, report)
	})
}
