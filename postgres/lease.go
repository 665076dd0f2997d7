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

// Claim is the right to carry an operation. It is renewed in the background
// until it is released.
type Claim struct {
	ID      string
	Unit    string // the uId given to Put
	Problem string // the error of the last step, or empty

	store  *Store
	fence  int64
	saved  []byte
	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  chan struct{}
	watch  func() // ends it
}

// Claim takes an operation for this process. While another has it, that is
// [ErrHeld]; when that other one is dead, it is over after the lease. An
// operation that is at its end is [ErrFinished].
func (s *Store) Claim(ctx context.Context, id string) (*Claim, error) {
	c, err := s.claim(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("postgres: operation %s: %w", id, err)
	}
	return c, nil
}

func (s *Store) claim(ctx context.Context, id string) (*Claim, error) {
	c := &Claim{ID: id, store: s, ended: make(chan struct{})}
	var now time.Time
	before := time.Now()
	err := s.pool.QueryRow(ctx, s.sql(`
		UPDATE {schema}.operations SET fence = fence + 1, leased_until = clock_timestamp() + $2::interval
		WHERE id = $1 AND finished_at IS NULL AND (leased_until IS NULL OR leased_until < clock_timestamp())
		RETURNING fence, unit, coalesce(problem, ''), clock_timestamp()`), id, seconds(s.opts.lease)).
		Scan(&c.fence, &c.Unit, &c.Problem, &now)
	after := time.Now()
	if errors.Is(err, pgx.ErrNoRows) {
		var finished bool
		err = s.pool.QueryRow(ctx, s.sql(`SELECT finished_at IS NOT NULL FROM {schema}.operations WHERE id = $1`), id).Scan(&finished)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil, ErrUnknown
		case err == nil && finished:
			return nil, ErrFinished
		case err == nil:
			return nil, ErrHeld
		}
	}
	if err != nil {
		return nil, err
	}
	// Another statement, and so another snapshot: it sees everything that an
	// earlier holder wrote, because a later write of it cannot succeed any more.
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	if err = checkClock(before, now, after); err == nil {
		c.saved, err = s.load(ctx, s.pool, id)
	}
	if err != nil {
		c.cancel(err)
		close(c.ended)
		_ = c.free(ctx)
		return nil, err
	}
	go c.renew()
	return c, nil
}

// free gives an unused claim back.
func (c *Claim) free(ctx context.Context) error {
	_, err := c.store.pool.Exec(ctx, c.store.sql(`
		UPDATE {schema}.operations SET leased_until = NULL WHERE id = $1 AND fence = $2`), c.ID, c.fence)
	return err
}

// renew keeps the lease until the claim ends, or is lost.
func (c *Claim) renew() {
	defer close(c.ended)
	lease := c.store.opts.lease
	valid := time.Now().Add(lease)
	for pause(c.ctx, lease/3) == nil {
		began := time.Now()
		ctx, cancel := context.WithTimeout(c.ctx, lease/3)
		tag, err := c.store.pool.Exec(ctx, c.store.sql(`
			UPDATE {schema}.operations SET leased_until = clock_timestamp() + $3::interval
			WHERE id = $1 AND fence = $2`), c.ID, c.fence, seconds(lease))
		cancel()
		switch {
		case err == nil && tag.RowsAffected() == 0:
			c.cancel(ErrLost)
		case err == nil:
			valid = began.Add(lease)
		case time.Now().After(valid):
			c.cancel(fmt.Errorf("%w: it could not be renewed: %w", ErrLost, err))
		}
	}
}

// Context ends with the claim, and when the claim is lost: carry the operation with it.
func (c *Claim) Context() context.Context { return c.ctx }

