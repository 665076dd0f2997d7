package appsandbooks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Associate sends the smallest possible number of requests, and Wait polls each event once,
// after 5 s.
func TestAssetsService_Associate_sendsFewestRequests(t *testing.T) {
	for _, test := range []struct{ assets, users, devices, requests int }{
		{1, 1, 0, 1},
		{25, 0, 10_000, 10},
		{40, 0, 10_000, 20},
		{25, 1000, 1000, 1},
		{26, 1001, 10, 4},
	} {
		t.Run(fmt.Sprintf("%dx%d+%d", test.assets, test.users, test.devices), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				change := appsandbooks.AssetChange{
					Assets:        addAssets(srv, test.assets, 100_000),
					ClientUserIDs: addUsers(srv, test.users),
					SerialNumbers: names("C02", test.devices),
				}
				// The caller may give the same device twice.
				change.SerialNumbers = append(change.SerialNumbers, change.SerialNumbers...)
				began := time.Now()
				op, err := c.Assets.Associate(t.Context(), change)
				require.NoError(t, err)
				require.Equal(t, test.requests, op.Plan().Requests)
				// With 15 or more requests, the pace of 15 requests per second delays the
				// requests.
				if test.requests < 15 {
					require.Zero(t, time.Since(began))
				}

				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.assets*(test.users+test.devices), report.Succeeded)
				require.Equal(t, report.Succeeded, report.Total)
				require.Equal(t, test.requests, countPath(srv, "assets/associate"))
				require.Equal(t, test.requests, countPath(srv, "status"))
				require.Len(t, srv.Unit().Assignments(), report.Total)
				if test.requests < 7 {
					require.Equal(t, 5*time.Second, time.Since(began))
				}
			})
		})
	}
}

// When the service refuses a request because its limits have become smaller, the operation reads
// the limits again, divides the request, and all pairs succeed.
func TestOperation_Wait_splitsAgainWhenLimitsShrink(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers, l.MaxAssets = 400, 10 })
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 20, 10_000), SerialNumbers: names("C02", 1000),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
		require.Equal(t, 20_000, report.Succeeded)
		require.Equal(t, 1+6, countPath(srv, "assets/associate"))
		require.Equal(t, 2, countPath(srv, "service/config"))
	})
}

// When the service refuses a request and names unknown users, and a book that a device cannot
// have, only the pairs of these users and of the book with a device fail.
func TestOperation_Wait_leavesOutItemsNamedInRefusal(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 2, 100)
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "9999", ProductType: appsandbookstest.ProductBook, Total: 100})
		assets = append(assets, appsandbooks.AssetID{AdamID: "9999", PricingParam: "STDQ"})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets:        assets,
			ClientUserIDs: append(addUsers(srv, 5), "unknown-1", "unknown-2"),
			SerialNumbers: names("C02", 5),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.ErrorIs(t, err, appsandbooks.ErrAssetNotDeviceAssignable)
		requireLedgerAgrees(t, srv, report)
		// The pairs of the unknown users, and the pairs of the book with devices, have failed.
		require.Equal(t, 3*5+2*5, report.Succeeded)
	})
}

// When a refusal names no items, WithBisection finds the invalid item with at most 64 more
// requests: only the pairs of this item fail. Without this option, the whole request fails.
func TestWithBisection_isolatesItemsThatRefusalDoesNotName(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		change := appsandbooks.AssetChange{
			Assets: addAssets(srv, 3, 5000), ClientUserIDs: append(addUsers(srv, 900), "unknown"), SerialNumbers: names("C02", 10),
		}
		op, err := c.Assets.Associate(t.Context(), change)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 3*911, report.Failed)

		op, err = c.Assets.Associate(t.Context(), change, appsandbooks.WithBisection())
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 3, report.Failed)
		requireLedgerAgrees(t, srv, report)
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 2+64)
	})
}

