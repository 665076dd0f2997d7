package main_test

import (
	"encoding/csv"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// command returns the command that runs the program with a stand-in. If srv is nil,
// the program gets no content token.
func command(srv *appsandbookstest.Server, stdin string, args ...string) clitest.Command {
	c := clitest.Command{Args: append(args, "-first-poll", "200ms", "-poll", "300ms"), Stdin: stdin}
	if srv != nil {
		c.Unit, c.URL = srv.Unit(), srv.URL()
	}
	return c
}

// onboard runs the program and waits until it ends.
func onboard(t *testing.T, srv *appsandbookstest.Server, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	r := clitest.Run(t, command(srv, stdin, args...))
	if srv != nil {
		assert.NotContains(t, r.Stdout+r.Stderr, srv.Unit().Token())
	}
	return r.Stdout, r.Stderr, r.Code
}

func newService(t *testing.T) *appsandbookstest.Server {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	return srv
}

// countWrites counts the requests that change users.
func countWrites(srv *appsandbookstest.Server) (n int) {
	for _, r := range srv.Requests() {
		if strings.HasPrefix(r.Path, "users/") {
			n++
		}
	}
	return n
}

// rows returns the last five columns of each row of an output file, by the first
// column, which is the clientUserId.
func rows(t *testing.T, output string) map[string][]string {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(output)).ReadAll()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	n := len(all[0])
	require.Equal(t, []string{"status", "inviteUrl", "outcome", "errorNumber", "errorMessage"}, all[0][n-5:])
	byID := map[string][]string{}
	for _, row := range all[1:] {
		byID[row[0]] = row[n-5:]
	}
	return byID
}

const people = "\ufeffclientUserId,Class, email,managedAppleId\r\n" +
	"ada,\"7, b\",ada@school.example.com,ada@managed.example.com\r\n" +
	"grace,7a,grace@school.example.com,\r\n"

// The program creates users, writes their status and invitation links, and does not
// create a user again who already exists.
func TestOnboard_canRunAgain(t *testing.T) {
	srv := newService(t)
	first, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Zero(t, code, stderr)
	got := rows(t, first)
	require.Equal(t, []string{"Associated", "", "succeeded", "", ""}, got["ada"])
	require.Equal(t, "Registered", got["grace"][0])
	require.Contains(t, got["grace"][1], srv.Unit().Users()[1].InviteCode)
	require.Contains(t, first, `ada,"7, b",ada@`, "other columns are copied")
	require.Contains(t, stderr, "people: 2; users to create: 2; users to associate: 0; nothing to do: 0")

	before := countWrites(srv)
	second, stderr, code := onboard(t, srv, first, "-in", "-", "-out", "-")
	require.Zero(t, code, stderr)
	require.Equal(t, first, second, "the output as input gives the same output")
	require.Equal(t, before, countWrites(srv))
	require.Len(t, srv.Unit().Users(), 2)

	// In the third run, the second person of the input has a Managed Apple Account.
	third, stderr, code := onboard(t, srv, strings.Replace(people, "grace@school.example.com,", "grace@school.example.com,grace@managed.example.com", 1),
		"-in", "-", "-out", "-")
	require.Zero(t, code, stderr)
	require.Equal(t, []string{"Associated", "", "succeeded", "", ""}, rows(t, third)["grace"])
}

// A row that the service rejects fails with Apple's error number, and the other rows
// succeed.
func TestOnboard_reportsFailedRows(t *testing.T) {
	srv := newService(t)
	srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "other", ManagedAppleID: "taken@managed.example.com"})
	stdout, stderr, code := onboard(t, srv, "clientUserId,email,managedAppleId\n"+
		"good,good@school.example.com,\nbad,no-address,\ntaken,,taken@managed.example.com\n", "-in", "-", "-out", "-")
	require.Equal(t, 3, code, stderr)
	got := rows(t, stdout)
	require.Equal(t, "succeeded", got["good"][2])
	require.Equal(t, []string{"failed", "9717"}, got["bad"][2:4])
	require.Equal(t, []string{"failed", "9641"}, got["taken"][2:4])
}

// If a request gets no answer, the program sends it again, and no user is created
// twice.
func TestOnboard_resendsAfterLostAnswer(t *testing.T) {
	srv := newService(t)
	srv.AddFault(appsandbookstest.Fault{Path: "users/create", Kind: appsandbookstest.FaultResetAfter, Times: 1})
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Zero(t, code, stdout+stderr)
	require.Len(t, srv.Unit().Users(), 2, "no user is created twice")
}

// After an interrupt the output contains the results so far, and a second run
// completes the output.
func TestOnboard_canRunAgainAfterInterrupt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted on Windows")
	}
	srv := newService(t)
	srv.HoldEvents(true)
	p := clitest.Start(t, command(srv, people, "-in", "-", "-out", "-"))
	require.Eventually(t, func() bool { return countWrites(srv) > 0 }, 30*time.Second, 10*time.Millisecond)
	time.Sleep(100 * time.Millisecond) // the program should receive the answer before it is interrupted
	p.Signal(os.Interrupt)
	r := p.Wait()
	require.Equal(t, 1, r.Code, r.Stderr)
	require.Equal(t, "unconfirmed", rows(t, r.Stdout)["ada"][2])
	require.Contains(t, r.Stderr, "run it again to continue")

	srv.HoldEvents(false)
	srv.Unit().FinishEvents()
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Zero(t, code, stdout+stderr)
	require.Len(t, srv.Unit().Users(), 2)
}

// With a revoked or read-only content token the program stops with Apple's error
// number.
func TestOnboard_invalidToken(t *testing.T) {
	srv := newService(t)
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
	_, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "revoked (9625)")

	srv = newService(t)
	srv.Unit().SetTokenState(appsandbookstest.TokenReadOnly)
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "9637")
	require.Equal(t, "unsent", rows(t, stdout)["ada"][2])
}

// With -plan, the program prints how many users would be created, and changes
// nothing.
func TestOnboard_planChangesNothing(t *testing.T) {
	srv := newService(t)
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-plan")
	require.Zero(t, code, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "users to create: 2")
	require.Zero(t, countWrites(srv))
}

// With -h, the program prints its help to standard output.
func TestOnboard_printsHelp(t *testing.T) {
	stdout, _, code := onboard(t, nil, "", "-h")
	require.Zero(t, code)
	for _, want := range []string{"Usage:", "Exit codes:", "managedAppleId", "-token-file"} {
		require.Contains(t, stdout, want)
	}
}
