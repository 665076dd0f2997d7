package appsandbookstest_test

import (
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// An associate request for an unknown serial number completes, but assigns
// nothing.
func TestUnit_AddDevices(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 5})
	u.AddDevices("KNOWN")
	status := c.finish(u, "assets/associate", assetsBody([]string{"1"}, nil, []string{"KNOWN", "MADEUP"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.EqualValues(t, 2, status["numCompleted"])
	require.Equal(t, []fake.Assignment{{AdamID: "1", PricingParam: "STDQ", SerialNumber: "KNOWN"}}, u.Assignments())
	require.Equal(t, [4]int{1, 4, 0, 5}, counts(t, u, "1"))
}

// Each filter of GET assignments, and combinations of them, select the right
// assignments.
func TestServer_assignmentFilters(t *testing.T) {
	_, u, c := newServer(t, fake.WithPageSize(3))
	u.AddAsset(fake.Asset{AdamID: "1", PricingParam: fake.PricingPLUS})
	u.AddAssignments(
		fake.Assignment{AdamID: "1", ClientUserID: "a"},
		fake.Assignment{AdamID: "1", PricingParam: "PLUS", ClientUserID: "a"},
		fake.Assignment{AdamID: "1", SerialNumber: "a"},
		fake.Assignment{AdamID: "2", ClientUserID: "a"},
		fake.Assignment{AdamID: "2", ClientUserID: "b"},
		fake.Assignment{AdamID: "1", SerialNumber: "T"},
	)
	for query, want := range map[string]int{
		"":                                   6,
		"adamId=1":                           4,
		"adamId=1&pricingParam=PLUS":         1,
		"pricingParam=STDQ":                  5,
		"adamId=2":                           2,
		"adamId=3":                           0,
		"clientUserId=a":                     3,
		"clientUserId=a&adamId=2":            1,
		"clientUserId=nobody":                0,
		"serialNumber=a":                     1,
		"serialNumber=nothing":               0,
		"serialNumber=a&clientUserId=a":      0,
		"excludeInactiveUsers=true":          6,
		"adamId=1&excludeInactiveUsers=true": 4,
	} {
		got, _ := readPages(t, c, "assignments?"+query, "assignments", "adamId")
		require.Len(t, got, want, query)
	}
	state := items(t, c.get("assignments?includeUserState=true&adamId=2"), "assignments")
	require.Equal(t, "Associated", state[0]["userStatus"])
	require.Len(t, state[0]["idHash"], 28)
	device := items(t, c.get("assignments?includeUserState=true&serialNumber=T"), "assignments")[0]
	require.NotContains(t, device, "userStatus")
}
