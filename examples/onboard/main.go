// Onboard creates a user of an organizational unit for each person in a CSV file, and
// writes invitation links for the people who need one.
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
Onboard creates a user of an organizational unit for each person in a CSV file, so
that apps, books and subscriptions can be assigned to the person.

Usage:
  onboard -in FILE -out FILE
  onboard -in FILE -plan

Input: CSV with a header line. These columns are read, in any order. Other columns
are copied to the output.
  clientUserId     your own id of the person, which never changes; do not use the
                   e-mail address
  email            helps people to recognize the user; may be empty
  managedAppleId   Managed Apple Account of the person; may be empty

  clientUserId,email,managedAppleId
  8e5ae1bb,ada@school.example.com,ada@appleid.school.example.com
  19c3f02d,grace@school.example.com,

A person with a managedAppleId is associated immediately. Every other person must
open an invitation link once, with a personal Apple Account. Apple does not send
these links. They are in the output, and you send them.

Output: the rows of the input in the same order, with five more columns:
  status           Registered (the person must open the link) or Associated
  inviteUrl        the invitation link, if the status is Registered
  outcome          succeeded, failed, unconfirmed (the result is not known yet), or
                   unsent (the run stopped before it sent the row)
  errorNumber      Apple's error number, if there is one
  errorMessage     why the row did not succeed

You can run Onboard again at any time, also with its output as the input. It does not
create users again that exist. If a user is Registered and the row now has a
managedAppleId, the user is associated. After Ctrl-C or a crash, run it again. It
never changes e-mail addresses and never retires users.

Without a content token it starts a stand-in for Apple's service.

Examples:
  onboard -in people.csv -plan
  onboard -in people.csv -out invitations.csv
  onboard -in - -out - <people.csv | csvgrep -c status -m Registered

Exit codes:
  0  every row succeeded; with -plan: the plan was printed
  1  an error or Ctrl-C stopped the run before it was finished; run it again
  2  invalid flags or invalid input: nothing was sent
  3  some rows failed
  4  some rows are unconfirmed; run it again
