//go:build unix

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// The program prints neither the password of the database nor a content token that was
// passed instead of the name of its file.
func TestRun_printsNoSecrets(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	token := srv.Unit().Token()
	const misplaced = "the command line contains a content token"
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "usage: fleet"},
		{[]string{"worker", "-h"}, "DATABASE_URL"},
		{[]string{"status", "-nonsense"}, "not defined: -nonsense"},
		{[]string{"migrate"}, "failed to connect"},
		{[]string{"worker", "-vendor", token}, misplaced},
		{[]string{"worker", "-poll=" + token}, misplaced},
		{[]string{"worker", "-" + token}, misplaced},
		{[]string{token}, misplaced},
	} {
		cmd := exec.CommandContext(t.Context(), self, test.args...)
		cmd.Env = append(os.Environ(), "FLEET_MAIN=1", "DATABASE_URL=postgres://fleet:canary@127.0.0.1:1/fleet")
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), test.want)
		require.NotContains(t, string(out), "canary")
		require.NotContains(t, string(out), token[:len(token)/2])
	}
}
