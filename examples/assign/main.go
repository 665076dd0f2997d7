// Assign assigns the apps and books in a CSV file to users and devices, or removes
// these assignments, and writes the result of each row.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

const help = `
Assign assigns apps and books to users and devices, or removes assignments. It
reads a CSV file with a row for each assignment, and writes the result of each row.

Usage:
  assign -action associate|disassociate -in FILE -plan
  assign -action associate|disassociate -in FILE -out FILE [-state FILE]
  assign -resume STATE -out FILE [-in FILE]

Input: CSV with a header line. These columns are read, in any order. Other columns
are copied to the output.
  adamId         Adam ID of the asset: an app or a book
  pricingParam   STDQ or PLUS; STDQ if the field is empty or the column is missing
  clientUserId   the user, or
  serialNumber   the device; each row has exactly one of these two

  adamId,pricingParam,clientUserId,serialNumber
  361309726,STDQ,,C39XXXXXXXXX
  361309726,STDQ,8e5ae1bb-6b2d-4e2f-a8b1-2f1b6a4d9c11,

Output: the rows of the input in the same order, with three more columns:
  outcome        succeeded, failed, unconfirmed (the result is not known yet), or
                 unsent (the run stopped before it sent the row)
  errorNumber    Apple's error number, if there is one: 9709 is "not enough licenses"
  errorMessage   why the row did not succeed
An output can be the input of another run, which replaces these three columns.

Assign sends as few requests as the service's limits allow. If no usable answer
comes, or an event stays pending for ten minutes, Assign reads the assignments and
sends the missing rows again, up to three times. The first request can still arrive
up to an hour later.

"succeeded" is what the service reports. The service also reports success for
serial numbers that do not exist; -verify finds them. Messages and -plan count
pairs: an asset and its user or device. Rows that repeat a pair count once.

After Ctrl-C, Assign sends no new rows, waits a few seconds for the answers to the
requests in progress, and writes the output. Until every row has succeeded or
failed, the state file contains what -resume needs to continue: after Ctrl-C, a
crash or a power failure, and if rows are unconfirmed. With -resume and without
-in, the output has one row for each pair.

Examples:
  assign -action associate -in new.csv -plan
  assign -action associate -in new.csv -out result.csv
  assign -resume result.csv.state -in new.csv -out result.csv
  assign -action disassociate -in - -out - <old.csv >result.csv

Exit codes:
  0  every row succeeded; with -plan: no problem was found
  1  an error or Ctrl-C stopped the run before it was finished; rows can be unsent
  2  invalid flags or invalid input: nothing was sent
  3  some rows failed; with -plan: some rows would fail
  4  some rows are unconfirmed; other rows may have failed
`

func main() { cli.Main("assign", help, run) }

type options struct {
	action, in, out, state, resume string
	plan, verify                   bool
}

// memoryLimit is the memory limit of the Go runtime, in bytes. Near the limit the
// runtime collects garbage more often. The program has the CPU time for that,
// because it mostly waits for the service. With this limit a million rows need less
// than 512 MiB. The variable GOMEMLIMIT overrides it.
const memoryLimit = 256 << 20

func run(ctx context.Context, p *cli.Program) error {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryLimit)
	}
	var o options
	p.Flags.StringVar(&o.action, "action", "", "the `change` to make: associate (assign) or disassociate (remove assignments)")
	p.Flags.StringVar(&o.in, "in", "", "CSV `file` to read; - is standard input")
	p.Flags.StringVar(&o.out, "out", "", "CSV `file` to write; - is standard output")
	p.Flags.StringVar(&o.state, "state", "", "`file` for the state of the run, which -resume needs\n(default: the file of -out with .state added, or assign.state if -out is -)")
	p.Flags.StringVar(&o.resume, "resume", "", "continue the run that this state `file` contains")
	p.Flags.BoolVar(&o.plan, "plan", false, "change nothing; print the number of requests and the licenses that are needed")
	p.Flags.BoolVar(&o.verify, "verify", false, "at the end, read the assignments and take the results only from them")
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
	return runOperation(ctx, p, client, o, in, out)
}

