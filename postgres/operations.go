package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// Operations stores operations with their journals. [Store.Operations] returns it.
type Operations struct {
	db        *database
	leaseTime time.Duration
	wakeups   *Wakeups
}

// Save stores an operation that was planned with [appsandbooks.WithPlanOnly] and has not
// sent anything yet. Save writes in tx, so that the operation and the job that runs it are
// stored together or not at all. If the operation has no organizational unit (see
// [appsandbooks.Operation.Unit]), the error is [appsandbooks.ErrInvalid].
func (o *Operations) Save(ctx context.Context, tx pgx.Tx, op *appsandbooks.Operation) error {
	saved, err := op.Save()
	if err == nil && op.Unit() == "" {
		err = fmt.Errorf("%w: it has no organizational unit, so no client could resume it", appsandbooks.ErrInvalid)
	}
	if err != nil {
		return describe(err, "saving operation %s", op.ID())
	}
	line := string(saved) + "\n"
	p := op.Progress()
	var batch pgx.Batch
	batch.Queue(o.db.sql(`INSERT INTO {schema}.operations
		(id, unit, last_entry, snapshot_bytes, requests, pairs, unsent, due_at) VALUES ($1, $2, 1, $3, $4, $5, $6, clock_timestamp())`),
		op.ID(), op.Unit(), len(line), p.Requests, p.Pairs, p.Unsent)
	batch.Queue(o.db.sql(`INSERT INTO {schema}.journal (operation, entry, line) VALUES ($1, 1, $2)`), op.ID(), line)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return describe(err, "saving operation %s", op.ID())
	}
	return nil
}

// Load reads an operation without a lease, for [appsandbooks.Client.Resume]. Use it
// to read the report of an operation. To run the operation, use [Operations.Lease]. If
// the operation is not stored, the error is [ErrNotFound].
func (o *Operations) Load(ctx context.Context, id string) (saved []byte, err error) {
	saved, err = o.readJournal(ctx, id)
	if err == nil && len(saved) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, describe(err, "loading operation %s", id)
	}
	return saved, nil
}

// readJournal returns all journal entries of an operation in one piece, or nothing if it
// has none.
func (o *Operations) readJournal(ctx context.Context, id string) ([]byte, error) {
	rows, err := o.db.pool.Query(ctx, o.db.sql(`SELECT line FROM {schema}.journal WHERE operation = $1 ORDER BY entry`), id)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return []byte(strings.Join(lines, "")), err
}

// Lease gives this process the right to run an operation. The lease is renewed in the
// background until it is released, lost, or ctx ends.
//
// The error is [ErrLeaseHeld] while another process has the lease. If that process
// has died, its lease expires after the time of [WithLeaseTime]. The error is
// [ErrFinished] if the operation is finished, [ErrNotFound] if it is not stored, and
// [ErrClockSkew] if the clock of this machine is wrong.
func (o *Operations) Lease(ctx context.Context, id string) (*Lease, error) {
	l, err := o.lease(ctx, id)
	if err != nil {
		return nil, describe(err, "leasing operation %s", id)
	}
	return l, nil
}

func (o *Operations) lease(ctx context.Context, id string) (*Lease, error) {
	l := &Lease{ID: id, operations: o, renewalEnded: make(chan struct{})}
	var now time.Time
	before := time.Now()
	err := o.db.pool.QueryRow(ctx, o.db.sql(`
		UPDATE {schema}.operations SET fence = fence + 1, leased_until = clock_timestamp() + $2::interval
		WHERE id = $1 AND finished_at IS NULL AND (leased_until IS NULL OR leased_until < clock_timestamp())
		RETURNING fence, unit, coalesce(last_error, ''), clock_timestamp()`), id, interval(o.leaseTime)).
		Scan(&l.fence, &l.Unit, &l.LastError, &now)
	after := time.Now()
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, o.whyNotLeased(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	if err = checkClock(before, now, after); err == nil {
		// This query runs after the UPDATE and has its own snapshot. It sees all entries
		// of earlier leases, because the database refuses their writes from now on.
		l.saved, err = o.readJournal(ctx, id)
	}
	if err != nil {
		l.cancel(err)
		close(l.renewalEnded)
		_ = l.releaseUnused(ctx)
		return nil, err
	}
	go l.renew()
	return l, nil
}

// whyNotLeased returns the error that explains why an operation could not be leased.
func (o *Operations) whyNotLeased(ctx context.Context, id string) error {
	var finished bool
	err := o.db.pool.QueryRow(ctx, o.db.sql(`SELECT finished_at IS NOT NULL FROM {schema}.operations WHERE id = $1`), id).Scan(&finished)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return err
	case finished:
		return ErrFinished
	}
	return ErrLeaseHeld
}

