package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks"
)

// A Limiter shares the pace of an organizational unit, and its pauses, between all
// processes that use the same schema. It implements [appsandbooks.Limiter]. Pass it to
// [appsandbooks.WithLimiter]. [Store.Limiter] returns it.
//
// A process leases slots of the unit, as many as it can use. One slot allows one request
// in any second: it is free again one second after the request was answered. The slots
// of all processes together are never more than the rate, so the service never sees
// more requests than the rate in any one second.
//
// A process renews its slots every two seconds while it sends requests. It returns them
// one second after the last answer. If a process dies, its slots are free after six
// seconds. If the processes want more slots than the rate allows, each gets an equal
// share. Within a process, requests are sent in the order in which they came.
//
// While the database cannot be reached, a request waits. After ten seconds without the
// database it fails, because the pace of the other processes is not known.
type Limiter struct {
	db      *database
	process int64 // the number of this process in the table of slots
	unit    string
	hash    string        // hashUnit of the unit
	changed chan struct{} // a value in this channel wakes leaseSlots; the capacity is 1

	mu       sync.Mutex
	running  bool      // leaseSlots runs
	queue    []*waiter // requests that wait, the oldest first
	inFlight int
	answered []time.Time // the times of the answers in the last second, oldest first

	pausedUntil   time.Time // no request is sent before this time
	pauseUnstored bool      // the database does not have the pause yet

	slots      int // of this process
	slotsUntil time.Time
	registered bool // the database has a row of this process for this unit
	rate       int  // the rate of the unit in the database
	newRate    int  // a rate from SetRate that is not in the database yet, or 0
	contended  bool // some process wants more slots than it has

	exchangeNow  bool
	lastExchange time.Time
	nextTry      time.Time // no exchange for more slots begins before this time
	fruitless    int       // the number of exchanges in a row that brought no free slot
	failingSince time.Time // since when the database cannot be reached; zero while it can be reached
}

var _ appsandbooks.Limiter = (*Limiter)(nil)

// window is the time over which the service counts requests.
const window = time.Second

// A waiter is a request that waits in the queue of a Limiter.
type waiter struct {
	result   chan error // receives one value: nil when the request may be sent, or an error
	maxPause time.Duration
	deadline time.Time
}

// pausedError reports that a pause is longer than the caller's maxPause or deadline.
type pausedError struct{ left time.Duration }

func (e *pausedError) Error() string {
	return fmt.Sprintf("the service asked for a pause (Retry-After), of which %s is left", e.left.Round(time.Second))
}

// RetryAfter returns the rest of the service's pause.
func (e *pausedError) RetryAfter() time.Duration { return e.left }

// Acquire waits until a request may be sent. Call release when the request was
// answered or given up. Acquire fails when the context ends, when the rest of a pause is
// longer than maxPause or ends after the context's deadline, and when the database
// could not be reached for ten seconds. An error because of a pause has the method
// RetryAfter() time.Duration.
func (l *Limiter) Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{result: make(chan error, 1), maxPause: maxPause}
	w.deadline, _ = ctx.Deadline()
	l.mu.Lock()
	l.queue = append(l.queue, w)
	l.admit(time.Now())
	if !l.running {
		l.running = true
		go l.leaseSlots()
	}
	l.mu.Unlock()
	l.signal()
	select {
	case err = <-w.result:
	case <-ctx.Done():
		l.remove(w)
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.inFlight--
		l.answered = append(l.answered, time.Now())
		l.mu.Unlock()
		l.signal()
	}), nil
}

// remove removes a waiting request from the queue. If the request was admitted in the
// meantime, its slot is free again at once, because the request is not sent.
func (l *Limiter) remove(w *waiter) {
	l.mu.Lock()
	if i := slices.Index(l.queue, w); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	} else if <-w.result == nil {
		l.inFlight--
	}
	l.mu.Unlock()
	l.signal()
}

