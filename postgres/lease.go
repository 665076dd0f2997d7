package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// A Lease is the right of one process to run an operation. [Operations.Lease]
// returns it. Call Release once when the step is done.
type Lease struct {
	ID        string // of the operation
	Unit      string // the uId of the operation's organizational unit
	LastError string // why the last step failed, or empty

	operations *Operations
	// fence is the number of this lease. The database counts the leases of an operation,
	// and a write succeeds only with the number of the newest lease.
	fence        int64
	saved        []byte
	ctx          context.Context
	cancel       context.CancelCauseFunc
	renewalEnded chan struct{}
	removeClient func() // nil before Resume
}

// Context returns a context that ends when the lease is released or lost, or when the
// context given to [Operations.Lease] ends. Run the operation with it. If the lease is
// lost, [context.Cause] returns [ErrLeaseLost].
func (l *Lease) Context() context.Context { return l.ctx }

// Resume returns the operation, ready for its next step. The operation includes the
// notifications that arrived since the last step. The client must be a client of the
// lease's unit. The client receives the notifications of the unit until the lease is
// released. The operation writes its journal through the lease.
func (l *Lease) Resume(client *appsandbooks.Client, opts ...appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	if l.removeClient == nil {
		// The client is added before the query, so that it misses no notification.
		l.removeClient = l.operations.wakeups.AddClient(l.Unit, client)
	}
	db := l.operations.db
	rows, err := db.pool.Query(l.ctx, db.sql(`
		SELECT w.body FROM {schema}.wakeups w JOIN {schema}.awaited_events a USING (event)
		WHERE a.operation = $1 ORDER BY w.id`), l.ID)
	if err != nil {
		return nil, describe(err, "resuming operation %s", l.ID)
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, describe(err, "resuming operation %s", l.ID)
	}
	op, err := client.Resume(l.saved, append(opts, appsandbooks.WithContinuedJournal(l.append))...)
	if err != nil {
		return nil, err
	}
	if op.Unit() != l.Unit {
		return nil, describe(fmt.Errorf("%w: its journal is of unit %q, and its row is of unit %q", appsandbooks.ErrOtherUnit, op.Unit(), l.Unit),
			"resuming operation %s", l.ID)
	}
	for _, body := range bodies {
		if n, err := appsandbooks.ParseNotification([]byte(body)); err == nil {
			op.Notify(n)
		}
	}
	return op, nil
}

// Release ends the lease after a step. stepErr is the error of [appsandbooks.Operation.Step]
// or Wait. The operation is finished if [appsandbooks.Operation.Next] reports that it is at
// its end. Otherwise the next step is due at the time that Next returns.
//
// If stepErr is the reason why the operation stopped, its text is stored as LastError. An
// [*appsandbooks.OperationError] without a Cause is not stored: the step did not fail, and the
// outcomes of the pairs are in the report.
//
// If the operation could not be resumed, op is nil. Then Release only ends the lease
// and stores the error.
//
// If Release returns an error, no result is lost: the journal contains all results, and
// the lease expires after the time of [WithLeaseTime]. The error is [ErrLeaseLost] if
// another process has taken the lease.
func (l *Lease) Release(ctx context.Context, op *appsandbooks.Operation, stepErr error) error {
	l.end()
	err := pgx.BeginFunc(ctx, l.operations.db.pool, func(tx pgx.Tx) error { return l.release(ctx, tx, op, stepErr) })
	if err != nil {
		return describe(err, "releasing operation %s", l.ID)
	}
	return nil
}

// ReleaseTx is like [Lease.Release], but writes in the caller's transaction. Use it
// to store other results of the step in the same transaction.
func (l *Lease) ReleaseTx(ctx context.Context, tx pgx.Tx, op *appsandbooks.Operation, stepErr error) error {
	l.end()
	if err := l.release(ctx, tx, op, stepErr); err != nil {
		return describe(err, "releasing operation %s", l.ID)
	}
	return nil
}

// end stops the renewal of the lease and ends the lease's context. The client of the
// lease receives no more notifications.
func (l *Lease) end() {
	l.cancel(nil)
	<-l.renewalEnded
	if l.removeClient != nil {
		l.removeClient()
		l.removeClient = nil
	}
}

