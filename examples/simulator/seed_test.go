package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The flags give the number of units and the size of their libraries.
func TestSimulator_seedFromFlags(t *testing.T) {
	t.Parallel()
	p, a := start(t, "-units", "2", "-assets", "3", "-licenses", "7", "-users", "5", "-devices", "2", "-subscriptions", "1", "-page-size", "2", "-event-delay", "0s")
	require.Len(t, a.Units, 2)
	assert.Equal(t, "Headquarters", a.Units[0].Name)
	assert.NotEqual(t, a.Units[0].UID, a.Units[1].UID)
	client := a.client(t, 1)

	page, err := client.Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.NoError(t, err)
	assert.Equal(t, a.Units[1].UID, page.UID)
	assert.Len(t, page.Items, 2, "the size of a page")
	assert.Equal(t, 7, page.Items[0].AvailableCount)
	users := 0
	for user, err := range client.Users.All(t.Context(), appsandbooks.UserFilter{}) {
		require.NoError(t, err)
		assert.Equal(t, appsandbooks.UserAssociated, user.Status)
		users++
	}
	assert.Equal(t, 5, users)
	op, err := client.Assets.Associate(t.Context(), appsandbooks.AssetChange{
		Assets: []appsandbooks.AssetID{{AdamID: "1000000003"}}, SerialNumbers: []string{"SIM0000002"},
	})
	require.NoError(t, err)
	status, err := client.Status.Get(t.Context(), op.EventIDs()[0])
	require.NoError(t, err)
	assert.Equal(t, appsandbooks.EventComplete, status.State)

	r := end(p, os.Interrupt)
	assert.Equal(t, cli.OK, r.Code)
	assert.Contains(t, r.Stderr, "export APPSANDBOOKS_BASE_URL="+a.URL+"\n")
	assert.Contains(t, r.Stderr, "export APPSANDBOOKS_STOKEN="+a.Units[0].Token)
	assert.Contains(t, r.Stderr, "simulator: no rules were broken\n")
	assert.Equal(t, 1, strings.Count(r.Stdout, "\n"))
}

// A seed file gives limits, libraries and faults.
func TestSimulator_seedFromFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "library.json")
	require.NoError(t, os.WriteFile(file, []byte(`{
		"limits": {"maxAssets": 3},
		"units": [{
			"name": "School",
			"assets": [{"adamId": "361309726", "total": 25}, {"adamId": "435160039", "productType": "Book", "unlimited": true}],
			"users": [{"clientUserId": "user-1", "managedAppleId": "user@example.org"}],
			"devices": ["C39XXXXXXXXX"],
			"assignments": [{"adamId": "361309726", "clientUserId": "user-1"}],
			"subscriptions": [{"adamId": 1612811733, "total": {"renewing": 5, "expiring": 2}}]
		}],
		"faults": [{"method": "GET", "path": "assets", "number": 9646, "header": {"Retry-After": ["600"]}, "after": 1}]
	}`), 0o600))
	p, a := start(t, "-seed-file", file)
	require.Len(t, a.Units, 1)
	assert.Equal(t, "School", a.Units[0].Name)
	client := a.client(t, 0)

	config, err := client.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 3, config.Limits.MaxAssets)
	assert.Equal(t, 1000, config.Limits.MaxSerialNumbers, "the documented default")
	assets, err := client.Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.NoError(t, err)
	require.Len(t, assets.Items, 2)
	assert.Equal(t, 1, assets.Items[0].AssignedCount)
	assert.Equal(t, appsandbooks.AssetUnlimited, assets.Items[1].TotalCount)
	_, err = client.Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)

	assert.Equal(t, cli.OK, end(p, syscall.SIGTERM).Code)
}
