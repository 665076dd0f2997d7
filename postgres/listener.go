package postgres

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// A listener receives what other processes announce with NOTIFY: stored wake-ups and
// pauses of the service. While its connection is down, it reads new wake-ups from the
// table.
type listener struct {
	db       *database
	wakeups  *Wakeups
	limiters *limiters

	delivered map[int64]time.Time // the ids of recent wake-ups, with the times of their delivery
	complete  time.Time           // all wake-ups stored before this time were delivered
}

func newListener(s *Store) *listener {
	return &listener{
		db: s.db, wakeups: s.wakeups, limiters: s.limiters,
		delivered: map[int64]time.Time{}, complete: time.Now(),
	}
}

// run receives announcements of other processes until the context ends. When the
// connection to the database breaks, run connects again after a random wait of at most
// five seconds.
func (l *listener) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.db.warn("the LISTEN connection failed; reading notifications every second until it works again", err)
		if time.Since(began) > time.Minute {
			failures = 0
		}
		again := time.Now().Add(rand.N(min(250*time.Millisecond<<min(failures, 5), 5*time.Second)))
		for time.Now().Before(again) && ctx.Err() == nil {
			l.readNew(ctx)
			_ = sleep(ctx, min(time.Second, max(time.Until(again), 0)))
		}
	}
}

// listen connects to the database and receives announcements of other processes until the
// connection breaks.
func (l *listener) listen(ctx context.Context) error {
	config := l.db.pool.Config().ConnConfig.Copy()
	config.RuntimeParams["application_name"] = "appsandbooks listen"
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(dial, "LISTEN "+pgx.Identifier{l.db.channel}.Sanitize()); err != nil {
		return err
	}
	l.readNew(ctx) // the listener missed what was announced before the LISTEN
	l.limiters.refresh()
	for {
		quiet, cancel := context.WithTimeout(ctx, 15*time.Second)
		n, err := conn.WaitForNotification(quiet)
		silent := quiet.Err() != nil
		cancel()
		switch {
		case err == nil:
			l.receive(ctx, n.Payload)
			l.complete = time.Now()
		case ctx.Err() != nil:
			return ctx.Err()
		case silent:
			// A query shows whether the connection was dropped without a FIN or RST.
			check, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := conn.Exec(check, "SELECT 1")
			cancel()
			if err != nil {
				return fmt.Errorf("the connection does not respond: %w", err)
			}
			l.complete = time.Now()
		default:
			return err
		}
	}
}

// receive handles the payload of one NOTIFY: "pause HASH MILLISECONDS" or
// "wakeup ID:HASH ID:HASH …", where HASH is the hashUnit of a unit.
func (l *listener) receive(ctx context.Context, payload string) {
	kind, rest, _ := strings.Cut(payload, " ")
	switch kind {
	case "pause":
		hash, text, _ := strings.Cut(rest, " ")
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
			l.limiters.pause(hash, time.Duration(ms)*time.Millisecond)
		}
	case "wakeup":
		if ids := l.relevant(rest); len(ids) > 0 {
			_ = l.read(ctx, `SELECT id, body FROM {schema}.wakeups WHERE id = ANY ($1) ORDER BY id`, ids)
		}
	}
}

// relevant returns the ids of the announced wake-ups whose units have clients in this
// process.
func (l *listener) relevant(announced string) (ids []int64) {
	l.wakeups.mu.Lock()
	defer l.wakeups.mu.Unlock()
	for word := range strings.FieldsSeq(announced) {
		number, hash, _ := strings.Cut(word, ":")
		if id, err := strconv.ParseInt(number, 10, 64); err == nil && l.wakeups.units[hash] != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// readNew reads and delivers the wake-ups that were stored after the time l.complete, for
// the units that have clients in this process.
func (l *listener) readNew(ctx context.Context) {
	uids := l.wakeups.activeUnits()
	began := time.Now()
	// A wake-up becomes visible at its commit, a little after its created_at.
	since := began.Sub(l.complete) + 5*time.Second
	if len(uids) == 0 || l.read(ctx, `
		SELECT id, body FROM {schema}.wakeups WHERE created_at > clock_timestamp() - $1::interval AND unit = ANY ($2) ORDER BY id`,
		interval(since), uids) == nil {
		l.complete = began
	}
}

// read runs a query for wake-ups and delivers each wake-up that was not delivered in this
// process yet.
func (l *listener) read(ctx context.Context, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := l.db.pool.Query(ctx, l.db.sql(query), args...)
	if err != nil {
		return err
	}
	type row struct {
		ID   int64
		Body string
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return err
	}
	now := time.Now()
	if len(l.delivered) > 10_000 {
		maps.DeleteFunc(l.delivered, func(_ int64, at time.Time) bool { return now.Sub(at) > time.Minute })
	}
	for _, x := range found {
		if _, ok := l.delivered[x.ID]; ok {
			continue
		}
		l.delivered[x.ID] = now
		if n, err := appsandbooks.ParseNotification([]byte(x.Body)); err == nil {
			l.wakeups.deliver(n)
		}
	}
	return nil
}
