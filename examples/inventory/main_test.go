package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "inventory")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "inventory")
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

// inventory runs the program, without the variables of whoever runs the test.
func inventory(t *testing.T, srv *appsandbookstest.Server, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{}
	if srv != nil {
		cmd.Env = append(cmd.Env, "APPSANDBOOKS_STOKEN="+srv.Unit().Token(), "APPSANDBOOKS_BASE_URL="+srv.URL())
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	require.NoError(t, ctx.Err())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// service is a service with assignments of three assets, one of them short.
func service(t *testing.T) *appsandbookstest.Server {
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
	u.AddUser(appsandbookstest.User{ClientUserID: `odd, "user"`, Email: "<odd>@example.com", Status: appsandbookstest.UserAssociated})
	for i := range 400 {
		u.AddAssignments(
			appsandbookstest.Assignment{AdamID: "100", SerialNumber: fmt.Sprintf("D%04d", i)},
			appsandbookstest.Assignment{AdamID: "200", ClientUserID: fmt.Sprintf("user-%04d", i)},
		)
	}
	u.AddAssignments(appsandbookstest.Assignment{AdamID: "200", ClientUserID: `odd, "user"`})
	u.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 100, Total: appsandbookstest.Seats{Renewing: 9}})
	return srv
}

func TestTable(t *testing.T) {
	srv := service(t)
	out, errs, code := inventory(t, srv)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	require.Regexp(t, `(?m)^ +200 +STDQ +App +402 +401 +1 +99% short$`, out)
	require.Regexp(t, `(?m)^ +100 +STDQ +App +1000 +400 +600 +40% *$`, out)
	require.Regexp(t, `(?m)^ +300 +STDQ +App +unlimited +0 +unlimited *$`, out)
	require.Contains(t, out, "\nFewer than 5 left of:\n  App 200 (STDQ): 1 of 402\n")

	out, _, code = inventory(t, srv, "-short", "1")
	require.Zero(t, code)
	require.Contains(t, out, "Nothing runs short")
}

func TestBars(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, printTable(&b, []appsandbooks.Asset{{AssetID: appsandbooks.AssetID{AdamID: "1"}, TotalCount: 160, AvailableCount: 71, AssignedCount: 89}}, 5, true))
	require.Contains(t, b.String(), "███████████▏          55%")
	require.Equal(t, "  0%", shareOf(3, 0, false))
	require.Equal(t, strings.Repeat("█", 20)+" 100%", shareOf(7, 7, true))
}

func TestAssignments(t *testing.T) {
	srv := service(t)
	file := filepath.Join(t.TempDir(), "assignments.csv")
	out, errs, code := inventory(t, srv, "-assignments", "-out", file)
	require.Zero(t, code, errs)
	require.Empty(t, out)
	version := regexp.MustCompile(`^inventory: 801 assignments; version (\S+)\n$`).FindStringSubmatch(errs)
	require.NotNil(t, version, errs)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"adamId", "pricingParam", "clientUserId", "serialNumber"}, rows[0])
	for i, a := range srv.Unit().Assignments() {
		require.Equal(t, []string{a.AdamID, a.PricingParam, a.ClientUserID, a.SerialNumber}, rows[1+i])
	}
	require.Len(t, rows, 802)
	require.Empty(t, srv.Violations())

	srv.ResetRequests()
	_, errs, code = inventory(t, srv, "-assignments", "-since", version[1])
	require.Zero(t, code)
	require.Contains(t, errs, "0 assignments; version "+version[1])
	require.Len(t, srv.Requests(), 1)

	srv.Unit().ForgetVersions()
	_, errs, code = inventory(t, srv, "-assignments", "-since", version[1])
	require.Zero(t, code)
	require.Contains(t, errs, "this is everything")
	require.Contains(t, errs, "801 assignments")
}

func TestJSONLines(t *testing.T) {
	srv := service(t)
	out, errs, code := inventory(t, srv, "-users", "-format", "jsonl")
	require.Zero(t, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 401)
	var first appsandbooks.User
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.Equal(t, `odd, "user"`, first.ClientUserID)
	require.Contains(t, lines[0], "<odd>@example.com")

	out, errs, code = inventory(t, srv, "-subscriptions")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^67890,100,ACTIVE,\d{4}-\d\d-\d\d,0,0,9,0,9,0$`, out)
	require.Contains(t, errs, "1 subscriptions\n")
}

func TestFailures(t *testing.T) {
	srv := service(t)
	srv.AddFault(appsandbookstest.Fault{Path: "assignments", After: 7, Number: 9601})
	dir := t.TempDir()
	_, errs, code := inventory(t, srv, "-assignments", "-out", filepath.Join(dir, "a.csv"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "reading assignments: ")
	require.Contains(t, errs, "9601")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "half a file is no file")

	_, errs, code = inventory(t, srv, "-assignments", "-out", filepath.Join(dir, "missing", "a.csv"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "missing")

	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
	_, errs, code = inventory(t, srv)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "revoked")
	require.NotContains(t, errs, srv.Unit().Token())
}

func TestUsage(t *testing.T) {
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
		assert.Contains(t, errs, "-h tells more", args)
	}
	out, errs, code := inventory(t, nil, "-h")
	require.Zero(t, code)
	require.Empty(t, errs)
	for _, word := range []string{"-assignments", "Exit codes", "Examples", "-token-file"} {
		require.Contains(t, out, word)
	}
}

// Without a token there is a stand-in.
func TestAlone(t *testing.T) {
	out, errs, code := inventory(t, nil, "-users", "-since", "a version of another service")
	require.Zero(t, code, errs)
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 121)
	require.Contains(t, errs, "stand-in")
}
