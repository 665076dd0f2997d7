package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// maxWait is how long a delivery waits for another one of the same notification
// that is being handled. Then the service is told to come again.
const maxWait = 5 * time.Second

// Begin implements [appsandbooks.Deduper]: it claims a notification for this
// process. While another process has the claim it waits a little, then fails.
// The claim of a process that died is over after the lease.
func (s *Store) Begin(ctx context.Context, key string) (first bool, err error) {
	var token [8]byte
	rand.Read(token[:])
	claim := int64(binary.BigEndian.Uint64(token[:]) >> 1)
	deadline := time.Now().Add(maxWait)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		var mine, done bool
		// A row that is there and not to be claimed is only locked, not
		// written: the condition comes after the lock, in the row's latest version.
		err := s.pool.QueryRow(ctx, s.sql(`
			WITH claimed AS (
				INSERT INTO {schema}.inbox AS i (key, claim, claimed_until)
				VALUES ($1, $2, clock_timestamp() + $3::interval)
				ON CONFLICT (key) DO UPDATE SET claim = excluded.claim, claimed_until = excluded.claimed_until
				WHERE i.done_at IS NULL AND i.claimed_until < clock_timestamp()
				RETURNING 1)
			SELECT EXISTS (SELECT FROM claimed),
				EXISTS (SELECT FROM {schema}.inbox WHERE key = $1 AND done_at IS NOT NULL)`),
			key, claim, seconds(s.opts.lease)).Scan(&mine, &done)
		switch {
		case err != nil:
			return false, fmt.Errorf("postgres: claiming a notification: %w", err)
		case mine:
			s.mu.Lock()
			s.claims[key] = claim
			s.mu.Unlock()
			return true, nil
		case done:
			return false, nil
		case time.Now().Add(wait).After(deadline):
			return false, fmt.Errorf("postgres: %w", errBeingHandled)
		}
		if err := pause(ctx, wait); err != nil {
			return false, fmt.Errorf("postgres: %w: %w", errBeingHandled, err)
		}
	}
}

var errBeingHandled = errors.New("another delivery of the notification is being handled")

func (s *Store) claimOf(key string) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	claim, ok := s.claims[key]
	return claim, ok
}

// End implements [appsandbooks.Deduper]. When the hooks succeeded, but the claim
// had gone to another process, that is [ErrLost]: the hooks may run twice. With
// [Store.Done] they cannot succeed twice.
func (s *Store) End(ctx context.Context, key string, done bool) error {
	claim, ok := s.claimOf(key)
	if !ok {
		return fmt.Errorf("postgres: ending a notification: %w", ErrLost)
	}
	s.mu.Lock()
	delete(s.claims, key)
	s.mu.Unlock()
	if !done {
		// Not if Done was committed, whatever the hook said afterwards.
		_, err := s.pool.Exec(ctx, s.sql(`DELETE FROM {schema}.inbox WHERE key = $1 AND claim = $2 AND done_at IS NULL`), key, claim)
		if err != nil {
			return fmt.Errorf("postgres: ending a notification: %w", err)
		}
		return nil
	}
	var marked, already bool
	err := s.pool.QueryRow(ctx, s.sql(`
		WITH marked AS (
			UPDATE {schema}.inbox SET done_at = clock_timestamp() WHERE key = $1 AND claim = $2 AND done_at IS NULL RETURNING 1)
		SELECT EXISTS (SELECT FROM marked),
			EXISTS (SELECT FROM {schema}.inbox WHERE key = $1 AND claim = $2 AND done_at IS NOT NULL)`),
		key, claim).Scan(&marked, &already)
	if err == nil && !marked && !already {
		err = ErrLost
	}
	if err != nil {
		return fmt.Errorf("postgres: ending a notification: %w", err)
	}
	return nil
}

// Done marks a notification as done in the transaction of its hook, so that
// what the hook writes and the mark are there together or not at all: however
// processes die, and however often the service delivers, one transaction
// commits. It fails with [ErrLost] if the claim has gone to another process; the
// hook must then return the error.
func (s *Store) Done(ctx context.Context, tx pgx.Tx, n *appsandbooks.Notification) error {
	key := n.Key()
	claim, ok := s.claimOf(key)
	if !ok {
		return fmt.Errorf("postgres: marking a notification: %w", ErrLost)
	}
	tag, err := tx.Exec(ctx, s.sql(`
		UPDATE {schema}.inbox SET done_at = clock_timestamp() WHERE key = $1 AND claim = $2 AND done_at IS NULL`), key, claim)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrLost
	}
	if err != nil {
		return fmt.Errorf("postgres: marking a notification: %w", err)
	}
	return nil
}

var _ appsandbooks.Deduper = (*Store)(nil)
