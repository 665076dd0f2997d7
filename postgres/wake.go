package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/appsandbooks/appsandbooks"
)

// hint is a notification on its way to the other processes.
type hint struct {
	key, uid, event, body string
	elements              int
}

// Notify is for [appsandbooks.NotificationHooks].Notify: it brings the
// notification to those who wait for its event, here and on other machines, as
// long as [Store.Run] runs. It returns at once. When more come than the
// database takes, hints are dropped: whoever waits then learns at the next look.
func (s *Store) Notify(n *appsandbooks.Notification) {
	if n == nil || n.EventID() == "" {
		return
	}
	for _, c := range s.watching(n.UID) {
		c.Notify(n)
	}
	body, err := json.Marshal(n)
	if err != nil {
		return
	}
	h := hint{key: n.Key(), uid: n.UID, event: n.EventID(), body: string(body), elements: elements(n)}
	select {
	case s.hints <- h:
	default:
		s.opts.logger.Warn("appsandbooks/postgres: too many notifications, a hint was dropped")
	}
}

func elements(n *appsandbooks.Notification) int {
	switch {
	case n.AssetManagement != nil:
		return len(n.AssetManagement.Assignments)
	case n.UserManagement != nil:
		return len(n.UserManagement.Users)
	case n.SubscriptionManagement != nil:
		return len(n.SubscriptionManagement.Assignments)
	}
	return 0
}

// watch is the clients of one unit in this process that somebody waits with.
type watch struct {
	uid     string
	clients map[*appsandbooks.Client]int
}

// Watch hands the notifications for a unit to one of its clients, whatever
// machine they reach, until stop is called. Resume does so for operations.
func (s *Store) Watch(uid string, client *appsandbooks.Client) (stop func()) {
	id := short(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watches[id]
	if w == nil {
		w = &watch{uid, map[*appsandbooks.Client]int{}}
		s.watches[id] = w
	}
	w.clients[client]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.clients[client]--; w.clients[client] == 0 {
			delete(w.clients, client)
		}
		if len(w.clients) == 0 {
			delete(s.watches, id)
		}
	})
}

func (s *Store) watching(uid string) []*appsandbooks.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watches[short(uid)]
	if w == nil {
		return nil
	}
	return slices.Collect(maps.Keys(w.clients))
}

// watched are the units of all watches.
func (s *Store) watched() (uids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		uids = append(uids, w.uid)
	}
	return uids
}

// Run spreads notifications, listens to those that other machines receive, and
// prunes, until the context ends; it then returns nil. One call for each
// process. It holds one connection for LISTEN beside the pool; while that is down,
// it looks for notifications itself, every second.
func (s *Store) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { s.spread(ctx) })
	group.Go(func() { s.listen(ctx) })
	group.Go(func() {
		for pause(ctx, 5*time.Minute+rand.N(10*time.Minute)) == nil {
			if err := s.Prune(ctx); err != nil && ctx.Err() == nil {
				s.warn("pruning", err)
			}
		}
	})
	group.Wait()
	return nil
}

func (s *Store) warn(what string, err error) {
	s.opts.logger.Warn("appsandbooks/postgres: "+what, slog.Any("error", err))
}

// spread writes hints, as many at a time as have come while the ones before
// were written: NOTIFY takes a lock of the whole database when it commits, so
// it is better not to commit for each.
func (s *Store) spread(ctx context.Context) {
	const most = 256
	batch := make([]hint, 0, most)
	for {
		batch = batch[:0]
		select {
		case h := <-s.hints:
			batch = append(batch, h)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(batch) < most; {
			select {
			case h := <-s.hints:
				batch = append(batch, h)
			default:
				more = false
			}
		}
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			ready, err := s.writeHints(ctx, batch)
			if err == nil {
				if len(ready) > 0 && s.opts.wake != nil {
					s.opts.wake(ctx, ready)
				}
				break
			}
			if ctx.Err() != nil {
				return
			}
			s.warn("spreading notifications", err)
			if pause(ctx, wait) != nil {
				return
			}
		}
	}
}

// writeHints stores notifications, tells the listeners, and returns the operations
// of which everything awaited has been named now.
func (s *Store) writeHints(ctx context.Context, batch []hint) (ready []string, err error) {
	// One row for a key: the service may have delivered twice in a moment.
	slices.SortFunc(batch, func(a, b hint) int { return strings.Compare(a.key, b.key) })
	batch = slices.CompactFunc(batch, func(a, b hint) bool { return a.key == b.key })
	n := len(batch)
	keys, uids, shorts, events, bodies := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	counts := make([]int, n)
	for i, h := range batch {
		keys[i], uids[i], shorts[i], events[i], bodies[i], counts[i] = h.key, h.uid, short(h.uid), h.event, h.body, h.elements
	}
	var b pgx.Batch // without BEGIN it is one transaction
	b.Queue(s.sql(`SELECT FROM {schema}.awaited WHERE event = ANY ($1) ORDER BY event FOR NO KEY UPDATE`), events)
	b.Queue(s.sql(`
		WITH new AS (
			INSERT INTO {schema}.hints (key, uid, event, elements, body)
			SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[])
			ON CONFLICT (key) DO NOTHING RETURNING id, key, event, elements),
		named AS (
			UPDATE {schema}.awaited a SET named = a.named + n.elements
			FROM (SELECT event, sum(elements) AS elements FROM new GROUP BY event) n
			WHERE a.event = n.event),
		told AS (
			SELECT new.id || ':' || s.short AS what, (row_number() OVER (ORDER BY new.id) - 1) / 150 AS chunk
			FROM new JOIN unnest($1::text[], $6::text[]) AS s(key, short) USING (key))
		SELECT pg_notify($7, 'h ' || string_agg(what, ' ')) FROM told GROUP BY chunk`),
		keys, uids, events, counts, bodies, shorts, s.channel)
	b.Queue(s.sql(`
		SELECT DISTINCT operation FROM {schema}.awaited a WHERE event = ANY ($1) AND NOT EXISTS (
			SELECT FROM {schema}.awaited o WHERE o.operation = a.operation AND o.named < o.pairs)`), events)
	results := s.pool.SendBatch(ctx, &b)
	defer func() { _ = results.Close() }()
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	if ready, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, err
	}
	return ready, results.Close()
}

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
