package postgres

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
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
