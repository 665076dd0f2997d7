package appsandbooks_test

import (
	"slices"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
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

		// What failed can be tried again, once there is something to try with.
		srv.Unit().Purchase("1000", "STDQ", 2)
		again, err := op.Retry(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, again.Plan().Pairs)
		report, err = again.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, report.Total)
		requireLedgerAgrees(t, srv, report)

		// And taken back.
		undo, err := op.Undo(t.Context())
		require.NoError(t, err)
		report, err = undo.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, report.Succeeded)
		require.Len(t, srv.Unit().Assignments(), 2)
	})
}

func TestWithProgress_reportsGrowingCounts(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var seen []appsandbooks.Progress
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 100_000), SerialNumbers: names("C02", 2500),
		}, appsandbooks.WithProgress(func(p appsandbooks.Progress) { seen = append(seen, p) }))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, appsandbooks.Progress{Requests: 3, Accepted: 3, Finished: 3, Pairs: 2500, Succeeded: 2500}, seen[len(seen)-1])
		require.Equal(t, op.Progress(), seen[len(seen)-1])
		require.True(t, slices.IsSortedFunc(seen, func(a, b appsandbooks.Progress) int {
			return a.Accepted + a.Finished - b.Accepted - b.Finished
		}))
	})
}

func TestPlanOnly_sendsNothingBeforeWait(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 100_000), SerialNumbers: names("C02", 1500),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		plan := op.Plan()
		require.Equal(t, 2, plan.Requests)
		require.Equal(t, 3000, plan.Pairs)
		require.Equal(t, 1500, plan.Assets[appsandbooks.AssetID{AdamID: "1000", PricingParam: "STDQ"}])
		require.Zero(t, countPath(srv, "assets/associate"))
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}
