//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

// demoConfig contains the flags of the demo.
type demoConfig struct {
	db        string    // URL of the database; empty: start a PostgreSQL server, and kill it once
	out       io.Writer // nil: print nothing
	logs      string    // directory for the logs of the workers; empty: a temporary directory
	unitCount int
	pairs     int // number of pairs in all units together
	workers   int
	kills     int
	rate      int // requests per second that the service allows for each unit
	poll      time.Duration
	limit     time.Duration // longest time for the whole demo
	seed      uint64
}

func defaultDemo() demoConfig {
	return demoConfig{unitCount: 50, pairs: 50_000, workers: 3, kills: 6, rate: 15, poll: 6 * time.Second, limit: 4 * time.Minute, seed: 1}
}

func (c *demoConfig) flags(f *flag.FlagSet) {
	f.IntVar(&c.unitCount, "units", c.unitCount, "number of organizational units")
	f.IntVar(&c.pairs, "pairs", c.pairs, "number of pairs of asset and device, in all units together")
	f.IntVar(&c.workers, "processes", c.workers, "number of worker processes")
	f.IntVar(&c.kills, "kills", c.kills, "how often a worker is killed")
	f.IntVar(&c.rate, "rate", c.rate, "requests per second that the service allows for each unit")
	f.DurationVar(&c.poll, "poll", c.poll, "shortest time between two polls of an event")
	f.DurationVar(&c.limit, "limit", c.limit, "longest time for the demo")
	f.Uint64Var(&c.seed, "seed", c.seed, "seed for faults and kills")
	f.StringVar(&c.logs, "logs", c.logs, "directory for the logs of the workers; a temporary directory if empty")
}

// demo runs a whole fleet on this machine: a stand-in for Apple's service that injects
// faults and loses notifications, a load balancer, workers that are killed and started
// again, and a database that is killed once. At the end the demo compares what all parts
// report.
type demo struct {
	demoConfig
	settings settings
	database *postgrestest.Server // nil if db is set
	service  *appsandbookstest.Server
	units    []*appsandbookstest.Unit
	vendor   *vendor
	fleet    *machines
	pool     *pgxpool.Pool
	store    *postgres.Store
	jobs     *river.Client[pgx.Tx]
	clients  *clients

	mu      sync.Mutex
	random  *rand.Rand
	planned map[string]*appsandbookstest.Unit // by the id of the operation

	cleanup []func() error // runs in reverse order
}

