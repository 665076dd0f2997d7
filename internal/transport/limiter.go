package transport

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Limiter paces requests. The interface Limiter of the root package has the same
// methods and describes their contract.
type Limiter interface {
	Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error)
	Pause(d time.Duration)
	SetRate(perSecond int)
}

// Pace is a Limiter in memory. It counts requests in a sliding window of one
// second, and stops all requests during a pause (Retry-After).
//
// A request occupies a slot until one second after its answer. So the service
// receives at most the rate in any second, whatever delays the network adds.
type Pace struct {
	head      chan struct{} // holds one token: the right to be the first request in the queue
	pageSlots chan struct{} // holds a token for each free page slot of the organizational unit
	changed   chan struct{} // receives a value to wake the request at the head of the queue

	mu          sync.Mutex
	newPause    chan struct{} // Pause closes newPause and replaces it, which wakes all requests in a queue.
	rate        int
	inFlight    int
	answered    []time.Time // the times of the answers of the last second, the oldest first
	pausedUntil time.Time
}

const window = time.Second

// PageReads is the number of pages of lists that Apple allows a client to read at once.
const PageReads = 5

// NewPace returns a Pace that allows perSecond requests in any second. A perSecond below one
// counts as one.
func NewPace(perSecond int) *Pace {
	p := &Pace{
		head: make(chan struct{}, 1), changed: make(chan struct{}, 1), newPause: make(chan struct{}),
		pageSlots: newPageSlots(), rate: max(1, perSecond),
	}
	p.head <- struct{}{}
	return p
}

// newPageSlots returns a channel with a token for each of the PageReads slots.
func newPageSlots() chan struct{} {
	slots := make(chan struct{}, PageReads)
	for range PageReads {
		slots <- struct{}{}
	}
	return slots
}

// PausedError reports a pause of the requests that is longer than the caller can wait.
type PausedError struct {
	For time.Duration // the rest of the pause
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("the pause that the service requested (Retry-After) lasts another %s", e.For.Round(time.Second))
}

// RetryAfter returns how much of the pause was left when the error was made.
func (e *PausedError) RetryAfter() time.Duration { return e.For }

// Acquire waits for the end of a pause and for a slot. Requests get their slots in the order of
// their calls of Acquire. It fails with a *PausedError as soon as a pause lasts longer than
// maxPause or the deadline of ctx, and with the error of ctx if ctx ends. A second call of
// release does nothing.
func (p *Pace) Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error) {
	if err := p.receiveToken(ctx, maxPause, p.head); err != nil {
		return nil, err
	}
	defer func() { p.head <- struct{}{} }()
	for {
		wait, err := p.reserve(ctx, maxPause)
		if err != nil {
			return nil, err
		}
		if wait == 0 {
			return sync.OnceFunc(p.release), nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// receiveToken waits for a token from one of the channels of p. It checks the
// pause itself, because the requests ahead in the queue may accept a longer one.
func (p *Pace) receiveToken(ctx context.Context, maxPause time.Duration, tokens <-chan struct{}) error {
	for {
		p.mu.Lock()
		newPause := p.newPause
		p.mu.Unlock()
		if err := p.checkPause(ctx, maxPause); err != nil {
			return err
		}
		select {
		case <-tokens:
			return nil
		case <-newPause:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reserve takes a slot of the Pace and returns 0. If it gets no slot, it returns how long the
// caller must wait before it tries again.
func (p *Pace) reserve(ctx context.Context, maxPause time.Duration) (wait time.Duration, err error) {
	if err := p.checkPause(ctx, maxPause); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if pause := p.pausedUntil.Sub(now); pause > 0 {
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
		return math.MaxInt64, nil // All slots belong to requests without an answer: the next answer wakes the caller.
	}
	return p.answered[0].Add(window).Sub(now), nil
}

// checkPause returns a *PausedError if the pause lasts longer than maxPause or
// than the deadline of ctx, otherwise the error of ctx.
func (p *Pace) checkPause(ctx context.Context, maxPause time.Duration) error {
	p.mu.Lock()
	pause := time.Until(p.pausedUntil)
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
	p.wakeHead()
}

// Pause delays all requests for d. It never shortens a pause. A d of more than 24 hours counts as
// 24 hours: after that, the next request shows whether the service still requests a pause.
func (p *Pace) Pause(d time.Duration) {
	const longest = 24 * time.Hour
	until := time.Now().Add(min(d, longest))
	p.mu.Lock()
	if until.After(p.pausedUntil) {
		p.pausedUntil = until
		close(p.newPause)
		p.newPause = make(chan struct{})
	}
	p.mu.Unlock()
	p.wakeHead()
}

// SetRate changes the number of requests that the Pace allows in a second. A perSecond below one
// changes nothing.
func (p *Pace) SetRate(perSecond int) {
	if perSecond < 1 {
		return
	}
	p.mu.Lock()
	p.rate = perSecond
	p.mu.Unlock()
	p.wakeHead()
}

// wakeHead wakes the request at the head of the queue, which then tries to take a slot.
func (p *Pace) wakeHead() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
