package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// StatusService reads what became of an event: the service's unit of
// asynchronous work, one for each accepted request.
type StatusService service

// EventState is how far an event is. Values newer than the SDK are kept.
type EventState string

// States of an event. COMPLETE does not prove that a serial number exists;
// FAILED may be partial.
const (
	EventPending  EventState = "PENDING"
	EventComplete EventState = "COMPLETE"
	EventFailed   EventState = "FAILED"
)

// EventType is what an event does. It does not tell assets from subscriptions.
// Values newer than the SDK are kept.
type EventType string

// Types of events.
const (
	EventAssociate    EventType = "ASSOCIATE"
	EventDisassociate EventType = "DISASSOCIATE"
	EventRevoke       EventType = "REVOKE"
	EventCreate       EventType = "CREATE"
	EventUpdate       EventType = "UPDATE"
	EventRetire       EventType = "RETIRE"
)

// EventStatus is the status of one event.
type EventStatus struct {
	State        EventState `json:"eventStatus"`
	Type         EventType  `json:"eventType"`
	Failures     []*Error   `json:"failures,omitzero"` // one for each reason, naming who failed
	NumCompleted int        `json:"numCompleted"`      // tasks that succeeded so far; -1 when the service did not say
	NumRequested int        `json:"numRequested"`      // tasks of the event
	Meta
}

// finished tells whether the event is at its end; a state newer than the SDK is
// waited for.
func (s *EventStatus) finished() bool { return s.State == EventComplete || s.State == EventFailed }

// failure is the error of a status that is final.
func (s *EventStatus) failure(eventID string) error {
	if s.State == EventFailed {
		return &EventError{eventID, s}
	}
	return nil
}

// printed is an event's id as it can stand in a message.
func printableEventID(eventID string) string { return shorten(clean(eventID), 100) }

// EventError is an event that ended FAILED, wholly or in part. It unwraps to
// the failures, so that errors.Is and errors.As find the service's errors.
type EventError struct {
	EventID string
	Status  *EventStatus
}

func (e *EventError) Error() string {
	if e.Status == nil {
		return "an event that failed"
	}
	var b strings.Builder
	b.WriteString("event ")
	if e.EventID != "" {
		b.WriteString(printableEventID(e.EventID) + " ")
	}
	fmt.Fprintf(&b, "ended %s, %d of %d done", e.Status.State, e.Status.NumCompleted, e.Status.NumRequested)
	for i, f := range e.Status.Failures {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more reasons", len(e.Status.Failures)-i)
			break
		}
		fmt.Fprintf(&b, "; %v", f)
	}
	return b.String()
}

// Unwrap gives the failures.
func (e *EventError) Unwrap() []error {
	if e.Status == nil {
		return nil
	}
	errs := make([]error, 0, len(e.Status.Failures))
	for _, f := range e.Status.Failures {
		if f != nil {
			errs = append(errs, f)
		}
	}
	return errs
}

// Get reads the status of an event. An event that the service does not know is
// [ErrEventNotFound]. Apple asks to leave at least 30 seconds after an answer
// of PENDING before asking again.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/events-status
func (s *StatusService) Get(ctx context.Context, eventID string) (*EventStatus, error) {
	return s.get(ctx, eventID, transport.Read)
}

// get is Get for those who ask again later anyway, with transport.Poll: they do
// not repeat a question whose answer may have been PENDING.
func (s *StatusService) get(ctx context.Context, eventID string, class transport.Class) (*EventStatus, error) {
	if eventID == "" {
		return nil, invalidf("no event id")
	}
	status := &EventStatus{NumCompleted: -1}
	err := s.client.do(ctx, request{
		method: http.MethodGet, path: "status", key: "eventStatus",
		query: url.Values{"eventId": {eventID}}, class: class,
	}, status)
	if err != nil {
		return nil, err
	}
	status.Failures = slices.DeleteFunc(status.Failures, func(f *Error) bool { return f == nil })
	return status, nil
}

// Wait asks for the status of an event until it is no longer PENDING: early at
// first, then at the interval of [WithPolling], or when a notification of the
// event arrives (see [Client.Notify]), but never sooner than the interval after
// an answer of PENDING. If notifications name all tasks of the event before it
// may ask again, the status is made of what they said. For the result of a
// change, [Operation.Wait] tells more.
//
// An event that ends FAILED is an [*EventError] beside the status; one that
// stays PENDING beyond the stall time is [ErrStalled] beside the last status. An
// error that will not pass by itself ends the wait.
func (s *StatusService) Wait(ctx context.Context, eventID string) (*EventStatus, error) {
	if eventID == "" {
		return nil, invalidf("no event id")
	}
	hints := s.client.hub.listen()
	defer hints.close()
	hints.add(eventID)

	var last *EventStatus
	var named taskCount
	began := time.Now()
	notBefore, next := began, began.Add(s.client.firstPoll())
	for {
		for _, n := range hints.takeAll() {
			named.add(n)
			next = notBefore
		}
		if status := named.status(last); status != nil && time.Now().Before(notBefore) {
			return status, status.failure(eventID)
		}
		if err := hints.wait(ctx, time.Until(next)); err != nil {
			return last, fmt.Errorf("waiting for event %s: %w", printableEventID(eventID), err)
		}
		if time.Now().Before(next) {
			continue // a hint
		}
		status, err := s.get(ctx, eventID, transport.Poll)
		switch {
		case err == nil && status.finished():
			return status, status.failure(eventID)
		case err == nil:
			last = status
		case ctx.Err() != nil || !s.client.isTemporary(err):
			return last, err
		}
		if time.Since(began) >= s.client.opts.stallTime {
			return last, fmt.Errorf("event %s: %w", printableEventID(eventID), errors.Join(ErrStalled, err))
		}
		notBefore, next = s.client.nextPoll(err)
	}
}

// firstLook is how long after its acceptance an event is first asked for. With
// notifications to wake the waiter, an early look would only cost the right to
// look again when they come.
func (c *Client) firstPoll() time.Duration {
	if c.hub.notificationsExpected() {
		return max(c.opts.firstPoll, c.opts.pollInterval)
	}
	return c.opts.firstPoll
}

// nextLook is when to ask again after PENDING or a passing error: the earliest
// time and, so that many waiters do not march in step, a little after it.
func (c *Client) nextPoll(err error) (notBefore, next time.Time) {
	interval := c.opts.pollInterval
	var e *Error
	if errors.As(err, &e) {
		interval = max(interval, e.RetryAfter)
	}
	notBefore = time.Now().Add(interval)
	return notBefore, notBefore.Add(rand.N(c.opts.pollInterval/10 + 1))
}

// passing tells errors that may be gone at the next look: the service's
// retryable ones, the network's, and answers that cannot be read; but not those
// that ask for a longer pause than we wait for.
func (c *Client) isTemporary(err error) bool {
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > c.opts.maxPause {
		return false
	}
	return IsRetryable(err) || e != nil && e.Number <= 0 && (e.StatusCode == 0 || e.StatusCode/100 == 2)
}
