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

// Wakeups passes the notifications that one process receives to the operations that
// wait for them in other processes. [Store.Wakeups] returns it. It works while
// [Store.Run] runs.
//
// A wake-up can get lost. An operation then continues when the next poll of its
// event is due.
type Wakeups struct {
	db    *database
	ready func(ctx context.Context, operations []string) // nil without WithReadyFunc
	queue chan wakeup                                    // to be stored by Store.Run

	mu    sync.Mutex
	units map[string]*unitClients // by hashUnit
}

// queueSize is the largest number of wake-ups that wait in memory until Store.Run stores
// them.
const queueSize = 4096

func newWakeups(db *database, ready func(context.Context, []string)) *Wakeups {
	return &Wakeups{db: db, ready: ready, queue: make(chan wakeup, queueSize), units: map[string]*unitClients{}}
}

// A wakeup is a notification to be stored for the other processes.
type wakeup struct {
	key, unit, event, body string
	items                  int // the number of pairs or users that the notification names
}

// Notify passes a notification to the clients that were given to [Wakeups.AddClient], in
// this process and in the others. Pass it to [appsandbooks.WithNotify]. Notify returns at
// once: [Store.Run] stores the notification for the other processes. Notify ignores
// notifications that belong to no event. If 4096 notifications wait to be stored, further
// ones are not passed on to the other processes, and a warning is logged.
func (w *Wakeups) Notify(n *appsandbooks.Notification) {
	if n == nil || n.EventID() == "" {
		return
	}
	w.deliver(n)
	body, err := json.Marshal(n)
	if err != nil {
		return
	}
	queued := wakeup{key: n.Key(), unit: n.UID, event: n.EventID(), body: string(body), items: itemCount(n)}
	select {
	case w.queue <- queued:
	default:
		w.db.logger.Warn("postgres: too many notifications wait to be stored; one is not passed on to other processes")
	}
}

// itemCount returns the number of pairs or users that a notification names.
func itemCount(n *appsandbooks.Notification) int {
	count := 0
	for range n.Elements() {
		count++
	}
	return count
}

// unitClients are the clients of one unit that receive notifications in this process.
type unitClients struct {
	uid   string
	count map[*appsandbooks.Client]int // by client: calls of AddClient minus calls of remove
}

// AddClient passes the notifications of the unit with the given uId to
// [appsandbooks.Client.Notify] of the client, whichever process receives them, until
// remove is called. [Lease.Resume] does this for operations, so call AddClient only for
// other uses of a client, such as StatusService.Wait.
func (w *Wakeups) AddClient(uid string, client *appsandbooks.Client) (remove func()) {
	hash := hashUnit(uid)
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.units[hash]
	if u == nil {
		u = &unitClients{uid, map[*appsandbooks.Client]int{}}
		w.units[hash] = u
	}
	u.count[client]++
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if u.count[client]--; u.count[client] == 0 {
			delete(u.count, client)
		}
		if len(u.count) == 0 {
			delete(w.units, hash)
		}
	})
}

// deliver passes a notification to the clients of its unit in this process.
func (w *Wakeups) deliver(n *appsandbooks.Notification) {
	var clients []*appsandbooks.Client
	w.mu.Lock()
	if u := w.units[hashUnit(n.UID)]; u != nil {
		clients = slices.Collect(maps.Keys(u.count))
	}
	w.mu.Unlock()
	for _, c := range clients {
		c.Notify(n)
	}
}

// activeUnits returns the uIds of the units that have clients in this process.
func (w *Wakeups) activeUnits() (uids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.units {
		uids = append(uids, u.uid)
	}
	return uids
}

// storeQueued stores wake-ups until the context ends. One transaction stores all
// wake-ups that were queued while the previous transaction ran. A commit with NOTIFY
// takes a lock on the whole database, so fewer commits are better.
func (w *Wakeups) storeQueued(ctx context.Context) {
	for {
		batch := w.nextBatch(ctx)
		if batch == nil {
			return
		}
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			ready, err := w.store(ctx, batch)
			if err == nil {
				if len(ready) > 0 && w.ready != nil {
					w.ready(ctx, ready)
				}
				break
			}
			if ctx.Err() != nil {
				return
			}
			w.db.warn("storing notifications failed; trying again", err)
			if sleep(ctx, wait) != nil {
				return
			}
		}
	}
}

// nextBatch waits for a wake-up and returns it together with the others in the queue, at
// most 256. It returns nil when the context ends.
func (w *Wakeups) nextBatch(ctx context.Context) []wakeup {
	const maxBatch = 256
	var batch []wakeup
	select {
	case first := <-w.queue:
		batch = append(batch, first)
	case <-ctx.Done():
		return nil
	}
	for len(batch) < maxBatch {
		select {
		case next := <-w.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// store stores wake-ups and sends their ids to the other processes with NOTIFY. It
// returns the operations for which notifications have now named all awaited pairs.
func (w *Wakeups) store(ctx context.Context, batch []wakeup) (ready []string, err error) {
	// The batch gets one row for each key, because the service may have delivered a
	// notification twice. It is sorted, so that rows are locked in the order of their
	// keys.
	slices.SortFunc(batch, func(a, b wakeup) int { return strings.Compare(a.key, b.key) })
	batch = slices.CompactFunc(batch, func(a, b wakeup) bool { return a.key == b.key })
	n := len(batch)
	keys, units, hashes, events, bodies := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	items := make([]int, n)
	for i, x := range batch {
		keys[i], units[i], hashes[i], events[i], bodies[i], items[i] = x.key, x.unit, hashUnit(x.unit), x.event, x.body, x.items
	}
	var b pgx.Batch // PostgreSQL runs the batch as one transaction, because it contains no BEGIN
	b.Queue(w.db.sql(`SELECT FROM {schema}.awaited_events WHERE event = ANY ($1) ORDER BY event FOR NO KEY UPDATE`), events)
	// The payload of one NOTIFY has room for about 150 ids of wake-ups.
	b.Queue(w.db.sql(`
		WITH new AS (
			INSERT INTO {schema}.wakeups (key, unit, event, items, body)
			SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[])
			ON CONFLICT (key) DO NOTHING RETURNING id, key, event, items),
		counted AS (
			UPDATE {schema}.awaited_events a SET named = a.named + n.items
			FROM (SELECT event, sum(items) AS items FROM new GROUP BY event) n
			WHERE a.event = n.event),
		announced AS (
			SELECT new.id || ':' || h.hash AS id_and_unit, (row_number() OVER (ORDER BY new.id) - 1) / 150 AS chunk
			FROM new JOIN unnest($1::text[], $6::text[]) AS h(key, hash) USING (key))
		SELECT pg_notify($7, 'wakeup ' || string_agg(id_and_unit, ' ')) FROM announced GROUP BY chunk`),
		keys, units, events, items, bodies, hashes, w.db.channel)
	b.Queue(w.db.sql(`
		SELECT DISTINCT operation FROM {schema}.awaited_events a WHERE event = ANY ($1) AND NOT EXISTS (
			SELECT FROM {schema}.awaited_events o WHERE o.operation = a.operation AND o.named < o.pairs)`), events)
	results := w.db.pool.SendBatch(ctx, &b)
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
