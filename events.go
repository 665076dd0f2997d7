package appsandbooks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// StatusService reads the status of events. An event is the service's unit of asynchronous
// work. The service creates one for each request that it accepts.
type StatusService service

// EventState is the state of an event. A value that the SDK does not know is kept as it is.
type EventState string

// An event is in one of these states. COMPLETE does not prove that a serial number
// exists. FAILED means that at least a part of the event failed; the other parts can have
// succeeded.
const (
	EventPending  EventState = "PENDING"
	EventComplete EventState = "COMPLETE"
	EventFailed   EventState = "FAILED"
)

// EventType is what an event does. It does not distinguish assets from subscriptions. A
// value that the SDK does not know is kept as it is.
type EventType string

// Apple documents these types of events.
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
	State EventState `json:"eventStatus"`
	Type  EventType  `json:"eventType"`
	// Failures has one error for each reason. An error can name the assets, users and
	// devices that failed.
	Failures []*Error `json:"failures,omitzero"`
	// NumCompleted is how many tasks have succeeded so far. It is -1 if the answer does
	// not contain the number.
	NumCompleted int `json:"numCompleted"`
	NumRequested int `json:"numRequested"` // all tasks of the event
	Meta
}

// finished reports whether the event is COMPLETE or FAILED. An event in a state that the SDK
// does not know is not finished.
func (s *EventStatus) finished() bool { return s.State == EventComplete || s.State == EventFailed }

// failure returns the error of a finished status: an [*EventError] if it is FAILED, and
// otherwise nil.
func (s *EventStatus) failure(eventID string) error {
	if s.State == EventFailed {
		return &EventError{eventID, s}
	}
	return nil
}

// printableEventID returns an event id for a message: at most 100 bytes of it, without
// control characters.
func printableEventID(eventID string) string { return shorten(clean(eventID), 100) }

// An EventError is the error of an event that ended FAILED. Some of its tasks can have
// succeeded. It unwraps to the failures, so that errors.Is and errors.As find the service's
// errors.
type EventError struct {
	EventID string
	Status  *EventStatus
}

// Error returns the id of the event and its failures, as a text for people.
func (e *EventError) Error() string {
	if e.Status == nil {
		return "the event failed"
	}
	var b strings.Builder
	b.WriteString("event ")
	if e.EventID != "" {
		b.WriteString(printableEventID(e.EventID) + " ")
	}
	fmt.Fprintf(&b, "ended %s, %d of %d tasks succeeded", e.Status.State, e.Status.NumCompleted, e.Status.NumRequested)
	for i, f := range e.Status.Failures {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more reasons", len(e.Status.Failures)-i)
			break
		}
		fmt.Fprintf(&b, "; %v", f)
	}
	return b.String()
}

// Unwrap returns the failures of the event.
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

// Get reads the status of an event. If the service does not know the event, the error is
// [ErrEventNotFound]. After an answer of PENDING, Apple asks to wait at least 30 seconds
// before the next request for the same event. Get always sends the request; the polls of
// [StatusService.Wait] keep the distance to it.
//
// https://developer.apple.com/documentation/devicemanagement/events-status
func (s *StatusService) Get(ctx context.Context, eventID string) (*EventStatus, error) {
	return s.get(ctx, eventID, transport.Read)
}

// get is Get with the retry class of the call. The class transport.Poll is for callers
// that poll again later: then a request is not repeated if its lost answer may have been
// PENDING. The result is recorded for later polls of the event.
func (s *StatusService) get(ctx context.Context, eventID string, class transport.Class) (*EventStatus, error) {
	if eventID == "" {
		return nil, invalidf("the event id is empty")
	}
	status := &EventStatus{NumCompleted: -1}
	err := s.client.do(ctx, request{
		method: http.MethodGet, path: "status", key: "eventStatus",
		query: url.Values{"eventId": {eventID}}, class: class,
	}, status)
	if err != nil {
		s.client.polls.record(eventID, nil, err)
		return nil, err
	}
	status.Failures = slices.DeleteFunc(status.Failures, func(f *Error) bool { return f == nil })
	s.client.polls.record(eventID, status, nil)
	return status, nil
}

// Wait polls an event until it is no longer PENDING. The first poll comes early. Then Wait
// polls at the interval of [WithPolling], or when a notification of the event arrives (see
// [Client.Notify]), but never sooner than the interval after an answer of PENDING to any
// call of this client. If notifications have named all tasks of the event and no poll is
// allowed yet, Wait builds the status from the notifications. [Operation.Wait] reports more
// about the result of a change.
//
// If the event ends FAILED, Wait returns the status and an [*EventError]. If the event is
// not finished when the stall time has passed since the call of Wait, Wait returns the last
// status and [ErrStalled]. An error that is not temporary ends the wait. Temporary errors
// of a poll do not end it before the stall time.
func (s *StatusService) Wait(ctx context.Context, eventID string) (*EventStatus, error) {
	if eventID == "" {
		return nil, invalidf("the event id is empty")
	}
	// Only the waiting ends when the client is closed: Close cancels no poll in progress.
	waiting, cancel := s.client.withLifetime(ctx)
	defer cancel()
	w := s.client.hub.newWaiter()
	defer w.close()
	w.add(eventID)

	var namedTasks taskCount
	began := time.Now()
	last, notBefore := s.client.polls.recall(eventID)
	next := began.Add(s.client.firstPoll())
	if next.Before(notBefore) {
		next = s.client.spread(notBefore)
	}
	for {
		for _, n := range w.takeAll() {
			namedTasks.add(n)
			next = notBefore
		}
		if status := namedTasks.status(last); status != nil && time.Now().Before(notBefore) {
			return status, status.failure(eventID)
		}
		if err := w.wait(waiting, time.Until(next)); err != nil {
			return last, fmt.Errorf("waiting for event %s: %w", printableEventID(eventID), err)
		}
		if time.Now().Before(next) {
			continue // a notification arrived before the poll was due
		}
		result, err := s.client.polls.poll(ctx, eventID)
		switch {
		case err != nil && (ctx.Err() != nil || !s.client.isTemporary(err)):
			return last, err
		case result.status != nil && result.status.finished():
			return result.status, result.status.failure(eventID)
		case result.status != nil:
			last = result.status
		case err == nil: // another call of this client has polled the event, and its answer was not final
			if status, _ := s.client.polls.recall(eventID); status != nil {
				last = status
			}
		}
		if time.Since(began) >= s.client.opts.stallTime {
			return last, fmt.Errorf("event %s: %w", printableEventID(eventID), withCause(ErrStalled, err))
		}
		notBefore = result.notBefore
		next = s.client.spread(notBefore)
	}
}
