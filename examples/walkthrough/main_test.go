package main_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// walkthrough runs the program with a stand-in. If srv is nil, the program gets no
// content token.
func walkthrough(t *testing.T, srv *appsandbookstest.Server, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := clitest.Command{Args: args}
	if srv != nil {
		c.Unit, c.URL = srv.Unit(), srv.URL()
	}
	r := clitest.Run(t, c)
	return r.Stdout, r.Stderr, r.Code
}

// newService returns a stand-in whose unit owns the app and the subscription.
func newService(t *testing.T) *appsandbookstest.Server {
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

// Without a content token the program runs all steps with its own stand-in.
func TestWalkthrough_startsStandIn(t *testing.T) {
	stdout, stderr, code := walkthrough(t, nil)
	require.Zero(t, code, stdout+stderr)
	require.Regexp(t, `(?m)^all 18 steps succeeded`, stdout)
	require.NotContains(t, stdout, "skipped")
}

// With a content token the program assigns the app and the subscription, and follows
// the service's rules of conduct. The program can run again.
func TestWalkthrough_usesService(t *testing.T) {
	for name, args := range map[string][]string{
		"polling":   {"-first-poll", "200ms"},
		"receiving": {"-listen", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newService(t)
			stdout, stderr, code := walkthrough(t, srv, args...)
			require.Zero(t, code, stdout+stderr)
			require.NotContains(t, stdout+stderr, srv.Unit().Token())
			require.Equal(t, name == "polling", strings.Contains(stdout, "no notification receiver"))
			require.True(t, srv.Unit().HasAssignment(appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: "user-1"}))
			require.Len(t, srv.Unit().SubscriptionAssignments(), 1)
			require.Empty(t, srv.Violations())

			// In the second run the user already exists.
			stdout, stderr, code = walkthrough(t, srv, args...)
			require.Zero(t, code, stdout+stderr)
		})
	}
}

// The program exits with an error if a check of an answer fails.
func TestWalkthrough_failedCheck(t *testing.T) {
	srv := newService(t)
	for name, test := range map[string]struct {
		args    []string
		message string
	}{
		"app not owned":          {[]string{"-app", "1"}, "does not own app 1"},
		"subscription not owned": {[]string{"-subscription", "1"}, "does not own subscription 1"},
		"other quality":          {[]string{"-pricing", "PLUS"}, "does not own app"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := walkthrough(t, srv, append(test.args, "-first-poll", "200ms")...)
			require.Equal(t, 1, code)
			require.Contains(t, stderr, test.message)
			require.Contains(t, stdout, "FAILED")
			require.NotContains(t, stdout, "steps succeeded")
		})
	}
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
	_, stderr, code := walkthrough(t, srv)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "revoked (9625)")
	_, _, code = walkthrough(t, nil, "-nonsense")
	require.Equal(t, 2, code)
}