// signal wakes leaseSlots.
func (l *Limiter) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// admit admits one waiting request for each free slot. During a pause it refuses the
// requests whose maxPause or deadline is shorter. The caller holds the lock.
func (l *Limiter) admit(now time.Time) {
	for len(l.answered) > 0 && now.Sub(l.answered[0]) >= window {
		l.answered = l.answered[1:]
	}
	if left := l.pausedUntil.Sub(now); left > 0 {
		l.queue = slices.DeleteFunc(l.queue, func(w *waiter) bool {
			tooLong := left > w.maxPause || !w.deadline.IsZero() && w.deadline.Before(l.pausedUntil)
			if tooLong {
				w.result <- &pausedError{left}
			}
			return tooLong
		})
		return
	}
	if now.After(l.slotsUntil) {
		l.slots = 0
	}
	for len(l.queue) > 0 && l.usedSlots() < l.slots {
		l.queue[0].result <- nil
		l.queue = l.queue[1:]
		l.inFlight++
	}
}

// usedSlots returns the number of slots of this process that are not free. The caller
// holds the lock.
func (l *Limiter) usedSlots() int { return l.inFlight + len(l.answered) }

// Pause delays the requests of all processes for d from now, and for 24 hours at most. It
// never shortens a pause. Pause stores the pause and announces it to the
// other processes before it returns. If the database does not accept it within two
// seconds, Pause returns, and the pause is stored with the next exchange of slots.
func (l *Limiter) Pause(d time.Duration) {
	const longest = 24 * time.Hour // as the limiter in memory
	d = min(d, longest)
	l.pauseLocally(d)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := l.db.pool.Exec(ctx, l.db.sql(`
		WITH paused AS (
			INSERT INTO {schema}.paces AS p (unit, rate, paused_until) VALUES ($1, 15, clock_timestamp() + $2::interval)
			ON CONFLICT (unit) DO UPDATE SET paused_until = greatest(p.paused_until, excluded.paused_until))
		SELECT pg_notify($3, 'pause ' || $4)`), l.unit, interval(d), l.db.channel, fmt.Sprintf("%s %d", l.hash, d.Milliseconds()))
	if err != nil {
		l.mu.Lock()
		l.pauseUnstored = true
		l.mu.Unlock()
	}
	l.signal()
}

// pauseLocally delays the requests of this process for d, and never shortens a pause.
func (l *Limiter) pauseLocally(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.pausedUntil) {
		l.pausedUntil = until
	}
}

// SetRate sets the rate of the unit for all processes: maxRequestPerSecond of the
// service configuration. It ignores values below 1. Until it is called for the first
// time, the rate is 15.
func (l *Limiter) SetRate(perSecond int) {
	if perSecond < 1 {
		return
	}
	l.mu.Lock()
	if perSecond != l.rate {
		l.newRate = perSecond
	}
	l.mu.Unlock()
	l.signal()
}

// limiters contains the Limiter of each unit that this process uses.
type limiters struct {
	db      *database
	process int64

	mu    sync.Mutex
	units map[string]*Limiter // by uId
}

// get returns the limiter of a unit, and creates it at the first call.
func (s *limiters) get(uid string) *Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.units[uid]
	if l == nil {
		l = &Limiter{db: s.db, process: s.process, unit: uid, hash: hashUnit(uid), changed: make(chan struct{}, 1)}
		s.units[uid] = l
	}
	return l
}

// pause delays the requests of a unit for d, because another process announced a pause.
func (s *limiters) pause(hash string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.units {
		if l.hash == hash {
			l.pauseLocally(d)
			l.signal()
		}
	}
}

// refresh makes all limiters in use read their pauses from the database. The process may
// have missed announcements of pauses while its LISTEN connection was down.
func (s *limiters) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.units {
		l.mu.Lock()
		l.exchangeNow = l.running
		l.mu.Unlock()
		l.signal()
	}
}
