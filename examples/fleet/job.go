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

// runArgs are the arguments of the job that runs an operation. Each run of the job is one
// step. The arguments are unique, so an operation has one job only.
type runArgs struct {
	Operation string `json:"operation" river:"unique"`
}

func (runArgs) Kind() string { return "appsandbooks_operation" }

func (runArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1000, UniqueOpts: river.UniqueOpts{ByArgs: true}}
}

// The queues. Large changes have their own workers, so that some workers are always free
// for small changes.
const (
	smallQueue = river.QueueDefault
	largeQueue = "large"
)

// The sizes of changes, in pairs. The largest changes have the lowest priority in the
// queue of the large changes.
const (
	largeChange   = 500
	largestChange = 10_000
)

// insertOptions selects the queue and the priority for a change of so many pairs.
func insertOptions(pairs int) *river.InsertOpts {
	switch {
	case pairs >= largestChange:
		return &river.InsertOpts{Queue: largeQueue, Priority: 4}
	case pairs >= largeChange:
		return &river.InsertOpts{Queue: largeQueue, Priority: 2}
	}
	return &river.InsertOpts{Queue: smallQueue, Priority: 1}
}

// runner is the River worker that runs operations.
type runner struct {
	river.WorkerDefaults[runArgs]

	pool           *pgxpool.Pool
	store          *postgres.Store
	clients        *clients
	lease, timeout time.Duration
	verifyInterval time.Duration // between two calls of Verify for unconfirmed pairs
}

// Timeout returns the longest time for a step. The next step does what is left.
func (c *runner) Timeout(*river.Job[runArgs]) time.Duration { return c.timeout }

// Work runs one step of an operation. Then the job waits in the database for the time of
// the next step and needs no goroutine.
func (c *runner) Work(ctx context.Context, job *river.Job[runArgs]) error {
	lease, err := c.store.Operations().Lease(ctx, job.Args.Operation)
	switch {
	case errors.Is(err, postgres.ErrFinished):
		return nil
	case errors.Is(err, postgres.ErrNotFound):
		return river.JobCancel(err)
	case errors.Is(err, postgres.ErrLeaseHeld):
		return river.JobSnooze(c.lease/4 + rand.N(c.lease/4)) // that process may have died
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
		next, err = c.verify(lease, op)
	}
	finished := err == nil && next.IsZero()

	// A context of its own, so that the lease is also released when the worker stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	released := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		if err := lease.ReleaseTx(ctx, tx, op, next, err); err != nil {
			return err
		}
		if !finished {
			return nil
		}
		// A real program would store the result of the change here, from op.Report().
		_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
		return err
	})
	switch {
	case released != nil:
		return errors.Join(err, released)
	case appsandbooks.IsAuth(err):
		return river.JobSnooze(time.Hour) // until the content token is renewed
	case errors.Is(err, errUnconfirmed):
		return river.JobSnooze(max(0, time.Until(next)))
	case err != nil:
		return err
	case finished:
		return nil
	}
	return river.JobSnooze(max(0, time.Until(next)))
}

var errUnconfirmed = errors.New("some pairs are unconfirmed; they will be verified again")

// verify runs Verify for pairs that are still unconfirmed after the last step: no answer
// came to their requests. Verify reports a pair as failed when the service's lists have
// not shown it for long enough. Until then verify returns errUnconfirmed and the time of
// the next try. The first try comes one interval after the last step.
func (c *runner) verify(lease *postgres.Lease, op *appsandbooks.Operation) (next time.Time, err error) {
	if lease.LastError != errUnconfirmed.Error() {
		return time.Now().Add(c.verifyInterval), errUnconfirmed
	}
	report, err := op.Verify(lease.Context())
	var ended *appsandbooks.OperationError
	switch {
	case report.Unconfirmed == 0:
		return time.Time{}, nil // failed pairs are no error of the step
	case errors.As(err, &ended) && ended.Cause == nil: // the lists were read, but do not show the pairs yet
		return time.Now().Add(c.verifyInterval), errUnconfirmed
	}
	return time.Time{}, err
}

// retries is the retry policy for steps that failed: 0.5 to 1 second at first, up to one
// minute. Most failures are temporary ones of the database or the network.
type retries struct{}

func (retries) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(time.Second<<min(len(job.Errors), 8), time.Minute)
	return time.Now().Add(wait/2 + rand.N(wait/2))
}

// runNow makes River run the jobs of operations at once.
func runNow(ctx context.Context, jobs *river.Client[pgx.Tx], operations []string, log *slog.Logger) {
	for _, id := range operations {
		// The job is unique, so Insert returns the existing job.
		found, err := jobs.Insert(ctx, runArgs{id}, nil)
		if err == nil && found.UniqueSkippedAsDuplicate && found.Job.State != rivertype.JobStateCompleted {
			_, err = jobs.JobRetry(ctx, found.Job.ID)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("running a job at once failed", "operation", id, "error", err)
		}
	}
}
