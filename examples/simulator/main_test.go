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
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// An announcement is the line that the simulator prints.
type announcement struct {
	URL   string
	Units []struct{ Name, UID, Token string }
}

// start starts a simulator on a free port. It returns the process and the line
// that the simulator prints.
func start(t *testing.T, args ...string) (*clitest.Process, announcement) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted on Windows")
	}
	p := clitest.Start(t, clitest.Command{Args: append(args, "-listen", "127.0.0.1:0")})
	var a announcement
	require.NoError(t, json.Unmarshal([]byte(p.Line(0)), &a))
	return p, a
}

// client returns an SDK client for the announced unit with an index.
func (a announcement) client(t *testing.T, unit int) *appsandbooks.Client {
	t.Helper()
	client, err := appsandbooks.NewClient(a.Units[unit].Token,
		appsandbooks.WithBaseURL(a.URL), appsandbooks.WithRetry(1, 0, 0))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// end sends a signal to the process of a simulator, and returns the result of
// the process.
func end(p *clitest.Process, s os.Signal) clitest.Result {
	p.Signal(s)
	return p.Wait()
}

// With -strict, violations make the simulator exit with 3. It prints at most
// three violations of each rule.
func TestSimulator_strictReportsViolations(t *testing.T) {
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

// The flag -fault-rate sets the share of requests that fail. Each of the four
// faults has a quarter of this share.
func TestSimulator_faultRate(t *testing.T) {
	t.Parallel()
	p, a := start(t, "-fault-rate", "0.4")
	const requests = 400
	broken := map[string]int{}
	for range requests {
		req, err := http.NewRequest(http.MethodGet, a.URL+"/client/config", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+a.Units[0].Token)
		req.Close = true // net/http would resend a request whose reused connection is reset
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

// Invalid flags and seed files are reported with exit code 2, and other errors
// with 1.
func TestSimulator_invalidUse(t *testing.T) {
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
		"no seed file":  {[]string{"-seed-file", "missing.json"}, cli.Aborted, "missing.json"},
		"no JSON":       {[]string{"-seed-file", file("a.json", "units:")}, cli.Usage, "a.json: invalid character"},
		"unknown field": {[]string{"-seed-file", file("b.json", `{"units":[{"assests":[]}]}`)}, cli.Usage, `unknown field "assests"`},
		"bad limit":     {[]string{"-seed-file", file("d.json", `{"limits":{"maxAssets":-1}}`)}, cli.Usage, "WithLimits(maxAssets: -1)"},
		"unknown fault": {[]string{"-seed-file", file("c.json", `{"faults":[{"kind":"explode"}]}`)}, cli.Usage, `fault 1: unknown kind "explode"`},
		"address taken": {[]string{"-listen", taken.Addr().String()}, cli.Aborted, "in use"},
		"not loopback":  {[]string{"-listen", "192.0.2.1:0"}, cli.Aborted, "not a loopback address"},
		"no client":     {[]string{"-token-file", "x"}, cli.Usage, "-token-file"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "address taken" && runtime.GOOS == "windows" {
				t.Skip("the message differs on Windows")
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
