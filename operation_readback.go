package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// readBackOpen reads back the unconfirmed pairs of the requests that are due: requests with an
// unknown result, and finished requests whose event left pairs unconfirmed. If a list cannot
// be read because of a temporary error, because it changed, or because it did not
// advance, readBackOpen plans another try after the polling interval. It returns the
// error when the read-back has failed for the stall time.
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

// Verify reads the data back (assignments, users, or assignments of subscriptions) and
// compares it with the pairs that succeeded, that are unconfirmed, or that an earlier
// Verify did not find. Requests that were not sent, or whose event is not finished and
// not stalled, are not compared.
//
// The service is known to accept serial numbers that do not exist, and to report
// COMPLETE for them. If the event of a pair is finished, but the data does not show the
// change, the pair fails with [ErrNotVerified]. Verify also shows changes that other
// programs made in the meantime.
//
// Some pairs stay unconfirmed when the data does not show the change. For a request whose
// answer was lost, a pair is unconfirmed until six times the stall time (an hour by
// default; see [WithStallTime]) has passed, because the service may still process the
// request. After that time the pair fails, but not at the first reading of the request:
// the first Verify leaves it unconfirmed, and a later Verify reports it as failed. The
// pairs of a Revoke and of a deferred Disassociate never fail, because the data does not
// show their results at once.
//
// Like Wait, Verify returns the report, and an [*OperationError] unless every pair
// succeeded.
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

// readBack reads back the pairs of some requests whose verdict satisfies isWanted, and
// updates their verdicts.
func (op *Operation) readBack(ctx context.Context, parts []*part, isWanted func(verdict) bool) error {
	present := map[batch.Pair]bool{} // the value of a pair is true if the service lists the pair
	for _, p := range parts {
		for i := range p.Len() {
			if isWanted(p.verdictOf(i)) {
				present[p.pairAt(i)] = false
			}
		}
	}
	if len(present) == 0 {
		return nil
	}
	err := op.findPairs(ctx, present)
	changed := errors.Is(err, ErrDataChanged)
	if err != nil {
		err = fmt.Errorf("reading back %s: %w", op.tables.kind, err)
		if !changed {
			return err
		}
	}
	// If a list changed while it was read, a pair that was seen is present, but a pair
	// that was not seen can be present too.
	isReliable := func(k batch.Pair) bool { return present[k] || !changed }
	isAchieved := func(k batch.Pair) bool { return present[k] != op.tables.kind.removesPairs() }
	for _, p := range parts {
		if err := op.applyReadback(ctx, p, isWanted, isReliable, isAchieved); err != nil {
			return err
		}
	}
	return err
}

// applyReadback updates the verdicts of one request. isWanted selects the pairs to update.
// isReliable reports whether the read-back shows if a pair is present or not. isAchieved
// reports whether the pair is in the state that the operation wants: present, or for a
// removal absent.
func (op *Operation) applyReadback(ctx context.Context, p *part, isWanted func(verdict) bool, isReliable, isAchieved func(batch.Pair) bool) error {
	unknown := p.state == partUnknown
	undecided := unknown && p.nextPoll.After(time.Now()) // Verify can read a request back before it is due
	verdicts := make(map[int]verdict, p.Len())
	notVerified := map[error]error{} // one ErrNotVerified for each reason, shared by the pairs with that reason
	var missing, found []batch.Pair
	for i := range p.Len() {
		v := p.verdictOf(i)
		key := p.pairAt(i)
		switch {
		case !isWanted(v):
			verdicts[i] = v
		case !isReliable(key):
			verdicts[i], undecided = v, true
			missing = append(missing, key)
		case isAchieved(key):
			found = append(found, key)
			verdicts[i] = verdict{outcome: OutcomeSucceeded}
		case v.outcome == OutcomeFailed: // an earlier Verify did not find the pair either
			verdicts[i] = v
		case unknown || op.mayStillComplete(p, v.err) || op.tables.kind == revokeAssets || op.tables.deferred || p.priorUncertainty != nil && p.eventID == "":
			// The service may still process the request, or an earlier request for
			// the same pair whose repetition was refused. Or the lists cannot show the
			// result: Revoke leaves books assigned, and a deferred seat stays until its
			// period ends. (If this request was accepted, the earlier ones are finished
			// too, because events finish in the order of their requests.)
			missing = append(missing, key)
			if v.err == nil { // the event reported success
				v.err = ErrNotVerified
			}
			verdicts[i] = verdict{OutcomeUnconfirmed, v.err}
		default:
			if notVerified[v.err] == nil {
				notVerified[v.err] = errors.Join(ErrNotVerified, v.err)
			}
			verdicts[i] = verdict{OutcomeFailed, notVerified[v.err]}
		}
	}
	if unknown && undecided && len(missing) > 0 {
		return nil // no outcome yet: the service may still process the request
	}
	resendable := op.tables.kind != revokeAssets && !op.tables.deferred
	if unknown && op.opts.resend && p.resent < maxResends && resendable && len(missing) > 0 {
		return op.resend(ctx, p, missing, found)
	}
	return op.update(ctx, p, func() {
		p.wasReadBack = !undecided
		v, rest := commonVerdict(verdicts)
		op.finish(p, v, rest)
	})
}

// mayStillComplete reports whether the service may still process a request that left the
// pair with error err. A stalled event can finish at any time. A lost request, or one
// whose event is not found, can be processed until six stall times after it was sent.
func (op *Operation) mayStillComplete(p *part, err error) bool {
	lost := errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrEventNotFound)
	return errors.Is(err, ErrStalled) || lost && time.Since(p.sentAt) < 6*op.client.opts.stallTime
}

// commonVerdict returns the verdict of the pair at position 0 for the whole request, and
// the verdicts that differ from it as exceptions. It deletes the equal ones from all.
func commonVerdict(all map[int]verdict) (verdict, map[int]verdict) {
	first := all[0]
	for i, v := range all {
		if v.outcome == first.outcome && v.err == first.err { //nolint:errorlint // pairs with the same reason share one error value
			delete(all, i)
		}
	}
	return first, all
}

// resend replaces a request with an unknown result: with finished requests for the pairs that
// were found, and with planned requests for the missing pairs, which are sent again.
func (op *Operation) resend(ctx context.Context, p *part, missing, found []batch.Pair) error {
	limits, err := op.client.Config.limits(ctx)
	if err != nil {
		return err
	}
	l := op.tables.kind.limits(limits)
	missingParts, foundParts := batch.Pairs(missing, l), batch.Pairs(found, l)
	return op.update(ctx, p, func() {
		p.priorUncertainty = p.err
		op.replace(p, append(missingParts, foundParts...))
		pieces := op.parts[len(op.parts)-len(missingParts)-len(foundParts):]
		for _, q := range pieces[:len(missingParts)] {
			q.resent = p.resent + 1
		}
		for _, q := range pieces[len(missingParts):] {
			op.finish(q, verdict{outcome: OutcomeSucceeded}, nil)
		}
	})
}
