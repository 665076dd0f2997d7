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

// config is the configuration of TestDemo. Flags of go test change it.
var config = defaultDemo()

// TestMain runs the program itself if FLEET_MAIN is set. The demo starts its workers in
// this way.
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
