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

// listen hears what other processes spread.
func (s *Store) listen(ctx context.Context) {
	l := &listening{Store: s, seen: map[int64]time.Time{}, upTo: time.Now()}
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.warn("listening; looking every second instead", err)
		if time.Since(began) > time.Minute {
			failures = 0
		}
		again := time.Now().Add(rand.N(min(250*time.Millisecond<<min(failures, 5), 5*time.Second)))
		for time.Now().Before(again) && ctx.Err() == nil {
			l.look(ctx)
			_ = pause(ctx, min(time.Second, max(time.Until(again), 0)))
		}
	}
}

type listening struct {
	*Store
	seen map[int64]time.Time // hints that were handed over lately
	upTo time.Time           // everything before was seen
}

// session listens until the connection breaks.
func (l *listening) session(ctx context.Context) error {
	config := l.pool.Config().ConnConfig.Copy()
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
	if _, err := conn.Exec(dial, "LISTEN "+pgx.Identifier{l.channel}.Sanitize()); err != nil {
		return err
	}
	l.look(ctx) // what came before we listened
	l.resyncPaces()
	for {
		// A connection that died without a word is found out by asking.
		quiet, cancel := context.WithTimeout(ctx, 15*time.Second)
		n, err := conn.WaitForNotification(quiet)
		silent := quiet.Err() != nil
		cancel()
		switch {
		case err == nil:
			l.heard(ctx, n.Payload)
			l.upTo = time.Now()
		case ctx.Err() != nil:
			return ctx.Err()
		case silent:
			ask, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := conn.Exec(ask, "SELECT 1")
			cancel()
			if err != nil {
				return fmt.Errorf("the connection is dead: %w", err)
			}
			l.upTo = time.Now()
		default:
			return err
		}
	}
}

// heard takes in the payload of a NOTIFY.
func (l *listening) heard(ctx context.Context, payload string) {
	kind, rest, _ := strings.Cut(payload, " ")
	switch kind {
	case "p":
		id, text, _ := strings.Cut(rest, " ")
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
			l.paused(id, time.Duration(ms)*time.Millisecond)
		}
	case "h":
		var ids []int64
		l.mu.Lock()
		for word := range strings.FieldsSeq(rest) {
			number, unit, _ := strings.Cut(word, ":")
			if id, err := strconv.ParseInt(number, 10, 64); err == nil && l.watches[unit] != nil {
				ids = append(ids, id)
			}
		}
		l.mu.Unlock()
		if len(ids) > 0 {
			_ = l.read(ctx, `SELECT id, body FROM {schema}.hints WHERE id = ANY ($1) ORDER BY id`, ids)
		}
	}
}

// look reads what has come since all was seen.
func (l *listening) look(ctx context.Context) {
	uids := l.watched()
	began := time.Now()
	// A hint is seen when it is committed, a little after the time in it.
	since := began.Sub(l.upTo) + 5*time.Second
	if len(uids) == 0 || l.read(ctx, `
		SELECT id, body FROM {schema}.hints WHERE at > clock_timestamp() - $1::interval AND uid = ANY ($2) ORDER BY id`,
		seconds(since), uids) == nil {
		l.upTo = began
	}
}

func (l *listening) read(ctx context.Context, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := l.pool.Query(ctx, l.sql(query), args...)
	if err != nil {
		return err
	}
	type row struct {
		ID   int64
		Body string
	}
	hints, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return err
	}
	now := time.Now()
	if len(l.seen) > 10_000 {
		maps.DeleteFunc(l.seen, func(_ int64, at time.Time) bool { return now.Sub(at) > time.Minute })
	}
	for _, h := range hints {
		if _, ok := l.seen[h.ID]; ok {
			continue
		}
		l.seen[h.ID] = now
		n, err := appsandbooks.ParseNotification([]byte(h.Body))
		if err != nil {
			continue
		}
		for _, c := range l.watching(n.UID) {
			c.Notify(n)
		}
	}
	return nil
}
