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
