package appsandbookstest

import (
	"slices"
	"time"
)

// An event has one of these statuses.
const (
	EventPending  = "PENDING"
	EventComplete = "COMPLETE"
	EventFailed   = "FAILED"
)

// An event has one of these types.
const (
	typeAssociate    = "ASSOCIATE"
	typeDisassociate = "DISASSOCIATE"
	typeRevoke       = "REVOKE"
	typeCreate       = "CREATE"
	typeUpdate       = "UPDATE"
	typeRetire       = "RETIRE"
)

// An Event is an accepted write. The service applies it later.
type Event struct {
	ID           string
	Path         string // path of the request below /mdm/v2/, such as "assets/associate"
	Type         string // type of the event in the API, such as "ASSOCIATE"
	Status       string // one of EventPending, EventComplete and EventFailed
	NumRequested int
	NumCompleted int
	Deferred     bool      // the event waits for the end of the billing period
	Accepted     time.Time // time at which the server processed the request
	Finished     time.Time // time at which the event finished; zero while it is PENDING
}

// An event is the stand-in's record of an Event.
type event struct {
	Event
	due          time.Time // time at which the event is applied
	forcedNumber int       // error number with which all tasks fail, or zero
	failures     []wireError

	// apply changes what the unit holds, and then calls complete or sets
	// finishDeferred. The lock must be held.
	apply func(e *event, now time.Time)

	// denied is true if a fault answered the write with an error number.
	denied bool

	// finishDeferred finishes an event that waits for the end of the
	// billing period. It is nil for other events.
	finishDeferred func(now time.Time)
}

// accept queues a write as an event. The fields Type, NumRequested and Deferred
// of write must be set. The lock must be held.
func (u *Unit) accept(c *call, write Event, apply func(*event, time.Time)) *event {
	now := time.Now()
	write.ID = u.srv.random.uuid(u.randomLabel("event"), uint64(len(u.events)))
	write.Path = c.path
	write.Status = EventPending
	write.Accepted = now
	e := &event{Event: write, apply: apply}
	u.events = append(u.events, e)
	u.eventByID[e.ID] = e
	u.srv.recorder.writeAccepted(u, c.entry, e)

	delay := u.srv.opts.eventDelay(e.Event)
	if delay < 0 {
		return e // PENDING until FinishEvents
	}
	e.due = now.Add(delay)
	if n := len(u.queue); n > 0 && u.queue[n-1].due.After(e.due) {
		e.due = u.queue[n-1].due
	}
	u.queue = append(u.queue, e)
	u.setEventTimer()
	return e
}

// accepted returns the answer to an accepted write. The lock must be held.
func (u *Unit) accepted(e *event) wireEvent {
	return wireEvent{wireCommon: u.common(), EventID: e.ID}
}

// applyDueEvents applies the events whose delay is over. The lock must be held.
func (u *Unit) applyDueEvents(now time.Time) {
	if u.eventsHeld {
		return
	}
	for len(u.queue) > 0 && !u.queue[0].due.After(now) {
		e := u.queue[0]
		u.queue[0] = nil
		u.queue = u.queue[1:]
		u.applyEvent(e, e.due)
	}
}

// applyEvent applies an event. The time of the change is at. The lock must be
// held.
func (u *Unit) applyEvent(e *event, at time.Time) {
	if len(u.failNext) > 0 {
		e.forcedNumber = u.failNext[0]
		u.failNext = u.failNext[1:]
	}
	e.apply(e, at)
}

// complete sets the result of an event. The lock must be held.
func (u *Unit) complete(e *event, now time.Time, completed int, failures []wireError) {
	e.Finished = now
	e.NumCompleted = completed
	e.failures = failures
	e.Status = EventComplete
	if len(failures) > 0 {
		e.Status = EventFailed
	}
}

// setEventTimer sets the timer for the next event. Only units with a
// notification URL need a timer, because every read of a unit applies the
// events that are due. The lock must be held.
func (u *Unit) setEventTimer() {
	if u.closed || u.eventsHeld || len(u.queue) == 0 || u.config.NotificationURL == "" {
		return
	}
	due := u.queue[0].due
	if u.timer != nil {
		if u.timerAt.Equal(due) {
			return
		}
		u.timer.Stop()
	}
	u.timerAt = due
	u.timer = time.AfterFunc(time.Until(due), func() {
		if !u.srv.startWork() {
			return
		}
		defer u.srv.wg.Done()
		u.lockAndUpdate()
		defer u.mu.Unlock()
		u.timer = nil
		u.setEventTimer()
	})
}

// Events returns the events of the unit in the order in which they were
// accepted.
func (u *Unit) Events() []Event {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	out := make([]Event, len(u.events))
	for i, e := range u.events {
		out[i] = e.Event
	}
	return out
}

// HoldEvents keeps all events of the unit PENDING while hold is true: those that are
// PENDING now, and those that the server accepts later. When hold is false, the server
// applies the events whose delay is over.
func (u *Unit) HoldEvents(hold bool) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	now := time.Now()
	if u.eventsHeld && !hold {
		for _, e := range u.queue {
			if e.due.Before(now) {
				e.due = now
			}
		}
	}
	u.eventsHeld = hold
	u.applyDueEvents(now)
	u.setEventTimer()
}

// FinishEvents applies all PENDING events at once, in the order in which they
// were accepted. It ignores their delays and [Unit.HoldEvents]. Deferred events
// stay PENDING until [Unit.EndBillingPeriod].
func (u *Unit) FinishEvents() {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	u.queue = nil
	now := time.Now()
	for _, e := range u.events {
		if e.Status == EventPending && e.finishDeferred == nil {
			u.applyEvent(e, now)
		}
	}
}

// FailNextEvent makes all tasks of the next event that is applied fail with an
// error number, such as 9603, 9635 or 9644. If it is called several times, each
// call applies to one more event.
func (u *Unit) FailNextEvent(errorNumber int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failNext = append(u.failNext, errorNumber)
}

// FailTarget makes every task for a target fail with an error number. The id is
// a clientUserId or a serial number. The error number zero ends the
// injected failures of the target.
func (u *Unit) FailTarget(id string, errorNumber int) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if errorNumber == 0 {
		delete(u.failIDs, id)
		return
	}
	u.failIDs[id] = errorNumber
}

// injectedFailure returns the error number that FailNextEvent or FailTarget set
// for a task, or zero. The lock must be held.
func (u *Unit) injectedFailure(e *event, id string) int {
	if e.forcedNumber != 0 {
		return e.forcedNumber
	}
	return u.failIDs[id]
}

// getStatus handles GET status.
func getStatus(c *call) (any, *apiError) {
	id := c.query.Get("eventId")
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	e := u.eventByID[id]
	if e == nil {
		return nil, refuse(numEventNotFound)
	}
	if e.Status == EventPending {
		c.pending = e.ID
	}
	return wireStatus{
		wireCommon:   u.common(),
		EventStatus:  e.Status,
		EventType:    e.Type,
		Failures:     slices.Clone(e.failures),
		NumCompleted: e.NumCompleted,
		NumRequested: e.NumRequested,
	}, nil
}
