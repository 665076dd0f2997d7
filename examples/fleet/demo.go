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
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

// proof is a run of a whole fleet on this machine: a stand-in for Apple's service
// that breaks requests and loses notifications, a load balancer, workers that
// are killed and started again, a database that is killed once; and at the end,
// the books of all sides compared.
type proof struct {
	db      string // empty: a server of our own, which is killed once
	out     io.Writer
	logs    string // directory for the workers' logs; empty: a temporary one
	units   int
	pairs   int // in all
	workers int
	kills   int
	rate    int // requests a second of each unit
	poll    time.Duration
	limit   time.Duration // for all of it
	seed    uint64
}

func defaultProof() proof {
	return proof{units: 50, pairs: 50_000, workers: 3, kills: 6, rate: 15, poll: 6 * time.Second, limit: 4 * time.Minute, seed: 1}
}

func (c *proof) flags(f *flag.FlagSet) {
	f.IntVar(&c.units, "units", c.units, "organizational units")
	f.IntVar(&c.pairs, "pairs", c.pairs, "pairs of licence and device, in all")
	f.IntVar(&c.workers, "processes", c.workers, "worker processes")
	f.IntVar(&c.kills, "kills", c.kills, "how often one of them is killed")
	f.IntVar(&c.rate, "rate", c.rate, "requests a second that the service takes from a unit")
	f.DurationVar(&c.poll, "poll", c.poll, "between two looks at an event")
	f.DurationVar(&c.limit, "limit", c.limit, "when to give up")
	f.Uint64Var(&c.seed, "seed", c.seed, "of faults and kills")
	f.StringVar(&c.logs, "logs", c.logs, "directory for the workers' logs")
}

