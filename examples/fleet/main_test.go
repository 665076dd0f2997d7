//go:build unix

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// The password of the database is not printed, nor a content token that stands
// where the name of its file should.
func TestSecretsAreNotPrinted(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	srv := appsandbookstest.NewServer()
	t.Cleanup(srv.Close)
	token := srv.Unit().Token()
	const misplaced = "a content token stands on the command line"
	for _, test := range []struct {
		args []string
		says string
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
		require.Contains(t, string(out), test.says)
		require.NotContains(t, string(out), "canary")
		require.NotContains(t, string(out), token[:len(token)/2])
	}
}
