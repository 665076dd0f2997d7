//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// runStandIn runs a stand-in for Apple's service until ctx ends. It prints the uIds of
// the stand-in's units, and writes the file for -vendor.
func runStandIn(ctx context.Context, s settings, addr string, units int, out io.Writer) error {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(5*time.Second), appsandbookstest.WithSeed(rand.Uint64()))
	if err != nil {
		return err
	}
	defer srv.Close()
	if err := srv.Listen(addr); err != nil {
		return err
	}
	v := vendor{BaseURL: srv.URL(), Secret: "secret-" + fmt.Sprint(rand.Uint64()), Tokens: map[string]string{}}
	for i := range units {
		u := srv.Unit()
		if i > 0 {
			u = srv.NewUnit(fmt.Sprint("Unit ", i))
		}
		for a := range 5 {
			u.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(a + 1), Total: 1_000_000})
		}
		v.Tokens[u.UID()] = u.Token()
		fmt.Fprintln(out, u.UID())
	}
	if err := v.write(s.vendor); err != nil {
		return err
	}
	slog.Info("the stand-in for Apple's service listens", "url", srv.URL(), "vendor", s.vendor)
	<-ctx.Done()
	return nil
}
