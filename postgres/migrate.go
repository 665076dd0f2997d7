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

// Migrate creates the schema or updates it. Several processes may call it at the
// same time: an advisory lock lets one of them work, and the others wait. It fails if
// a newer version of this package has updated the schema already.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.sql") // sorted by name
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, s.db.lockKey("migrate")); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.db.sql(`
			CREATE SCHEMA IF NOT EXISTS {schema};
			CREATE TABLE IF NOT EXISTS {schema}.migrations (
				version integer PRIMARY KEY,
				applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
			)`))
		if err != nil {
			return err
		}
		var current int
		if err := tx.QueryRow(ctx, s.db.sql(`SELECT coalesce(max(version), 0) FROM {schema}.migrations`)).Scan(&current); err != nil {
			return err
		}
		if current > len(files) {
			return fmt.Errorf("the schema has version %d, but this package supports versions up to %d: update this program", current, len(files))
		}
		for i, file := range files[current:] {
			text, err := migrations.ReadFile(file)
			if err != nil {
				return err
			}
			version := current + i + 1
			if _, err := tx.Exec(ctx, s.db.sql(string(text))); err != nil {
				return fmt.Errorf("updating to version %d: %w", version, err)
			}
			if _, err := tx.Exec(ctx, s.db.sql(`INSERT INTO {schema}.migrations (version) VALUES ($1)`), version); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: updating the schema: %w", err)
	}
	return nil
}
