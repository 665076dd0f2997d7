//go:build unix

package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// order is a change to enqueue: each of the assets is assigned to each of the devices.
type order struct {
	uid             string
	assets, devices []string
	remove          bool
}

// enqueue plans a change and saves the operation with its job in one transaction. It
// returns the id of the operation.
func enqueue(ctx context.Context, pool *pgxpool.Pool, store *postgres.Store, jobs *river.Client[pgx.Tx], all *clients, o order) (id string, err error) {
	client, err := all.get(o.uid)
	if err != nil {
		return "", err
	}
	change := appsandbooks.AssetChange{SerialNumbers: o.devices}
	for _, a := range o.assets {
		change.Assets = append(change.Assets, appsandbooks.AssetID{AdamID: a})
	}
	plan := client.Assets.Associate
	if o.remove {
		plan = client.Assets.Disassociate
	}
	op, err := plan(ctx, change, appsandbooks.WithPlanOnly())
	if err != nil {
		return "", err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := store.Operations().Save(ctx, tx, op); err != nil {
			return err
		}
		_, err := jobs.InsertTx(ctx, tx, runArgs{op.ID()}, insertOptions(op.Plan().Pairs))
		return err
	})
	return op.ID(), err
}

// enqueueOne connects to the database and enqueues one change.
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
	// The stall time is saved with the operation.
	opts := []appsandbooks.Option{appsandbooks.WithStallTime(s.stall)}
	return enqueue(ctx, pool, store, jobs, &clients{vendor: v, store: store, opts: opts}, o)
}
