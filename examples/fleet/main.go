//go:build unix

// Command fleet carries changes of many organizational units on many machines:
// operations in PostgreSQL, carried by workers of River, woken by notifications
// that any of the machines receives.
//
//	fleet demo                       everything on this machine, with faults and kills
//	fleet migrate -db URL            make the tables
//	fleet worker  -db URL -vendor F  carry operations, receive notifications
//	fleet enqueue -db URL -vendor F -unit UID -assets 1,2 -devices FILE
//	fleet status  -db URL            print the state of each operation
//	fleet apple   -vendor F          a stand-in for Apple's service
//
// See docs/many-machines.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: fleet demo|migrate|worker|enqueue|status|apple [flags]; -h after each tells more")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	if slices.ContainsFunc(args, holdsToken) {
		return errors.New("a content token stands on the command line, where anyone can see it in the process list: it belongs into the file that -vendor names")
	}
	var s settings
	flags := flag.NewFlagSet("fleet "+args[0], flag.ContinueOnError)
	flags.StringVar(&s.db, "db", "", "URL of the PostgreSQL database; without it that in DATABASE_URL") // not as the default, which -h prints
	parse := func() error {
		err := flags.Parse(args[1:])
		s.db = cmp.Or(s.db, os.Getenv("DATABASE_URL"))
		return err
	}
	flags.StringVar(&s.vendor, "vendor", "vendor.json", "what the vendor keeps elsewhere: where Apple is, tokens, the notification secret")
	switch args[0] {
	case "migrate":
		if err := parse(); err != nil {
			return err
		}
		return migrate(ctx, s)

	case "worker":
		flags.StringVar(&s.listen, "listen", "127.0.0.1:8080", "where notifications are received")
		flags.IntVar(&s.workers, "workers", 50, "operations carried at once")
		flags.DurationVar(&s.firstLook, "first-look", 5*time.Second, "when the status of an event is first asked for")
		flags.DurationVar(&s.poll, "poll", 30*time.Second, "and how long after PENDING again; Apple asks for 30s")
		flags.DurationVar(&s.lease, "lease", 45*time.Second, "how long the claims of a dead process stand")
		flags.DurationVar(&s.timeout, "timeout", 5*time.Minute, "for a step of an operation")
		if err := parse(); err != nil {
			return err
		}
		return worker(ctx, s)

	case "enqueue":
		var o order
		var assets, devices string
		flags.StringVar(&o.uid, "unit", "", "uId of the organizational unit")
		flags.StringVar(&assets, "assets", "", "Adam IDs, with commas between")
		flags.StringVar(&devices, "devices", "", "serial numbers with commas between, or @FILE with one on each line")
		flags.BoolVar(&o.remove, "remove", false, "take the assets back instead of assigning them")
		if err := parse(); err != nil {
			return err
		}
		if file, ok := strings.CutPrefix(devices, "@"); ok {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			devices = string(text)
		}
		o.assets, o.devices = words(assets), words(devices)
		id, err := enqueueOne(ctx, s, o)
		if err == nil {
			fmt.Fprintln(out, id)
		}
		return err

	case "status":
		uid := flags.String("unit", "", "only of this organizational unit")
		open := flags.Bool("open", false, "only what is not finished")
		if err := parse(); err != nil {
			return err
		}
		return status(ctx, s, *uid, *open, out)

	case "apple":
		addr := flags.String("addr", "127.0.0.1:8081", "where it listens")
		units := flags.Int("units", 10, "organizational units, with assets 1 to 5")
		if err := parse(); err != nil {
			return err
		}
		return apple(ctx, s, *addr, *units, out)

	case "demo":
		c := defaultProof()
		c.flags(flags)
		if err := parse(); err != nil {
			return err
		}
		c.db, c.out = s.db, out
		_, err := prove(ctx, c)
		return err
	}
	return errUsage
}
