//go:build unix

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"testing"
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
