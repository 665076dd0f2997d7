//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

// With injected faults, killed workers and a killed database, all results of the demo are
// correct. This command runs the test for longer:
//
//	go test -run TestDemo -v -timeout 20m -units 200 -pairs 200000 -kills 12 -seed 7 -limit 10m
func TestDemo(t *testing.T) {
	if _, err := postgrestest.Find(); errors.Is(err, postgrestest.ErrNotInstalled) {
		fmt.Fprintln(os.Stderr, "WARNING: the demo of the fleet is skipped:", err)
		t.Skip(err)
	}
	c := config
	if testing.Verbose() {
		c.out = os.Stdout
	}
	r, err := runDemo(t.Context(), c)
	if r != nil {
		t.Log("\n" + r.String())
	}
	require.NoError(t, err)
}
