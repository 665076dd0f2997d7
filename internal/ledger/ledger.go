// Package ledger keeps what an operation knows: which requests it has, in which phase each
// of them is, and the outcome of each pair. It is arithmetic only: it has no input or
// output, no clock, no lock and no HTTP. It works on indices, as package batch does.
//
// A [Fact] is one thing that happened. [Ledger.Apply] is the only way to change a ledger,
// and the journal of an operation is the sequence of its facts. So an operation that runs,
// one that crashed and one that is resumed execute the same code.
//
// A request is in exactly one phase:
//
//	phase     holds                    outcome of its pairs                 what is due
//	queued    doubts                   unsent; unconfirmed if it has doubts  send
//	sending   doubts                   unconfirmed                           nothing
//	pending   event, age               unconfirmed                           poll
//	lost      age, verdicts so far     by pair; unconfirmed at first         read back
//	overdue   event, verdicts so far   by pair; unconfirmed at first         read back, and poll
//	disputed  event, verdicts so far   by pair                               read back
//	settled   event, verdicts          by pair                               nothing
//	replaced  pieces have its pairs    none                                  poll, while it is a doubt
//
// These facts move it:
//
//	fact          from                                to
//	begun         queued                              sending
//	accepted      sending                             pending
//	turned away   sending                             queued
//	refused       sending                             settled; disputed if it has doubts
//	strayed       sending                             settled
//	cut           queued, sending                     replaced; its pieces are queued, settled or disputed
//	lost          sending                             lost
//	polling       pending, overdue, replaced          the same, and not before a later time
//	noticed       pending, overdue                    the same, and due
//	polled        pending, overdue, replaced          the same, and due later
//	too long      pending                             overdue
//	gone          overdue, replaced                   disputed, replaced
//	ended         pending, overdue, replaced          settled or disputed, replaced
//	named         pending, overdue                    settled or disputed
//	unread        lost, overdue, disputed             the same, and due later
//	read back     lost, overdue, disputed             settled or the same
//	resent        lost, overdue                       replaced; its pieces are queued or settled
//	verified      settled                             settled
//
// and these are about the whole operation:
//
//	resumed       a process continues the operation: sending becomes lost, and times in the future come closer
//	halted        nothing more is sent for now
//	retried       the failed pairs are with another operation
//	undone        the succeeded pairs are with another operation
//
// A doubt is an earlier request for the same pairs that may still be carried out. A pair
// with a doubt fails only when the doubt is over: when its event has ended, or when the
// request was lost long ago. See [Doubt].
//
// Times of other processes are not trusted. A time only decides when something is due. How
// long an event was pending, and how long ago a request got lost, is added up from fact to
// fact ([Request.Aged]), so that a wrong clock does not change an outcome.
package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// Rules are the choices of an operation that its ledger needs.
type Rules struct {
	// Stall is how long an event may be pending before it is overdue. A request that got
	// lost may still be carried out for six times as long.
	Stall         time.Duration `json:"stall"`
	ResendOverdue bool          `json:"resendOverdue,omitzero"` // send the pairs of an overdue event again
	ResendLost    bool          `json:"resendLost,omitzero"`    // send the pairs of a lost request again
}

// lateness is how long a lost request may still be carried out.
func (r Rules) lateness() time.Duration { return 6 * r.Stall }

// maxResends is how often the pairs of a request are sent again.
const maxResends = 3

// Counts are the numbers of requests and pairs in a ledger. Every pair is counted in Pairs
// and in exactly one of the outcomes.
type Counts struct {
	Requests, Accepted, Settled            int
	Pairs                                  int
	Succeeded, Failed, Unconfirmed, Unsent int
}

// A Ledger is what an operation knows. Create it with [New], or restore it from JSON.
type Ledger struct {
	rules    Rules
	requests []*Request // by id; a request is never changed, Apply replaces it
	facts    int        // number of facts so far
	halted   Reason     // why nothing more is sent; "" if it is not halted
	learned  *batch.Limits
	retried  string // id of the operation that has the failed pairs
	undone   string // id of the operation that undoes the succeeded pairs
	counts   Counts
}

// New returns the ledger of an operation whose requests are queued since at.
func New(rules Rules, parts []batch.Part, at time.Time) *Ledger {
	l := &Ledger{rules: rules}
	for _, p := range parts {
		l.add(&Request{Part: p, Phase: Queued, At: at, Due: at})
	}
	return l
}

// add appends a request and gives it its id.
func (l *Ledger) add(r *Request) {
	r.ID = len(l.requests)
	l.requests = append(l.requests, r)
	l.count(r, 1)
}

