package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// settle reads back what is due: parts of unknown fate once their time has
// come, and finished events whose counts left pairs open.
func (op *Operation) readBackOpen(ctx context.Context) error {
	now := time.Now()
	var due []*part
	op.mu.Lock()
	for _, p := range op.parts {
		if (p.state == partUnknown || p.needsReadback()) && !p.nextPoll.After(now) {
			due = append(due, p)
		}
	}
	op.mu.Unlock()
	err := op.readBack(ctx, due, func(v verdict) bool { return v.outcome == OutcomeUnconfirmed })
	switch {
	case err == nil:
		op.readbackFailingSince = time.Time{}
		return nil
	case ctx.Err() != nil || !op.client.isTemporary(err) && !errors.Is(err, ErrDataChanged) && !errors.Is(err, ErrNoProgress):
		return err
	case op.readbackFailingSince.IsZero():
		op.readbackFailingSince = now
	case now.Sub(op.readbackFailingSince) >= op.client.opts.stallTime:
		return err
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	for _, p := range due {
		p.nextPoll = time.Now().Add(op.client.opts.pollInterval)
	}
	return nil
}

// Verify reads the data back (assignments, users or subscription assignments)
// and compares it with the outcomes: of what is unconfirmed, and of what an event
// confirmed. The service is known to accept serial numbers that do not exist
// and to say COMPLETE; the pairs that it does not list then are failed with
// [ErrNotVerified]. Somebody else's changes in the meantime show as well. A request
// that got lost may be carried out late: what it asked for is unconfirmed until six
// times the stall time (an hour; see [WithStallTime]) have passed, and failed then.
//
// Like Wait, it gives the report, with an error unless every pair succeeded.
func (op *Operation) Verify(ctx context.Context) (*Report, error) {
	if err := op.acquire(ctx); err != nil {
		return op.reportAndError(err)
	}
	defer op.release()
	var all []*part
	for _, s := range []partState{partUnknown, partFinished} {
		all = append(all, op.inState(s)...)
	}
	return op.reportAndError(op.readBack(ctx, all, func(v verdict) bool {
		return v.outcome != OutcomeFailed || errors.Is(v.err, ErrNotVerified)
	}))
}

// readBack looks up the pairs of some parts whose verdict is of interest, and
// revises the verdicts by what it finds.
func (op *Operation) readBack(ctx context.Context, parts []*part, interest func(verdict) bool) error {
	want := map[batch.Pair]bool{} // false until it is found
	for _, p := range parts {
		for i := range p.Len() {
			if interest(p.verdictOf(i)) {
				want[p.pairAt(i)] = false
			}
		}
	}
	if len(want) == 0 {
		return nil
	}
	err := op.findPairs(ctx, want)
	changed := errors.Is(err, ErrDataChanged)
	if err != nil {
		err = fmt.Errorf("reading back %s: %w", op.tables.kind, err)
		if !changed {
			return err
		}
	}
	// In data that changed only what was seen is certain.
	certain := func(k batch.Pair) bool { return want[k] || !changed }
	done := func(k batch.Pair) bool { return want[k] != op.tables.kind.removesPairs() }
	for _, p := range parts {
		if err := op.applyReadback(ctx, p, interest, certain, done); err != nil {
			return err
		}
	}
	return err
}

// revise applies what reading back found to one part.
func (op *Operation) applyReadback(ctx context.Context, p *part, interest func(verdict) bool, certain, done func(batch.Pair) bool) error {
	unknown := p.state == partUnknown
	open := unknown && p.nextPoll.After(time.Now()) // Verify does not wait
	verdicts := make(map[int]verdict, p.Len())
	refuted := map[error]error{} // one for each reason, to be shared
	var missing, found []batch.Pair
	for i := range p.Len() {
		v := p.verdictOf(i)
		key := p.pairAt(i)
		switch {
		case !interest(v):
			verdicts[i] = v
		case !certain(key):
			verdicts[i], open = v, true
			missing = append(missing, key)
		case done(key):
			found = append(found, key)
			verdicts[i] = verdict{outcome: OutcomeSucceeded}
		case v.outcome == OutcomeFailed: // not verified before, nor now
			verdicts[i] = v
		case unknown || op.mayStillComplete(p, v.err) || op.tables.kind == revokeAssets || op.tables.deferred || p.priorUncertainty != nil && p.eventID == "":
			// It may still be carried out, also by an earlier request when the
			// one that repeated it was refused; or it is not ours to tell: books
			// stay with the user of a revocation, deferred seats until the period
			// ends. (Events finish in the order of their requests.)
			missing = append(missing, key)
			if v.err == nil { // its event said that it was done
				v.err = ErrNotVerified
			}
			verdicts[i] = verdict{OutcomeUnconfirmed, v.err}
		default:
			if refuted[v.err] == nil {
				refuted[v.err] = errors.Join(ErrNotVerified, v.err)
			}
			verdicts[i] = verdict{OutcomeFailed, refuted[v.err]}
		}
	}
	if unknown && open && len(missing) > 0 {
		return nil // it may be on its way, or there
	}
	resendable := op.tables.kind != revokeAssets && !op.tables.deferred
	if unknown && op.opts.resend && p.resent < maxResends && resendable && len(missing) > 0 {
		return op.resend(ctx, p, missing, found)
	}
	return op.update(ctx, p, func() {
		p.wasReadBack = !open
		v, rest := commonVerdict(verdicts)
		op.finish(p, v, rest)
	})
}

// mayStillCome tells whether a request may still be carried out: one whose event
// is PENDING at any time, one that got lost for much longer than events take.
func (op *Operation) mayStillComplete(p *part, err error) bool {
	lost := errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrEventNotFound)
	return errors.Is(err, ErrStalled) || lost && time.Since(p.sentAt) < 6*op.client.opts.stallTime
}

// condense makes the verdict of the first pair the part's own.
func commonVerdict(all map[int]verdict) (verdict, map[int]verdict) {
	first := all[0]
	for i, v := range all {
		if v.outcome == first.outcome && v.err == first.err { //nolint:errorlint // one error is shared by its pairs
			delete(all, i)
		}
	}
	return first, all
}

// resend replaces a part of unknown fate by what was found, which is done, and
// by what was not, to be sent again.
func (op *Operation) resend(ctx context.Context, p *part, missing, found []batch.Pair) error {
	limits, err := op.client.Config.limits(ctx)
	if err != nil {
		return err
	}
	l := op.tables.kind.limits(limits)
	again, there := batch.Pairs(missing, l), batch.Pairs(found, l)
	return op.update(ctx, p, func() {
		p.priorUncertainty = p.err
		op.replace(p, append(again, there...))
		pieces := op.parts[len(op.parts)-len(again)-len(there):]
		for _, q := range pieces[:len(again)] {
			q.resent = p.resent + 1
		}
		for _, q := range pieces[len(again):] {
			op.finish(q, verdict{outcome: OutcomeSucceeded}, nil)
		}
	})
}
