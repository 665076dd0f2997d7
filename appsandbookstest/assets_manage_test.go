package appsandbookstest_test

import (
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Every change of assignments and every purchase changes the counts of the
// asset, and repeated changes change nothing.
func TestUnit_Asset_countsLicenses(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 3})
	u.AddUser(fake.User{ClientUserID: "a"})
	u.AddUser(fake.User{ClientUserID: "b"})

	status := c.finish(u, "assets/associate", assetsBody([]string{"1"}, []string{"a"}, []string{"S"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.Equal(t, [4]int{2, 1, 0, 3}, counts(t, u, "1"))

	// A repeated associate request uses no second license.
	status = c.finish(u, "assets/associate", assetsBody([]string{"1"}, []string{"a", "b"}, []string{"S"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.EqualValues(t, 3, status["numCompleted"])
	require.Equal(t, [4]int{3, 0, 0, 3}, counts(t, u, "1"))
	require.Equal(t, []fake.Assignment{
		{AdamID: "1", PricingParam: "STDQ", ClientUserID: "a"},
		{AdamID: "1", PricingParam: "STDQ", SerialNumber: "S"},
		{AdamID: "1", PricingParam: "STDQ", ClientUserID: "b"},
	}, u.Assignments())

	// Disassociating a missing assignment succeeds.
	status = c.finish(u, "assets/disassociate", assetsBody([]string{"1", "99"}, []string{"a"}, []string{"S", "T"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.EqualValues(t, 6, status["numRequested"])
	require.Equal(t, [4]int{1, 2, 0, 3}, counts(t, u, "1"))

	// Associating an asset that is not in the library fails.
	status = c.finish(u, "assets/associate", assetsBody([]string{"99"}, []string{"a"}, nil))
	require.Equal(t, "FAILED", status["eventStatus"])
	require.EqualValues(t, 9709, items(t, status, "failures")[0]["errorNumber"])

	// Purchases and refunds.
	u.Purchase("1", "", -5)
	require.Equal(t, [4]int{1, 0, 0, 1}, counts(t, u, "1"))
	u.Purchase("1", "PLUS", 2)
	plus, ok := u.Asset("1", "PLUS")
	require.True(t, ok)
	require.Equal(t, 2, plus.Total)
	_, ok = u.Asset("nothing", "")
	require.False(t, ok)
	require.Len(t, u.Assets(), 2)
	require.False(t, u.HasAssignment(fake.Assignment{AdamID: "1", PricingParam: "PLUS", ClientUserID: "b"}))
	require.False(t, u.HasAssignment(fake.Assignment{AdamID: "nothing"}))
	require.False(t, u.HasAssignment(fake.Assignment{AdamID: "1", SerialNumber: "S"}))

	u.AddAsset(fake.Asset{AdamID: "1", Total: 9, SupportedPlatforms: []string{"macOS"}})
	require.Equal(t, [4]int{1, 8, 0, 9}, counts(t, u, "1"), "assignments stay")
}

// Disassociate fails if the asset became irrevocable after the request was
// accepted.
func TestServer_assetIrrevocableBeforeEvent(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAssignments(fake.Assignment{AdamID: "1", SerialNumber: "S"})
	id := c.event("assets/disassociate", assetsBody([]string{"1"}, nil, []string{"S"}))
	u.AddAsset(fake.Asset{AdamID: "1", Irrevocable: true})
	u.FinishEvents()
	require.EqualValues(t, 9706, items(t, c.get("status?eventId="+id), "failures")[0]["errorNumber"])
}
