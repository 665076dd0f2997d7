//go:build unix

package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// carryArgs is the job that carries an operation, one step for each run. There
// is one for an operation, whatever is enqueued, and whoever wakes it.
type carryArgs struct {
	Operation string `json:"operation" river:"unique"`
}

func (carryArgs) Kind() string { return "appsandbooks_carry" }

func (carryArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1000, UniqueOpts: river.UniqueOpts{ByArgs: true}}
}

// The queues: a change of thousands of pairs has workers of its own, so that
// these can never be all there are, and gives way to smaller ones among them.
const (
	small    = river.QueueDefault
	large    = "large"
	isLarge  = 500 // pairs
	isLarger = 10_000
)

func optsFor(pairs int) *river.InsertOpts {
	switch {
	case pairs >= isLarger:
		return &river.InsertOpts{Queue: large, Priority: 4}
	case pairs >= isLarge:
		return &river.InsertOpts{Queue: large, Priority: 2}
	}
	return &river.InsertOpts{Queue: small, Priority: 1}
}

// carrier is the River worker that carries operations.
type carrier struct {
	river.WorkerDefaults[carryArgs]

	pool           *pgxpool.Pool
	store          *postgres.Store
	clients        *clients
	lease, timeout time.Duration
	settling       time.Duration
}

// Timeout bounds a step; what it did not get to is done by the next one.
func (c *carrier) Timeout(*river.Job[carryArgs]) time.Duration { return c.timeout }

// Work carries an operation one step: what is due now. Until the next one the
// job sleeps in the database, and no goroutine with it.
func (c *carrier) Work(ctx context.Context, job *river.Job[carryArgs]) error {
	lease, err := c.store.Operations().Lease(ctx, job.Args.Operation)
	switch {
	case errors.Is(err, postgres.ErrFinished):
		return nil
	case errors.Is(err, postgres.ErrNotFound):
		return river.JobCancel(err)
	case errors.Is(err, postgres.ErrLeaseHeld):
		return river.JobSnooze(c.lease/4 + rand.N(c.lease/4)) // by a process that died, presumably
	case err != nil:
		return err
	}
	var op *appsandbooks.Operation
	var next time.Time
	client, err := c.clients.of(lease.Unit)
	if err == nil {
		op, err = lease.Resume(client, appsandbooks.WithResend())
	}
	if err == nil {
		next, err = op.Step(lease.Context())
	}
	if err == nil && next.IsZero() && op.Report().Unconfirmed > 0 {
		next, err = c.settle(lease, op)
	}
	finished := err == nil && next.IsZero()

	// Also when we are being stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	released := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		if err := lease.ReleaseTx(ctx, tx, op, next, err); err != nil {
			return err
		}
		if !finished {
			return nil
		}
		// Here the vendor tells whoever ordered the change; the report is op.Report().
		_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
		return err
	})
	switch {
	case released != nil:
		return errors.Join(err, released)
	case appsandbooks.IsAuth(err):
		return river.JobSnooze(time.Hour) // somebody has to renew the token
	case errors.Is(err, errSettling):
		return river.JobSnooze(max(0, time.Until(next)))
	case err != nil:
		return err
	case finished:
		return nil
	}
	return river.JobSnooze(max(0, time.Until(next)))
}

var errSettling = errors.New("some pairs are unconfirmed; the data is read back once more")

// settle decides about pairs of which nobody knows: requests that were sent, and
// sent again, without an answer. What the data does not show after a while has
// failed: Verify knows after how long.
func (c *carrier) settle(lease *postgres.Lease, op *appsandbooks.Operation) (next time.Time, err error) {
	if lease.LastError != errSettling.Error() {
		return time.Now().Add(c.settling), errSettling
	}
	report, err := op.Verify(lease.Context())
	var ended *appsandbooks.OperationError
	switch {
	case report.Unconfirmed == 0:
		return time.Time{}, nil // pairs that failed are no error of the step
	case errors.As(err, &ended) && ended.Cause == nil: // it was read, and does not show them yet
		return time.Now().Add(c.settling), errSettling
	}
	return time.Time{}, err
}

// retries is how long a step that failed waits: the reason is mostly the
// database or the network.
type retries struct{}

func (retries) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(time.Second<<min(len(job.Errors), 8), time.Minute)
	return time.Now().Add(wait/2 + rand.N(wait/2))
}

// wake makes the jobs of operations run now.
func wake(ctx context.Context, jobs *river.Client[pgx.Tx], operations []string, log *slog.Logger) {
	for _, id := range operations {
		// Being unique, it is not inserted but found.
		found, err := jobs.Insert(ctx, carryArgs{id}, nil)
		if err == nil && found.UniqueSkippedAsDuplicate && found.Job.State != rivertype.JobStateCompleted {
			_, err = jobs.JobRetry(ctx, found.Job.ID)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("waking an operation", "operation", id, "error", err)
		}
	}
}
