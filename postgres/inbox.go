package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// Inbox records which notifications are being handled and which are handled, for all
// processes. [Store.Inbox] returns it. It implements [appsandbooks.Deduper].
//
// Begin and End are the methods of that interface. They do not begin or end a
// transaction: the notification handler calls Begin before it runs the hooks for a
// notification, and End after them.
type Inbox struct {
	db        *database
	leaseTime time.Duration

	mu     sync.Mutex
	leases map[string]int64 // the numbers of this process's leases, by notification key
}

var _ appsandbooks.Deduper = (*Inbox)(nil)

// maxHandlingWait is how long Begin waits while another process handles the same
// notification. After that, Begin fails, and the service delivers again later.
const maxHandlingWait = 5 * time.Second

var errBeingHandled = errors.New("another delivery of the notification is being handled")

// Begin is called by the notification handler before it runs the hooks. It takes the
// lease of the notification with this key and returns true. It returns false if the
// notification has been handled. While another process has the lease, Begin waits up to
// five seconds and then fails. The lease of a process that died expires after the time
// of [WithLeaseTime].
func (b *Inbox) Begin(ctx context.Context, key string) (first bool, err error) {
	lease := randomID()
	deadline := time.Now().Add(maxHandlingWait)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		leased, handled, err := b.tryLease(ctx, key, lease)
		switch {
		case err != nil:
			return false, fmt.Errorf("postgres: leasing a notification: %w", err)
		case leased:
			b.mu.Lock()
			b.leases[key] = lease
			b.mu.Unlock()
			return true, nil
		case handled:
			return false, nil
		case time.Now().Add(wait).After(deadline):
			return false, fmt.Errorf("postgres: %w", errBeingHandled)
		}
		if err := sleep(ctx, wait); err != nil {
			return false, fmt.Errorf("postgres: %w: %w", errBeingHandled, err)
		}
	}
}

// tryLease takes the lease of a notification, unless the notification is handled or
// another process has the lease.
func (b *Inbox) tryLease(ctx context.Context, key string, lease int64) (leased, handled bool, err error) {
	// If the row of the notification exists and its lease is not free, the statement
	// locks the row and does not write it. PostgreSQL evaluates the WHERE after the lock,
	// with the newest version of the row.
	err = b.db.pool.QueryRow(ctx, b.db.sql(`
		WITH leased AS (
			INSERT INTO {schema}.inbox AS i (key, lease, leased_until)
			VALUES ($1, $2, clock_timestamp() + $3::interval)
			ON CONFLICT (key) DO UPDATE SET lease = excluded.lease, leased_until = excluded.leased_until
			WHERE i.handled_at IS NULL AND i.leased_until < clock_timestamp()
			RETURNING 1)
		SELECT EXISTS (SELECT FROM leased),
			EXISTS (SELECT FROM {schema}.inbox WHERE key = $1 AND handled_at IS NOT NULL)`),
		key, lease, interval(b.leaseTime)).Scan(&leased, &handled)
	return leased, handled, err
}

// leaseOf returns the number of the lease that this process has for a notification.
func (b *Inbox) leaseOf(key string) (lease int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lease, ok = b.leases[key]
	return lease, ok
}

// End is called by the notification handler after the hooks. It ends the lease. done
// reports whether the hooks succeeded. If they succeeded, End records the notification as
// handled. Otherwise a later delivery runs the hooks again.
//
// The error is [ErrLeaseLost] if another process has taken the lease. Then the hooks
// succeeded in this process and may succeed in the other process too. A hook that calls
// [Inbox.MarkHandled] succeeds only once.
func (b *Inbox) End(ctx context.Context, key string, done bool) error {
	lease, ok := b.leaseOf(key)
	if !ok {
		return describe(ErrLeaseLost, "ending the lease of a notification")
	}
	b.mu.Lock()
	delete(b.leases, key)
	b.mu.Unlock()
	if !done {
		// A notification that MarkHandled has recorded stays handled, even if its
		// hook failed after the commit.
		_, err := b.db.pool.Exec(ctx, b.db.sql(`
			DELETE FROM {schema}.inbox WHERE key = $1 AND lease = $2 AND handled_at IS NULL`), key, lease)
		if err != nil {
			return describe(err, "ending the lease of a notification")
		}
		return nil
	}
	var marked, already bool
	err := b.db.pool.QueryRow(ctx, b.db.sql(`
		WITH marked AS (
			UPDATE {schema}.inbox SET handled_at = clock_timestamp()
			WHERE key = $1 AND lease = $2 AND handled_at IS NULL RETURNING 1)
		SELECT EXISTS (SELECT FROM marked),
			EXISTS (SELECT FROM {schema}.inbox WHERE key = $1 AND lease = $2 AND handled_at IS NOT NULL)`),
		key, lease).Scan(&marked, &already)
	if err == nil && !marked && !already {
		err = ErrLeaseLost
	}
	if err != nil {
		return describe(err, "recording a notification as handled")
	}
	return nil
}

// MarkHandled records a notification as handled, in the transaction of its hook. Then the
// writes of the hook and this record are committed together or not at all, and only one
// such transaction commits for a notification, even if processes die and deliveries are
// repeated.
//
// The error is [ErrLeaseLost] if another process took the lease. The hook must return
// that error and roll back.
func (b *Inbox) MarkHandled(ctx context.Context, tx pgx.Tx, n *appsandbooks.Notification) error {
	key := n.Key()
	lease, ok := b.leaseOf(key)
	if !ok {
		return describe(ErrLeaseLost, "recording a notification as handled")
	}
	tag, err := tx.Exec(ctx, b.db.sql(`
		UPDATE {schema}.inbox SET handled_at = clock_timestamp()
		WHERE key = $1 AND lease = $2 AND handled_at IS NULL`), key, lease)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrLeaseLost
	}
	if err != nil {
		return describe(err, "recording a notification as handled")
	}
	return nil
}
