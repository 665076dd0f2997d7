package appsandbooks

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// notificationHub passes notifications to the waiters of their events. A notification
// that has no waiter is stored for a limited time, because its waiter can come later:
// the notification can arrive before the answer that names the event, and an operation
// can be sent or resumed long before Wait is called.
type notificationHub struct {
	expected  atomic.Bool               // true after the first notification: more notifications are expected
	lastWrite atomic.Pointer[time.Time] // when this client last sent a write; nil if it did not

	mu                sync.Mutex
	waiters           map[string]map[*waiter]bool // by event id
	unclaimed         map[string]*unclaimedEvent  // by event id
	unclaimedOrder    []string                    // keys of unclaimed (ids of events), oldest first
	unclaimedElements int                         // number of elements in all notifications of unclaimed
	sweep             *time.Timer                 // timer that removes old events; nil if unclaimed is empty
}

// unclaimedEvent has the notifications of an event that has no waiter.
type unclaimedEvent struct {
	keepUntil     time.Time
	notifications []*Notification
	elements      int
}

const (
	// maxUnclaimed is the largest number of elements that a hub stores, about 10 MB. A
	// full hub drops the oldest event's notifications. That only costs time: the client
	// then learns the result by polling.
	maxUnclaimed = 100_000
	// maxQueued is the number of elements at which a waiter's queue is full. A full
	// queue drops new notifications, which also only costs time.
	maxQueued = 250_000
	// keepAfterWrite is how long a hub stores the notifications of an event, counted
	// from the first one, if the client has sent a write in the 10 minutes before it.
	// Such an event may be the client's own.
	keepAfterWrite = 10 * time.Minute
	// keepWithoutWrite is how long a hub stores the notifications of an event if the
	// client has sent no write in the 10 minutes before the first one. It is also the
	// interval at which old notifications are removed.
	keepWithoutWrite = time.Minute
)

func newNotificationHub() *notificationHub {
	return &notificationHub{waiters: map[string]map[*waiter]bool{}, unclaimed: map[string]*unclaimedEvent{}}
}

// notificationsExpected reports whether the client has received a notification.
func (h *notificationHub) notificationsExpected() bool { return h.expected.Load() }

// noteWrite records the time of a write. The client calls it before it sends the write,
// because a notification can arrive before the write's answer.
func (h *notificationHub) noteWrite() {
	now := time.Now()
	h.lastWrite.Store(&now)
}

// deliver passes a notification to the waiters of its event. Without a waiter, it
// stores the notification.
func (h *notificationHub) deliver(n *Notification) {
	h.expected.Store(true)
	id := n.EventID()
	if id == "" {
		return
	}
	small := *n // the waiters do not need the fields Raw and Other of a notification
	small.Raw, small.Other = nil, nil
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiters[id]) == 0 {
		h.addUnclaimed(id, &small)
		return
	}
	for w := range h.waiters[id] {
		w.enqueue(&small)
	}
}

// addUnclaimed stores a notification for a later waiter. The caller holds h.mu.
func (h *notificationHub) addUnclaimed(id string, n *Notification) {
	u := h.unclaimed[id]
	if u == nil {
		now, duration := time.Now(), keepWithoutWrite
		if last := h.lastWrite.Load(); last != nil && now.Sub(*last) < keepAfterWrite {
			duration = keepAfterWrite
		}
		u = &unclaimedEvent{keepUntil: now.Add(duration)}
		h.unclaimed[id] = u
		h.unclaimedOrder = append(h.unclaimedOrder, id)
	}
	u.notifications = append(u.notifications, n)
	u.elements += n.countElements()
	h.unclaimedElements += n.countElements()
	for h.unclaimedElements > maxUnclaimed {
		h.takeUnclaimed(h.unclaimedOrder[0])
	}
	h.scheduleSweep()
}

// takeUnclaimed removes the stored notifications of an event and returns them. The
// caller holds h.mu.
func (h *notificationHub) takeUnclaimed(id string) []*Notification {
	u := h.unclaimed[id]
	if u == nil {
		return nil
	}
	delete(h.unclaimed, id)
	at := slices.Index(h.unclaimedOrder, id)
	h.unclaimedOrder = slices.Delete(h.unclaimedOrder, at, at+1)
	h.unclaimedElements -= u.elements
	return u.notifications
}

// scheduleSweep starts a timer that removes stored notifications whose time is over. It
// does nothing if the timer runs or if nothing is stored. The caller holds h.mu.
func (h *notificationHub) scheduleSweep() {
	if h.sweep != nil || len(h.unclaimedOrder) == 0 {
		return
	}
	h.sweep = time.AfterFunc(keepWithoutWrite, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sweep = nil
		now := time.Now()
		h.unclaimedOrder = slices.DeleteFunc(h.unclaimedOrder, func(id string) bool {
			u := h.unclaimed[id]
			if now.Before(u.keepUntil) {
				return false
			}
			delete(h.unclaimed, id)
			h.unclaimedElements -= u.elements
			return true
		})
		h.scheduleSweep()
	})
}

// close removes all stored notifications from the hub and stops its timer.
func (h *notificationHub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.unclaimed)
	h.unclaimedOrder, h.unclaimedElements = nil, 0
	if h.sweep != nil {
		h.sweep.Stop()
		h.sweep = nil
	}
}

// waiter collects the notifications of the events that it was added to. Only one
// goroutine uses a waiter, except for enqueue, which any goroutine can call.
type waiter struct {
	hub    *notificationHub
	events map[string]bool // ids of the events
	signal chan struct{}   // signal wakes wait: it receives a value when notifications arrived, at most one until wait takes it

	mu       sync.Mutex
	queue    []*Notification
	elements int // number of elements in queue
}

// newWaiter returns a waiter without events. The caller must close it.
func (h *notificationHub) newWaiter() *waiter {
	return &waiter{hub: h, events: map[string]bool{}, signal: make(chan struct{}, 1)}
}

// add makes the waiter w collect the notifications of an event, including those that are
// stored.
func (w *waiter) add(event string) {
	if w.events[event] {
		return
	}
	w.events[event] = true
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiters[event] == nil {
		h.waiters[event] = map[*waiter]bool{}
	}
	h.waiters[event][w] = true
	for _, n := range h.takeUnclaimed(event) {
		w.enqueue(n)
	}
}

// close removes w from the hub. The notifications that takeAll has not returned are
// stored for the next waiter.
func (w *waiter) close() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for event := range w.events {
		delete(h.waiters[event], w)
		if len(h.waiters[event]) == 0 {
			delete(h.waiters, event)
		}
	}
	for _, n := range w.takeAll() {
		if id := n.EventID(); len(h.waiters[id]) == 0 {
			h.addUnclaimed(id, n)
		}
	}
}

// enqueue adds a notification to the queue and wakes wait. When the queue is full, it
// drops the notification.
func (w *waiter) enqueue(n *Notification) {
	w.mu.Lock()
	if w.elements < maxQueued {
		w.queue = append(w.queue, n)
		w.elements += n.countElements()
	}
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// takeAll returns the notifications in the queue of the waiter and empties the queue.
func (w *waiter) takeAll() []*Notification {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.queue
	w.queue, w.elements = nil, 0
	return queue
}

// wait waits until d is over or a notification arrives. When the context ends first, it
// returns the context's error.
func (w *waiter) wait(ctx context.Context, d time.Duration) error {
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
	case <-w.signal:
	case <-ctx.Done():
		return contextError(ctx)
	}
	return nil
}