// Resume takes the operation up, with what notifications have told since it was
// left. The client must be the unit's; it gets the notifications for it until
// the claim is released.
func (c *Claim) Resume(client *appsandbooks.Client, opts ...appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	if c.watch == nil {
		c.watch = c.store.Watch(c.Unit, client) // before reading, so that none is missed
	}
	rows, err := c.store.pool.Query(c.ctx, c.store.sql(`
		SELECT h.body FROM {schema}.hints h JOIN {schema}.awaited a USING (event) WHERE a.operation = $1 ORDER BY h.id`), c.ID)
	if err != nil {
		return nil, fmt.Errorf("postgres: operation %s: %w", c.ID, err)
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("postgres: operation %s: %w", c.ID, err)
	}
	op, err := client.Resume(c.saved, append(opts, appsandbooks.WithContinuedJournal(c.write))...)
	if err != nil {
		return nil, err
	}
	for _, body := range bodies {
		if n, err := appsandbooks.ParseNotification([]byte(body)); err == nil {
			op.Notify(n)
		}
	}
	return op, nil
}

// write is the operation's journal: one statement, one commit. It also renews
// the lease. That the lease has expired does not matter as long as nobody else
// took the operation.
func (c *Claim) write(ctx context.Context, entry []byte) error {
	if entry[0] != '[' {
		return c.replace(ctx, entry)
	}
	ctx, cancel := context.WithTimeout(ctx, c.store.opts.lease)
	defer cancel()
	tag, err := c.store.pool.Exec(ctx, c.store.sql(`
		WITH held AS (
			UPDATE {schema}.operations SET
				last_entry = last_entry + 1, appended_bytes = appended_bytes + $3,
				leased_until = greatest(leased_until, clock_timestamp() + $4::interval)
			WHERE id = $1 AND fence = $2 RETURNING last_entry)
		INSERT INTO {schema}.journal (operation, entry, line) SELECT $1, last_entry, $5 FROM held`),
		c.ID, c.fence, len(entry), seconds(c.store.opts.lease), string(entry))
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrLost
		c.cancel(err)
	}
	return err
}

// replace makes a whole operation the only entry.
func (c *Claim) replace(ctx context.Context, entry []byte) error {
	return pgx.BeginFunc(ctx, c.store.pool, func(tx pgx.Tx) error { return c.replaceIn(ctx, tx, entry) })
}

func (c *Claim) replaceIn(ctx context.Context, tx pgx.Tx, entry []byte) error {
	var last int64
	err := tx.QueryRow(ctx, c.store.sql(`
		UPDATE {schema}.operations SET last_entry = last_entry + 1, appended_bytes = 0, snapshot_bytes = $3
		WHERE id = $1 AND fence = $2 RETURNING last_entry`), c.ID, c.fence, len(entry)).Scan(&last)
	if errors.Is(err, pgx.ErrNoRows) {
		c.cancel(ErrLost)
		return ErrLost
	}
	if err != nil {
		return err
	}
	var batch pgx.Batch
	batch.Queue(c.store.sql(`DELETE FROM {schema}.journal WHERE operation = $1`), c.ID)
	batch.Queue(c.store.sql(`INSERT INTO {schema}.journal (operation, entry, line) VALUES ($1, $2, $3)`), c.ID, last, string(entry))
	return tx.SendBatch(ctx, &batch).Close()
}

// compactAbove is how much a journal may grow before it is worth replacing by
// the operation as it is: this much, and the size of the operation.
const compactAbove = 64 << 10

// Release gives the operation back after a Step (or a Wait), with what that
// returned: when the next step is due, and its error. The operation is
// finished when the time is zero and there is no error. Of the error, the text is kept.
//
// Without an operation (nil), when it could not be resumed, only the claim ends.
//
// Release is called once. What it cannot write to the database is not lost: the
// journal has it, and the lease ends by itself.
func (c *Claim) Release(ctx context.Context, op *appsandbooks.Operation, next time.Time, failure error) error {
	c.end()
	err := pgx.BeginFunc(ctx, c.store.pool, func(tx pgx.Tx) error { return c.release(ctx, tx, op, next, failure) })
	if err != nil {
		return fmt.Errorf("postgres: releasing operation %s: %w", c.ID, err)
	}
	return nil
}

// ReleaseTx is Release as part of a transaction, with all that the end of a
// step means to the vendor.
func (c *Claim) ReleaseTx(ctx context.Context, tx pgx.Tx, op *appsandbooks.Operation, next time.Time, failure error) error {
	c.end()
	if err := c.release(ctx, tx, op, next, failure); err != nil {
		return fmt.Errorf("postgres: releasing operation %s: %w", c.ID, err)
	}
	return nil
}

