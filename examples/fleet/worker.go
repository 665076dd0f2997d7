//go:build unix

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// runWorker is the worker process: it runs operations and receives notifications until
// ctx ends.
func runWorker(ctx context.Context, s settings) error {
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

	// The variable jobs is declared first, because the store uses jobs, and the workers
	// of jobs use the store.
	var jobs *river.Client[pgx.Tx]
	store, err := postgres.New(pool, postgres.WithLeaseTime(s.lease), postgres.WithLogger(log),
		postgres.WithReadyFunc(func(ctx context.Context, operations []string) { runNow(ctx, jobs, operations, log) }))
	if err != nil {
		return err
	}
	c := &runner{pool: pool, store: store, lease: s.lease, timeout: s.timeout, clients: &clients{
		vendor: v, store: store,
		opts: []appsandbooks.Option{appsandbooks.WithPolling(s.firstPoll, s.poll), appsandbooks.WithStallTime(s.stall), appsandbooks.WithLogger(log)},
	}}
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, c); err != nil {
		return err
	}
	jobs, err = newJobs(pool, workers, s)
	if err != nil {
		return err
	}
	handler, err := newReceiver(pool, store, v.Secret, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	return serve(ctx, store, jobs, handler, listener, log.With("workers", s.workers))
}

// newJobs returns the River client that runs the jobs of both queues.
func newJobs(pool *pgxpool.Pool, workers *river.Workers, s settings) (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues: map[string]river.QueueConfig{
			smallQueue: {MaxWorkers: max(1, s.workers*2/3)},
			largeQueue: {MaxWorkers: max(1, s.workers/3)},
		},
		Workers:    workers,
		JobTimeout: -1, // jobs have no default timeout: runner.Timeout returns it
		// If a process dies, River runs its job again after this time.
		RescueStuckJobsAfter: s.timeout + 10*time.Second,
		RetryPolicy:          retries{},
		Logger:               slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
}

// newReceiver returns the handler of notifications.
func newReceiver(pool *pgxpool.Pool, store *postgres.Store, secret string, log *slog.Logger) (*appsandbooks.NotificationHandler, error) {
	return appsandbooks.NewNotificationHandler(
		// A real program would handle the notification here. For each notification, only
		// one transaction commits.
		func(ctx context.Context, n *appsandbooks.Notification) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO fleet_notifications (key, kind, unit) VALUES ($1, $2, $3)`, n.Key(), n.Type, n.UID)
				if err != nil {
					return err
				}
				return store.Inbox().MarkHandled(ctx, tx, n)
			})
		},
		appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret(secret)),
		appsandbooks.WithNotify(store.Wakeups().Notify),
		appsandbooks.WithDeduper(store.Inbox()),
		appsandbooks.WithNotificationLogger(log))
}

// serve receives notifications and runs jobs until ctx ends. It shuts down in this order:
// the receiver of notifications, the jobs, the background work of the store.
func serve(ctx context.Context, store *postgres.Store, jobs *river.Client[pgx.Tx],
	handler *appsandbooks.NotificationHandler, listener net.Listener, log *slog.Logger,
) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var group sync.WaitGroup
	group.Go(func() { _ = store.Run(background) })
	if err := jobs.Start(background); err != nil {
		return err
	}
	log.Info("ready", "receiver", listener.Addr().String())
	err := handler.Serve(ctx, listener)
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
