package main_test

import (
	"context"
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "onboard")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "onboard")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// command is the program with a service, without the variables of whoever runs the test.
func command(t *testing.T, srv *appsandbookstest.Server, stdin string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, append(args, "-first-look", "200ms", "-poll", "300ms")...)
	cmd.Env = []string{}
	if srv != nil {
		cmd.Env = append(cmd.Env, "APPSANDBOOKS_STOKEN="+srv.Unit().Token(), "APPSANDBOOKS_BASE_URL="+srv.URL())
	}
	cmd.Stdin = strings.NewReader(stdin)
	return cmd
}

// onboard runs it to its end.
func onboard(t *testing.T, srv *appsandbookstest.Server, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, srv, stdin, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if srv != nil {
		assert.NotContains(t, out.String()+errs.String(), srv.Unit().Token())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func service(t *testing.T) *appsandbookstest.Server {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	return srv
}

// writes counts the requests that change users.
func writes(srv *appsandbookstest.Server) (n int) {
	for _, r := range srv.Requests() {
		if strings.HasPrefix(r.Path, "users/") {
			n++
		}
	}
	return n
}

// rows are the five columns of the output by clientUserId, which is the first.
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

func TestTwice(t *testing.T) {
	srv := service(t)
	first, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Zero(t, code, stderr)
	got := rows(t, first)
	require.Equal(t, []string{"Associated", "", "succeeded", "", ""}, got["ada"])
	require.Equal(t, "Registered", got["grace"][0])
	require.Contains(t, got["grace"][1], srv.Unit().Users()[1].InviteCode)
	require.Contains(t, first, `ada,"7, b",ada@`, "other columns are kept")
	require.Contains(t, stderr, "2 to create, 0 to associate, 0 are there")

	before := writes(srv)
	second, stderr, code := onboard(t, srv, first, "-in", "-", "-out", "-")
	require.Zero(t, code, stderr)
	require.Equal(t, first, second, "its output is its input, and nothing changes")
	require.Equal(t, before, writes(srv))
	require.Len(t, srv.Unit().Users(), 2)

	// The other one gets a managed account.
	third, stderr, code := onboard(t, srv, strings.Replace(people, "grace@school.example.com,", "grace@school.example.com,grace@managed.example.com", 1),
		"-in", "-", "-out", "-")
	require.Zero(t, code, stderr)
	require.Equal(t, []string{"Associated", "", "succeeded", "", ""}, rows(t, third)["grace"])
}

func TestManyInFiles(t *testing.T) {
	srv, dir := service(t), t.TempDir()
	var b strings.Builder
	b.WriteString("clientUserId\n")
	for _, id := range []string{"a", "b", "c"} {
		b.WriteString(strings.Repeat(id, 3) + "\n")
	}
	for i := range 240 {
		b.WriteString("user-" + strings.Repeat("x", i+1) + "\n")
	}
	in, out := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out.csv")
	require.NoError(t, os.WriteFile(in, []byte(b.String()), 0o600))
	_, stderr, code := onboard(t, srv, "", "-in", in, "-out", out)
	require.Zero(t, code, stderr)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Len(t, rows(t, string(text)), 243)
	require.Equal(t, 3, writes(srv), "a hundred users a request")
	left, err := filepath.Glob(filepath.Join(dir, ".onboard-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSomeFail(t *testing.T) {
	srv := service(t)
	srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "other", ManagedAppleID: "taken@managed.example.com"})
	stdout, stderr, code := onboard(t, srv, "clientUserId,email,managedAppleId\n"+
		"good,good@school.example.com,\nbad,no-address,\ntaken,,taken@managed.example.com\n", "-in", "-", "-out", "-")
	require.Equal(t, 3, code, stderr)
	got := rows(t, stdout)
	require.Equal(t, "succeeded", got["good"][2])
	require.Equal(t, []string{"failed", "9717"}, got["bad"][2:4])
	require.Equal(t, []string{"failed", "9641"}, got["taken"][2:4])
}

func TestLostAnswer(t *testing.T) {
	srv := service(t)
	srv.AddFault(appsandbookstest.Fault{Path: "users/create", Kind: appsandbookstest.FaultResetAfter, Times: 1})
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Zero(t, code, stdout+stderr)
	require.Len(t, srv.Unit().Users(), 2, "nobody twice")
}

func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	srv := service(t)
	srv.HoldEvents(true)
	cmd := command(t, srv, people, "-in", "-", "-out", "-")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return writes(srv) > 0 }, 30*time.Second, 10*time.Millisecond)
	time.Sleep(100 * time.Millisecond) // for the answer, which it would wait for anyway
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), errs.String())
	require.Equal(t, "unconfirmed", rows(t, out.String())["ada"][2])
	require.Contains(t, errs.String(), "run it again")

	srv.HoldEvents(false)
	srv.Unit().FinishEvents()
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Zero(t, code, stdout+stderr)
	require.Len(t, srv.Unit().Users(), 2)
}

func TestTrouble(t *testing.T) {
	srv := service(t)
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
	_, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "revoked (9625)")

	srv = service(t)
	srv.Unit().SetTokenState(appsandbookstest.TokenReadOnly)
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-out", "-")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "9637")
	require.Equal(t, "failed", rows(t, stdout)["ada"][2])
}

func TestPlan(t *testing.T) {
	srv := service(t)
	stdout, stderr, code := onboard(t, srv, people, "-in", "-", "-plan")
	require.Zero(t, code, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "2 to create")
	require.Zero(t, writes(srv))
}

func TestUsage(t *testing.T) {
	srv := service(t)
	for name, test := range map[string]struct {
		stdin, want string
		args        []string
	}{
		"no input":    {"", "-in is missing", []string{"-out", "-"}},
		"no output":   {people, "-out is missing", []string{"-in", "-"}},
		"both":        {people, "-plan writes nothing", []string{"-in", "-", "-out", "-", "-plan"}},
		"no file":     {"", "reading the people", []string{"-in", "none.csv", "-out", "-"}},
		"no folder":   {people, "creating the output", []string{"-in", "-", "-out", "none/out.csv"}},
		"empty":       {"", "it is empty", []string{"-in", "-", "-out", "-"}},
		"no id":       {"email\na@b.example\n", "no column clientUserId", []string{"-in", "-", "-out", "-"}},
		"empty id":    {"clientUserId,email\n,a@b.example\n", "line 2 has no clientUserId", []string{"-in", "-", "-out", "-"}},
		"twice":       {"clientUserId\na\na\n", "line 3 has the clientUserId of an earlier line", []string{"-in", "-", "-out", "-"}},
		"two columns": {"clientUserId,ClientUserID\na,a\n", "two columns", []string{"-in", "-", "-out", "-"}},
		"ragged":      {"clientUserId,email\na\n", "wrong number of fields", []string{"-in", "-", "-out", "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := onboard(t, srv, test.stdin, test.args...)
			require.Equal(t, 2, code, stderr)
			require.Contains(t, stderr, test.want)
			require.Empty(t, stdout)
		})
	}
	require.Empty(t, srv.Requests(), "nothing was sent")
}

func TestHelp(t *testing.T) {
	stdout, _, code := onboard(t, nil, "", "-h")
	require.Zero(t, code)
	for _, want := range []string{"Usage:", "Exit codes:", "managedAppleId", "-token-file"} {
		require.Contains(t, stdout, want)
	}
}