// An OperationState is the progress of an operation.
type OperationState string

// An operation is in one of these states.
const (
	// OperationPlanned means that the service has not accepted any request yet.
	OperationPlanned OperationState = "planned"
	// OperationSent means that the service has accepted at least one request.
	OperationSent OperationState = "sent"
	// OperationFinished means that no step is left.
	OperationFinished OperationState = "finished"
)

// An OperationStatus is a summary of an operation. State, Due, the numbers and
// LastError are those of the last [Lease.Release], or of [Operations.Save].
type OperationStatus struct {
	ID          string
	Unit        string // the uId of the organizational unit
	State       OperationState
	Leased      bool // a process has the lease now
	Requests    int  // planned
	Accepted    int  // the number of requests that the service has accepted
	Pairs       int
	Succeeded   int // pairs
	Failed      int // pairs
	Unconfirmed int // pairs
	Unsent      int // pairs
	Created     time.Time
	Due         time.Time // when the next step is due; zero if the operation is finished
	Finished    time.Time // when the operation finished; zero while it is not finished
	LastError   string    // why the last step failed, or empty
}

// An OperationFilter selects operations. The zero value selects all operations.
type OperationFilter struct {
	Unit       string // select only operations of the unit with this uId
	Unfinished bool   // select only operations that are not finished
}

// All yields the operations that the filter selects: first those that are not finished,
// then the others, each group in the order of creation. The sequence ends at the first
// error.
func (o *Operations) All(ctx context.Context, filter OperationFilter) iter.Seq2[OperationStatus, error] {
	return func(yield func(OperationStatus, error) bool) {
		rows, err := o.db.pool.Query(ctx, o.db.sql(`
			SELECT id, unit, state, coalesce(leased_until > clock_timestamp(), false),
				requests, accepted, pairs, succeeded, failed, unconfirmed, unsent,
				created_at, due_at, finished_at, coalesce(last_error, '')
			FROM {schema}.operations
			WHERE ($1 = '' OR unit = $1) AND (NOT $2 OR finished_at IS NULL)
			ORDER BY finished_at IS NOT NULL, created_at, id`), filter.Unit, filter.Unfinished)
		if err != nil {
			yield(OperationStatus{}, fmt.Errorf("postgres: reading the operations: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			status, err := scanStatus(rows)
			if err != nil {
				yield(status, fmt.Errorf("postgres: reading the operations: %w", err))
				return
			}
			if !yield(status, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(OperationStatus{}, fmt.Errorf("postgres: reading the operations: %w", err))
		}
	}
}

// scanStatus returns the status in one row of the query of Operations.All.
func scanStatus(row pgx.Row) (OperationStatus, error) {
	var s OperationStatus
	var finished *time.Time
	err := row.Scan(&s.ID, &s.Unit, &s.State, &s.Leased, &s.Requests, &s.Accepted, &s.Pairs,
		&s.Succeeded, &s.Failed, &s.Unconfirmed, &s.Unsent, &s.Created, &s.Due, &finished, &s.LastError)
	if finished != nil {
		s.Due, s.Finished = time.Time{}, *finished
	}
	return s, err
}
