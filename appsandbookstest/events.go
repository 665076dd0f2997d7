package appsandbookstest

import (
	"slices"
	"time"
)

// The states of an event.
const (
	EventPending  = "PENDING"
	EventComplete = "COMPLETE"
	EventFailed   = "FAILED"
)

// The types of events.
const (
	typeAssociate    = "ASSOCIATE"
	typeDisassociate = "DISASSOCIATE"
	typeRevoke       = "REVOKE"
	typeCreate       = "CREATE"
	typeUpdate       = "UPDATE"
	typeRetire       = "RETIRE"
)

// An Event is an asynchronous write that was accepted.
type Event struct {
	ID           string
	Path         string // of the request, below /mdm/v2/: "assets/associate"
	Type         string // as the API shows it: "ASSOCIATE"
	Status       string // EventPending, EventComplete or EventFailed
	NumRequested int
	NumCompleted int
	Deferred     bool      // carried out at the end of the billing period
	Accepted     time.Time // when the request was processed
	Finished     time.Time // zero while it is PENDING
}

// An event is what the unit keeps of an Event.
type event struct {
	Event
	due          time.Time
	forcedNumber int // error number with which everything fails, or zero
	failures     []wireError

	// apply carries the event out at a time and calls complete, or sets
	// conclude. The lock is held.
	apply func(e *event, now time.Time)

	// conclude carries out what was deferred to the end of the billing
	// period. It is set while the event waits for that.
	finishDeferred func(now time.Time)
}

// accept queues a write of which type, number of tasks and deferral are
// given. The lock is held.
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
		return e // for ever
	}
	e.due = now.Add(delay)
	if n := len(u.queue); n > 0 && u.queue[n-1].due.After(e.due) {
		e.due = u.queue[n-1].due
	}
	u.queue = append(u.queue, e)
	u.setEventTimer()
	return e
}

// accepted returns the answer to a write that was queued. The lock is held.
func (u *Unit) accepted(e *event) wireEvent {
	return wireEvent{wireCommon: u.common(), EventID: e.ID}
}

// settle carries out the events whose delay has elapsed. The lock is held.
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

func (u *Unit) applyEvent(e *event, at time.Time) {
	if len(u.failNext) > 0 {
		e.forcedNumber = u.failNext[0]
		u.failNext = u.failNext[1:]
	}
	e.apply(e, at)
}

// complete ends an event. The lock is held.
func (u *Unit) complete(e *event, now time.Time, completed int, failures []wireError) {
	e.Finished = now
	e.NumCompleted = completed
	e.failures = failures
	e.Status = EventComplete
	if len(failures) > 0 {
		e.Status = EventFailed
	}
}

// arm sets the timer that carries out the next event, which matters only when
// somebody is to be notified: readers bring the ledger up to date themselves.
// The lock is held.
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

// Events returns the events of the unit in the order of their acceptance.
func (u *Unit) Events() []Event {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	out := make([]Event, len(u.events))
	for i, e := range u.events {
		out[i] = e.Event
	}
	return out
}

// HoldEvents keeps the events of the unit PENDING, those already accepted and
// those to come, until it is called with false. Whatever became due meanwhile
// is carried out then.
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

// FinishEvents carries out all PENDING events at once, in order, whatever
// their delay, and even when they are held. Deferred ones stay PENDING until
// [Unit.EndBillingPeriod].
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

// FailNextEvent makes the next event that is carried out fail as a whole with
// an error number: 9603, 9635 or 9644, for instance. Further calls concern the
// events after it.
func (u *Unit) FailNextEvent(errorNumber int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failNext = append(u.failNext, errorNumber)
}

// FailTarget makes every task of an event fail that concerns a clientUserId
// or a serial number. An error number of zero ends that.
func (u *Unit) FailTarget(id string, errorNumber int) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if errorNumber == 0 {
		delete(u.failIDs, id)
		return
	}
	u.failIDs[id] = errorNumber
}

// refusal returns the error number with which a task on a target has to
// fail, or zero. The lock is held.
func (u *Unit) injectedFailure(e *event, id string) int {
	if e.forcedNumber != 0 {
		return e.forcedNumber
	}
	return u.failIDs[id]
}

// getStatus answers GET status.
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
