package appsandbooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Deduper remembers which notifications the hook has handled, so that a handler calls
// the hook once for each notification, although the service may deliver it several
// times. [NewDeduper] returns a Deduper that works in memory. Machines that receive
// notifications of the same organizational units must share one, for example a table or
// a cache with two kinds of entries: claims, and handled notifications.
type Deduper interface {
	// Begin claims a notification. It returns true if the caller must handle the
	// notification and then call End, and false if the notification was handled before.
	// While another caller has the claim, Begin waits or returns an error; it must not
	// return false. After an error the handler answers 503, and the service delivers the
	// notification again.
	//
	// If a machine crashes, its claims must end by themselves, a little later than the
	// hook timeout ([WithNotificationTimeouts]).
	//
	// The key has at most 128 bytes: "uId/notificationId", or a digest of it.
	Begin(ctx context.Context, key string) (first bool, err error)

	// End ends the caller's claim. If done is true, the hook has accepted the
	// notification, and the Deduper must remember it for at least 15 minutes. (The
	// service makes its deliveries within five minutes.) If done is false, the Deduper
	// forgets the notification, and the next Begin returns true.
	End(ctx context.Context, key string, done bool) error
}

// Key returns the key by which a [Deduper] knows the notification. It is different for
// each notification, also across organizational units, and has at most 128 bytes.
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
	defaultDedupeTime    = time.Hour
	defaultDedupeEntries = 1 << 17 // they need about 12 MB
)

// NewDeduper returns a Deduper that works in memory. It remembers each notification for
// an hour, and at most the last 131,072 notifications.
func NewDeduper() Deduper { return newMemoryDeduper(defaultDedupeEntries, defaultDedupeTime) }

// memoryDeduper stores a digest of the key of each handled notification.
type memoryDeduper struct {
	maxEntries int
	ttl        time.Duration

	mu sync.Mutex
	// claims has the claims in progress. The channel of a claim is nil until another
	// caller waits for the claim. End closes the channel.
	claims  map[dedupeID]chan struct{}
	handled map[dedupeID]struct{}
	order   []dedupeEntry // ring buffer with an entry for each notification in handled
	head    int           // index of the oldest entry in the ring buffer order
}

// dedupeID is the first half of the SHA-256 of a key.
type dedupeID [16]byte

// dedupeEntry is a handled notification and the time after which it is forgotten.
type dedupeEntry struct {
	id    dedupeID
	until time.Time
}

func newMemoryDeduper(entries int, ttl time.Duration) *memoryDeduper {
	return &memoryDeduper{
		maxEntries: entries, ttl: ttl,
		claims: map[dedupeID]chan struct{}{}, handled: map[dedupeID]struct{}{},
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
		_, handled := d.handled[id]
		claim, claimed := d.claims[id]
		switch {
		case handled:
		case !claimed:
			d.claims[id] = nil
		case claim == nil:
			claim = make(chan struct{})
			d.claims[id] = claim
		}
		d.mu.Unlock()
		switch {
		case handled:
			return false, nil
		case !claimed:
			return true, nil
		}
		select {
		case <-claim:
		case <-ctx.Done():
			return false, fmt.Errorf("another delivery of the notification is being handled: %w", contextError(ctx))
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
	if _, ok := d.handled[id]; ok {
		return nil
	}
	d.handled[id] = struct{}{}
	d.push(dedupeEntry{id, now.Add(d.ttl)})
	return nil
}

// expire removes the handled notifications that must not be remembered any longer. The
// caller holds d.mu.
func (d *memoryDeduper) expire(now time.Time) {
	for len(d.handled) > 0 && now.After(d.order[d.head].until) {
		d.pop()
	}
}

// pop removes the oldest of the handled notifications. The caller holds d.mu.
func (d *memoryDeduper) pop() {
	delete(d.handled, d.order[d.head].id)
	d.order[d.head] = dedupeEntry{}
	d.head = (d.head + 1) % len(d.order)
}

// push adds an entry to the ring buffer. The caller holds d.mu and has added the entry
// to d.handled.
func (d *memoryDeduper) push(e dedupeEntry) {
	n := len(d.handled) - 1 // how many entries the ring buffer holds now, before e is added
	switch {
	case n == d.maxEntries:
		d.pop()
		n--
	case n == len(d.order): // the ring buffer is full: copy the entries to a larger one, the oldest entry first
		order := make([]dedupeEntry, min(d.maxEntries, max(64, 2*n)))
		copied := copy(order, d.order[d.head:])
		copy(order[copied:], d.order[:d.head])
		d.order, d.head = order, 0
	}
	d.order[(d.head+n)%len(d.order)] = e
}
