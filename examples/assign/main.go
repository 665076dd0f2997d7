// Assign gives the licences in a CSV file to users and devices, or takes them
// back, and says of each row what became of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Assign gives licences of apps and books to users and devices, or takes them
back, and says of each row of a CSV file what became of it.

Usage:
  assign -action associate|disassociate -in FILE -plan
  assign -action associate|disassociate -in FILE -out FILE [-state FILE]
  assign -resume STATE -out FILE [-in FILE]

Input: CSV with a header line. Columns, in any order, others are kept:
  adamId         of the app or book
  pricingParam   STDQ or PLUS; empty or left out means STDQ
  clientUserId   either this
  serialNumber   or this, exactly one in each row

  adamId,pricingParam,clientUserId,serialNumber
  361309726,STDQ,,C39XXXXXXXXX
  361309726,STDQ,8e5ae1bb-6b2d-4e2f-a8b1-2f1b6a4d9c11,

Output: each row of the input, in its order, with three columns more:
  outcome        succeeded, failed, or unconfirmed (nobody knows)
  errorNumber    Apple's number, if it failed for one: 9709 is "not enough licenses"
  errorMessage   why it did not succeed; "not sent" where the run stopped before
It can be the input of another run; the old outcome is replaced.

The rows go out in as few requests as the service's limits allow. What was sent
and got no answer is not sent again blindly: the assignments are read back, and
what is missing is sent once more. "succeeded" is what the service says; it says
so also of serial numbers that do not exist, which -verify finds out.

Ctrl-C starts nothing new and takes a few seconds to learn what became of what
was under way. Until every row is settled, the state file has all that is needed
to go on with -resume: after Ctrl-C, a crash or a power failure, and also where
rows were left unconfirmed. Without -in, the output of -resume lists the pairs.

Examples:
  assign -action associate -in new.csv -plan
  assign -action associate -in new.csv -out result.csv
  assign -resume result.csv.state -in new.csv -out result.csv
  assign -action disassociate -in - -out - <old.csv >result.csv

Exit codes:
  0  every row succeeded; with -plan: there are licences for all
  1  trouble: it did not come to its end
  2  wrong usage, or an input that cannot be read: nothing was sent
  3  some rows failed; with -plan: some would
  4  some rows are unconfirmed; others may have failed
