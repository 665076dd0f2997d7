// Onboard makes the people of a CSV file users of an organizational unit, and
// writes invitation links for those who need one.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Onboard makes the people of a CSV file users of an organizational unit, so that
apps, books and subscriptions can be assigned to them.

Usage:
  onboard -in FILE -out FILE
  onboard -in FILE -plan

Input: CSV with a header line. Columns, in any order, others are kept:
  clientUserId     your own, stable id of the person; not the e-mail address
  email            for people to recognize the user; may be empty
  managedAppleId   Managed Apple Account; may be empty

  clientUserId,email,managedAppleId
  8e5ae1bb,ada@school.example.com,ada@appleid.school.example.com
  19c3f02d,grace@school.example.com,

A person with a managedAppleId is associated at once. Anybody else has to open an
invitation link, once, with an Apple Account of their own. Apple sends no mail: the
links are in the output, for you to send.

Output: each row of the input, in its order, with five columns more:
  status           Registered (has to open the link) or Associated (is done)
  inviteUrl        the link, while the status is Registered
  outcome          succeeded, failed, or unconfirmed (nobody knows yet)
  errorNumber      Apple's number, if it failed for one
  errorMessage     why it did not succeed

Run it as often as you like, also with its own output as the input: users who are
there already are not created again, and a Registered user whose row has a
managedAppleId now is associated. After Ctrl-C or a crash, run it again. It never
changes e-mail addresses, and never retires anybody.

Without a content token it starts a stand-in for Apple's service by itself.

Examples:
  onboard -in people.csv -plan
  onboard -in people.csv -out invitations.csv
  onboard -in - -out - <people.csv | csvgrep -c status -m Registered

Exit codes:
  0  everybody is a user
  1  trouble: it did not come to its end; run it again
  2  wrong usage, or an input that cannot be read: nothing was sent
  3  some are not
  4  of some nobody knows yet; run it again