func prove(ctx context.Context, c proof) (r *result, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	say := func(format string, args ...any) {
		if c.out != nil {
			fmt.Fprintf(c.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
		}
	}
	dir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if c.logs == "" {
		c.logs = dir
	}
	s := settings{db: c.db, vendor: filepath.Join(dir, "vendor.json")}
	var database *postgrestest.Server
	if s.db == "" {
		if database, err = postgrestest.Start(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, database.Stop()) }()
		s.db = database.URL()
		say("a PostgreSQL server of our own: %s", s.db)
	}
	if err := migrate(ctx, s); err != nil {
		return nil, err
	}

	// Apple's side.
	limits := appsandbookstest.DefaultLimits()
	limits.MaxAssets, limits.MaxSerialNumbers, limits.MaxRequestPerSecond = 4, 25, c.rate
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(c.seed, 1))
	srv := appsandbookstest.NewServer(
		appsandbookstest.WithSeed(c.seed), appsandbookstest.WithLimits(limits), appsandbookstest.WithRequestLog(1_000_000),
		appsandbookstest.WithLatency(10*time.Millisecond),
		appsandbookstest.WithEventDelayFunc(func(appsandbookstest.Event) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Duration(random.Int64N(int64(3 * time.Second)))
		}),
		appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
			Loss: 0.03, Duplicate: 0.1, Reorder: 0.2, ReorderWindow: 2 * time.Second, RetryInterval: 4 * time.Second,
		}),
	)
	defer srv.Close()
	if err := srv.Listen(""); err != nil {
		return nil, err
	}
	units := []*appsandbookstest.Unit{srv.Unit()}
	for i := 1; i < c.units; i++ {
		units = append(units, srv.NewUnit(fmt.Sprint("Unit ", i)))
	}
	v := &vendor{BaseURL: srv.URL(), Secret: fmt.Sprintf("secret-%d-0123456789", c.seed), Tokens: map[string]string{}}
	for _, u := range units {
		v.Tokens[u.UID()] = u.Token()
		for a := range 5 {
			u.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(a + 1), Total: 10_000_000})
		}
	}
	if err := v.write(s.vendor); err != nil {
		return nil, err
	}

	// The machines, and a load balancer before them.
	fleet := &machines{proof: c, settings: s, say: say}
	defer fleet.stop()
	for range c.workers {
		if err := fleet.add(); err != nil {
			return nil, err
		}
	}
	balancer, err := fleet.balance(random, &mu)
	if err != nil {
		return nil, err
	}
	defer balancer.Close()
	if err := fleet.ready(ctx); err != nil {
		return nil, err
	}

	pool, err := connect(ctx, s.db)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		return nil, err
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return nil, err
	}
	all := &clients{vendor: v, store: store}

	say("%d units register for notifications", c.units)
	var group errgroup.Group
	group.SetLimit(8)
	for _, u := range units {
		group.Go(func() error {
			client, err := all.of(u.UID())
			if err != nil {
				return err
			}
			_, err = client.Config.Register(ctx, appsandbooks.Registration{
				URL: "http://" + balancer.Addr().String() + "/notifications", Secret: appsandbooks.NewSecret(v.Secret),
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	began := time.Now()
	var lsn string
	var commits int64
	if err := pool.QueryRow(ctx, `SELECT pg_current_wal_lsn()::text, xact_commit FROM pg_stat_database WHERE datname = current_database()`).
		Scan(&lsn, &commits); err != nil {
		return nil, err
	}
	faults(srv, units)

	// Each unit: one large change and four small ones, with devices that fail.
	say("%d pairs are ordered", c.pairs)
	planned := map[string]int{}
	for i, u := range units {
		total := c.pairs / c.units
		if i < c.pairs%c.units {
			total++
		}
		group.Go(func() error {
			for part := range 5 {
				o := order{uid: u.UID()}
				n := total / 20 // small: one asset
				o.assets = []string{"1"}
				if part == 0 { // large: four assets
					o.assets = []string{"1", "2", "3", "4"}
					n = (total - 4*(total/20)) / 4
				}
				for d := range n {
					serial := fmt.Sprintf("C%02d%07d", part, d)
					if d%97 == 13 {
						u.FailTarget(serial, 9603)
					}
					o.devices = append(o.devices, serial)
				}
				if n == 0 {
					continue
				}
				id, err := enqueue(ctx, pool, store, jobs, all, o)
				if err != nil {
					return err
				}
				mu.Lock()
				planned[id] = i
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}

	// Trouble, while they work.
	trouble, calm := context.WithCancel(ctx)
	defer calm()
	var troubled sync.WaitGroup
	troubled.Go(func() { fleet.trouble(trouble, database) })

	for last := -1; ; {
		var open, pairs int
		for o, err := range store.Operations().All(ctx, postgres.OperationFilter{Unfinished: true}) {
			if err != nil {
				open = -1 // the database is away
				break
			}
			open++
			pairs += o.Pairs - o.Succeeded - o.Failed
		}
		if open == 0 {
			break
		}
		if open != last && open > 0 {
			say("%d operations are not finished; %d pairs to go", open, pairs)
			last = open
		}
		if sleep(ctx, time.Second) != nil {
			break
		}
	}
	took := time.Since(began)
	calm()
	troubled.Wait()
	// What is still on its way: notifications, and jobs of finished operations.
	ctx = context.WithoutCancel(ctx)
	settled := time.Now().Add(15 * time.Second)
	for time.Now().Before(settled) {
		var n int
		if pool.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE state <> 'completed'`).Scan(&n) == nil && n == 0 {
			break
		}
		_ = sleep(ctx, 250*time.Millisecond)
	}
	srv.ClearFaults()
	fleet.stop()
	r, err = audit(ctx, c, srv, units, pool, store, all, planned)
	if err != nil {
		return nil, err
	}
	if r.told, err = fleet.told(v); err != nil {
		return nil, err
	}
	r.took, r.kills = took, fleet.kills
	_ = pool.QueryRow(ctx, `SELECT xact_commit, pg_current_wal_lsn() - $1::pg_lsn FROM pg_stat_database WHERE datname = current_database()`,
		lsn).Scan(&r.commits, &r.wal)
	r.commits -= commits
	say("%s", r)
	for _, d := range r.details[:min(10, len(r.details))] {
		say("  %s", d)
	}
	return r, r.check()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
