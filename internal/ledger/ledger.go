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
//	phase     holds                                         outcome of its pairs                  what is due
//	queued    doubts                                        unsent; unconfirmed if it has doubts  send
//	sending   doubts                                        unconfirmed                           nothing
//	pending   event, age                                    unconfirmed                           poll
//	lost      age, verdicts so far                          by pair; unconfirmed at first         read back
//	overdue   event, verdicts so far                        by pair; unconfirmed at first         read back, and poll
//	disputed  event if it has one, verdicts so far, doubts  by pair                               read back
//	settled   event, verdicts                               by pair                               nothing
//	replaced  pieces have its pairs                         none                                  poll, while it is a doubt
//
// A queued request is also unconfirmed if an attempt of it may have begun.
//
// These facts move it:
//
//	fact          from                                to
//	begun         queued                              sending
//	accepted      sending                             pending
//	turned away   sending                             queued
//	refused       sending                             settled; disputed if it has doubts, or if an attempt may have begun
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
//	reading       lost, disputed                      the same, but older
//	unread        lost, overdue, disputed             the same, and due later
//	read back     lost, overdue, disputed             settled or the same; disputed if it was lost long ago
//	resent        lost, overdue                       replaced; its pieces are queued or settled
//	verified      settled                             settled
//
// There is no reading of an overdue request: an overdue request is never final by age.
//
// If the event of a replaced request ends or is gone, the queued requests for its pairs become
// disputed; they are not sent.
//
// These facts are about the whole operation:
//
//	resumed       a process continues the operation: sending becomes lost, and times in the future come closer
//	halted        nothing more is sent until the next begun
//	retried       the failed pairs are with another operation
//	undone        the succeeded pairs are with another operation
//
// A doubt is an earlier request for the same pairs that may still be carried out. A pair
// with a doubt fails only when the doubt is over: when its event has ended, or when the
// request was lost long ago. See [Doubt]. Long ago is six stall times: the SDK assumes that
// the service carries out a lost request within that time, or never.
//
// The lists show a pair if they show that its change was made: for a removal, that the pair is
// no longer listed. A pair that the lists do not show has failed only if nothing could carry it out any more
// when the reading began. So the lists must be read after the last fact about the request and
// about its doubts: a caller that polls and reads at the same time must read again.
//
// Times of other processes are not trusted. A time only decides when something is due. How
// long an event was pending, and how long ago a request got lost, is added up from fact to
// fact ([Request.Aged]). Between two processes, at most the planned wait counts, and nothing if
// the clocks contradict each other. So a clock that is a little ahead can make an age too long
// by one planned wait for each move to another process, and never by more. A clock that is
// behind makes it too short.
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
	Lag           time.Duration `json:"lag,omitzero"`           // how much later than its event the lists may show a change
	ResendOverdue bool          `json:"resendOverdue,omitzero"` // send the pairs of an overdue event again
	ResendLost    bool          `json:"resendLost,omitzero"`    // send the pairs of a lost request again
	Bisect        bool          `json:"bisect,omitzero"`        // search for invalid items; the ledger only keeps it
}

// lateness is how long ago a request must have got lost so that the lists show whether it was
// carried out.
func (r Rules) lateness() time.Duration { return 6*min(r.Stall, longestAge/6) + r.Lag }

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
	haltedAt time.Time  // when it was halted last
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
	r.Tally(func(o Outcome, n int) { *c.of(o) += sign * n })
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

// HaltedAt returns when the operation was halted last.
func (l *Ledger) HaltedAt() time.Time { return l.haltedAt }

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

// doubtsOver reports whether no earlier request for the pairs of r, and no earlier attempt of r, can
// still be carried out.
func (l *Ledger) doubtsOver(r *Request) bool {
	for _, d := range r.Doubts {
		if !l.Over(d) {
			return false
		}
	}
	return !r.Unsure || r.UnsureAge >= l.rules.lateness()
}

// IsCertain reports whether no earlier request for the pairs of a request can still be carried
// out, once the request is older by aged.
func (l *Ledger) IsCertain(id int, aged time.Duration) bool {
	r := *l.requests[id]
	r.ageDoubts(l, &Fact{Aged: aged})
	return l.doubtsOver(&r)
}

// absenceIsFinal reports whether a pair of r that the lists do not show has failed: nothing
// can be carried out any more.
func (l *Ledger) absenceIsFinal(r *Request) bool {
	switch r.Phase {
	case Disputed:
		return l.doubtsOver(r)
	case Lost:
		return r.Age >= l.rules.lateness() && l.doubtsOver(r)
	}
	return false // the event of an overdue request may still end
}

// BecomesFinal reports whether an absence from the lists is not final yet, but is final when the
// request is older by aged.
func (l *Ledger) BecomesFinal(id int, aged time.Duration) bool {
	old := l.requests[id]
	r := *old
	f := Fact{What: Reading, Request: id, Aged: aged}
	r.ageDoubts(l, &f)
	r.ageLost(&f)
	return !l.absenceIsFinal(old) && l.absenceIsFinal(&r)
}

// MayResend reports whether the rules allow to send the pairs of a request again when the
// lists do not show them.
func (l *Ledger) MayResend(id int) bool {
	r := l.requests[id]
	return len(r.Doubts) < maxResends && (r.Phase == Lost && l.rules.ResendLost || r.Phase == Overdue && l.rules.ResendOverdue)
}

// Follow returns the fact that follows from what is known of a request, if there is one: an
// event that was pending, or whose polls failed, for the stall time is overdue, and an overdue
// event that the service has not found for a long time is gone. why is the reason of an overdue request.
func (l *Ledger) Follow(id int, at time.Time, why Reason) (Fact, bool) {
	r := l.requests[id]
	switch {
	case r.Phase == Pending && (r.Age >= l.rules.Stall || r.Failing >= l.rules.Stall):
		return Fact{What: TooLong, Request: id, At: at, Due: at, Why: why}, true
	case (r.Phase == Overdue || r.Open) && r.Missing >= l.rules.lateness():
		return Fact{What: Gone, Request: id, At: at, Due: at}, true
	}
	return Fact{}, false
}

// ErrIllegal is the error of a fact that cannot have happened.
var ErrIllegal = errors.New("not a legal fact")

func illegal(f Fact, format string, args ...any) error {
	return fmt.Errorf("%w: %s of request %d: %s", ErrIllegal, f.What, f.Request, fmt.Sprintf(format, args...))
}
