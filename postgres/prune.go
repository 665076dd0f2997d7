package postgres

import (
	"context"
	"fmt"
	"time"
)

// These constants are how long rows are stored. The service delivers a notification
// within five minutes, so a day is enough for the inbox. An event takes seconds and is
// stalled after ten minutes, so an hour is enough for the content of its notifications.
const (
	inboxRetention  = 24 * time.Hour
	wakeupRetention = time.Hour
	paceRetention   = 24 * time.Hour
)

// pruneBatch is the largest number of rows that one DELETE statement deletes.
const pruneBatch = 1000

// Prune deletes old rows, at most 1000 in a transaction: entries of the inbox after a
// day, wake-ups after an hour, paces that were not used for a day, and finished
// operations after the time of [WithRetention]. [Store.Run] calls it about every ten
// minutes. Several processes can prune at the same time; they skip each other's rows.
func (s *Store) Prune(ctx context.Context) error {
	for _, p := range []struct {
		statement string
		retention time.Duration
	}{
		{`DELETE FROM {schema}.wakeups WHERE id IN (
			SELECT id FROM {schema}.wakeups WHERE created_at < clock_timestamp() - $1::interval
			ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, wakeupRetention},
		{`DELETE FROM {schema}.inbox WHERE key IN (
			SELECT key FROM {schema}.inbox WHERE received_at < clock_timestamp() - $1::interval
			ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, inboxRetention},
		{`DELETE FROM {schema}.operations WHERE id IN (
			SELECT id FROM {schema}.operations WHERE finished_at < clock_timestamp() - $1::interval
			ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, s.retention},
		{`DELETE FROM {schema}.paces WHERE unit IN (
			SELECT unit FROM {schema}.paces p
			WHERE used_at < clock_timestamp() - $1::interval
				AND coalesce(paused_until < clock_timestamp(), true)
				AND NOT EXISTS (SELECT FROM {schema}.slots s WHERE s.unit = p.unit AND s.until > clock_timestamp())
			LIMIT $2 FOR UPDATE SKIP LOCKED)`, paceRetention},
	} {
		for {
			tag, err := s.db.pool.Exec(ctx, s.db.sql(p.statement), interval(p.retention), pruneBatch)
			if err != nil {
				return fmt.Errorf("postgres: deleting old rows: %w", err)
			}
			if tag.RowsAffected() < pruneBatch {
				break
			}
		}
	}
	return nil
}