// releaseUnused ends a lease that was not used, so that another process can lease the
// operation at once.
func (l *Lease) releaseUnused(ctx context.Context) error {
	db := l.operations.db
	_, err := db.pool.Exec(ctx, db.sql(`
		UPDATE {schema}.operations SET leased_until = NULL WHERE id = $1 AND fence = $2`), l.ID, l.fence)
	return err
}

// renew extends the lease three times in each lease time, until the lease's context
// ends. If the lease is lost, or could not be extended in time, renew ends the context.
func (l *Lease) renew() {
	defer close(l.renewalEnded)
	db, leaseTime := l.operations.db, l.operations.leaseTime
	validUntil := time.Now().Add(leaseTime)
	for sleep(l.ctx, leaseTime/3) == nil {
		began := time.Now()
		ctx, cancel := context.WithTimeout(l.ctx, leaseTime/3)
		tag, err := db.pool.Exec(ctx, db.sql(`
			UPDATE {schema}.operations SET leased_until = clock_timestamp() + $3::interval
			WHERE id = $1 AND fence = $2`), l.ID, l.fence, interval(leaseTime))
		cancel()
		switch {
		case err == nil && tag.RowsAffected() == 0:
			l.cancel(ErrLeaseLost)
		case err == nil:
			validUntil = began.Add(leaseTime)
		case time.Now().After(validUntil):
			l.cancel(fmt.Errorf("%w: renewing it failed: %w", ErrLeaseLost, err))
		}
	}
}

// append writes an entry of the operation's journal, and extends the lease in the same
// statement. append also succeeds after the lease has expired, if no other process has
// taken the lease.
func (l *Lease) append(ctx context.Context, entry []byte) error {
	if entry[0] != '[' { // the entry is not a change, but the whole operation
		return l.replaceJournal(ctx, entry)
	}
	db, leaseTime := l.operations.db, l.operations.leaseTime
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	tag, err := db.pool.Exec(ctx, db.sql(`
		WITH leased AS (
			UPDATE {schema}.operations SET
				last_entry = last_entry + 1, appended_bytes = appended_bytes + $3,
				leased_until = greatest(leased_until, clock_timestamp() + $4::interval)
			WHERE id = $1 AND fence = $2 RETURNING last_entry)
		INSERT INTO {schema}.journal (operation, entry, line) SELECT $1, last_entry, $5 FROM leased`),
		l.ID, l.fence, len(entry), interval(leaseTime), string(entry))
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrLeaseLost
		l.cancel(err)
	}
	return err
}

// replaceJournal replaces all entries of the journal with one entry that is the whole
// operation.
func (l *Lease) replaceJournal(ctx context.Context, entry []byte) error {
	return pgx.BeginFunc(ctx, l.operations.db.pool, func(tx pgx.Tx) error { return l.replaceJournalTx(ctx, tx, entry) })
}

func (l *Lease) replaceJournalTx(ctx context.Context, tx pgx.Tx, entry []byte) error {
	db := l.operations.db
	var last int64
	err := tx.QueryRow(ctx, db.sql(`
		UPDATE {schema}.operations SET last_entry = last_entry + 1, appended_bytes = 0, snapshot_bytes = $3
		WHERE id = $1 AND fence = $2 RETURNING last_entry`), l.ID, l.fence, len(entry)).Scan(&last)
	if errors.Is(err, pgx.ErrNoRows) {
		l.cancel(ErrLeaseLost)
		return ErrLeaseLost
	}
	if err != nil {
		return err
	}
	var batch pgx.Batch
	batch.Queue(db.sql(`DELETE FROM {schema}.journal WHERE operation = $1`), l.ID)
	batch.Queue(db.sql(`INSERT INTO {schema}.journal (operation, entry, line) VALUES ($1, $2, $3)`), l.ID, last, string(entry))
	return tx.SendBatch(ctx, &batch).Close()
}

// compactAbove is the size in bytes above which the appended entries of a journal are
// replaced with the whole operation, if they are also larger than the operation.
const compactAbove = 64 << 10

