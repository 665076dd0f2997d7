//go:build unix

package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// migrate creates the tables of package postgres, of River and of this program.
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
	// The hook inserts a row for each notification. The table has no unique key, so that
	// the demo would see a notification that was handled twice.
	_, err = pool.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS fleet_notifications (
			key text NOT NULL, kind text NOT NULL, unit text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())`)
	return err
}

// connect returns a pool of at least 16 database connections, after one connection has
// succeeded.
func connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	if url == "" {
		return nil, errors.New("no database URL: set -db or DATABASE_URL")
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
