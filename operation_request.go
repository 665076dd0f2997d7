package appsandbooks

import (
	"context"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// part is one request and what became of it.
type part struct {
	id int
	batch.Part
	state            partState
	eventID          string
	sentAt           time.Time // accepted; or, of an unknown fate, tried
	nextPoll         time.Time // at its event; the zero time is at once
	notBefore        time.Time // never before this one
	polling          bool      // a look is under way
	pollFailingSince time.Time // since then the looks have failed; zero when the last did not
	resent           int       // how often its pairs were sent before, with unknown fate
	priorUncertainty error     // of a part that sends again: why it is not known what became of the pairs before
	wasReadBack      bool      // read back already
	splits           int       // how often it was split by limits to get here
	bisectBudget     *int      // requests left for bisection, shared by its pieces
	verdict
	exceptions map[int]verdict // of pairs that differ from the part's verdict; replaced, never changed
	namedPairs *pairCount      // by notifications
}

type partState string

const (
	partPlanned   partState = "planned"
	partSending   partState = "sending"    // journaled before it is sent
	partSubmitted partState = "submitted"  // has an event
	partUnknown   partState = "unknown"    // sent, or stalled: fate unknown, to be read back
	partFinished  partState = "finished"   // has its verdict
	partReplaced  partState = "superseded" // replaced by other parts
)

// verdict is the outcome of a pair, or of all pairs of a part.
type verdict struct {
	outcome OutcomeStatus
	err     error
}

func (v verdict) failedAsUnconfirmed() verdict {
	if v.outcome == OutcomeFailed {
		v.outcome = OutcomeUnconfirmed
	}
	return v
}

// pair is the verdict of a pair.
func (p *part) verdictOf(i int) verdict {
	if v, ok := p.exceptions[i]; ok {
		return v
	}
	return p.verdict
}

// unsend returns a part that was certainly not accepted to the plan. The
// caller holds op.mu.
func (op *Operation) returnToPlan(p *part, why error) {
	p.state, p.verdict = partPlanned, p.unsentVerdict(&notSentError{why})
}

// unsent is the verdict of a part that is not sent: nothing happened to its
// pairs, unless an earlier request had them.
func (p *part) unsentVerdict(why error) verdict {
	if p.priorUncertainty != nil {
		return verdict{OutcomeUnconfirmed, p.priorUncertainty}
	}
	return verdict{OutcomeFailed, why}
}

// addPart adds a planned part. The caller holds op.mu, or is alone.
func (op *Operation) addPart(p *part) {
	p.id, p.state, p.verdict = len(op.parts), partPlanned, p.unsentVerdict(ErrNotSent)
	op.parts = append(op.parts, p)
	op.progress.Requests++
	op.progress.Pairs += p.Len()
}

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

// finish gives a part its verdict. The caller holds op.mu.
//
// What was sent twice can fail because the first time succeeded after all:
// such failures stay open until they are read back.
func (op *Operation) finish(p *part, v verdict, odd map[int]verdict) {
	if p.priorUncertainty != nil && !p.wasReadBack {
		v = v.failedAsUnconfirmed()
		for i := range odd {
			odd[i] = odd[i].failedAsUnconfirmed()
		}
	}
	op.count(p, -1)
	p.state, p.verdict, p.exceptions, p.namedPairs, p.polling = partFinished, v, odd, nil, false
	op.count(p, 1)
}

// count adds (or takes away) what a finished part adds to the progress.
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

// update changes parts, then tells the progress callback and the journal, whose
// error it returns.
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

// key is the pair at a place of a part.
func (p *part) pairAt(i int) batch.Pair {
	n := len(p.Users) + len(p.Devices)
	asset := p.Assets[i/n]
	if i %= n; i < len(p.Users) {
		return batch.UserPair(asset, p.Users[i])
	}
	return batch.DevicePair(asset, p.Devices[i-len(p.Users)])
}

// open tells whether a finished event left pairs to be read back.
func (p *part) needsReadback() bool {
	return p.state == partFinished && !p.wasReadBack && p.hasOutcome(OutcomeUnconfirmed)
}

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