`

func main() { cli.Main("onboard", help, run) }

func run(ctx context.Context, p *cli.Program) error {
	in := p.Flags.String("in", "", "CSV `file` with the people; - is standard input")
	out := p.Flags.String("out", "", "CSV `file` to write; - is standard output")
	plan := p.Flags.Bool("plan", false, "change nothing; print how many users would be created and associated")
	if err := p.Parse(); err != nil {
		return err
	}
	switch {
	case *in == "":
		return cli.Usagef("-in is missing: give the CSV file with the people")
	case *out == "" && !*plan:
		return cli.Usagef("-out is missing: give the name of the CSV file for the results")
	case *out != "" && *plan:
		return cli.Usagef("-plan writes no file: remove -out")
	}
	list, err := readPeople(p, *in)
	if err != nil {
		return err
	}
	output, err := createOutput(p, *out)
	if err != nil {
		return err
	}
	client, err := p.Client(func() (*appsandbookstest.Server, error) { return appsandbookstest.NewServer() })
	if err != nil {
		return err
	}

	if err := list.readUsers(ctx, client); err != nil {
		return err
	}
	create, associate := list.withoutUser(), list.toAssociate()
	p.Notef("people: %d; users to create: %d; users to associate: %d; nothing to do: %d", len(list.people),
		len(create), len(associate), len(list.people)-len(create)-len(associate))
	if *plan {
		return nil
	}
	stopped := list.change(ctx, p, client.Users.Create, create)
	if stopped == nil {
		stopped = list.change(ctx, p, client.Users.Update, associate)
	}
	if stopped == nil && len(create)+len(associate) > 0 {
		stopped = list.readUsers(ctx, client) // this reads the status and the invite code of the new users
	}
	if stopped == nil {
		stopped = list.addInvitations(ctx, client)
	}
	if err := output.write(list); err != nil {
		return err
	}
	if stopped != nil {
		return fmt.Errorf("%w; the output contains the results so far; run it again to continue", stopped)
	}
	return list.summarize(p)
}

// withoutUser returns the people in the input file for whom the service has no user.
func (l *list) withoutUser() []*person {
	return l.filter(func(p *person) bool { return p.user == nil })
}

// toAssociate returns the people in the input file whose users are Registered and
// who have a Managed Apple Account in the file. These users are associated without
// an invitation.
func (l *list) toAssociate() []*person {
	return l.filter(func(p *person) bool {
		return p.user != nil && p.user.Status == appsandbooks.UserRegistered && p.request.ManagedAppleID != ""
	})
}

// readUsers reads from the service the users for the people in the input file.
func (l *list) readUsers(ctx context.Context, client *appsandbooks.Client) error {
	filters := []appsandbooks.UserFilter{{ActiveOnly: true}}
	const maxSingleReads = 50 // for more people in the input file, the program reads the list of all users
	if len(l.people) <= maxSingleReads {
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

// userMethod is the type of Users.Create and Users.Update.
type userMethod func(context.Context, appsandbooks.UserChange, ...appsandbooks.OperationOption) (*appsandbooks.Operation, error)

// change creates or updates the users of some people in the input file, and waits
// until the operation is finished. It sets the outcome of each person. It returns an
// error only if the program must stop.
func (l *list) change(ctx context.Context, p *cli.Program, method userMethod, people []*person) error {
	if len(people) == 0 {
		return nil
	}
	var requests []appsandbooks.UserRequest
	for _, person := range people {
		requests = append(requests, person.request)
	}
	showProgress, clearProgress := newMeter(p)
	op, err := method(ctx, appsandbooks.UserChange{Users: requests},
		appsandbooks.WithBisection(),     // the other users are created even if one e-mail address is invalid
		appsandbooks.WithResendOverdue(), // sending a request again is safe: the service does not create a user twice
		appsandbooks.WithResendLost(),
		appsandbooks.WithProgress(showProgress))
	if err != nil {
		clearProgress()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	report, err := op.Wait(ctx)
	clearProgress()
	for o := range report.Outcomes() {
		l.byID[o.ClientUserID].outcome = &o
	}
	var ended *appsandbooks.OperationError
	switch {
	case !errors.As(err, &ended), ended.Cause == nil:
		return nil // each row of the output contains its own error
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return ended.Cause
}

// addInvitations sets the invitation links of the people in the input file whose
// users are Registered.
func (l *list) addInvitations(ctx context.Context, client *appsandbooks.Client) error {
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

// summarize prints how many rows succeeded and how many people need an invitation
// link. It returns the exit code as an error.
func (l *list) summarize(p *cli.Program) error {
	n := map[string]int{}
	for _, person := range l.people {
		outcome, _ := person.result()
		n[outcome]++
	}
	links := len(l.filter(func(p *person) bool { return p.link != "" }))
	p.Notef("%d of %d rows succeeded; people who must open an invitation link: %d", n[succeeded], len(l.people), links)
	switch {
	case n[unconfirmed] > 0:
		return cli.Exit(cli.Unconfirmed)
	case n[failed] > 0, n[unsent] > 0:
		return cli.Exit(cli.Failed)
	}
	return nil
}

// The column outcome of the output has one of these values.
const (
	succeeded   = string(appsandbooks.OutcomeSucceeded)
	failed      = string(appsandbooks.OutcomeFailed)
	unconfirmed = string(appsandbooks.OutcomeUnconfirmed)
	unsent      = string(appsandbooks.OutcomeUnsent)
)

// result returns the outcome of a person's row. The user that the service lists
// takes precedence over the outcome of the request, because another client can have
// created the same user.
func (p *person) result() (outcome string, err error) {
	done := p.user != nil && (p.request.ManagedAppleID == "" || p.user.Status == appsandbooks.UserAssociated)
	switch {
	case done:
		return succeeded, nil
	case p.outcome == nil:
		return unsent, appsandbooks.ErrNotSent
	case p.outcome.Err == nil && p.user != nil:
		return unconfirmed, errors.New("the service accepted the Managed Apple Account, but the user is not associated yet")
	case p.outcome.Err == nil:
		return unconfirmed, errors.New("the service created the user, but does not list the user yet")
	}
	return string(p.outcome.Status), p.outcome.Err
}

// filter returns the people in the input file for whom keep returns true.
func (l *list) filter(keep func(*person) bool) []*person {
	return slices.DeleteFunc(slices.Clone(l.people), func(p *person) bool { return !keep(p) })
}

// newMeter returns functions that show and remove a line with the progress of the
// operation. The functions do nothing if standard error is not a terminal or -v is
// given.
func newMeter(p *cli.Program) (show func(appsandbooks.Progress), remove func()) {
	if !cli.IsTerminal(p.Stderr) || p.Verbose() {
		return func(appsandbooks.Progress) {}, func() {}
	}
	return func(progress appsandbooks.Progress) {
			finished := progress.Succeeded + progress.Failed
			fmt.Fprintf(p.Stderr, "\r%d of %d requests accepted, %d of %d people finished",
				progress.Accepted, progress.Requests, finished, progress.Pairs)
		}, func() {
			fmt.Fprint(p.Stderr, "\r\033[K")
		}
}
