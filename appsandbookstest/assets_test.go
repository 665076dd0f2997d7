package appsandbookstest_test

import (
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// Unlimited assets have a total of 2147483647, and the parameter unlimited
// lists them separately or leaves them out.
func TestUnit_AddAsset_unlimited(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 2})
	u.AddAsset(fake.Asset{AdamID: "2", Unlimited: true})
	u.Purchase("2", "", 5)
	all := items(t, c.get("assets"), "assets")
	require.Len(t, all, 2)
	require.EqualValues(t, 2147483647, all[1]["totalCount"])
	require.EqualValues(t, 2147483647, all[1]["availableCount"])

	apart := c.get("assets?unlimited=true")
	require.Len(t, apart["assets"], 1)
	require.EqualValues(t, 2, apart["size"])
	free := items(t, apart, "unlimitedAssets")
	require.Empty(t, cmp.Diff([]object{{
		"adamId": "2", "assignedCount": 0.0, "deviceAssignable": true, "pricingParam": "STDQ",
		"productType": "App", "revocable": true, "supportedPlatforms": []any{"iOS"},
	}}, free))
	require.Empty(t, c.get("assets?unlimited=true&adamId=1")["unlimitedAssets"])

	without := c.get("assets?unlimited=false")
	require.Len(t, without["assets"], 1)
	require.NotContains(t, without, "unlimitedAssets")
}

// Each filter of GET assets, and combinations of them, select the right assets.
func TestServer_assetFilters(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 5})
	u.AddAsset(fake.Asset{AdamID: "1", PricingParam: fake.PricingPLUS, Total: 10, Irrevocable: true})
	u.AddAsset(fake.Asset{AdamID: "2", Total: 20, UsersOnly: true})
	u.AddAsset(fake.Asset{AdamID: "3", Total: 30, ProductType: fake.ProductBook})
	u.AddAssignments(
		fake.Assignment{AdamID: "2", ClientUserID: "a"}, fake.Assignment{AdamID: "3", ClientUserID: "a"},
		fake.Assignment{AdamID: "3", ClientUserID: "b"},
	)
	for query, want := range map[string]int{
		"":                                      4,
		"adamId=1":                              2,
		"adamId=1&pricingParam=PLUS":            1,
		"adamId=":                               0,
		"productType=App":                       3,
		"productType=Book":                      1,
		"revocable=true":                        2,
		"revocable=false":                       2,
		"deviceAssignable=true":                 2,
		"deviceAssignable=false":                2,
		"minAvailableCount=10":                  3,
		"maxAvailableCount=10":                  2,
		"maxAvailableCount=0":                   0,
		"minAssignedCount=1":                    2,
		"maxAssignedCount=1":                    3,
		"minAssignedCount=1&maxAssignedCount=1": 1,
		"unknown=parameter":                     4,
	} {
		require.Len(t, c.get("assets?" + query)["assets"], want, query)
	}
}
