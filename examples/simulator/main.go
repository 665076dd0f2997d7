// Simulator runs a stand-in for Apple's service as a program, for clients in
// any language.
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
Management API, for testing clients in any language. It checks requests as the
service does, keeps a ledger of licences, carries out changes after a delay,
sends notifications, breaks on demand, and tells on clients that misbehave.

Usage:
  simulator [flags]

When it is ready it prints one line of JSON to standard output:

  {"url":"http://127.0.0.1:8390/mdm/v2","units":[{"name":"Headquarters","uId":"…","token":"…"}]}

Clients use url in the place of https://vpp.itunes.apple.com/mdm/v2, and a
token, which has the form of a .vpptoken file's content, in the header
"Authorization: Bearer TOKEN". The other examples take them from the variables
APPSANDBOOKS_BASE_URL and APPSANDBOOKS_STOKEN.

Each unit has the same library, unless -seed-file says something else:
  assets    Adam IDs 1000000001, 1000000002, …, for users and devices
  users     user-1, user-2, …, associated
  devices   serial numbers SIM0000001, SIM0000002, …; licences for others are
            accepted and assigned to nobody, which the service was seen to do
            (with -devices 0, every serial number is a device)
  subscriptions   Adam IDs 2000000001, 2000000002, …

A seed file replaces that; every field is optional:

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

Fields are named like those of package appsandbookstest, in any case. Ctrl-C or
SIGTERM ends the simulator. It then lists how clients broke the service's rules:
too many requests in a second, asking for the status of an event more often than
every 30 seconds, and so on.

Examples:
  simulator -assets 40 -devices 10000 -licences 10000
  simulator -seed-file library.json -event-delay 10s
  simulator -fault-rate 0.1 -latency 200ms -strict

Exit codes:
  0  it was ended
  1  trouble: the address is taken, for instance
  2  wrong usage
  3  with -strict: rules were broken
`

func main() { cli.Main("simulator", help, run) }

type options struct {
	listen                                                  string
	units, assets, licences, users, devices, subs, pageSize int
	eventDelay, latency                                     time.Duration
	seed                                                    uint64
	seedFile                                                string
	faultRate                                               float64
	rateLimit, anyAddress, strict                           bool
}

func run(ctx context.Context, p *cli.Program) error {
	p.Standalone()
	var o options
	p.Flags.StringVar(&o.listen, "listen", "127.0.0.1:8390", "`address` to serve HTTP on; port 0 takes a free one")
	p.Flags.BoolVar(&o.anyAddress, "any-address", false, "allow -listen on addresses that other machines reach")
	p.Flags.IntVar(&o.units, "units", 1, "`number` of organizational units, each with a token and a library")
	p.Flags.IntVar(&o.assets, "assets", 25, "`number` of assets of a unit")
	p.Flags.IntVar(&o.licences, "licences", 1000, "`number` of licences of each asset, and of seats of each subscription")
	p.Flags.IntVar(&o.users, "users", 100, "`number` of users of a unit")
	p.Flags.IntVar(&o.devices, "devices", 1000, "`number` of devices of a unit")
	p.Flags.IntVar(&o.subs, "subscriptions", 0, "`number` of subscriptions of a unit")
	p.Flags.StringVar(&o.seedFile, "seed-file", "", "JSON `file` with the libraries, instead of the numbers above")
	p.Flags.Uint64Var(&o.seed, "seed", 1, "`number` that tokens, ids and chance derive from")
	p.Flags.IntVar(&o.pageSize, "page-size", 1000, "`number` of records on a page")
	p.Flags.DurationVar(&o.eventDelay, "event-delay", 2*time.Second, "`time` that a change stays PENDING")
	p.Flags.DurationVar(&o.latency, "latency", 0, "`time` that each request takes")
	p.Flags.BoolVar(&o.rateLimit, "rate-limit", false, "refuse requests above maxRequestPerSecond (429, 9646)")
	p.Flags.Float64Var(&o.faultRate, "fault-rate", 0, "`share` of requests that break, from 0 to 1: connections reset before and\nafter it is carried out, 429, and 503 with\na Retry-After of a second, all equally often")
	p.Flags.BoolVar(&o.strict, "strict", false, "exit with 3 if rules were broken")
	if err := p.Parse(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	seed, err := o.contents()
	if err != nil {
		return err
	}

	srv, err := appsandbookstest.NewServer(o.server(seed)...)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	defer srv.Close()
	units := seed.plant(srv)
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
	return farewell(p, srv.Violations(), o.strict)
}

func (o options) check() error {
	if min(o.units-1, o.assets, o.licences, o.users, o.devices, o.subs, o.pageSize-1) < 0 || o.eventDelay < 0 || o.latency < 0 {
		return cli.Usagef("numbers and times must not be negative; -units and -page-size not zero")
	}
	if o.faultRate < 0 || o.faultRate > 1 {
		return cli.Usagef("-fault-rate must be from 0 to 1")
	}
	return nil
}

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

// faults breaks the given share of requests in four ways, each as often as the
// others. Of several faults the first that hits counts, hence the growing chance.
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

// announce says where the service is and with which tokens.
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
	p.Notef("ready; Ctrl-C ends it. For the other examples:")
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

// farewell sums up how the rules were broken.
func farewell(p *cli.Program, violations []appsandbookstest.Violation, strict bool) error {
	if len(violations) == 0 {
		p.Notef("no rule was broken")
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
		of := byRule[rule]
		fmt.Fprintf(p.Stderr, "%6d × %s\n", len(of), rule)
		for _, v := range of[:min(examples, len(of))] {
			fmt.Fprintf(p.Stderr, "         %s %s\n", v.Time.Format("15:04:05.000"), v.Detail)
		}
		if n := len(of) - examples; n > 0 {
			fmt.Fprintf(p.Stderr, "         and %s more\n", strconv.Itoa(n))
		}
	}
	if strict {
		return cli.Exit(cli.Failed)
	}
	return nil
}