// check validates the flags and sets the default of -state.
func (o *options) check() error {
	switch {
	case o.action != "" && o.action != associate && o.action != disassociate:
		return cli.Usagef("-action must be associate or disassociate, not %q", o.action)
	case o.resume == "" && o.action == "":
		return cli.Usagef("-action is missing: give associate or disassociate")
	case o.resume == "" && o.in == "":
		return cli.Usagef("-in is missing: give the CSV file with the rows")
	case o.plan && o.resume != "":
		return cli.Usagef("-plan and -resume cannot be used together")
	case !o.plan && o.out == "":
		return cli.Usagef("-out is missing: give the name of the CSV file for the results")
	case o.resume != "" && o.state != "" && o.state != o.resume:
		return cli.Usagef("-resume continues to use its own state file: remove -state")
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

// runOperation plans or resumes the operation, waits until it is finished, and
// writes its outcomes to the output file.
func runOperation(ctx context.Context, p *cli.Program, client *appsandbooks.Client, o options, in *input, out io.WriteCloser) error {
	started := time.Now()
	state := &stateFile{path: o.state, existing: o.resume != ""}
	p.OnExit(state.close)
	meter := newMeter(p)
	opts := []appsandbooks.OperationOption{
		appsandbooks.WithPlanOnly(),
		appsandbooks.WithResendOverdue(),
		appsandbooks.WithResendLost(),
		appsandbooks.WithBisection(),
		appsandbooks.WithJournal(state.append),
		appsandbooks.WithProgress(meter.update),
	}
	var op *appsandbooks.Operation
	var err error
	if o.resume != "" {
		op, err = resumeOperation(client, o, in, opts)
	} else {
		op, err = planOperation(ctx, client, o, in, opts)
	}
	if err != nil {
		return err
	}

	meter.start(op.Progress())
	report, err := op.Wait(ctx)
	meter.stop()
	stopped := stopCause(ctx, err)
	if stopped == nil && o.verify {
		p.Notef("reading the assignments to verify the results")
		report, err = op.Verify(ctx)
		stopped = stopCause(ctx, err)
	}

	if err := writeOutput(out, in, report); err != nil {
		return fmt.Errorf("writing the output: %w; to write it again, run with -resume %s", err, o.state)
	}
	p.Notef("%s", summary(report, op.Progress().Requests, time.Since(started)))
	switch {
	case stopped != nil && report.Unsent > 0 && len(op.EventIDs()) == 0 && report.Unconfirmed == 0:
		_ = state.remove() // the service accepted no request, so no operation can be resumed
		return fmt.Errorf("nothing was changed: %w", stopped)
	case stopped != nil:
		return fmt.Errorf("%w; to continue, run with -resume %s", stopped, o.state)
	case report.Unconfirmed > 0:
		p.Notef("some rows are unconfirmed; to check them again, run with -verify -resume %s%s", o.state, after(op))
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

// after returns from when on the service can show more of an operation, as the end of a sentence. It
// returns "" if that is now, or if the operation is at its end.
func after(op *appsandbooks.Operation) string {
	at, more := op.Next()
	if !more || !at.After(time.Now()) {
		return ""
	}
	return " after " + at.Local().Format(time.TimeOnly)
}

// planOperation plans the operation for the input file. It fails if the state file
// exists.
func planOperation(ctx context.Context, client *appsandbooks.Client, o options, in *input, opts []appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	if _, err := os.Stat(o.state); err == nil {
		return nil, cli.Usagef("the state file %s exists: continue its unfinished run with -resume, or delete the file", o.state)
	}
	op, err := in.plan(ctx, client, o.action, opts...)
	if err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	return op, nil
}

// resumeOperation restores the operation of a state file. If an input file is given
// too, it must contain the same pairs as the operation.
func resumeOperation(client *appsandbooks.Client, o options, in *input, opts []appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	saved, err := os.ReadFile(o.resume)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Usagef("there is no state file %s: a run that has finished removes it", o.resume)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state file: %w", err)
	}
	op, err := client.Resume(saved, opts...)
	if err != nil {
		return nil, fmt.Errorf("reading the state file: %s: %w", o.resume, err)
	}
	report := op.Report()
	action := strings.TrimPrefix(op.Kind(), "assets/")
	switch {
	case action != associate && action != disassociate:
		return nil, cli.Usagef("%s is not a state file of this program", o.resume)
	case o.action != "" && o.action != action:
		return nil, cli.Usagef("the run in %s has -action %s", o.resume, action)
	case in == nil:
		return op, nil
	}
	if _, err := in.join(report); err != nil {
		return nil, cli.Usagef("-in %s is not the input of the run in %s: %w", o.in, o.resume, err)
	}
	return op, nil
}

// stopCause returns why a call of an operation ended early. It returns nil
// if err only reports pairs that did not succeed.
func stopCause(ctx context.Context, err error) error {
	var e *appsandbooks.OperationError
	if errors.As(err, &e) {
		err = e.Cause
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// summary returns one line with the number of pairs for each outcome.
func summary(report *appsandbooks.Report, requests int, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %s succeeded", report.Succeeded, count(report.Total, "pair"))
	if report.Failed > 0 {
		fmt.Fprintf(&b, ", %d failed", report.Failed)
	}
	if report.Unconfirmed > 0 {
		fmt.Fprintf(&b, ", %d unconfirmed", report.Unconfirmed)
	}
	if report.Unsent > 0 {
		fmt.Fprintf(&b, ", %d unsent", report.Unsent)
	}
	fmt.Fprintf(&b, "; %s, %s", count(requests, "request"), took.Round(100*time.Millisecond))
	return b.String()
}
