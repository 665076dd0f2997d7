package main_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// announcement is the line that the simulator prints.
type announcement struct {
	URL   string
	Units []struct{ Name, UID, Token string }
}

// start starts a simulator on a free port.
func start(t *testing.T, args ...string) (*clitest.Process, announcement) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there")
	}
	p := clitest.Start(t, clitest.Command{Args: append(args, "-listen", "127.0.0.1:0")})
	var a announcement
	require.NoError(t, json.Unmarshal([]byte(p.Line(0)), &a))
	return p, a
}

// client is a client of the unit at a place.
func (a announcement) client(t *testing.T, unit int) *appsandbooks.Client {
	t.Helper()
	client, err := appsandbooks.NewClient(a.Units[unit].Token,
		appsandbooks.WithBaseURL(a.URL), appsandbooks.WithRetry(1, 0, 0))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// end ends a simulator as its user does.
func end(p *clitest.Process, s os.Signal) clitest.Result {
	p.Signal(s)
	return p.Wait()
}

func TestSeedByFlags(t *testing.T) {
	t.Parallel()
	p, a := start(t, "-units", "2", "-assets", "3", "-licences", "7", "-users", "5", "-devices", "2", "-subscriptions", "1", "-page-size", "2", "-event-delay", "0s")
	require.Len(t, a.Units, 2)
	assert.Equal(t, "Headquarters", a.Units[0].Name)
	assert.NotEqual(t, a.Units[0].UID, a.Units[1].UID)
	client := a.client(t, 1)

	page, err := client.Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.NoError(t, err)
	assert.Equal(t, a.Units[1].UID, page.UID)
	assert.Len(t, page.Items, 2, "a page")
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
	assert.Contains(t, r.Stderr, "simulator: no rule was broken\n")
	assert.Equal(t, 1, strings.Count(r.Stdout, "\n"))
}

func TestSeedByFile(t *testing.T) {
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
	assert.Equal(t, 1000, config.Limits.MaxSerialNumbers, "as documented")
	assets, err := client.Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.NoError(t, err)
	require.Len(t, assets.Items, 2)
	assert.Equal(t, 1, assets.Items[0].AssignedCount)
	assert.Equal(t, appsandbooks.AssetUnlimited, assets.Items[1].TotalCount)
	_, err = client.Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)

	assert.Equal(t, cli.OK, end(p, syscall.SIGTERM).Code)
}

func TestRulesAreWatched(t *testing.T) {
	t.Parallel()
	p, a := start(t, "-strict")
	for range 5 {
		resp, err := http.Get(a.URL + "/assets")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	r := end(p, os.Interrupt)
	assert.Equal(t, cli.Failed, r.Code)
	assert.Contains(t, r.Stderr, "simulator: rules were broken 5 times\n     5 × authorization\n")
	assert.Contains(t, r.Stderr, "GET assets has 0 Authorization headers\n         and 2 more\n")
}

func TestFaultRate(t *testing.T) {
	t.Parallel()
	p, a := start(t, "-fault-rate", "0.4")
	const requests = 400
	broken := map[string]int{}
	for range requests {
		req, err := http.NewRequest(http.MethodGet, a.URL+"/client/config", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+a.Units[0].Token)
		req.Close = true // net/http repeats what a reset of a kept connection broke
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			broken["reset"]++
			continue
		}
		require.NoError(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			broken[resp.Status[:3]]++
		}
	}
	assert.InDelta(t, 0.2*requests, broken["reset"], 0.08*requests, broken)
	assert.InDelta(t, 0.1*requests, broken["429"], 0.06*requests, broken)
	assert.InDelta(t, 0.1*requests, broken["503"], 0.06*requests, broken)
	end(p, os.Interrupt)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for name, test := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"negative":      {[]string{"-assets", "-1"}, cli.Usage, "must not be negative"},
		"no units":      {[]string{"-units", "0"}, cli.Usage, "-units"},
		"fault rate":    {[]string{"-fault-rate", "10"}, cli.Usage, "from 0 to 1"},
		"no seed file":  {[]string{"-seed-file", "missing.json"}, cli.Trouble, "missing.json"},
		"no JSON":       {[]string{"-seed-file", file("a.json", "units:")}, cli.Usage, "a.json: invalid character"},
		"unknown field": {[]string{"-seed-file", file("b.json", `{"units":[{"assests":[]}]}`)}, cli.Usage, `unknown field "assests"`},
		"unknown fault": {[]string{"-seed-file", file("c.json", `{"faults":[{"kind":"explode"}]}`)}, cli.Usage, `fault 1: unknown kind "explode"`},
		"address taken": {[]string{"-listen", taken.Addr().String()}, cli.Trouble, "in use"},
		"not loopback":  {[]string{"-listen", "192.0.2.1:0"}, cli.Trouble, "not a loopback address"},
		"no client":     {[]string{"-token-file", "x"}, cli.Usage, "-token-file"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "address taken" && runtime.GOOS == "windows" {
				t.Skip("says it in other words")
			}
			r := clitest.Run(t, clitest.Command{Args: test.args})
			assert.Equal(t, test.code, r.Code)
			assert.Contains(t, r.Stderr, test.stderr)
			assert.Empty(t, r.Stdout)
		})
	}
	r := clitest.Run(t, clitest.Command{Args: []string{"-h"}})
	assert.Equal(t, cli.OK, r.Code)
	assert.False(t, slices.Contains(strings.Fields(r.Stdout), "-token-file"))
}
