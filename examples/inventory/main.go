// Inventory lists the apps and books of an organizational unit with their licenses,
// and exports its assignments, users or subscriptions.
package main

import (
	"context"
	"strconv"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Inventory lists the apps and books of an organizational unit with their licenses,
and exports its assignments, users or subscriptions. It changes nothing.

Usage:
  inventory [-short N]
  inventory -assignments|-users|-subscriptions [-format csv|jsonl] [-out FILE]
  inventory -assignments|-users -since VERSION [-format csv|jsonl] [-out FILE]

Without -assignments, -users or -subscriptions it prints a table of the apps and
books: the licenses that the unit owns, those in use, those that are left, and the
percentage in use. Apps and books with fewer than N licenses left are marked as
short, and listed again below the table. The service has no names of apps and
books, only Adam IDs.

With one of these flags it exports a list. It writes each record as soon as it is
read, so that a million records need only a few megabytes of memory. FILE gets its
name when it is complete; after an error it is unchanged. On a terminal a bar shows
the progress. The columns of CSV:

  -assignments    adamId,pricingParam,clientUserId,serialNumber
  -users          clientUserId,email,status,idHash,inviteCode
  -subscriptions  adamId,parentAdamId,status,periodEndDate, then the number of
                  assigned, available and total seats, renewing and expiring

The format jsonl is one JSON object in each line, with the names of Apple's API.

After -assignments or -users, the last line on standard error contains the version
of the data. With -since VERSION, a later run exports only the records that changed
after this version. If nothing changed, this takes one request. Records that were
removed are not shown. If the service does not have the version any more, the run
exports all records.

Without a content token it starts a stand-in for Apple's service.

Examples:
  inventory -short 20
  inventory -assignments -out assignments.csv
  inventory -users -format jsonl | jq -r 'select(.status == "Registered").email'

Exit codes:
  0  the table or the list is complete
  1  an error or Ctrl-C stopped the program
  2  invalid flags
`

func main() { cli.Main("inventory", help, run) }

func run(ctx context.Context, p *cli.Program) error {
	assignments := p.Flags.Bool("assignments", false, "export all assignments")
	users := p.Flags.Bool("users", false, "export all users")
	subscriptions := p.Flags.Bool("subscriptions", false, "export all subscriptions")
	short := p.Flags.Int("short", 5, "mark apps and books with fewer than `N` licenses left")
	format := p.Flags.String("format", "csv", "`format` of the export: csv or jsonl")
	out := p.Flags.String("out", "-", "`file` for the export; - is standard output")
	since := p.Flags.String("since", "", "export only the records that changed after this `version`")
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
		return cli.Usagef("give only one of -assignments, -users and -subscriptions")
	case lists == 0 && (p.Given("format") || p.Given("out")):
		return cli.Usagef("-format and -out need -assignments, -users or -subscriptions")
	case lists == 1 && p.Given("short"):
		return cli.Usagef("-short cannot be used with -assignments, -users or -subscriptions")
	case *since != "" && !*assignments && !*users:
		return cli.Usagef("-since needs -assignments or -users")
	case *format != "csv" && *format != "jsonl":
		return cli.Usagef("-format must be csv or jsonl, not %q", *format)
	case *out == "":
		return cli.Usagef("-out must be the name of a file, or -")
	}
	c, err := p.Client(sampleService)
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
	return showTable(ctx, p, c, *short)
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
