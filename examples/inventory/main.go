// Inventory shows what an organizational unit owns, which licences run short,
// and writes out who has what.
package main

import (
	"context"
	"strconv"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Inventory shows what an organizational unit owns, which licences run short, and
writes out who has what. It only reads.

Usage:
  inventory [-short N]
  inventory -assignments|-users|-subscriptions [-format csv|jsonl] [-out FILE]
  inventory -assignments|-users -since VERSION [-format csv|jsonl] [-out FILE]

Without a list it prints the apps and books as a table: licences owned, in use
and left, and the share in use. Those with fewer than N left are marked, and
named once more at the end. The service knows Adam IDs, not names.

A list is written as it is read, a million records in a few megabytes of memory,
on a terminal with a bar that shows how far it is. A FILE is complete or not
there: it gets its name when all is written. The columns:

  -assignments    adamId,pricingParam,clientUserId,serialNumber
  -users          clientUserId,email,status,idHash,inviteCode
  -subscriptions  adamId,parentAdamId,status,periodEndDate, and assigned,
                  available and total seats, renewing and expiring

jsonl is one JSON object a line, with the service's own names.

At the end it tells the version of the data: with -since VERSION a later run
reads only what changed, in one request if nothing did. What was removed does not
show then. If the service has forgotten the version, it reads everything.

Without a content token it starts a stand-in for Apple's service by itself.

Examples:
  inventory -short 20
  inventory -assignments -out assignments.csv
  inventory -users -format jsonl | jq -r 'select(.status == "Registered").email'

Exit codes:
  0  all was read
  1  it was not; the message says why
  2  wrong usage
`

func main() { cli.Main("inventory", help, run) }

func run(ctx context.Context, p *cli.Program) error {
	assignments := p.Flags.Bool("assignments", false, "write all assignments")
	users := p.Flags.Bool("users", false, "write all users")
	subscriptions := p.Flags.Bool("subscriptions", false, "write all subscriptions")
	short := p.Flags.Int("short", 5, "mark what has fewer than `N` licences left")
	format := p.Flags.String("format", "csv", "`format` of a list: csv or jsonl")
	out := p.Flags.String("out", "-", "`file` for a list; - is standard output")
	since := p.Flags.String("since", "", "only what changed since this `version`")
	if err := p.Parse(); err != nil {
		return err
	}
	lists := 0
	for _, list := range []bool{*assignments, *users, *subscriptions} {
		if list {
			lists++
		}
	}
	switch {
	case lists > 1:
		return cli.Usagef("-assignments, -users and -subscriptions are one at a time")
	case lists == 0 && (p.Given("format") || p.Given("out")):
		return cli.Usagef("-format and -out go with -assignments, -users or -subscriptions")
	case lists == 1 && p.Given("short"):
		return cli.Usagef("-short is for the table of apps and books")
	case *since != "" && !*assignments && !*users:
		return cli.Usagef("-since goes with -assignments or -users")
	case *format != "csv" && *format != "jsonl":
		return cli.Usagef("-format %q is neither csv nor jsonl", *format)
	case *out == "":
		return cli.Usagef("-out needs the name of a file, or -")
	}
	c, err := p.Client(sample)
	if err != nil {
		return err
	}
	e := &export{program: p, format: *format, out: *out, since: *since}
	switch {
	case *assignments:
		return write(ctx, e, "assignments", assignmentColumns, assignmentRow,
			c.Assignments.Changes(ctx, appsandbooks.AssignmentFilter{SinceVersionID: *since}))
	case *users:
		return write(ctx, e, "users", userColumns, userRow,
			c.Users.Changes(ctx, appsandbooks.UserFilter{SinceVersionID: *since}))
	case *subscriptions:
		return write(ctx, e, "subscriptions", subscriptionColumns, subscriptionRow,
			c.Subscriptions.Pages(ctx, appsandbooks.SubscriptionFilter{}))
	}
	return table(ctx, p, c, *short)
}

var assignmentColumns = []string{"adamId", "pricingParam", "clientUserId", "serialNumber"}

func assignmentRow(row []string, a appsandbooks.Assignment) []string {
	return append(row, a.AdamID, string(a.PricingParam), a.ClientUserID, a.SerialNumber)
}

var userColumns = []string{"clientUserId", "email", "status", "idHash", "inviteCode"}

func userRow(row []string, u appsandbooks.User) []string {
	return append(row, u.ClientUserID, u.Email, string(u.Status), u.IDHash, u.InviteCode)
}

var subscriptionColumns = []string{
	"adamId", "parentAdamId", "status", "periodEndDate", "assignedRenewing", "assignedExpiring",
	"availableRenewing", "availableExpiring", "totalRenewing", "totalExpiring",
}

func subscriptionRow(row []string, s appsandbooks.Subscription) []string {
	parent := ""
	if s.ParentAdamID != nil {
		parent = strconv.FormatInt(*s.ParentAdamID, 10)
	}
	row = append(row, strconv.FormatInt(s.AdamID, 10), parent, string(s.Status), s.PeriodEndDate)
	for _, n := range []*appsandbooks.SeatCounts{s.Counts.Assigned, s.Counts.Available, s.Counts.Total} {
		if n == nil {
			n = new(appsandbooks.SeatCounts)
		}
		row = append(row, strconv.Itoa(n.Renewing), strconv.Itoa(n.Expiring))
	}
	return row
}
