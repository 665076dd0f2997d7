package main_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// With -plan, the program prints the requests and the licenses that a run needs,
// finds rows that would fail, and changes nothing.
func TestAssign_planChangesNothing(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(2, 4)
	env.unit.AddAsset(appsandbookstest.Asset{AdamID: "2000", Unlimited: true})
	env.unit.AddAsset(appsandbookstest.Asset{AdamID: "3000", Total: 100, UsersOnly: true})
	env.unit.AddUser(appsandbookstest.User{ClientUserID: "user-1"})
	env.unit.AddAssignments(appsandbookstest.Assignment{AdamID: "1001", SerialNumber: "SN00000"})
	env.write("good.csv", everyPair(2, 4)+"2000,,user-1,\n2000,STDQ,user-1,\n")
	env.write("bad.csv", everyPair(3, 5)+"3000,,,SN00000\n")

	r := env.run("-action", "associate", "-in", "good.csv", "-plan")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, `ADAM ID  PRICING  PAIRS  NEEDED  AVAILABLE
1000     STDQ     4      4       4
1001     STDQ     4      3       3
2000     STDQ     1      1       unlimited

9 pairs: 3 assets, 5 users and devices (1 row repeated)
2 requests would be sent
`, r.Stdout)

	r = env.run("-action", "associate", "-in", "bad.csv", "-plan")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	assert.Equal(t, `ADAM ID  PRICING  PAIRS  NEEDED  AVAILABLE
1000     STDQ     5      5       4    1 license missing
1001     STDQ     5      4       3    1 license missing
1002     STDQ     5      5       0    the organization does not own it
3000     STDQ     1      1       100  cannot be assigned to devices

16 pairs: 4 assets, 5 users and devices
2 requests would be sent
rows of 4 assets would fail
`, r.Stdout)

	r = env.run("-action", "disassociate", "-in", "good.csv", "-plan")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Contains(t, r.Stdout, "1001     STDQ     4      1\n")

	env.requireOnlyReads()
	files, err := os.ReadDir(env.dir)
	require.NoError(t, err)
	assert.Len(t, files, 2, "the directory contains only the inputs")
	assert.Empty(t, env.srv.Violations())
}
