package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate makes the schema, or brings it up to date. Processes that start
// together wait for each other. A schema newer than this version of the package
// is an error.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.sql") // in order of their names
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, s.lockKey("migrate")); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.sql(`
			CREATE SCHEMA IF NOT EXISTS {schema};
			CREATE TABLE IF NOT EXISTS {schema}.migrations (
				version integer PRIMARY KEY,
				at timestamptz NOT NULL DEFAULT clock_timestamp()
			)`))
		if err != nil {
			return err
		}
		var have int
		if err := tx.QueryRow(ctx, s.sql(`SELECT coalesce(max(version), 0) FROM {schema}.migrations`)).Scan(&have); err != nil {
			return err
		}
		if have > len(files) {
			return fmt.Errorf("the schema has version %d, and this package knows %d", have, len(files))
		}
		for i, file := range files[have:] {
			text, err := migrations.ReadFile(file)
			if err != nil {
				return err
			}
			version := have + i + 1
			if _, err := tx.Exec(ctx, s.sql(string(text))); err != nil {
				return fmt.Errorf("version %d: %w", version, err)
			}
			if _, err := tx.Exec(ctx, s.sql(`INSERT INTO {schema}.migrations (version) VALUES ($1)`), version); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	return nil
}
