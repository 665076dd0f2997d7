package appsandbooks_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOperation_Retry_repeatsOnlyFailedPairs(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := append(addAssets(srv, 1, 14), appsandbooks.AssetID{AdamID: "2000"})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2000", Total: 16})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: assets, ClientUserIDs: addUsers(srv, 8), SerialNumbers: names("C02", 8),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.NotErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 30, report.Succeeded)
		require.Equal(t, 2, report.Failed)
		requireLedgerAgrees(t, srv, report)

		// Retry sends the failed pairs again. They succeed, because the unit now has enough
		// licenses.
		srv.Unit().Purchase("1000", "STDQ", 2)
		again, err := op.Retry(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, again.Plan().Pairs)
		report, err = again.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, report.Total)
		requireLedgerAgrees(t, srv, report)

		// Undo removes the assignments again.
		undo, err := op.Undo(t.Context())
		require.NoError(t, err)
		report, err = undo.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, report.Succeeded)
		require.Len(t, srv.Unit().Assignments(), 2)
	})
}

// Goroutines can wait for, save and read the same operation, and its requests are sent once.
func TestOperation_canBeSharedByGoroutines(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		var calls atomic.Int32
		check := func() {
			_, err := op.MarshalJSON()
			assert.NoError(t, err)
			r := op.Report()
			assert.Equal(t, 7500, r.Succeeded+r.Failed+r.Unconfirmed)
			assert.Equal(t, 7500, op.Progress().Pairs)
			assert.LessOrEqual(t, len(op.EventIDs()), 3)
		}
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 3, 3000), SerialNumbers: names("C02", 2500)},
			appsandbooks.WithPlanOnly(), appsandbooks.WithProgress(func(appsandbooks.Progress) { calls.Add(1); check() }))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r, err := op.Wait(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, 7500, r.Succeeded)
			})
		}
		wg.Go(func() {
			for range 20 {
				check()
				time.Sleep(time.Second) // virtual
			}
		})
		wg.Wait()
		require.NotZero(t, calls.Load())
		require.Equal(t, 3, countPath(srv, "assets/associate"))
		n := len(srv.Requests())
		require.NoError(t, op.Submit(t.Context())) // nothing is left
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Len(t, srv.Requests(), n)
	})
}

// An operation that is printed does not show the ids that it holds.
func TestOperation_printsNoIDs(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 9), SerialNumbers: []string{"C02SECRET"}, ClientUserIDs: []string{"ada.lovelace"},
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			text := fmt.Sprintf(verb, op)
			require.NotContains(t, text, "C02SECRET")
			require.NotContains(t, text, "lovelace")
		}
	})
}
