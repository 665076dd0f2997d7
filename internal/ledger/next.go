package ledger

import (
	"slices"
	"time"
)

// A Do is the kind of a task.
type Do string

// A task is one of these.
const (
	Send Do = "send"
	Poll Do = "poll"
	Read Do = "read"
)

// A Task is something to do for a request.
type Task struct {
	Do      Do
	Request int
	Due     time.Time
}

// Next returns what is due, in the order of the times at which it became due, each request
// at most once. next is the time of the first task that is not due yet; it is zero if there
// is none. If both are empty, no request needs anything. A queued request waits while the event
// of an earlier request for its pairs has to be polled. With halted, queued requests are left
// out.
func (l *Ledger) Next(now time.Time, halted bool) (due []Task, next time.Time) {
	doubted := l.doubted()
	for _, r := range l.requests {
		t, ok := r.task(doubted[r.ID])
		switch {
		case !ok, halted && t.Do == Send, t.Do == Send && l.waitsForDoubt(r, now):
		case !t.Due.After(now):
			due = append(due, t)
		case next.IsZero() || t.Due.Before(next):
			next = t.Due
		}
	}
	slices.SortStableFunc(due, func(a, b Task) int { return a.Due.Compare(b.Due) })
	return due, next
}

// waitsForDoubt reports whether the event of an earlier request for the pairs of r has to be
// polled before r is sent: it may have ended.
func (l *Ledger) waitsForDoubt(r *Request, now time.Time) bool {
	for _, d := range r.Doubts {
		if t, ok := l.requests[d.Request].task(true); ok && !t.Due.After(now) {
			return true
		}
	}
	return false
}

// doubted returns the ids of the replaced requests whose end a pair waits for.
func (l *Ledger) doubted() map[int]bool {
	ids := map[int]bool{}
	for _, r := range l.requests {
		if r.Phase == Settled || r.Phase == Replaced {
			continue
		}
		for _, d := range r.Doubts {
			ids[d.Request] = true
		}
	}
	return ids
}

// task returns what the request needs. It reports false if the request needs nothing.
func (r *Request) task(isDoubt bool) (Task, bool) {
	t := Task{Request: r.ID, Due: r.Due}
	switch {
	case r.Phase == Queued:
		t.Do = Send
	case r.Phase == Pending, r.Phase == Overdue && r.WasRead, r.Phase == Replaced && r.Open && isDoubt:
		t.Do = Poll
		if r.NotBefore.After(t.Due) {
			t.Due = r.NotBefore
		}
	case r.IsUnclear():
		t.Do = Read
	default:
		return t, false
	}
	return t, true
}

// Rests reports whether nothing more can be learned for now: no request is queued, being
// sent or pending, and the lists were read for each request whose outcome is not clear. A
// later reading can still show more. With halted, queued requests do not count.
func (l *Ledger) Rests(halted bool) bool {
	for _, r := range l.requests {
		switch r.Phase {
		case Queued:
			if !halted {
				return false
			}
		case Sending, Pending:
			return false
		case Lost, Overdue, Disputed:
			if !r.WasRead {
				return false
			}
		}
	}
	return true
}
