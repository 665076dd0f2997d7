package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "walkthrough")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "walkthrough")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// walkthrough runs the program, without the variables of whoever runs the test.
func walkthrough(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = env
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	require.NoError(t, ctx.Err())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func service(t *testing.T) *appsandbookstest.Server {
	t.Helper()
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	unit := srv.Unit()
	unit.Purchase("361309726", "STDQ", 25)
	unit.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726})
	unit.PurchaseSubscription(67890, 25, 0)
	return srv
}

func TestAlone(t *testing.T) {
	stdout, stderr, code := walkthrough(t, nil)
	require.Zero(t, code, stdout+stderr)
	require.Regexp(t, `(?m)^all 18 steps hold`, stdout)
	require.NotContains(t, stdout, "skipped")
}

func TestAgainstAService(t *testing.T) {
	for name, args := range map[string][]string{
		"polling":   {"-first-look", "200ms"},
		"receiving": {"-listen", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := service(t)
			env := []string{"APPSANDBOOKS_STOKEN=" + srv.Unit().Token(), "APPSANDBOOKS_BASE_URL=" + srv.URL()}
			stdout, stderr, code := walkthrough(t, env, args...)
			require.Zero(t, code, stdout+stderr)
			require.NotContains(t, stdout+stderr, srv.Unit().Token())
			require.Equal(t, name == "polling", strings.Contains(stdout, "no receiver"))
			require.True(t, srv.Unit().HasAssignment(appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: "user-1"}))
			require.Len(t, srv.Unit().SubscriptionAssignments(), 1)
			require.Empty(t, srv.Violations())

			// A second time, with the user there already.
			stdout, stderr, code = walkthrough(t, env, args...)
			require.Zero(t, code, stdout+stderr)
		})
	}
}

// It exits 0 only if every check held.
func TestChecks(t *testing.T) {
	srv := service(t)
	env := []string{"APPSANDBOOKS_STOKEN=" + srv.Unit().Token(), "APPSANDBOOKS_BASE_URL=" + srv.URL()}
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no such app":          {[]string{"-app", "1"}, "does not own app 1"},
		"no such subscription": {[]string{"-subscription", "1"}, "does not own subscription 1"},
		"other quality":        {[]string{"-pricing", "PLUS"}, "does not own app"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := walkthrough(t, env, append(test.args, "-first-look", "200ms")...)
			require.Equal(t, 1, code)
			require.Contains(t, stderr, test.says)
			require.Contains(t, stdout, "FAILED")
			require.NotContains(t, stdout, "steps hold")
		})
	}
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
	_, stderr, code := walkthrough(t, env)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "revoked (9625)")
	_, _, code = walkthrough(t, nil, "-nonsense")
	require.Equal(t, 2, code)
}
