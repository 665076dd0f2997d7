// Simulator runs a stand-in for Apple's service as a program, for clients in any
// language.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Simulator is a stand-in for version 2 of Apple's App, Book, and Subscription
Management API. Use it to test clients in any language. It checks requests like
the service, keeps a ledger of licenses, applies changes after a delay, sends
notifications, injects faults on request, and records clients that break the
service's rules.

Usage:
  simulator [flags]

When it is ready, it prints one line of JSON to standard output:

  {"url":"http://127.0.0.1:8390/mdm/v2","units":[{"name":"Headquarters","uId":"…","token":"…"}]}

Clients use url instead of https://vpp.itunes.apple.com/mdm/v2. They send the
token in the header "Authorization: Bearer TOKEN". It has the form of the content
of a .vpptoken file. The other examples read both from the environment variables
APPSANDBOOKS_BASE_URL and APPSANDBOOKS_STOKEN.

Every unit has the same library, unless -seed-file is given:
  assets    Adam IDs 1000000001, 1000000002, …, for users and devices
  users     user-1, user-2, …, with the status Associated
  devices   serial numbers SIM0000001, SIM0000002, …
            The simulator accepts requests for other serial numbers, but assigns
            nothing to them. Users of the service have reported this behavior.
            With -devices 0, every serial number is a device.
  subscriptions   Adam IDs 2000000001, 2000000002, …

A seed file describes other libraries. Every field is optional:

  {
    "limits": {"maxAssets": 25, "maxRequestPerSecond": 15},
    "units": [{
      "name": "Headquarters",
      "assets": [{"adamId": "361309726", "total": 25},
                 {"adamId": "435160039", "productType": "Book", "unlimited": true}],
      "users": [{"clientUserId": "user-1", "email": "user@example.com", "managedAppleId": "user@example.org"}],
      "devices": ["C39XXXXXXXXX"],
      "assignments": [{"adamId": "361309726", "clientUserId": "user-1"}],
      "subscriptions": [{"adamId": 1612811733, "total": {"renewing": 5, "expiring": 2}}]
    }],
    "faults": [{"path": "assets/associate", "number": 9646, "header": {"Retry-After": ["5"]}, "times": 1},
               {"method": "POST", "kind": "reset-after", "probability": 0.1}]
  }

The names of the fields are those of the types in package appsandbookstest, in
upper or lower case.

Ctrl-C or SIGTERM ends the simulator. It then lists the rules that clients broke,
such as too many requests in a second, or two requests for the status of an event
within 30 seconds.

Examples:
  simulator -assets 40 -devices 10000 -licenses 10000
  simulator -seed-file library.json -event-delay 10s
  simulator -fault-rate 0.1 -latency 200ms -strict

Exit codes:
  0  the simulator was ended
  1  an error, such as an address that is in use
  2  invalid flags or seed file
  3  with -strict: clients broke rules