`

func main() { cli.Main("assign", help, run) }

type options struct {
	action, in, out, state, resume string
	plan, verify                   bool
}

// softMemory is where memory becomes dearer than the processor, which waits
// for the service most of the time: a million rows stay well below 512 MiB.
// GOMEMLIMIT overrules it.
const softMemory = 256 << 20

func run(ctx context.Context, p *cli.Program) error {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(softMemory)
	}
	var o options
	p.Flags.StringVar(&o.action, "action", "", "`what` to do: associate or disassociate")
	p.Flags.StringVar(&o.in, "in", "", "CSV `file` to read; - is standard input")
	p.Flags.StringVar(&o.out, "out", "", "CSV `file` to write; - is standard output")
	p.Flags.StringVar(&o.state, "state", "", "`file` that keeps what -resume needs\n(default OUT.state, or assign.state where -out is -)")
	p.Flags.StringVar(&o.resume, "resume", "", "go on with what this state `file` holds")
	p.Flags.BoolVar(&o.plan, "plan", false, "change nothing; print what would be sent, and what licences it needs")
	p.Flags.BoolVar(&o.verify, "verify", false, "read the assignments back in the end, and trust nothing else")
	if err := p.Parse(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	client, err := p.Client(nil)
	if err != nil {
		return err
	}

	var in *input
	if o.in != "" {
		if in, err = openInput(p, o.in); err != nil {
			return err
		}
	}
	if o.plan {
		return printPlan(ctx, p, client, o.action, in)
	}
	out, err := createOutput(p, o.out)
	if err != nil {
		return err
	}
	return carryOut(ctx, p, client, o, in, out)
}

// check completes the options.
func (o *options) check() error {
	switch {
	case o.action != "" && o.action != associate && o.action != disassociate:
		return cli.Usagef("-action must be associate or disassociate, not %q", o.action)
	case o.resume == "" && o.action == "":
		return cli.Usagef("-action is missing: associate or disassociate")
	case o.resume == "" && o.in == "":
		return cli.Usagef("-in is missing: the CSV file with the rows")
	case o.plan && o.resume != "":
		return cli.Usagef("-plan and -resume exclude each other")
	case !o.plan && o.out == "":
		return cli.Usagef("-out is missing: the CSV file for the outcomes")
	case o.resume != "" && o.state != "" && o.state != o.resume:
		return cli.Usagef("-resume goes on in its own state file: leave -state out")
	case o.in != "-" && o.in != "" && o.in == o.out:
		return cli.Usagef("-in and -out are the same file")
	}
	switch {
	case o.resume != "":
		o.state = o.resume
	case o.state == "" && o.out == "-":
		o.state = "assign.state"
	case o.state == "":
		o.state = o.out + ".state"
	}
	return nil
}

// carryOut does the work: begins or resumes the operation, waits for its end,
// and writes what became of it.
func carryOut(ctx context.Context, p *cli.Program, client *appsandbooks.Client, o options, in *input, out io.WriteCloser) error {
	begun := time.Now()
	state := &stateFile{path: o.state, existing: o.resume != ""}
	p.OnExit(state.close)
	meter := newMeter(p)
	opts := []appsandbooks.OperationOption{
		appsandbooks.WithPlanOnly(),
		appsandbooks.WithResend(),
		appsandbooks.WithBisection(),
		appsandbooks.WithJournal(state.append),
		appsandbooks.WithProgress(meter.update),
	}
	var op *appsandbooks.Operation
	var err error
	if o.resume != "" {
		op, err = resume(client, o, in, opts)
	} else {
		op, err = begin(ctx, client, o, in, opts)
	}
	if err != nil {
		return err
	}

	meter.start(op.Progress())
	report, err := op.Wait(ctx)
	meter.stop()
	ended := atEnd(op)
	if ended {
		err = nil // the report says it all
	}
	if ended && o.verify {
		p.Notef("reading the assignments back")
		report, err = op.Verify(ctx)
	}

	if err := writeOutput(out, in, report); err != nil {
		return fmt.Errorf("writing the output: %w; -resume %s writes it again", err, o.state)
	}
	p.Notef("%s", summary(report, op.Progress().Requests, time.Since(begun)))
	why := reason(ctx, err)
	switch {
	case !ended && len(op.EventIDs()) == 0 && report.Unconfirmed == 0:
		_ = state.remove() // there is nothing to go on with
		return fmt.Errorf("nothing was changed: %w", why)
	case !ended, why != nil:
		return fmt.Errorf("%w; go on with -resume %s", why, o.state)
	case report.Unconfirmed > 0:
		p.Notef("%s is kept: -resume with -verify looks again", o.state)
		return cli.Exit(cli.Unconfirmed)
	}
	if err := state.remove(); err != nil {
		p.Notef("warning: %v", err)
	}
	if report.Failed > 0 {
		return cli.Exit(cli.Failed)
	}
	return nil
}

// begin plans the operation.
func begin(ctx context.Context, client *appsandbooks.Client, o options, in *input, opts []appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	if _, err := os.Stat(o.state); err == nil {
		return nil, cli.Usagef("%s exists: it holds a run that did not come to its end; -resume it, or delete it", o.state)
	}
	return in.plan(ctx, client, o.action, opts...)
}

// resume takes up an operation from its state file.
func resume(client *appsandbooks.Client, o options, in *input, opts []appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	saved, err := os.ReadFile(o.resume)
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	op, err := client.Resume(saved, opts...)
	if err != nil {
		return nil, fmt.Errorf("reading the state: %s: %w", o.resume, err)
	}
	report := op.Report()
	action := strings.TrimPrefix(op.Kind(), "assets/")
	switch {
	case action != associate && action != disassociate:
		return nil, cli.Usagef("%s is not a state file of this program", o.resume)
	case o.action != "" && o.action != action:
		return nil, cli.Usagef("%s holds a run with -action %s", o.resume, action)
	case in == nil:
		return op, nil
	}
	if _, err := in.join(report); err != nil {
		return nil, cli.Usagef("-in %s is not the input of the run that %s holds: %w", o.in, o.resume, err)
	}
	return op, nil
}

// atEnd tells whether each request is at its end, whatever that is.
func atEnd(op *appsandbooks.Operation) bool {
	p := op.Progress()
	return p.Finished == p.Requests
}

// reason is why the work stopped before its end; nil if err only says that
// pairs did not succeed.
func reason(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var e *appsandbooks.OperationError
	if errors.As(err, &e) {
		return e.Cause
	}
	return err
}

// summary is the outcome in a line.
func summary(report *appsandbooks.Report, requests int, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %s succeeded", report.Succeeded, count(report.Total, "pair"))
	unsent := 0
	for o := range report.Problems() {
		if errors.Is(o.Err, appsandbooks.ErrNotSent) {
			unsent++
		}
	}
	if n := report.Failed - unsent; n > 0 {
		fmt.Fprintf(&b, ", %d failed", n)
	}
	if unsent > 0 {
		fmt.Fprintf(&b, ", %d not sent", unsent)
	}
	if report.Unconfirmed > 0 {
		fmt.Fprintf(&b, ", %d unconfirmed", report.Unconfirmed)
	}
	fmt.Fprintf(&b, "; %s, %s", count(requests, "request"), took.Round(100*time.Millisecond))
	return b.String()
}