// runDemo runs the demo of the fleet. The result is nil if the demo could not run to its
// end. The error reports the failure, or the results that are wrong.
func runDemo(ctx context.Context, c demoConfig) (r *demoResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	d := &demo{
		demoConfig: c, random: rand.New(rand.NewPCG(c.seed, 1)),
		planned: map[string]*appsandbookstest.Unit{},
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, step := range []func(context.Context) error{
		d.prepareDirectory, d.startDatabase, d.startService, d.startMachines, d.connect, d.register,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	before, err := readStatistics(ctx, d.pool)
	if err != nil {
		return nil, err
	}
	d.injectFaults()
	if err := d.order(ctx); err != nil {
		return nil, err
	}
	d.waitWhileKilling(ctx)
	took := time.Since(began)

	// The time limit of the demo is for the operations, not for the audit.
	ctx = context.WithoutCancel(ctx)
	d.waitForJobs(ctx)
	d.service.ClearFaults()
	d.fleet.stop()
	if r, err = d.audit(ctx); err != nil {
		return nil, err
	}
	r.took, r.kills = took, d.fleet.kills
	if after, err := readStatistics(ctx, d.pool); err == nil {
		r.commits, r.wal = after.commits-before.commits, after.wal-before.wal
	}
	d.logf("%s", r)
	for _, detail := range r.details[:min(10, len(r.details))] {
		d.logf("  %s", detail)
	}
	return r, r.check()
}

func (d *demo) close() error {
	var errs []error
	for _, end := range slices.Backward(d.cleanup) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// atEnd registers a function that demo.close calls.
func (d *demo) atEnd(f func()) {
	d.cleanup = append(d.cleanup, func() error { f(); return nil })
}

// logf prints a line that begins with the time of day.
func (d *demo) logf(format string, args ...any) {
	if d.out != nil {
		fmt.Fprintf(d.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
	}
}

func (d *demo) prepareDirectory(context.Context) error {
	dir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return err
	}
	d.cleanup = append(d.cleanup, func() error { return os.RemoveAll(dir) })
	if d.logs == "" {
		d.logs = dir
	}
	d.settings = settings{db: d.db, vendor: filepath.Join(dir, "vendor.json"), stall: d.poll}
	return nil
}

// startDatabase starts a PostgreSQL server if no database was given, and creates the
// tables.
func (d *demo) startDatabase(ctx context.Context) (err error) {
	if d.settings.db == "" {
		if d.database, err = postgrestest.Start(); err != nil {
			return err
		}
		d.cleanup = append(d.cleanup, d.database.Stop)
		d.settings.db = d.database.URL()
		d.logf("started a PostgreSQL server: %s", d.settings.db)
	}
	return migrate(ctx, d.settings)
}

// startMachines starts the worker processes of the demo.
func (d *demo) startMachines(ctx context.Context) error {
	d.fleet = &machines{
		settings: d.settings, logs: d.logs, poll: d.poll, logf: d.logf,
		random: rand.New(rand.NewPCG(d.seed, 2)),
	}
	d.atEnd(d.fleet.stop)
	for range d.workers {
		if err := d.fleet.add(); err != nil {
			return err
		}
	}
	return d.fleet.startAll(ctx)
}

// connect opens the database for the demo's own process, which plans the operations.
func (d *demo) connect(ctx context.Context) (err error) {
	if d.pool, err = connect(ctx, d.settings.db); err != nil {
		return err
	}
	d.atEnd(d.pool.Close)
	if d.store, err = postgres.New(d.pool); err != nil {
		return err
	}
	d.jobs, err = river.NewClient(riverpgxv5.New(d.pool), &river.Config{})
	d.clients = &clients{vendor: d.vendor, store: d.store, opts: []appsandbooks.Option{appsandbooks.WithStallTime(d.settings.stall)}}
	return err
}

// waitWhileKilling waits until all operations are finished or the context ends. Meanwhile
// waitWhileKilling kills workers and the database.
func (d *demo) waitWhileKilling(ctx context.Context) {
	killing, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { d.fleet.killSome(killing, d.kills, d.database) })
	d.waitForOperations(ctx)
	stop()
	group.Wait()
}

func (d *demo) waitForOperations(ctx context.Context) {
	last := -1
	for {
		unfinished, pairs, err := d.countUnfinished(ctx)
		if err == nil && unfinished == 0 {
			return
		}
		if err == nil && unfinished != last { // an error means that the database is down
			d.logf("%d operations are not finished; %d pairs are left", unfinished, pairs)
			last = unfinished
		}
		if sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// countUnfinished returns the number of unfinished operations, and of their pairs that
// have no outcome yet.
func (d *demo) countUnfinished(ctx context.Context) (operations, pairs int, err error) {
	for o, err := range d.store.Operations().All(ctx, postgres.OperationFilter{Unfinished: true}) {
		if err != nil {
			return 0, 0, err
		}
		operations++
		pairs += o.Pairs - o.Succeeded - o.Failed
	}
	return operations, pairs, nil
}

// waitForJobs waits until River has completed all jobs, but at most 15 seconds. The last
// notifications also arrive in this time.
func (d *demo) waitForJobs(ctx context.Context) {
	deadline := time.Now().Add(15 * time.Second)
	for time.Now().Before(deadline) {
		var n int
		if d.pool.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE state <> 'completed'`).Scan(&n) == nil && n == 0 {
			return
		}
		_ = sleep(ctx, 250*time.Millisecond)
	}
}

// sleep waits for d, or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
