//go:build unix

package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// worker is one of the machines: it carries operations and receives notifications.
func worker(ctx context.Context, s settings) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	v, err := readVendor(s.vendor)
	if err != nil {
		return err
	}
	pool, err := connect(ctx, s.db)
	if err != nil {
		return err
	}
	defer pool.Close()

	// The store wakes jobs, and the jobs use the store.
	var jobs *river.Client[pgx.Tx]
	store, err := postgres.New(pool, postgres.WithLease(s.lease), postgres.WithLogger(log),
		postgres.WithWake(func(ctx context.Context, operations []string) { wake(ctx, jobs, operations, log) }))
	if err != nil {
		return err
	}
	c := &carrier{pool: pool, store: store, lease: s.lease, timeout: s.timeout, settling: 2 * s.poll, clients: &clients{
		vendor: v, store: store,
		opts: []appsandbooks.Option{appsandbooks.WithPolling(s.firstLook, s.poll), appsandbooks.WithStallTime(20 * s.poll), appsandbooks.WithLogger(log)},
	}}
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, c); err != nil {
		return err
	}
	jobs, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues: map[string]river.QueueConfig{
			small: {MaxWorkers: max(1, s.workers*2/3)},
			large: {MaxWorkers: max(1, s.workers/3)},
		},
		Workers:    workers,
		JobTimeout: -1, // see Timeout
		// The job of a process that was killed is taken up after this time.
		RescueStuckJobsAfter: s.timeout + 10*time.Second,
		RetryPolicy:          retries{},
		Logger:               slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}

	handler, err := appsandbooks.NewNotificationHandler(
		// The vendor's own use of a notification; exactly one transaction with it commits.
		func(ctx context.Context, n *appsandbooks.Notification) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO fleet_notifications (key, kind, unit) VALUES ($1, $2, $3)`, n.Key(), n.Type, n.UID)
				if err != nil {
					return err
				}
				return store.Done(ctx, tx, n)
			})
		},
		appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret(v.Secret)),
		appsandbooks.WithNotify(store.Notify),
		appsandbooks.WithDeduper(store),
		appsandbooks.WithNotificationLogger(log))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}

	// Stop first what is asked of us, then what we do, then what that needs.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var group sync.WaitGroup
	group.Go(func() { _ = store.Run(background) })
	if err := jobs.Start(background); err != nil {
		return err
	}
	log.Info("ready", "receiver", listener.Addr().String(), "workers", s.workers)
	err = handler.Serve(ctx, listener)
	grace, cancel := context.WithTimeout(background, 15*time.Second)
	defer cancel()
	stopped := jobs.Stop(grace)
	if stopped != nil {
		stopped = jobs.StopAndCancel(background)
	}
	end()
	group.Wait()
	return errors.Join(err, stopped)
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
	claim, err := c.store.Claim(ctx, job.Args.Operation)
	switch {
	case errors.Is(err, postgres.ErrFinished):
		return nil
	case errors.Is(err, postgres.ErrUnknown):
		return river.JobCancel(err)
	case errors.Is(err, postgres.ErrHeld):
		return river.JobSnooze(c.lease/4 + rand.N(c.lease/4)) // by a process that died, presumably
	case err != nil:
		return err
	}
	var op *appsandbooks.Operation
	var next time.Time
	client, err := c.clients.of(claim.Unit)
	if err == nil {
		op, err = claim.Resume(client, appsandbooks.WithResend())
	}
	if err == nil {
		next, err = op.Step(claim.Context())
	}
	if err == nil && next.IsZero() && op.Report().Unconfirmed > 0 {
		next, err = c.settle(claim, op)
	}
	finished := err == nil && next.IsZero()

	// Also when we are being stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	released := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		if err := claim.ReleaseTx(ctx, tx, op, next, err); err != nil {
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
func (c *carrier) settle(claim *postgres.Claim, op *appsandbooks.Operation) (next time.Time, err error) {
	if claim.Problem != errSettling.Error() {
		return time.Now().Add(c.settling), errSettling
	}
	report, err := op.Verify(claim.Context())
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