func (c *Claim) end() {
	c.cancel(nil)
	<-c.ended
	if c.watch != nil {
		c.watch()
		c.watch = nil
	}
}

func (c *Claim) release(ctx context.Context, tx pgx.Tx, op *appsandbooks.Operation, next time.Time, failure error) error {
	s := c.store
	if op == nil {
		tag, err := tx.Exec(ctx, s.sql(`
			UPDATE {schema}.operations SET fence = fence + 1, leased_until = NULL, problem = $3
			WHERE id = $1 AND fence = $2`), c.ID, c.fence, problem(failure))
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrLost
		}
		return err
	}
	r, p := op.Report(), op.Progress()
	finished := next.IsZero() && failure == nil
	state := "planned"
	var wait any
	switch {
	case finished:
		state = "done"
	case p.Accepted > 0:
		state = "submitted"
	}
	if !next.IsZero() {
		wait = seconds(max(0, time.Until(next)))
	}
	var appended, snapshot int64
	err := tx.QueryRow(ctx, s.sql(`
		UPDATE {schema}.operations SET
			fence = fence + 1, leased_until = NULL, state = $3, requests = $4, accepted = $5,
			pairs = $6, succeeded = $7, failed = $8, unconfirmed = $9,
			due_at = clock_timestamp() + $10::interval, problem = $11,
			finished_at = CASE WHEN $12 THEN clock_timestamp() END
		WHERE id = $1 AND fence = $2 RETURNING appended_bytes, snapshot_bytes`),
		c.ID, c.fence, state, p.Requests, p.Accepted, r.Total, r.Succeeded, r.Failed, r.Unconfirmed,
		wait, problem(failure), finished).Scan(&appended, &snapshot)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrLost
	}
	if err != nil {
		return err
	}
	c.fence++ // what the operation may still write is refused
	if appended > compactAbove && appended > snapshot {
		saved, err := op.MarshalJSON()
		if err == nil {
			err = c.replaceIn(ctx, tx, append(saved, '\n'))
		}
		if err != nil {
			return err
		}
	}
	return s.await(ctx, tx, c.ID, r)
}

// problem is the text of an error, or NULL.
func problem(err error) any {
	if err == nil {
		return nil
	}
	text := err.Error()
	return strings.ReplaceAll(strings.ToValidUTF8(text[:min(len(text), 2000)], "?"), "\x00", "?")
}

// await writes down which events an operation waits for. Rows are taken in the
// order of their keys, as everywhere, so that nobody waits in a circle.
func (s *Store) await(ctx context.Context, tx pgx.Tx, operation string, r *appsandbooks.Report) error {
	open := map[string]int{}
	if r.Unconfirmed > 0 {
		for o := range r.Problems() {
			if o.EventID != "" && o.Status == appsandbooks.OutcomeUnconfirmed {
				open[o.EventID]++
			}
		}
	}
	events := slices.AppendSeq([]string{}, maps.Keys(open)) // not nil, which would be NULL
	slices.Sort(events)
	pairs := make([]int, len(events))
	for i, e := range events {
		pairs[i] = open[e]
	}
	var batch pgx.Batch
	batch.Queue(s.sql(`
		DELETE FROM {schema}.awaited WHERE event IN (
			SELECT event FROM {schema}.awaited WHERE operation = $1 AND event <> ALL ($2) ORDER BY event FOR UPDATE)`),
		operation, events)
	if len(events) > 0 {
		batch.Queue(s.sql(`
			INSERT INTO {schema}.awaited (event, operation, pairs, named)
			SELECT w.event, $1, w.pairs, coalesce((SELECT sum(h.elements) FROM {schema}.hints h WHERE h.event = w.event), 0)
			FROM unnest($2::text[], $3::int[]) AS w(event, pairs) ORDER BY w.event
			ON CONFLICT (event) DO UPDATE SET named = excluded.named WHERE awaited.named <> excluded.named`),
			operation, events, pairs)
	}
	return tx.SendBatch(ctx, &batch).Close()
}
