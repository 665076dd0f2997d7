package appsandbooks_test

import (
	"slices"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

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
