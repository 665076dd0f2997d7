package appsandbooks_test

import (
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Revoke removes all assignments of the given users and devices. It sends as many requests
// as the service's limits on the size of a request make necessary.
func TestAssetsService_Revoke_removesAllAssignments(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 3, 1000), SerialNumbers: names("C02", 250), ClientUserIDs: addUsers(srv, 20),
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)

		op, err = c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{
			SerialNumbers: names("C02", 250), ClientUserIDs: names("user-", 20),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 270, report.Succeeded)
		require.Equal(t, 3, countPath(srv, "assets/revoke"))
		require.Empty(t, srv.Unit().Assignments())
	})
}
