package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks"
)

// Limiter shares the pace of an organizational unit, and its pauses, with all
// processes that use the same database: for [appsandbooks.WithLimiter].
//
// A process leases slots, each of which is worth one request in any second, as
// many as it can use, and then paces its requests by itself: a slot is free
// again one second after its request was answered. The slots of all processes
// together are never more than the rate, so the service never sees more than
// the rate in any one second. Leases are renewed every two seconds while there is
// something to send, given back a second after the last answer, and over six
// seconds after a process died. When processes want more than there is, each
// gets its fair share; within a process it is first come, first served.
//
// Requests wait while the database cannot be reached, and fail after ten seconds
// of that: without it, nobody knows the pace of the others.
func (s *Store) Limiter(uid string) appsandbooks.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paces[uid]
	if p == nil {
		p = &pace{store: s, unit: uid, id: short(uid), wake: make(chan struct{}, 1)}
		s.paces[uid] = p
	}
	return p
}

const (
	slotLease   = 6 * time.Second
	slotRenewal = 2 * time.Second
	slotShare   = 500 * time.Millisecond // between renewals while others want slots
	slotMargin  = 250 * time.Millisecond // before its end, a lease is not used any more
	outage      = 10 * time.Second       // of the database, that requests wait for
	window      = time.Second            // for which the service counts requests
)

// pace is this process's part in the pace of a unit.
type pace struct {
	store *Store
	unit  string
	id    string // short for the unit
	wake  chan struct{}

	mu       sync.Mutex
	running  bool // the keeper
	queue    []*waiter
	inFlight int
	answered []time.Time // within the last second, oldest first
	closed   time.Time   // the gate opens then

	allowed int       // requests in any second
	until   time.Time // the end of that
	leased  bool      // the database has a row of ours
	rate    int       // of the unit, as the database has it
	told    int       // by SetRate, and not in the database yet
	pausing bool      // the gate is not in the database yet
	crowded bool
	force   bool      // exchange now
	synced  time.Time // the last exchange
	askNext time.Time // for more slots, not sooner
	asked   int       // in vain, in a row
	failing time.Time // since when the database cannot be reached
}

// waiter is a request in the queue.
type waiter struct {
	ready    chan error // one
	maxPause time.Duration
	deadline time.Time
}

type pausedError struct{ left time.Duration }

func (e *pausedError) Error() string {
	return fmt.Sprintf("the service asked for a pause, of which %s is left", e.left.Round(time.Second))
}

// RetryAfter is what is left of the pause.
func (e *pausedError) RetryAfter() time.Duration { return e.left }

// Acquire implements [appsandbooks.Limiter].
func (p *pace) Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{ready: make(chan error, 1), maxPause: maxPause}
	w.deadline, _ = ctx.Deadline()
	p.mu.Lock()
	p.queue = append(p.queue, w)
	p.dispatch(time.Now())
	if !p.running {
		p.running = true
		go p.keep()
	}
	p.mu.Unlock()
	p.signal()
	select {
	case err = <-w.ready:
	case <-ctx.Done():
		p.mu.Lock()
		if i := slices.Index(p.queue, w); i >= 0 {
			p.queue = slices.Delete(p.queue, i, i+1)
		} else if <-w.ready == nil {
			p.inFlight-- // it was not sent
		}
		p.mu.Unlock()
		p.signal()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		p.inFlight--
		p.answered = append(p.answered, time.Now())
		p.mu.Unlock()
		p.signal()
	}), nil
}

func (p *pace) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// dispatch lets requests go as far as the slots reach, and refuses those that
// would wait too long for the gate. The lock is held.
func (p *pace) dispatch(now time.Time) {
	for len(p.answered) > 0 && now.Sub(p.answered[0]) >= window {
		p.answered = p.answered[1:]
	}
	if left := p.closed.Sub(now); left > 0 {
		p.queue = slices.DeleteFunc(p.queue, func(w *waiter) bool {
			tooLong := left > w.maxPause || !w.deadline.IsZero() && w.deadline.Before(p.closed)
			if tooLong {
				w.ready <- &pausedError{left}
			}
			return tooLong
		})
		return
	}
	if now.After(p.until) {
		p.allowed = 0
	}
	for len(p.queue) > 0 && p.busy() < p.allowed {
		p.queue[0].ready <- nil
		p.queue = p.queue[1:]
		p.inFlight++
	}
}

func (p *pace) busy() int { return p.inFlight + len(p.answered) }

// Pause implements [appsandbooks.Limiter]. The other processes know when it
// returns, unless the database cannot be reached: then as soon as it can.
func (p *pace) Pause(d time.Duration) {
	const longest = 24 * 365 * time.Hour
	d = min(d, longest)
	p.mu.Lock()
	if until := time.Now().Add(d); until.After(p.closed) {
		p.closed = until
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := p.store.pool.Exec(ctx, p.store.sql(`
		WITH paused AS (
			INSERT INTO {schema}.paces AS p (unit, rate, paused_until) VALUES ($1, 15, clock_timestamp() + $2::interval)
			ON CONFLICT (unit) DO UPDATE SET paused_until = greatest(p.paused_until, excluded.paused_until))
		SELECT pg_notify($3, 'p ' || $4)`), p.unit, seconds(d), p.store.channel, fmt.Sprintf("%s %d", p.id, d.Milliseconds()))
	if err != nil {
		p.mu.Lock()
		p.pausing = true
		p.mu.Unlock()
	}
	p.signal()
}

// SetRate implements [appsandbooks.Limiter].
func (p *pace) SetRate(perSecond int) {
	if perSecond < 1 {
		return
	}
	p.mu.Lock()
	if perSecond != p.rate {
		p.told = perSecond
	}
	p.mu.Unlock()
	p.signal()
}

// paused closes the gate of a unit, if its pace is in use here: another process
// was told to.
func (s *Store) paused(id string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now().Add(d)
	for _, p := range s.paces {
		if p.id != id {
			continue
		}
		p.mu.Lock()
		if until.After(p.closed) {
			p.closed = until
		}
		p.mu.Unlock()
		p.signal()
	}
}

// resyncPaces is for when pauses may have been missed: those in use are looked
// up now.
func (s *Store) resyncPaces() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.paces {
		p.mu.Lock()
		p.force = p.running
		p.mu.Unlock()
		p.signal()
	}
}
