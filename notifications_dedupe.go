package appsandbooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Deduper remembers which notifications are done, so that each is handed to
// the hooks once although the service may deliver it several times.
// [NewDeduper] makes one in memory. Machines that receive notifications of the
// same organizational units share one: a table or a cache with two kinds of
// entries, claims and done.
type Deduper interface {
	// Begin claims a notification. It returns true when the caller is to handle
	// it and call End, and false when it has been done. While another caller
	// has the claim, Begin waits or fails; it must not return false. An error
	// makes the handler answer 503, and the service delivers again later.
	//
	// The claim of a machine that died must end by itself, a little later than
	// the hook timeout ([WithNotificationTimeouts]).
	//
	// The key has at most 128 bytes: "uId/notificationId", or a digest of it.
	Begin(ctx context.Context, key string) (first bool, err error)

	// End ends the caller's claim. Done tells whether the notification was
	// taken over: it is then remembered for 15 minutes or longer, which is far
	// more than the five over which the service delivers. Otherwise it is
	// forgotten.
	End(ctx context.Context, key string, done bool) error
}

// Key identifies a notification among those of all units: it is what a
// [Deduper] is given.
func (n *Notification) Key() string { return n.dedupeKey() }

func (n *Notification) dedupeKey() string {
	key := n.UID + "/" + n.ID
	if len(key) > 128 {
		sum := sha256.Sum256([]byte(key))
		key = hex.EncodeToString(sum[:])
	}
	return key
}

const (
	dedupeTime    = time.Hour
	dedupeEntries = 1 << 17 // about 12 MB
)

// NewDeduper makes a deduper in memory. It remembers the last 131,072
// notifications for an hour each.
func NewDeduper() Deduper { return newMemoryDeduper(dedupeEntries, dedupeTime) }

// memoryDeduper keeps a digest for each notification that is done.
type memoryDeduper struct {
	entries int
	ttl     time.Duration

	mu     sync.Mutex
	claims map[dedupeID]chan struct{} // closed by End; nil while nobody waits
	done   map[dedupeID]struct{}
	order  []dedupeEntry // a ring of those done, oldest first from head
	head   int
}

type dedupeID [16]byte

type dedupeEntry struct {
	id    dedupeID
	until time.Time
}

func newMemoryDeduper(entries int, ttl time.Duration) *memoryDeduper {
	return &memoryDeduper{
		entries: entries, ttl: ttl,
		claims: map[dedupeID]chan struct{}{}, done: map[dedupeID]struct{}{},
	}
}

func newDedupeID(key string) dedupeID {
	sum := sha256.Sum256([]byte(key))
	return dedupeID(sum[:16])
}

// Begin implements [Deduper]. It waits while another caller has the claim.
func (d *memoryDeduper) Begin(ctx context.Context, key string) (bool, error) {
	id := newDedupeID(key)
	for {
		d.mu.Lock()
		d.expire(time.Now())
		_, done := d.done[id]
		claim, claimed := d.claims[id]
		switch {
		case done:
		case !claimed:
			d.claims[id] = nil
		case claim == nil:
			claim = make(chan struct{})
			d.claims[id] = claim
		}
		d.mu.Unlock()
		switch {
		case done:
			return false, nil
		case !claimed:
			return true, nil
		}
		select {
		case <-claim:
		case <-ctx.Done():
			return false, fmt.Errorf("another delivery is being handled: %w", contextError(ctx))
		}
	}
}

// End implements [Deduper].
func (d *memoryDeduper) End(_ context.Context, key string, done bool) error {
	id := newDedupeID(key)
	d.mu.Lock()
	defer d.mu.Unlock()
	if claim := d.claims[id]; claim != nil {
		close(claim)
	}
	delete(d.claims, id)
	if !done {
		return nil
	}
	now := time.Now()
	d.expire(now)
	if _, ok := d.done[id]; ok {
		return nil
	}
	d.done[id] = struct{}{}
	d.push(dedupeEntry{id, now.Add(d.ttl)})
	return nil
}

// expire forgets what is too old. The lock is held.
func (d *memoryDeduper) expire(now time.Time) {
	for len(d.done) > 0 && now.After(d.order[d.head].until) {
		d.pop()
	}
}

// pop forgets the oldest. The lock is held.
func (d *memoryDeduper) pop() {
	delete(d.done, d.order[d.head].id)
	d.order[d.head] = dedupeEntry{}
	d.head = (d.head + 1) % len(d.order)
}

// push adds an entry that is in done already. The lock is held.
func (d *memoryDeduper) push(e dedupeEntry) {
	n := len(d.done) - 1 // in the ring
	switch {
	case n == d.entries:
		d.pop()
		n--
	case n == len(d.order): // grow, the oldest first
		order := make([]dedupeEntry, min(d.entries, max(64, 2*n)))
		copied := copy(order, d.order[d.head:])
		copy(order[copied:], d.order[:d.head])
		d.order, d.head = order, 0
	}
	d.order[(d.head+n)%len(d.order)] = e
}
