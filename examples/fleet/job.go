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

// These are the queues. Large changes have their own workers, so that some workers are
// always free for small changes.
const (
	smallQueue = river.QueueDefault
	largeQueue = "large"
)

// A change with one of these numbers of pairs, or more, is large or among the largest.
// The largest changes have the lowest priority in the queue of the large changes.
const (
	largeChange   = 500
	largestChange = 10_000
)

// insertOptions selects the queue and the priority for a change with this number of
// pairs.
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
}

// Timeout returns the longest time for a step of an operation. The next step continues
// the work.
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
		return river.JobSnooze(c.lease/4 + rand.N(c.lease/4)) // another process has the lease, and it may have died
	case err != nil:
		return err
	}
	var op *appsandbooks.Operation
	client, err := c.clients.get(lease.Unit)
	if err == nil {
		op, err = lease.Resume(client, appsandbooks.WithResendOverdue(), appsandbooks.WithResendLost())
	}
	next, more := time.Time{}, true
	if err == nil {
		err = op.Step(lease.Context())
		next, more = op.Next()
	}

	// The release has its own context, so that the lease is also released when the worker
	// stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	released := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		if err := lease.ReleaseTx(ctx, tx, op, err); err != nil {
			return err
		}
		if more {
			return nil
		}
		// A real program would store the result of the change here, from op.Report().
		_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
		return err
	})
	switch {
	case released != nil:
		return errors.Join(err, released)
	case !more:
		return nil // the operation is at its end; pairs that failed are no error of the job
	case appsandbooks.IsAuth(err):
		return river.JobSnooze(time.Hour) // the job waits until the content token is renewed
	case err != nil:
		return err
	}
	return river.JobSnooze(max(0, time.Until(next)))
}

// retries is the retry policy for steps that failed. The wait before a retry is 0.5 to 1
// second at first, and grows up to one minute. Most failures are temporary ones of the
// database or the network.
type retries struct{}

func (retries) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(time.Second<<min(len(job.Errors), 8), time.Minute)
	return time.Now().Add(wait/2 + rand.N(wait/2))
}

// runNow makes River run the jobs of these operations at once.
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
