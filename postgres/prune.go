package postgres

import (
	"context"
	"fmt"
	"time"
)

// How long it is remembered that a notification is done (the service delivers
// over five minutes), and how long its content is kept as a hint (events take
// seconds, and are given up after ten minutes).
const (
	keepDone  = 24 * time.Hour
	keepHints = time.Hour
)

// pruneBatch is how many rows one statement deletes.
const pruneBatch = 1000

// Prune deletes what is too old, in small transactions: notifications that were
// done a day ago, hints of an hour ago, paces unused for a day, and operations
// that finished long ago ([WithRetention]). [Store.Run] calls it every ten
// minutes. Processes that prune at the same time do not wait for each other.
func (s *Store) Prune(ctx context.Context) error {
	for _, p := range []struct {
		text string
		keep time.Duration
	}{
		{`DELETE FROM {schema}.hints WHERE id IN (
			SELECT id FROM {schema}.hints WHERE at < clock_timestamp() - $1::interval
			ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)`, keepHints},
		{`DELETE FROM {schema}.inbox WHERE key IN (
			SELECT key FROM {schema}.inbox WHERE first_at < clock_timestamp() - $1::interval
			ORDER BY first_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, keepDone},
		{`DELETE FROM {schema}.operations WHERE id IN (
			SELECT id FROM {schema}.operations WHERE finished_at < clock_timestamp() - $1::interval
			ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, s.opts.keep},
		{`DELETE FROM {schema}.paces WHERE unit IN (
			SELECT unit FROM {schema}.paces p
			WHERE used_at < clock_timestamp() - $1::interval
				AND coalesce(paused_until < clock_timestamp(), true)
				AND NOT EXISTS (SELECT FROM {schema}.slots s WHERE s.unit = p.unit AND s.until > clock_timestamp())
			LIMIT $2 FOR UPDATE SKIP LOCKED)`, 24 * time.Hour},
	} {
		for {
			tag, err := s.pool.Exec(ctx, s.sql(p.text), seconds(p.keep), pruneBatch)
			if err != nil {
				return fmt.Errorf("postgres: prune: %w", err)
			}
			if tag.RowsAffected() < pruneBatch {
				break
			}
		}
	}
	return nil
}
