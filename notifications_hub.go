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
type hintHub struct {
	expected atomic.Bool  // notifications have a way in
	wrote    atomic.Int64 // when this client last sent a write, in Unix nanoseconds

	mu        sync.Mutex
	listeners map[string]map[*listener]bool // by event id
	unclaimed map[string]*hints             // by event id
	order     []string                      // of unclaimed, oldest first
	elements  int                           // in unclaimed
	sweep     *time.Timer                   // while something is unclaimed
}

// hints are the notifications of an event that nobody has waited for yet.
type hints struct {
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

func newHintHub() *hintHub {
	return &hintHub{listeners: map[string]map[*listener]bool{}, unclaimed: map[string]*hints{}}
}

// connected tells whether notifications can be expected.
func (h *hintHub) connected() bool { return h.expected.Load() }

// writing is called before each write: what it starts may be notified of
// before its answer comes.
func (h *hintHub) writing() { h.wrote.Store(time.Now().UnixNano()) }

// deliver hands a notification to the listeners of its event.
func (h *hintHub) deliver(n *Notification) {
	h.expected.Store(true)
	id := n.EventID()
	if id == "" {
		return
	}
	lean := *n // what counts its elements needs nothing else
	lean.Raw, lean.Other = nil, nil
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners[id]) == 0 {
		h.keep(id, &lean)
		return
	}
	for l := range h.listeners[id] {
		l.push(&lean)
	}
}

// keep holds a notification for a listener to come. The lock is held.
func (h *hintHub) keep(id string, n *Notification) {
	u := h.unclaimed[id]
	if u == nil {
		now, keep := time.Now(), keepBriefly
		if now.Sub(time.Unix(0, h.wrote.Load())) < keepUnclaimed {
			keep = keepUnclaimed
		}
		u = &hints{until: now.Add(keep)}
		h.unclaimed[id] = u
		h.order = append(h.order, id)
	}
	u.list = append(u.list, n)
	u.elements += n.elements()
	h.elements += n.elements()
	for h.elements > maxUnclaimed {
		h.claim(h.order[0])
	}
	h.arm()
}

// claim takes the notifications of an event out of the hub. The lock is held.
func (h *hintHub) claim(id string) []*Notification {
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
func (h *hintHub) arm() {
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
		h.arm()
	})
}

// close forgets what is kept.
func (h *hintHub) close() {
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
type listener struct {
	hub    *hintHub
	events map[string]bool
	signal chan struct{}

	mu       sync.Mutex
	queue    []*Notification
	elements int
}

func (h *hintHub) listen() *listener {
	return &listener{hub: h, events: map[string]bool{}, signal: make(chan struct{}, 1)}
}

// add listens to an event, and gets what came for it before.
func (l *listener) add(event string) {
	if l.events[event] {
		return
	}
	l.events[event] = true
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[event] == nil {
		h.listeners[event] = map[*listener]bool{}
	}
	h.listeners[event][l] = true
	for _, n := range h.claim(event) {
		l.push(n)
	}
}

// close leaves what was not taken to the next listener.
func (l *listener) close() {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for event := range l.events {
		delete(h.listeners[event], l)
		if len(h.listeners[event]) == 0 {
			delete(h.listeners, event)
		}
	}
	for _, n := range l.take() {
		if id := n.EventID(); len(h.listeners[id]) == 0 {
			h.keep(id, n)
		}
	}
}

func (l *listener) push(n *Notification) {
	l.mu.Lock()
	if l.elements < maxQueued {
		l.queue = append(l.queue, n)
		l.elements += n.elements()
	}
	l.mu.Unlock()
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// take returns what has come since the last time.
func (l *listener) take() []*Notification {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queue
	l.queue, l.elements = nil, 0
	return queue
}

// wait returns after d, when something has come, or with the context's error.
func (l *listener) wait(ctx context.Context, d time.Duration) error {
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
