//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

var config = defaultProof()

// The workers of the proof are this program.
func TestMain(m *testing.M) {
	if os.Getenv("FLEET_MAIN") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	config.flags(flag.CommandLine)
	flag.Parse()
	os.Exit(m.Run())
}

// A fleet under fire keeps its books. A larger run:
//
//	go test -run TestFleet -v -timeout 20m -units 200 -pairs 200000 -kills 12 -seed 7 -limit 10m
func TestFleet(t *testing.T) {
	if _, err := postgrestest.Find(); errors.Is(err, postgrestest.ErrNotInstalled) {
		fmt.Fprintln(os.Stderr, "THE PROOF OF THE FLEET DOES NOT RUN:", err)
		t.Skip("not run:", err)
	}
	c := config
	if testing.Verbose() {
		c.out = os.Stdout
	}
	r, err := prove(t.Context(), c)
	if r != nil {
		t.Log("\n" + r.String())
	}
	require.NoError(t, err)
}

// The password of the database is not printed, nor a content token that stands
// where the name of its file should.
func TestSecretsAreNotPrinted(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
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
