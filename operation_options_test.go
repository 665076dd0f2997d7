package appsandbooks_test

import (
	"testing"

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
		require.Zero(t, countPath(srv, "assets/associate"))
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}