func (l *Lease) release(ctx context.Context, tx pgx.Tx, op *appsandbooks.Operation, stepErr error) error {
	if op == nil {
		return l.releaseWithoutOperation(ctx, tx, stepErr)
	}
	var ended *appsandbooks.OperationError
	if errors.As(stepErr, &ended) && ended.Cause == nil {
		stepErr = nil
	}
	r, p := op.Report(), op.Progress()
	next, more := op.Next()
	state := OperationPlanned
	switch {
	case !more:
		state = OperationFinished
	case p.Accepted > 0:
		state = OperationSent
	}
	var appended, snapshot int64
	err := tx.QueryRow(ctx, l.operations.db.sql(`
		UPDATE {schema}.operations SET
			fence = fence + 1, leased_until = NULL, state = $3, requests = $4, accepted = $5,
			pairs = $6, succeeded = $7, failed = $8, unconfirmed = $9, unsent = $10,
			due_at = clock_timestamp() + $11::interval, last_error = $12,
			finished_at = CASE WHEN $13 THEN clock_timestamp() END
		WHERE id = $1 AND fence = $2 RETURNING appended_bytes, snapshot_bytes`),
		l.ID, l.fence, state, p.Requests, p.Accepted, r.Total, r.Succeeded, r.Failed, r.Unconfirmed, r.Unsent,
		interval(max(0, time.Until(next))), errorText(stepErr), !more).Scan(&appended, &snapshot)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrLeaseLost
	}
	if err != nil {
		return err
	}
	l.fence++ // the UPDATE increased fence in the database too, and replaceJournalTx compares both
	// If writing the journal failed in this step, the journal lacks facts.
	if stepErr != nil || appended > compactAbove && appended > snapshot {
		saved, err := op.Save()
		if err == nil {
			err = l.replaceJournalTx(ctx, tx, append(saved, '\n'))
		}
		if err != nil {
			return err
		}
	}
	return l.saveAwaitedEvents(ctx, tx, r)
}

func (l *Lease) releaseWithoutOperation(ctx context.Context, tx pgx.Tx, stepErr error) error {
	tag, err := tx.Exec(ctx, l.operations.db.sql(`
		UPDATE {schema}.operations SET fence = fence + 1, leased_until = NULL, last_error = $3
		WHERE id = $1 AND fence = $2`), l.ID, l.fence, errorText(stepErr))
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrLeaseLost
	}
	return err
}

// errorText returns the text of an error for a nullable column, or nil without an error.
// The text has at most 2000 bytes of valid UTF-8, and no NUL because PostgreSQL cannot
// store NUL.
func errorText(err error) any {
	if err == nil {
		return nil
	}
	text := err.Error()
	return strings.ReplaceAll(strings.ToValidUTF8(text[:min(len(text), 2000)], "?"), "\x00", "?")
}

// saveAwaitedEvents stores which events the operation waits for, each with the number of
// its unconfirmed pairs. It locks the rows in the order of their keys, as all
// transactions do, to avoid deadlocks.
func (l *Lease) saveAwaitedEvents(ctx context.Context, tx pgx.Tx, r *appsandbooks.Report) error {
	unconfirmed := map[string]int{} // by event
	if r.Unconfirmed > 0 {
		for o := range r.Problems() {
			if o.EventID != "" && o.Status == appsandbooks.OutcomeUnconfirmed {
				unconfirmed[o.EventID]++
			}
		}
	}
	// The slice must not be nil, because a nil slice is NULL in the query, not an empty
	// array.
	events := slices.AppendSeq([]string{}, maps.Keys(unconfirmed))
	slices.Sort(events)
	pairs := make([]int, len(events))
	for i, event := range events {
		pairs[i] = unconfirmed[event]
	}
	db := l.operations.db
	var batch pgx.Batch
	batch.Queue(db.sql(`
		DELETE FROM {schema}.awaited_events WHERE event IN (
			SELECT event FROM {schema}.awaited_events WHERE operation = $1 AND event <> ALL ($2) ORDER BY event FOR UPDATE)`),
		l.ID, events)
	if len(events) > 0 {
		batch.Queue(db.sql(`
			INSERT INTO {schema}.awaited_events AS a (event, operation, pairs, named)
			SELECT e.event, $1, e.pairs, coalesce((SELECT sum(w.items) FROM {schema}.wakeups w WHERE w.event = e.event), 0)
			FROM unnest($2::text[], $3::int[]) AS e(event, pairs) ORDER BY e.event
			ON CONFLICT (event) DO UPDATE SET named = excluded.named WHERE a.named <> excluded.named`),
			l.ID, events, pairs)
	}
	return tx.SendBatch(ctx, &batch).Close()
}