`

func main() { cli.Main("onboard", help, run) }

func run(ctx context.Context, p *cli.Program) error {
	in := p.Flags.String("in", "", "CSV `file` with the people; - is standard input")
	out := p.Flags.String("out", "", "CSV `file` to write; - is standard output")
	plan := p.Flags.Bool("plan", false, "change nothing; say what would be done")
	if err := p.Parse(); err != nil {
		return err
	}
	switch {
	case *in == "":
		return cli.Usagef("-in is missing: the CSV file with the people")
	case *out == "" && !*plan:
		return cli.Usagef("-out is missing: the CSV file for the results")
	case *out != "" && *plan:
		return cli.Usagef("-plan writes nothing: leave -out out")
	}
	list, err := readPeople(p, *in)
	if err != nil {
		return err
	}
	to, err := createOutput(p, *out)
	if err != nil {
		return err
	}
	client, err := p.Client(func() (*appsandbookstest.Server, error) { return appsandbookstest.NewServer() })
	if err != nil {
		return err
	}

	if err := list.look(ctx, client); err != nil {
		return err
	}
	create, associate := list.missing(), list.unassociated()
	p.Notef("%d people: %d to create, %d to associate, %d are there", len(list.people),
		len(create), len(associate), len(list.people)-len(create)-len(associate))
	if *plan {
		return nil
	}
	stopped := list.change(ctx, p, client.Users.Create, create)
	if stopped == nil {
		stopped = list.change(ctx, p, client.Users.Update, associate)
	}
	if stopped == nil && len(create)+len(associate) > 0 {
		stopped = list.look(ctx, client) // for their status and invite codes
	}
	if stopped == nil {
		stopped = list.invite(ctx, client)
	}
	if err := to.write(list); err != nil {
		return err
	}
	if stopped != nil {
		return fmt.Errorf("%w; %s has what is known; run it again", stopped, *out)
	}
	return list.exit(p)
}

// missing are those who are no users.
func (l *list) missing() []*person {
	return l.those(func(p *person) bool { return p.user == nil })
}

// unassociated are users who have to accept an invitation and need not.
func (l *list) unassociated() []*person {
	return l.those(func(p *person) bool {
		return p.user != nil && p.user.Status == appsandbooks.UserRegistered && p.request.ManagedAppleID != ""
	})
}

// look reads what the service knows about the people.
func (l *list) look(ctx context.Context, client *appsandbooks.Client) error {
	filters := []appsandbooks.UserFilter{{ActiveOnly: true}}
	if few := 50; len(l.people) <= few { // else it is cheaper to read all
		filters = nil
		for _, p := range l.people {
			filters = append(filters, appsandbooks.UserFilter{ActiveOnly: true, ClientUserID: p.request.ClientUserID})
		}
	}
	for _, f := range filters {
		for u, err := range client.Users.All(ctx, f) {
			if err != nil {
				return fmt.Errorf("reading the users: %w", err)
			}
			if p := l.byID[u.ClientUserID]; p != nil && u.Status != appsandbooks.UserRetired && u.Status != appsandbooks.UserDeleted {
				p.user = &u
			}
		}
	}
	return nil
}

// begin is what creates and updates have in common.
type begin func(context.Context, appsandbooks.UserChange, ...appsandbooks.OperationOption) (*appsandbooks.Operation, error)

// change creates or updates some people and waits until that is done. What
// became of each is kept with the person; the error is why it ended early.
func (l *list) change(ctx context.Context, p *cli.Program, begin begin, people []*person) error {
	if len(people) == 0 {
		return nil
	}
	var requests []appsandbooks.UserRequest
	for _, person := range people {
		requests = append(requests, person.request)
	}
	progress, done := meter(p)
	op, err := begin(ctx, appsandbooks.UserChange{Users: requests},
		appsandbooks.WithBisection(), // one bad address must not keep the others out
		appsandbooks.WithResend(),    // a user is created once, however often it is asked for
		appsandbooks.WithProgress(progress))
	if op != nil && err == nil {
		_, err = op.Wait(ctx)
	}
	done()
	if op != nil {
		for o := range op.Report().Outcomes() {
			l.byID[o.ClientUserID].outcome = &o
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case op == nil, appsandbooks.IsAuth(err), appsandbooks.IsForbidden(err):
		return err
	}
	return nil // the rows say the rest
}

// invite finds the links of those who have to accept an invitation.
func (l *list) invite(ctx context.Context, client *appsandbooks.Client) error {
	for _, p := range l.people {
		if p.user == nil || p.user.Status != appsandbooks.UserRegistered || p.user.InviteCode == "" {
			continue
		}
		link, err := client.Users.InvitationURL(ctx, p.user.InviteCode)
		if err != nil {
			return fmt.Errorf("making invitation links: %w", err)
		}
		p.link = link
	}
	return nil
}

// exit sums up.
func (l *list) exit(p *cli.Program) error {
	n := map[string]int{}
	for _, person := range l.people {
		outcome, _ := person.result()
		n[outcome]++
	}
	links := len(l.those(func(p *person) bool { return p.link != "" }))
	p.Notef("%d of %d people are users, %d of them have to open a link", n[succeeded], len(l.people), links)
	switch {
	case n[unconfirmed] > 0:
		return cli.Exit(cli.Unconfirmed)
	case n[failed] > 0:
		return cli.Exit(cli.Failed)
	}
	return nil
}

// The outcomes of a row.
const (
	succeeded   = string(appsandbooks.OutcomeSucceeded)
	failed      = string(appsandbooks.OutcomeFailed)
	unconfirmed = string(appsandbooks.OutcomeUnconfirmed)
)

// result is what became of a person. What the service shows counts more than
// what became of a request: somebody else may have been quicker.
func (p *person) result() (outcome string, why error) {
	there := p.user != nil && (p.request.ManagedAppleID == "" || p.user.Status == appsandbooks.UserAssociated)
	switch {
	case there:
		return succeeded, nil
	case p.outcome == nil:
		return failed, appsandbooks.ErrNotSent
	case p.outcome.Err == nil && p.user != nil:
		return unconfirmed, errors.New("the service accepted the account and does not show it yet")
	case p.outcome.Err == nil:
		return unconfirmed, errors.New("the service created the user and does not show it yet")
	}
	return string(p.outcome.Status), p.outcome.Err
}

func (l *list) those(what func(*person) bool) []*person {
	return slices.DeleteFunc(slices.Clone(l.people), func(p *person) bool { return !what(p) })
}

// meter shows progress on a terminal.
func meter(p *cli.Program) (progress func(appsandbooks.Progress), done func()) {
	if !cli.IsTerminal(p.Stderr) || p.Verbose() {
		return func(appsandbooks.Progress) {}, func() {}
	}
	return func(now appsandbooks.Progress) {
			settled := now.Succeeded + now.Failed + now.Unconfirmed
			fmt.Fprintf(p.Stderr, "\r%d of %d requests accepted, %d of %d people settled", now.Accepted, now.Requests, settled, now.Pairs)
		}, func() {
			fmt.Fprint(p.Stderr, "\r\033[K")
		}
}