// put replaces the request with the id of r.
func (l *Ledger) put(r *Request) {
	l.count(l.requests[r.ID], -1)
	l.requests[r.ID] = r
	l.count(r, 1)
}

// count adds a request to the counts, or removes it (sign -1).
func (l *Ledger) count(r *Request, sign int) {
	if r.Phase == Replaced {
		return
	}
	c := &l.counts
	c.Requests += sign
	c.Pairs += sign * r.Len()
	if r.Event != "" {
		c.Accepted += sign
	}
	if r.Phase == Settled {
		c.Settled += sign
	}
	r.tally(func(o Outcome, n int) { *c.of(o) += sign * n })
}

// of returns the count of an outcome.
func (c *Counts) of(o Outcome) *int {
	switch o {
	case Succeeded:
		return &c.Succeeded
	case Failed:
		return &c.Failed
	case Unsent:
		return &c.Unsent
	}
	return &c.Unconfirmed
}

// Requests returns all requests, by id. The requests are never changed: a fact replaces a
// request. The caller must not change the slice, and must copy it before the next fact.
func (l *Ledger) Requests() []*Request { return l.requests }

// Request returns the request with an id.
func (l *Ledger) Request(id int) *Request { return l.requests[id] }

// Counts returns the numbers of requests and pairs.
func (l *Ledger) Counts() Counts { return l.counts }

// Facts returns the number of facts that were applied.
func (l *Ledger) Facts() int { return l.facts }

// Rules returns the rules of the operation.
func (l *Ledger) Rules() Rules { return l.rules }

// Halted returns why nothing more is sent, or "".
func (l *Ledger) Halted() Reason { return l.halted }

// Learned returns the limits that refusals have shown. They are nil if there are none.
func (l *Ledger) Learned() *batch.Limits { return l.learned }

// Retried returns the id of the operation that has the failed pairs, or "".
func (l *Ledger) Retried() string { return l.retried }

// Undone returns the id of the operation that undoes the succeeded pairs, or "".
func (l *Ledger) Undone() string { return l.undone }

// AtEnd reports whether every request is settled or replaced.
func (l *Ledger) AtEnd() bool { return l.counts.Settled == l.counts.Requests }

// Trials returns how many pieces the search for invalid items has added so far, for the
// request that was refused first and all its pieces.
func (l *Ledger) Trials(id int) int { return l.requests[l.requests[id].origin()].Trials }

// Over reports whether the doubt's request can no longer be carried out.
func (l *Ledger) Over(d Doubt) bool {
	if r := l.requests[d.Request]; r.Event != "" {
		return !r.Open
	}
	return d.Age >= l.rules.lateness()
}

// certain reports whether no earlier request for the pairs of r can still be carried out.
func (l *Ledger) certain(r *Request) bool {
	for _, d := range r.Doubts {
		if !l.Over(d) {
			return false
		}
	}
	return true
}

// absenceIsFinal reports whether a pair of r that the lists do not show has failed: nothing
// can be carried out any more.
func (l *Ledger) absenceIsFinal(r *Request) bool {
	switch r.Phase {
	case Disputed:
		return l.certain(r)
	case Lost:
		return r.Age >= l.rules.lateness() && l.certain(r)
	}
	return false // the event of an overdue request may still end
}

// MayResend reports whether the rules allow to send the pairs of a request again when the
// lists do not show them.
func (l *Ledger) MayResend(id int) bool {
	r := l.requests[id]
	return len(r.Doubts) < maxResends && (r.Phase == Lost && l.rules.ResendLost || r.Phase == Overdue && l.rules.ResendOverdue)
}

// Follow returns the fact that follows from what is known of a request, if there is one: an
// event that was pending for the stall time is overdue, and an overdue event that the service
// has not found for a long time is gone. why is the reason of an overdue request.
func (l *Ledger) Follow(id int, at time.Time, why Reason) (Fact, bool) {
	r := l.requests[id]
	switch {
	case r.Phase == Pending && (r.Age >= l.rules.Stall || r.Failing >= l.rules.Stall):
		return Fact{What: TooLong, Request: id, At: at, Due: at, Why: why}, true
	case (r.Phase == Overdue || r.Open) && r.Gone && r.Failing >= l.rules.lateness():
		return Fact{What: Gone, Request: id, At: at, Due: at}, true
	}
	return Fact{}, false
}

// ErrIllegal is the error of a fact that cannot have happened.
var ErrIllegal = errors.New("not a legal fact")

func illegal(f Fact, format string, args ...any) error {
	return fmt.Errorf("%w: %s of request %d: %s", ErrIllegal, f.What, f.Request, fmt.Sprintf(format, args...))
}
