package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// inventory runs the program with a stand-in. If srv is nil, the program gets no
// content token.
func inventory(t *testing.T, srv *appsandbookstest.Server, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := clitest.Command{Args: args}
	if srv != nil {
		c.Unit, c.URL = srv.Unit(), srv.URL()
	}
	r := clitest.Run(t, c)
	return r.Stdout, r.Stderr, r.Code
}

// newService returns a stand-in with assignments of three assets. One of the assets
// has only one license left.
func newService(t *testing.T) *appsandbookstest.Server {
	t.Helper()
	limits := appsandbookstest.DefaultLimits()
	limits.MaxRequestPerSecond = 1000
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithPageSize(50), appsandbookstest.WithLimits(limits))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	u := srv.Unit()
	u.AddAsset(appsandbookstest.Asset{AdamID: "100", Total: 1000})
	u.AddAsset(appsandbookstest.Asset{AdamID: "200", Total: 402})
	u.AddAsset(appsandbookstest.Asset{AdamID: "300", Unlimited: true})
	u.AddUser(appsandbookstest.User{ClientUserID: `a, "user"`, Email: "<user>@example.com", Status: appsandbookstest.UserAssociated})
	for i := range 400 {
		u.AddAssignments(
			appsandbookstest.Assignment{AdamID: "100", SerialNumber: fmt.Sprintf("D%04d", i)},
			appsandbookstest.Assignment{AdamID: "200", ClientUserID: fmt.Sprintf("user-%04d", i)},
		)
	}
	u.AddAssignments(appsandbookstest.Assignment{AdamID: "200", ClientUserID: `a, "user"`})
	u.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 100, Total: appsandbookstest.Seats{Renewing: 9}})
	return srv
}

// Invalid flags are reported with exit code 2, and -h prints the help.
func TestInventory_invalidFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-assignments", "-users"},
		{"-format", "csv"},
		{"-users", "-short", "3"},
		{"-subscriptions", "-since", "x"},
		{"-users", "-format", "xml"},
		{"-users", "-out", ""},
		{"-nonsense"},
		{"argument"},
	} {
		out, errs, code := inventory(t, nil, args...)
		assert.Equal(t, 2, code, args)
		assert.Empty(t, out, args)
		assert.Contains(t, errs, "run with -h for help", args)
	}
	out, errs, code := inventory(t, nil, "-h")
	require.Zero(t, code)
	require.Empty(t, errs)
	for _, word := range []string{"-assignments", "Exit codes", "Examples", "-token-file"} {
		require.Contains(t, out, word)
	}
}

// Without a content token the program uses its own stand-in.
func TestInventory_startsStandIn(t *testing.T) {
	out, errs, code := inventory(t, nil, "-users", "-since", "a version of another service")
	require.Zero(t, code, errs)
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 121)
	require.Contains(t, errs, "stand-in")
}
