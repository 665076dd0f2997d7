package appsandbookstest_test

import (
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Revoke removes the revocable assignments of its targets, and no others.
func TestServer_revoke(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "book", ProductType: fake.ProductBook})
	u.AddAssignments(
		fake.Assignment{AdamID: "1", ClientUserID: "a"},
		fake.Assignment{AdamID: "2", ClientUserID: "a"},
		fake.Assignment{AdamID: "book", ClientUserID: "a"},
		fake.Assignment{AdamID: "1", ClientUserID: "b"},
		fake.Assignment{AdamID: "1", SerialNumber: "S"},
		fake.Assignment{AdamID: "1", SerialNumber: "S"}, // AddAssignments skips a repeated assignment
	)
	u.AddAssignments()
	u.FailTarget("S", 9603)
	status := c.finish(u, "assets/revoke", assetsBody(nil, []string{"a"}, []string{"S", "T"}))
	require.EqualValues(t, 3, status["numRequested"])
	require.EqualValues(t, 2, status["numCompleted"])
	require.Equal(t, "REVOKE", status["eventType"])
	require.Equal(t, []fake.Assignment{
		{AdamID: "book", PricingParam: "STDQ", ClientUserID: "a"},
		{AdamID: "1", PricingParam: "STDQ", ClientUserID: "b"},
		{AdamID: "1", PricingParam: "STDQ", SerialNumber: "S"},
	}, u.Assignments())
	require.Equal(t, [4]int{2, 1, 0, 3}, counts(t, u, "1"))
}
