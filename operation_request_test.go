package appsandbooks_test

import (
	"slices"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

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
		require.True(t, slices.IsSortedFunc(reported, func(a, b appsandbooks.Progress) int {
			return a.Accepted + a.Finished - b.Accepted - b.Finished
		}))
	})
}
