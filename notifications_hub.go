package appsandbooks

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// hintHub brings notifications to those who wait for their events. A
// notification can overtake the answer that names its event, an operation can
// be submitted now and waited for later, and one that is taken up can be told
// what came before, so the hub keeps for a while what nobody waited for.
type notificationHub struct {
	expected atomic.Bool  // notifications have a way in
	wrote    atomic.Int64 // when this client last sent a write, in Unix nanoseconds

	mu        sync.Mutex
	waiters   map[string]map[*waiter]bool // by event id
	unclaimed map[string]*unclaimedEvent  // by event id
	order     []string                    // of unclaimed, oldest first
	elements  int                         // in unclaimed
	sweep     *time.Timer                 // while something is unclaimed
}

// hints are the notifications of an event that nobody has waited for yet.
type unclaimedEvent struct {
	until    time.Time
	list     []*Notification
	elements int
}

// Hints only save time, so both bounds are safe: what is dropped is seen when
// the status is asked for.
const (
	maxUnclaimed  = 100_000          // elements in the hub of a client, about 10 MB
	maxQueued     = 250_000          // elements on their way to one listener
	keepUnclaimed = 10 * time.Minute // since the first of an event, in a client that wrote something in that time
	keepBriefly   = time.Minute      // in one that did not; also the time between two sweeps
)

func newNotificationHub() *notificationHub {
	return &notificationHub{waiters: map[string]map[*waiter]bool{}, unclaimed: map[string]*unclaimedEvent{}}
}

// connected tells whether notifications can be expected.
func (h *notificationHub) notificationsExpected() bool { return h.expected.Load() }

// writing is called before each write: what it starts may be notified of
// before its answer comes.
func (h *notificationHub) noteWrite() { h.wrote.Store(time.Now().UnixNano()) }

// deliver hands a notification to the listeners of its event.
func (h *notificationHub) deliver(n *Notification) {
	h.expected.Store(true)
	id := n.EventID()
	if id == "" {
		return
	}
	lean := *n // what counts its elements needs nothing else
	lean.Raw, lean.Other = nil, nil
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiters[id]) == 0 {
		h.keep(id, &lean)
		return
	}
	for l := range h.waiters[id] {
		l.enqueue(&lean)
	}
}

// keep holds a notification for a listener to come. The lock is held.
func (h *notificationHub) keep(id string, n *Notification) {
	u := h.unclaimed[id]
	if u == nil {
		now, keep := time.Now(), keepBriefly
		if now.Sub(time.Unix(0, h.wrote.Load())) < keepUnclaimed {
			keep = keepUnclaimed
		}
		u = &unclaimedEvent{until: now.Add(keep)}
		h.unclaimed[id] = u
		h.order = append(h.order, id)
	}
	u.list = append(u.list, n)
	u.elements += n.countElements()
	h.elements += n.countElements()
	for h.elements > maxUnclaimed {
		h.claim(h.order[0])
	}
	h.scheduleSweep()
}

// claim takes the notifications of an event out of the hub. The lock is held.
func (h *notificationHub) claim(id string) []*Notification {
	u := h.unclaimed[id]
	if u == nil {
		return nil
	}
	delete(h.unclaimed, id)
	at := slices.Index(h.order, id)
	h.order = slices.Delete(h.order, at, at+1)
	h.elements -= u.elements
	return u.list
}

// arm has the hub swept while something is unclaimed. The lock is held.
func (h *notificationHub) scheduleSweep() {
	if h.sweep != nil || len(h.order) == 0 {
		return
	}
	h.sweep = time.AfterFunc(keepBriefly, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sweep = nil
		now := time.Now()
		h.order = slices.DeleteFunc(h.order, func(id string) bool {
			u := h.unclaimed[id]
			if now.Before(u.until) {
				return false
			}
			delete(h.unclaimed, id)
			h.elements -= u.elements
			return true
		})
		h.scheduleSweep()
	})
}

// close forgets what is kept.
func (h *notificationHub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.unclaimed)
	h.order, h.elements = nil, 0
	if h.sweep != nil {
		h.sweep.Stop()
		h.sweep = nil
	}
}

// listener collects the notifications of some events. It is used by one
// goroutine; notifications come from any.
type waiter struct {
	hub    *notificationHub
	events map[string]bool
	signal chan struct{}

	mu       sync.Mutex
	queue    []*Notification
	elements int
}

func (h *notificationHub) listen() *waiter {
	return &waiter{hub: h, events: map[string]bool{}, signal: make(chan struct{}, 1)}
}

// add listens to an event, and gets what came for it before.
func (l *waiter) add(event string) {
	if l.events[event] {
		return
	}
	l.events[event] = true
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiters[event] == nil {
		h.waiters[event] = map[*waiter]bool{}
	}
	h.waiters[event][l] = true
	for _, n := range h.claim(event) {
		l.enqueue(n)
	}
}

// close leaves what was not taken to the next listener.
func (l *waiter) close() {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for event := range l.events {
		delete(h.waiters[event], l)
		if len(h.waiters[event]) == 0 {
			delete(h.waiters, event)
		}
	}
	for _, n := range l.takeAll() {
		if id := n.EventID(); len(h.waiters[id]) == 0 {
			h.keep(id, n)
		}
	}
}

func (l *waiter) enqueue(n *Notification) {
	l.mu.Lock()
	if l.elements < maxQueued {
		l.queue = append(l.queue, n)
		l.elements += n.countElements()
	}
	l.mu.Unlock()
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// take returns what has come since the last time.
func (l *waiter) takeAll() []*Notification {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queue
	l.queue, l.elements = nil, 0
	return queue
}

// wait returns after d, when something has come, or with the context's error.
func (l *waiter) wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return contextError(ctx)
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.signal:
	case <-ctx.Done():
		return contextError(ctx)
	}
	return nil
}
