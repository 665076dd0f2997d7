package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// The flag -assignments exports all assignments. With -since it exports only the
// changes since a version, or all assignments if the service does not have this
// version any more.
func TestInventory_exportsAssignments(t *testing.T) {
	srv := newService(t)
	file := filepath.Join(t.TempDir(), "assignments.csv")
	out, errs, code := inventory(t, srv, "-assignments", "-out", file)
	require.Zero(t, code, errs)
	require.Empty(t, out)
	version := regexp.MustCompile(`^inventory: exported 801 assignments; version (\S+)\n$`).FindStringSubmatch(errs)
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
	require.Contains(t, errs, "exported 0 assignments; version "+version[1])
	require.Len(t, srv.Requests(), 1)

	srv.Unit().ForgetVersions()
	_, errs, code = inventory(t, srv, "-assignments", "-since", version[1])
	require.Zero(t, code)
	require.Contains(t, errs, "exported all assignments")
	require.Contains(t, errs, "exported 801 assignments")
}

// The flags -users and -subscriptions export all users and all subscriptions, as
// JSON lines or as CSV.
func TestInventory_exportsUsersAndSubscriptions(t *testing.T) {
	srv := newService(t)
	out, errs, code := inventory(t, srv, "-users", "-format", "jsonl")
	require.Zero(t, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 401)
	var first appsandbooks.User
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.Equal(t, `a, "user"`, first.ClientUserID)
	require.Contains(t, lines[0], "<user>@example.com")

	out, errs, code = inventory(t, srv, "-subscriptions")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^67890,100,ACTIVE,\d{4}-\d\d-\d\d,0,0,9,0,9,0$`, out)
	require.Contains(t, errs, "exported 1 subscriptions\n")
}

// If an export fails, the program exits with 1 and leaves no incomplete file.
func TestInventory_failedExportLeavesNoFile(t *testing.T) {
	srv := newService(t)
	srv.AddFault(appsandbookstest.Fault{Path: "assignments", After: 7, Number: 9601})
	dir := t.TempDir()
	_, errs, code := inventory(t, srv, "-assignments", "-out", filepath.Join(dir, "a.csv"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "reading assignments: ")
	require.Contains(t, errs, "9601")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, files)

	_, errs, code = inventory(t, srv, "-assignments", "-out", filepath.Join(dir, "missing", "a.csv"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "missing")

	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)
	_, errs, code = inventory(t, srv)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "revoked")
	require.NotContains(t, errs, srv.Unit().Token())
}