`

func main() { cli.Main("simulator", help, run) }

// options are the values of the simulator's flags.
type options struct {
	listen                                                  string
	units, assets, licenses, users, devices, subs, pageSize int
	eventDelay, latency                                     time.Duration
	seed                                                    uint64
	seedFile                                                string
	faultRate                                               float64
	rateLimit, anyAddress, strict                           bool
}

func run(ctx context.Context, p *cli.Program) error {
	p.Standalone()
	var o options
	p.Flags.StringVar(&o.listen, "listen", "127.0.0.1:8390", "`address` to serve HTTP on; with port 0, on a free port")
	p.Flags.BoolVar(&o.anyAddress, "any-address", false, "allow addresses that are not loopback")
	p.Flags.IntVar(&o.units, "units", 1, "`number` of organizational units")
	p.Flags.IntVar(&o.assets, "assets", 25, "`number` of assets of each unit")
	p.Flags.IntVar(&o.licenses, "licenses", 1000, "`number` of licenses of each asset and each subscription")
	p.Flags.IntVar(&o.users, "users", 100, "`number` of users of each unit")
	p.Flags.IntVar(&o.devices, "devices", 1000, "`number` of devices of each unit")
	p.Flags.IntVar(&o.subs, "subscriptions", 0, "`number` of subscriptions of each unit")
	p.Flags.StringVar(&o.seedFile, "seed-file", "", "JSON `file` that describes the libraries; -units, -assets, -licenses, -users,\n-devices and -subscriptions are then ignored")
	p.Flags.Uint64Var(&o.seed, "seed", 1, "`number` from which tokens, ids and random faults are derived")
	p.Flags.IntVar(&o.pageSize, "page-size", 1000, "`number` of records on a page")
	p.Flags.DurationVar(&o.eventDelay, "event-delay", 2*time.Second, "`time` that an event stays PENDING")
	p.Flags.DurationVar(&o.latency, "latency", 0, "`time` that each request takes")
	p.Flags.BoolVar(&o.rateLimit, "rate-limit", false, "refuse requests above maxRequestPerSecond with 429 and 9646")
	p.Flags.Float64Var(&o.faultRate, "fault-rate", 0, "`share` of requests that fail, from 0 to 1; a quarter each: connection reset before\nthe request is processed, connection reset after that, 429, and 503 with a\nRetry-After of one second")
	p.Flags.BoolVar(&o.strict, "strict", false, "exit with 3 if clients broke rules")
	if err := p.Parse(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	seed, err := o.loadSeed()
	if err != nil {
		return err
	}

	srv, err := appsandbookstest.NewServer(o.server(seed)...)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	defer srv.Close()
	units := seed.fill(srv)
	for _, f := range append(seed.Faults, faults(o.faultRate)...) {
		srv.AddFault(f)
	}
	if err := srv.Listen(o.listen); err != nil {
		return err
	}
	if err := announce(p, srv, units); err != nil {
		return err
	}
	<-ctx.Done()
	return summarize(p, srv.Violations(), o.strict)
}

// check reports invalid flags.
func (o options) check() error {
	if min(o.units-1, o.assets, o.licenses, o.users, o.devices, o.subs, o.pageSize-1) < 0 || o.eventDelay < 0 || o.latency < 0 {
		return cli.Usagef("numbers and times must not be negative, and -units and -page-size must be at least 1")
	}
	if o.faultRate < 0 || o.faultRate > 1 {
		return cli.Usagef("-fault-rate must be from 0 to 1")
	}
	return nil
}

// server returns the options of the stand-in, from the flags and the seed file.
func (o options) server(seed *seed) []appsandbookstest.Option {
	opts := []appsandbookstest.Option{
		appsandbookstest.WithSeed(o.seed),
		appsandbookstest.WithPageSize(o.pageSize),
		appsandbookstest.WithCursorPageSize(o.pageSize),
		appsandbookstest.WithEventDelay(o.eventDelay),
		appsandbookstest.WithLatency(o.latency),
		appsandbookstest.WithLimits(seed.Limits),
		appsandbookstest.WithRequestLog(0),
	}
	if o.rateLimit {
		opts = append(opts, appsandbookstest.WithRateLimit())
	}
	if o.anyAddress {
		opts = append(opts, appsandbookstest.WithAnyAddress())
	}
	return opts
}

// faults returns four faults that together occur on a share of the requests,
// each equally often. A fault occurs only if no earlier fault of the four
// occurred. Each fault therefore has a higher probability than the fault before
// it.
func faults(rate float64) []appsandbookstest.Fault {
	if rate == 0 {
		return nil
	}
	kinds := []appsandbookstest.Fault{
		{Kind: appsandbookstest.FaultResetBefore},
		{Kind: appsandbookstest.FaultResetAfter},
		{Number: 9646, Status: 429},
		{Number: 9729, Status: 503, Header: http.Header{"Retry-After": {"1"}}},
	}
	each := rate / float64(len(kinds))
	for i := range kinds {
		kinds[i].Probability = each / (1 - float64(i)*each)
	}
	return kinds
}

// announce prints the URL of the stand-in and the tokens of its units.
func announce(p *cli.Program, srv *appsandbookstest.Server, units []*appsandbookstest.Unit) error {
	type unit struct {
		Name  string `json:"name"`
		UID   string `json:"uId"`
		Token string `json:"token"`
	}
	line := struct {
		URL   string `json:"url"`
		Units []unit `json:"units"`
	}{URL: srv.URL()}
	for _, u := range units {
		line.Units = append(line.Units, unit{u.Name(), u.UID(), u.Token()})
	}
	if err := json.NewEncoder(p.Stdout).Encode(line); err != nil {
		return err
	}
	p.Notef("ready; press Ctrl-C to end it. For the other examples:")
	fmt.Fprintf(p.Stderr, "export APPSANDBOOKS_BASE_URL=%s\n", srv.URL())
	for i, u := range units {
		comment := ""
		if i > 0 {
			comment = "# "
		}
		fmt.Fprintf(p.Stderr, "%sexport APPSANDBOOKS_STOKEN=%s # %s\n", comment, u.Token(), u.Name())
	}
	return nil
}

// summarize prints the rules that clients broke, with up to three examples
// each. If strict is true, broken rules are an error.
func summarize(p *cli.Program, violations []appsandbookstest.Violation, strict bool) error {
	if len(violations) == 0 {
		p.Notef("no rules were broken")
		return nil
	}
	const examples = 3
	byRule := map[appsandbookstest.Rule][]appsandbookstest.Violation{}
	var rules []appsandbookstest.Rule
	for _, v := range violations {
		if byRule[v.Rule] == nil {
			rules = append(rules, v.Rule)
		}
		byRule[v.Rule] = append(byRule[v.Rule], v)
	}
	p.Notef("rules were broken %d times", len(violations))
	for _, rule := range rules {
		list := byRule[rule]
		fmt.Fprintf(p.Stderr, "%6d × %s\n", len(list), rule)
		for _, v := range list[:min(examples, len(list))] {
			fmt.Fprintf(p.Stderr, "         %s %s\n", v.Time.Format("15:04:05.000"), v.Detail)
		}
		if n := len(list) - examples; n > 0 {
			fmt.Fprintf(p.Stderr, "         and %s more\n", strconv.Itoa(n))
		}
	}
	if strict {
		return cli.Exit(cli.Failed)
	}
	return nil
}
