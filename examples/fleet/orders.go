//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// migrate makes the tables: ours, River's, and the vendor's own.
func migrate(ctx context.Context, s settings) error {
	pool, err := connect(ctx, s.db)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	m, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	// What our hook does with a notification; on purpose without a key.
	_, err = pool.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS fleet_notifications (
			key text NOT NULL, kind text NOT NULL, unit text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())`)
	return err
}

func connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	if url == "" {
		return nil, fmt.Errorf("no database: set -db or DATABASE_URL")
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = max(config.MaxConns, 16)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

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

// order is a change that somebody wants.
type order struct {
	uid             string
	assets, devices []string
	remove          bool
}

// enqueue plans a change and keeps it together with its job.
func enqueue(ctx context.Context, pool *pgxpool.Pool, store *postgres.Store, jobs *river.Client[pgx.Tx], all *clients, o order) (id string, err error) {
	client, err := all.of(o.uid)
	if err != nil {
		return "", err
	}
	change := appsandbooks.AssetChange{SerialNumbers: o.devices}
	for _, a := range o.assets {
		change.Assets = append(change.Assets, appsandbooks.AssetID{AdamID: a})
	}
	begin := client.Assets.Associate
	if o.remove {
		begin = client.Assets.Disassociate
	}
	op, err := begin(ctx, change, appsandbooks.WithPlanOnly())
	if err != nil {
		return "", err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := store.Put(ctx, tx, o.uid, op); err != nil {
			return err
		}
		_, err := jobs.InsertTx(ctx, tx, carryArgs{op.ID()}, optsFor(op.Plan().Pairs))
		return err
	})
	return op.ID(), err
}

func enqueueOne(ctx context.Context, s settings, o order) (id string, err error) {
	v, err := readVendor(s.vendor)
	if err != nil {
		return "", err
	}
	pool, err := connect(ctx, s.db)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		return "", err
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return "", err
	}
	return enqueue(ctx, pool, store, jobs, &clients{vendor: v, store: store}, o)
}

// status prints the state of each operation.
func status(ctx context.Context, s settings, uid string, open bool, out io.Writer) error {
	pool, err := connect(ctx, s.db)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OPERATION\tUNIT\tSTATE\tREQUESTS\tPAIRS\tSUCCEEDED\tFAILED\tUNCONFIRMED\tNEXT STEP\tPROBLEM")
	for o, err := range store.Operations(ctx, uid, open) {
		if err != nil {
			return err
		}
		state, next := o.State, ""
		switch {
		case o.Carried:
			state, next = state+", carried", "now"
		case !o.Due.IsZero():
			next = "in " + max(time.Until(o.Due), 0).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d/%d\t%d\t%d\t%d\t%d\t%s\t%.80s\n", o.ID, o.Unit, state,
			o.Accepted, o.Requests, o.Pairs, o.Succeeded, o.Failed, o.Unconfirmed, next, o.Problem)
	}
	return w.Flush()
}
