package transport

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Limiter paces requests; see the interface of the same shape in the root
// package for the contract.
type Limiter interface {
	Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error)
	Pause(d time.Duration)
	SetRate(perSecond int)
}

// Pace is a Limiter in memory: a sliding window over answered requests, and a
// gate that a Retry-After closes.
//
// A slot is free again one second after its request was *answered*. Arrivals
// at the service are then provably never more than the rate in any second,
// whatever the network does to the spacing of departures.
type Pace struct {
	turn  chan struct{} // holds one token: the right to wait at the head of the queue
	pages chan struct{} // a token for each page read that may begin; of the unit, so of all that share the limiter
	wake  chan struct{} // something changed that the head should look at

	mu       sync.Mutex
	paused   chan struct{} // closed, and replaced, by Pause: those in a queue look again
	rate     int
	inFlight int
	answered []time.Time // within the last second, oldest first
	closed   time.Time   // the gate opens then
}

const window = time.Second

// PageReads is how many pages Apple allows to be read at once.
const PageReads = 5

// NewPace makes a limiter of perSecond requests a second.
func NewPace(perSecond int) *Pace {
	p := &Pace{
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), paused: make(chan struct{}),
		pages: newPlaces(), rate: max(1, perSecond),
	}
	p.turn <- struct{}{}
	return p
}

// newPlaces are the places of the page reads: one is taken by receiving.
func newPlaces() chan struct{} {
	places := make(chan struct{}, PageReads)
	for range PageReads {
		places <- struct{}{}
	}
	return places
}

// PausedError says that the gate stays closed longer than the caller waits.
type PausedError struct{ For time.Duration }

func (e *PausedError) Error() string {
	return fmt.Sprintf("the service asked for a pause, of which %s is left", e.For.Round(time.Second))
}

// RetryAfter is what is left of the pause.
func (e *PausedError) RetryAfter() time.Duration { return e.For }

// Acquire waits for the gate and for a slot, first come, first served.
func (p *Pace) Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error) {
	if err := p.queue(ctx, maxPause, p.turn); err != nil {
		return nil, err
	}
	defer func() { p.turn <- struct{}{} }()
	for {
		wait, err := p.take(ctx, maxPause)
		if err != nil {
			return nil, err
		}
		if wait == 0 {
			return sync.OnceFunc(p.release), nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// queue waits for a place, but not behind a pause that is too long: those who
// wait ahead may be more patient.
func (p *Pace) queue(ctx context.Context, maxPause time.Duration, places <-chan struct{}) error {
	for {
		p.mu.Lock()
		paused := p.paused
		p.mu.Unlock()
		if err := p.tooLong(ctx, maxPause); err != nil {
			return err
		}
		select {
		case <-places:
			return nil
		case <-paused:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take takes a slot, or says how long until it is worth another look.
func (p *Pace) take(ctx context.Context, maxPause time.Duration) (wait time.Duration, err error) {
	if err := p.tooLong(ctx, maxPause); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if pause := p.closed.Sub(now); pause > 0 {
		return pause, nil
	}
	expired := 0
	for expired < len(p.answered) && now.Sub(p.answered[expired]) >= window {
		expired++
	}
	if expired > 0 {
		p.answered = append(p.answered[:0], p.answered[expired:]...)
	}
	if p.inFlight+len(p.answered) < p.rate {
		p.inFlight++
		return 0, nil
	}
	if len(p.answered) == 0 {
		return math.MaxInt64, nil // all slots are in flight: an answer wakes us
	}
	return p.answered[0].Add(window).Sub(now), nil
}

// tooLong refuses a wait that cannot end well: beyond what the caller accepts,
// or beyond its deadline.
func (p *Pace) tooLong(ctx context.Context, maxPause time.Duration) error {
	p.mu.Lock()
	pause := time.Until(p.closed)
	p.mu.Unlock()
	if pause <= 0 {
		return ctx.Err()
	}
	deadline, ok := ctx.Deadline()
	if pause > maxPause || ok && time.Until(deadline) < pause {
		return &PausedError{For: pause}
	}
	return ctx.Err()
}

func (p *Pace) release() {
	p.mu.Lock()
	p.inFlight--
	p.answered = append(p.answered, time.Now())
	p.mu.Unlock()
	p.signal()
}

// Pause closes the gate for d; it never opens it sooner than asked before. A day
// is the longest: then a request finds out whether the one who asked for more
// was in his right mind.
func (p *Pace) Pause(d time.Duration) {
	const longest = 24 * time.Hour
	until := time.Now().Add(min(d, longest))
	p.mu.Lock()
	if until.After(p.closed) {
		p.closed = until
		close(p.paused)
		p.paused = make(chan struct{})
	}
	p.mu.Unlock()
	p.signal()
}

// SetRate changes the rate; a rate below one is ignored.
func (p *Pace) SetRate(perSecond int) {
	if perSecond < 1 {
		return
	}
	p.mu.Lock()
	p.rate = perSecond
	p.mu.Unlock()
	p.signal()
}

func (p *Pace) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
