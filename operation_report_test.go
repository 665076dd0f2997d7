package appsandbooks_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A report counts each pair once, also while an operation divides requests because the service
// refused them. The same holds for an operation that is saved and resumed at that time.
func TestOperation_Report_countsEachPairOnceDuringSplits(t *testing.T) {
	const latency = 100 * time.Millisecond
	limits := appsandbookstest.DefaultLimits()
	limits.MaxClientUserIDs, limits.MaxRequestPerSecond = 2, 1000
	options := []appsandbookstest.Option{
		appsandbookstest.WithoutErrorInfo(), appsandbookstest.WithLimits(limits), appsandbookstest.WithLatency(latency),
	}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 100), ClientUserIDs: append(names("unknown-", 20), addUsers(srv, 10)...),
		}, appsandbooks.WithBisection(), appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		ctx, stopReports := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				for range 30 { // The test reads several reports at the time when answers arrive.
					r := op.Report()
					require.Equal(t, 60, r.Total)
					require.Equal(t, 60, r.Succeeded+r.Failed+r.Unconfirmed)
				}
				saved, err := op.MarshalJSON()
				require.NoError(t, err)
				resumed, err := c.Resume(saved)
				require.NoError(t, err)
				require.Equal(t, 60, resumed.Report().Total)
				time.Sleep(latency) // virtual
			}
		})
		err = op.Submit(t.Context())
		stopReports()
		wg.Wait()
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 40, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}
