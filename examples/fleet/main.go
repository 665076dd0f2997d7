//go:build unix

// Command fleet changes assignments of many organizational units on many machines. The
// operations are in PostgreSQL, and River workers run them step by step. A notification
// that reaches any machine runs the next step at once.
//
//	fleet demo                       run everything on this machine, with faults and kills
//	fleet migrate -db URL            create the tables
//	fleet worker  -db URL -vendor F  run operations, receive notifications
//	fleet enqueue -db URL -vendor F -unit UID -assets 1,2 -devices C001,C002
//	fleet status  -db URL            print the state of each operation
//	fleet apple   -vendor F          run a stand-in for Apple's service
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

var errUsage = errors.New("usage: fleet demo|migrate|worker|enqueue|status|apple [flags]; fleet COMMAND -h prints the flags")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	if slices.ContainsFunc(args, containsToken) {
		return errors.New("the command line contains a content token, and every user of this machine can read command lines: put the token into the file of -vendor")
	}
	var s settings
	flags := flag.NewFlagSet("fleet "+args[0], flag.ContinueOnError)
	// DATABASE_URL is not the default of the flag, because -h would print the password.
	flags.StringVar(&s.db, "db", "", "URL of the PostgreSQL database; if empty, the environment variable DATABASE_URL")
	parse := func() error {
		err := flags.Parse(args[1:])
		s.db = cmp.Or(s.db, os.Getenv("DATABASE_URL"))
		return err
	}
	stallFlag := func() {
		flags.DurationVar(&s.stall, "stall", 10*time.Minute, "how long an event may be pending; a request without an answer may be carried out for six times as long")
	}
	flags.StringVar(&s.vendor, "vendor", "vendor.json", "JSON `file` with the URL of the service, the content tokens and the notification secret")
	switch args[0] {
	case "migrate":
		if err := parse(); err != nil {
			return err
		}
		return migrate(ctx, s)

	case "worker":
		flags.StringVar(&s.listen, "listen", "127.0.0.1:8080", "address of the notification receiver")
		flags.IntVar(&s.workers, "workers", 50, "number of operations that run at the same time")
		flags.DurationVar(&s.firstPoll, "first-poll", 5*time.Second, "time from a request to the first poll of its event")
		flags.DurationVar(&s.poll, "poll", 30*time.Second, "time between two polls of an event; Apple requires 30s or more")
		stallFlag()
		flags.DurationVar(&s.lease, "lease", 45*time.Second, "how long other processes wait for a process that died")
		flags.DurationVar(&s.timeout, "timeout", 5*time.Minute, "longest time for one step of an operation")
		if err := parse(); err != nil {
			return err
		}
		return runWorker(ctx, s)

	case "enqueue":
		var o order
		var assets, devices string
		flags.StringVar(&o.uid, "unit", "", "uId of the organizational unit")
		flags.StringVar(&assets, "assets", "", "Adam IDs, separated by commas")
		flags.StringVar(&devices, "devices", "", "serial numbers, separated by commas, or @FILE for a file with one serial number on each line")
		flags.BoolVar(&o.remove, "remove", false, "remove the assignments instead of adding them")
		stallFlag()
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
		o.assets, o.devices = splitList(assets), splitList(devices)
		id, err := enqueueOne(ctx, s, o)
		if err == nil {
			fmt.Fprintln(out, id)
		}
		return err

	case "status":
		uid := flags.String("unit", "", "list only operations of the organizational unit with this uId")
		open := flags.Bool("open", false, "list only operations that are not finished")
		if err := parse(); err != nil {
			return err
		}
		return printStatus(ctx, s, *uid, *open, out)

	case "apple":
		addr := flags.String("addr", "127.0.0.1:8081", "address to listen on")
		units := flags.Int("units", 10, "number of organizational units; each has the assets 1 to 5")
		if err := parse(); err != nil {
			return err
		}
		return runStandIn(ctx, s, *addr, *units, out)

	case "demo":
		c := defaultDemo()
		c.flags(flags)
		if err := parse(); err != nil {
			return err
		}
		c.db, c.out = s.db, out
		_, err := runDemo(ctx, c)
		return err
	}
	return errUsage
}