// Pairs that follow a pattern are combined into few requests: 25,000 pairs of eight groups of
// five assets need eight requests.
func TestAssetsService_Associate_combinesSparsePairsIntoFewRequests(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 40, 100_000)
		var pairs []appsandbooks.AssetPair
		for i, serial := range names("C02", 5000) {
			for j := range 5 {
				pairs = append(pairs, appsandbooks.AssetPair{AdamID: assets[(i%8)*5+j].AdamID, SerialNumber: serial})
			}
		}
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Pairs: append(pairs, pairs[:100]...)})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 25_000, report.Succeeded)
		require.Equal(t, 8, countPath(srv, "assets/associate"))
		requireLedgerAgrees(t, srv, report)
	})
}

// When the service names one invalid user in each refusal, the operation leaves out one user at a
// time, also when the limits have become smaller since the plan was made. The other users
// succeed.
func TestOperation_Wait_leavesOutItemsNamedOneAtATime(t *testing.T) {
	for name, test := range map[string]struct {
		users, bad int
		limit      int // the new maxClientUserIds of the service; zero means no change
		opts       []appsandbooks.OperationOption
	}{
		"4 of 20, smaller limit": {users: 20, bad: 4, limit: 10},
		"40 of 60, bisection":    {users: 60, bad: 40, opts: []appsandbooks.OperationOption{appsandbooks.WithBisection()}},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, 1, 100), ClientUserIDs: addUsers(srv, test.users),
				}, append(test.opts, appsandbooks.WithPlanOnly())...)
				require.NoError(t, err)
				for i := range test.bad {
					srv.AddFault(appsandbookstest.Fault{
						Path: "assets/associate", Status: 400, Times: 1,
						Body: fmt.Sprintf(`{"errorNumber":9609,"errorMessage":"x","errorInfo":{"clientUserIds":["user-%05d"]}}`, i),
					})
				}
				if test.limit > 0 {
					srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxClientUserIDs = test.limit })
				}
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
				require.Equal(t, test.bad, report.Failed)
				requireLedgerAgrees(t, srv, report)
			})
		})
	}
}

// When the limits become smaller, also while the service configuration still has the old limits,
// all pairs succeed and the number of additional requests is bounded.
func TestOperation_Wait_losesNoPairsWhenLimitsAreOutdated(t *testing.T) {
	toOne := func(l *appsandbookstest.Limits) { l.MaxAssets, l.MaxSerialNumbers, l.MaxClientUserIDs = 1, 1, 1 }
	fewer := func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 400 }
	for name, test := range map[string]struct {
		shrink          func(*appsandbookstest.Limits)
		stale           bool // the service configuration still has the old limits
		assets, devices int
		requests        int // the largest permitted number
		opts            []appsandbooks.OperationOption
	}{
		"limits of one":                         {shrink: toOne, assets: 3, devices: 4, requests: 1 + 12},
		"outdated configuration":                {shrink: fewer, stale: true, assets: 1, devices: 1000, requests: 1 + 2 + 4},
		"outdated configuration, bisection":     {shrink: fewer, stale: true, assets: 1, devices: 1000, requests: 1 + 2 + 4, opts: []appsandbooks.OperationOption{appsandbooks.WithBisection()}},
		"outdated configuration, limits of one": {shrink: toOne, stale: true, assets: 2, devices: 4, requests: 1 + 2 + 4 + 8},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
				if test.stale {
					srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 200, Body: `{"limits":{"maxAssets":25,"maxSerialNumbers":1000}}`})
				}
				srv.SetLimits(test.shrink)
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, test.assets, 2000), SerialNumbers: names("C02", test.devices),
				}, test.opts...)
				require.NoError(t, err)
				r, err := op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.assets*test.devices, r.Succeeded)
				require.LessOrEqual(t, countPath(srv, "assets/associate"), test.requests)
				requireLedgerAgrees(t, srv, r)
			})
		})
	}
}

// When the service refuses every request as too large, the operation gives up after fewer than 50
// requests, and all pairs fail.
func TestAssetsService_Associate_givesUpWhenEveryRequestIsTooLarge(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9702})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5000), SerialNumbers: names("C02", 3000)})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTooManySerialNumbers)
		require.Equal(t, 3000, report.Failed+report.Unsent)
		require.Less(t, countPath(srv, "assets/associate"), 50)
	})
}
