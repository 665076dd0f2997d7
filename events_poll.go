package appsandbooks

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// poller polls events for all callers of a client. It remembers when each event may be polled
// again: after an answer of PENDING, Apple requires a pause, whoever asks. Callers that poll the
// same event at the same time share one request.
type poller struct {
	client *Client

	mu     sync.Mutex
	events map[string]*polledEvent // by event id
	sweep  int                     // when events has this many elements, those that may be polled are removed
}

// polledEvent is what a poller remembers of one event.
type polledEvent struct {
	notBefore time.Time    // the earliest time of the next poll
	last      *EventStatus // the last status; nil if no answer came yet
	flight    *pollFlight  // the poll in progress; nil if there is none
}

// pollFlight is a poll in progress. The fields below done are set before done is closed.
type pollFlight struct {
	oneAttempt bool          // the poll does not wait for a pause (withOneAttempt)
	done       chan struct{} // closed at the end of the poll

	result    pollResult
	err       error
	abandoned bool // the context of the polling caller has ended, so the poll shows nothing to the others
}

// pollResult is the result of one call of poller.poll.
type pollResult struct {
	status *EventStatus // nil if no request was sent, or if it failed
	sent   bool         // a request was sent, and may have reached the service
	// notBefore is the earliest time at which anybody in this client may poll the event
	// again.
	notBefore time.Time
}

// minSweep is the smallest number of events at which a poller removes events.
const minSweep = 64

func newPoller(c *Client) *poller {
	return &poller{client: c, events: map[string]*polledEvent{}, sweep: minSweep}
}

// poll polls an event, or joins the poll in progress. If the event must not be polled yet, it
// sends nothing, and returns no status and no error. A poll that ends because its caller's
// context ends is not the result of those who joined it: they poll again when that is allowed.
func (p *poller) poll(ctx context.Context, eventID string) (pollResult, error) {
	oneAttempt := hasOneAttempt(ctx)
	for {
		p.mu.Lock()
		e := p.event(eventID)
		flight, notBefore := e.flight, e.notBefore
		start := flight == nil && !time.Now().Before(notBefore)
		if start {
			flight = &pollFlight{oneAttempt: oneAttempt, done: make(chan struct{})}
			e.flight = flight
		}
		p.mu.Unlock()
		switch {
		case start:
			p.fly(ctx, eventID, flight)
			return flight.result, flight.err
		case flight == nil:
			return pollResult{notBefore: notBefore}, nil
		case oneAttempt && !flight.oneAttempt:
			// The poll in progress may wait for minutes.
			return pollResult{notBefore: time.Now().Add(p.client.opts.pollInterval)}, nil
		}
		select {
		case <-flight.done:
		case <-ctx.Done():
			return pollResult{}, contextError(ctx)
		case <-p.client.lifetime.Done():
			return pollResult{}, ErrClosed
		}
		if !flight.abandoned {
			result := flight.result
			result.status = result.status.clone()
			return result, flight.err
		}
	}
}

// fly polls an event, and sets the result of the flight.
func (p *poller) fly(ctx context.Context, eventID string, flight *pollFlight) {
	flight.abandoned = true // also if a hook of the caller panics
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		e := p.event(eventID)
		e.flight, flight.result.notBefore = nil, e.notBefore
		p.forgetIfIdle(eventID, e)
		close(flight.done)
	}()
	status, err := p.client.Status.get(ctx, eventID, transport.Poll)
	var e *Error
	flight.result.status, flight.err = status, err
	flight.result.sent = err == nil || errors.As(err, &e) && e.Attempts > 0
	flight.abandoned = err != nil && ctx.Err() != nil
}

// record remembers the result of a request for the status of an event.
func (p *poller) record(eventID string, status *EventStatus, err error) {
	var pause time.Duration
	switch {
	case err != nil:
		pause = p.client.pauseAfter(err)
	case !status.finished():
		pause = p.client.opts.pollInterval
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.event(eventID)
	switch notBefore := time.Now().Add(pause); {
	case err == nil && pause == 0:
		e.notBefore, e.last = time.Time{}, nil // nobody needs another poll
	case pause > 0 && e.notBefore.Before(notBefore):
		e.notBefore = notBefore
	}
	if err == nil && pause > 0 {
		e.last = status.clone()
	}
	p.forgetIfIdle(eventID, e)
}

// recall returns the last status of an event, and the earliest time of its next poll. It returns
// nil and the zero time if it remembers nothing of the event.
func (p *poller) recall(eventID string) (last *EventStatus, notBefore time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.events[eventID]
	if e == nil {
		return nil, time.Time{}
	}
	return e.last.clone(), e.notBefore
}

// event returns what p remembers of an event. Before it adds an event to many others, it removes
// those that may be polled. The caller holds p.mu.
func (p *poller) event(eventID string) *polledEvent {
	if e := p.events[eventID]; e != nil {
		return e
	}
	if len(p.events) >= p.sweep {
		for id, e := range p.events {
			p.forgetIfIdle(id, e)
		}
		p.sweep = max(minSweep, 2*len(p.events))
	}
	e := new(polledEvent)
	p.events[eventID] = e
	return e
}

// forgetIfIdle removes an event that may be polled and is not being polled. The caller holds p.mu.
func (p *poller) forgetIfIdle(eventID string, e *polledEvent) {
	if e.flight == nil && !time.Now().Before(e.notBefore) {
		delete(p.events, eventID)
	}
}

// clone returns a copy of a status. The copy of nil is nil.
func (s *EventStatus) clone() *EventStatus {
	if s == nil {
		return nil
	}
	d := *s
	d.Failures = slices.Clone(s.Failures)
	return &d
}

// firstPoll returns how long after its acceptance an event is polled first. If
// notifications are expected, that is at least the polling interval: an early poll would
// start the pause after PENDING and so delay the poll that a notification triggers.
func (c *Client) firstPoll() time.Duration {
	if c.hub.notificationsExpected() {
		return max(c.opts.firstPoll, c.opts.pollInterval)
	}
	return c.opts.firstPoll
}

// spread returns a time that is up to a tenth of the polling interval after notBefore, at random,
// so that the polls of many waiters are spread out.
func (c *Client) spread(notBefore time.Time) time.Time {
	return notBefore.Add(rand.N(c.opts.pollInterval/10 + 1))
}

// pauseAfter returns how long an event must not be polled after a failed poll. After a temporary
// error, that is the interval or a longer RetryAfter. If the lost answer may have been PENDING,
// it is the interval. Otherwise it is 0.
func (c *Client) pauseAfter(err error) time.Duration {
	var e *Error
	switch {
	case !errors.As(err, &e) || e.contextEnded && e.Attempts == 0:
		return 0 // nothing was sent
	case c.isTemporary(err):
		return max(c.opts.pollInterval, e.RetryAfter)
	case e.Attempts > 0 && e.Number == 0:
		return c.opts.pollInterval
	}
	return 0
}

// isTemporary reports whether the same call may succeed later. That is so for a retryable error of
// the service, for a network error, and for an answer that cannot be read. It is not so if
// the service asks for a longer pause than [WithMaxPause] allows, or if the client is closed.
func (c *Client) isTemporary(err error) bool {
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > c.opts.maxPause || errors.Is(err, ErrClosed) {
		return false
	}
	return IsRetryable(err) || e != nil && e.Number <= 0 && (e.StatusCode == 0 || e.StatusCode/100 == 2)
}
