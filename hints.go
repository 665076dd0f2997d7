package appsandbooks

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// hintHub brings notifications to those who wait for their events. A
// notification can overtake the answer that names its event, so the hub keeps
// the latest ones that nobody waited for.
type hintHub struct {
	source atomic.Bool // notifications have a way in

	mu        sync.Mutex
	listeners map[string]map[*listener]bool // by event id
	unclaimed []*Notification               // a ring
	oldest    int
}

const maxUnclaimed = 1024 // notifications, of at most 100 elements each

func newHintHub() *hintHub {
	return &hintHub{listeners: map[string]map[*listener]bool{}}
}

// connected tells whether notifications can be expected.
func (h *hintHub) connected() bool { return h.source.Load() }

// deliver hands a notification to the listeners of its event.
func (h *hintHub) deliver(n *Notification) {
	h.source.Store(true)
	id := n.EventID()
	if id == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners[id]) == 0 {
		if len(h.unclaimed) < maxUnclaimed {
			h.unclaimed = append(h.unclaimed, n)
		} else {
			h.unclaimed[h.oldest] = n
			h.oldest = (h.oldest + 1) % maxUnclaimed
		}
		return
	}
	for l := range h.listeners[id] {
		l.push(n)
	}
}

// listener collects the notifications of some events.
type listener struct {
	hub    *hintHub
	events map[string]bool
	signal chan struct{}

	mu    sync.Mutex
	queue []*Notification
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
	for i, n := range h.unclaimed {
		if n != nil && n.EventID() == event {
			l.push(n)
			h.unclaimed[i] = nil
		}
	}
}

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
}

func (l *listener) push(n *Notification) {
	l.mu.Lock()
	l.queue = append(l.queue, n)
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
	l.queue = nil
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
