package appsandbooks

import (
	"context"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// A part is one request of an operation, with its state and the outcomes of its pairs. The
// comments of this package call it a request.
type part struct {
	id int
	batch.Part
	state   partState
	eventID string
	// sentAt is when the service accepted the request. With an unknown result, it is
	// when the attempt ended or, after a crash, when the operation was resumed.
	sentAt    time.Time
	nextPoll  time.Time // time of the next poll or read-back; the zero time means at once
	notBefore time.Time // earliest time of a poll, whatever nextPoll is
	polling   bool      // true while a poll of the event is in progress
	// pollFailingSince is the time of the first failure of a series of failed polls. It
	// is zero if the last poll succeeded.
	pollFailingSince time.Time
	resent           int // how often the pairs were sent before with an unknown result
	// priorUncertainty is set if the pairs were sent before. It is the error that left
	// the earlier result unknown.
	priorUncertainty error
	wasReadBack      bool // true if the pairs were read back since the request was finished
	splits           int  // how often the request was split because of limits
	// bisectBudget is how many more requests bisection may add. All pieces of a refused
	// request share it. It is nil before the first bisection.
	bisectBudget *int
	verdict
	// exceptions are the verdicts of pairs that differ from the request's verdict, by
	// position. The map is replaced, never modified.
	exceptions map[int]verdict
	// namedPairs are the pairs that notifications have named. It is nil before the first
	// notification.
	namedPairs *pairCount
}

// A partState is the state of a request.
type partState string

const (
	partPlanned   partState = "planned"    // not sent
	partSending   partState = "sending"    // the request is being sent; this state is journaled before
	partSubmitted partState = "submitted"  // the request is accepted; its event is not finished
	partUnknown   partState = "unknown"    // no answer came, or the event is stalled or not found; to be read back
	partFinished  partState = "finished"   // its pairs have their verdicts
	partReplaced  partState = "superseded" // replaced with other requests
)

// A verdict is the outcome of a pair, or of all pairs of a request.
type verdict struct {
	outcome OutcomeStatus
	err     error
}

// failedAsUnconfirmed returns an unconfirmed verdict for a failed one, and any other
// verdict unchanged.
func (v verdict) failedAsUnconfirmed() verdict {
	if v.outcome == OutcomeFailed {
		v.outcome = OutcomeUnconfirmed
	}
	return v
}

// verdictOf returns the verdict of the pair at position i of the request.
func (p *part) verdictOf(i int) verdict {
	if v, ok := p.exceptions[i]; ok {
		return v
	}
	return p.verdict
}

// returnToPlan makes a request planned again. The service must not have accepted it. why is
// the reason. The caller holds op.mu.
func (op *Operation) returnToPlan(p *part, why error) {
	p.state, p.verdict = partPlanned, p.unsentVerdict(&notSentError{why})
}

// unsentVerdict returns the verdict of the pairs of a request that is not sent. They
// have failed, because nothing happened to them. But if an earlier request sent them
// with an unknown result, they are unconfirmed.
func (p *part) unsentVerdict(why error) verdict {
	if p.priorUncertainty != nil {
		return verdict{OutcomeUnconfirmed, p.priorUncertainty}
	}
	return verdict{OutcomeFailed, why}
}

// addPart adds a request to the plan. The caller holds op.mu, or no other goroutine has
// the operation yet.
func (op *Operation) addPart(p *part) {
	p.id, p.state, p.verdict = len(op.parts), partPlanned, p.unsentVerdict(ErrNotSent)
	op.parts = append(op.parts, p)
	op.progress.Requests++
	op.progress.Pairs += p.Len()
}

// inState returns the requests in state s, in the order of their ids.
func (op *Operation) inState(s partState) []*part {
	op.mu.Lock()
	defer op.mu.Unlock()
	var parts []*part
	for _, p := range op.parts {
		if p.state == s {
			parts = append(parts, p)
		}
	}
	return parts
}

// finish sets the verdict of a request, and the verdicts of its exceptions. It keeps the map
// of exceptions and may change it. The caller holds op.mu.
//
// If the pairs were sent before, an error can mean that the earlier request already
// succeeded. Therefore a failure of such a request is unconfirmed until it is read back.
func (op *Operation) finish(p *part, v verdict, exceptions map[int]verdict) {
	if p.priorUncertainty != nil && !p.wasReadBack {
		v = v.failedAsUnconfirmed()
		for i := range exceptions {
			exceptions[i] = exceptions[i].failedAsUnconfirmed()
		}
	}
	op.count(p, -1)
	p.state, p.verdict, p.exceptions, p.namedPairs, p.polling = partFinished, v, exceptions, nil, false
	op.count(p, 1)
}

// count adds a finished request to the progress (sign 1), or removes it (sign -1). It does
// nothing for a request that is not finished. The caller holds op.mu, or no other goroutine
// has the operation yet.
func (op *Operation) count(p *part, sign int) {
	if p.state != partFinished {
		return
	}
	op.progress.Finished += sign
	add := func(s OutcomeStatus, n int) {
		switch s {
		case OutcomeSucceeded:
			op.progress.Succeeded += n
		case OutcomeFailed:
			op.progress.Failed += n
		case OutcomeUnconfirmed:
			op.progress.Unconfirmed += n
		}
	}
	add(p.outcome, sign*(p.Len()-len(p.exceptions)))
	for _, v := range p.exceptions {
		add(v.outcome, sign)
	}
}

// update runs change while it holds op.mu, then calls the progress callback and
// writes the journal entry for p and for the requests that change added. It returns the
// journal's error.
func (op *Operation) update(ctx context.Context, p *part, change func()) error {
	op.journaling.Lock()
	defer op.journaling.Unlock()
	op.mu.Lock()
	before := len(op.parts)
	change()
	entry := op.journalEntry(p, op.parts[before:])
	progress := op.progress
	op.mu.Unlock()
	if op.opts.progress != nil {
		op.opts.progress(progress)
	}
	if entry == nil {
		return nil
	}
	return op.writeJournal(ctx, entry)
}

// pairAt returns the pair at position i of the request. The positions are ordered by
// asset; the users of an asset come before its devices.
func (p *part) pairAt(i int) batch.Pair {
	n := len(p.Users) + len(p.Devices)
	asset := p.Assets[i/n]
	if i %= n; i < len(p.Users) {
		return batch.UserPair(asset, p.Users[i])
	}
	return batch.DevicePair(asset, p.Devices[i-len(p.Users)])
}

// needsReadback reports whether the request is finished, has unconfirmed pairs, and was
// not read back.
func (p *part) needsReadback() bool {
	return p.state == partFinished && !p.wasReadBack && p.hasOutcome(OutcomeUnconfirmed)
}

// hasOutcome reports whether at least one pair of the request has outcome s.
func (p *part) hasOutcome(s OutcomeStatus) bool {
	if p.outcome == s && len(p.exceptions) < p.Len() {
		return true
	}
	for _, v := range p.exceptions {
		if v.outcome == s {
			return true
		}
	}
	return false
}
