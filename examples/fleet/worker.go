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
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

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
	store, err := postgres.New(pool, postgres.WithLeaseTime(s.lease), postgres.WithLogger(log),
		postgres.WithReadyFunc(func(ctx context.Context, operations []string) { wake(ctx, jobs, operations, log) }))
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

	handler, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
		Notify:  store.Wakeups().Notify,
		Deduper: store.Inbox(),
		Logger:  log,
		// The vendor's own use of a notification; exactly one transaction with it commits.
		Any: func(ctx context.Context, n *appsandbooks.Notification) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO fleet_notifications (key, kind, unit) VALUES ($1, $2, $3)`, n.Key(), n.Type, n.UID)
				if err != nil {
					return err
				}
				return store.Inbox().MarkHandled(ctx, tx, n)
			})
		},
	}, v.Secret)
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
