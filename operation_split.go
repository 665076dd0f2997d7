package appsandbooks

import (
	"context"
	"errors"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// sendFailed decides what a request that was not accepted means for its pairs.
func (op *Operation) sendFailed(ctx context.Context, p *part, err error) {
	var e *Error
	isError := errors.As(err, &e)
	apple := isError && e.Number != 0
	var after func()
	switch {
	case errors.Is(err, ErrAmbiguous):
		after = func() {
			p.state, p.sentAt, p.verdict = partUnknown, time.Now(), verdict{OutcomeUnconfirmed, err}
			p.nextPoll = p.sentAt.Add(op.client.opts.pollInterval)
		}
	case apple && IsLimit(err):
		after = op.splitByLimits(ctx, p, err)
	case !apple && (!isError || e.StatusCode/100 != 4), IsAuth(err), IsForbidden(err), IsRetryable(err):
		// Not accepted for a reason that holds for the other parts as well.
		op.stop(err)
		after = func() { op.returnToPlan(p, err) }
	case apple && e.Info != nil && !e.Info.empty():
		after = op.splitByNames(p, e)
	case apple && op.opts.bisect && p.Len() > 1:
		after = op.bisect(p, err)
	default:
		after = func() { op.finish(p, verdict{OutcomeFailed, err}, nil) }
	}
	if err := op.update(ctx, p, after); err != nil {
		op.stop(err)
	}
}

// maxSplits bounds splitting by limits that were read, for each pair.
const maxSplits = 4

// splitByLimits cuts a part again, by limits read now. If by these the service
// should have taken it, they are behind the times: what is too large is halved,
// and so is what has not been sent yet.
func (op *Operation) splitByLimits(ctx context.Context, p *part, cause error) func() {
	fresh, err := op.client.Config.refresh(ctx)
	if err != nil {
		op.stop(err)
		return func() { op.returnToPlan(p, err) }
	}
	limits := op.tables.kind.limits(fresh.config.Limits.orDefaults())
	pieces := batch.Split(p.Part, limits)
	if p.splits >= maxSplits || len(pieces) == 1 {
		pieces = batch.Split(p.Part, op.lowerLearnedLimits(p, limits, cause))
	}
	if len(pieces) == 1 { // and so small a request is not too large: there is something else about it
		op.stop(cause)
		return func() { op.finish(p, verdict{OutcomeFailed, cause}, nil) }
	}
	return func() {
		op.replace(p, pieces)
		for _, piece := range op.parts[len(op.parts)-len(pieces):] {
			piece.splits++
		}
	}
}

// lowerCeiling makes half of the size of a part the largest that is sent.
func (op *Operation) lowerLearnedLimits(p *part, limits batch.Limits, cause error) batch.Limits {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.learnedLimits != nil {
		limits = *op.learnedLimits
	}
	lower := func(limit *int, n int) { *limit = min(*limit, max(1, n/2)) }
	switch {
	case errors.Is(cause, ErrTooManyAssets), errors.Is(cause, ErrTooManySubscriptions) && len(p.Assets) >= len(p.Users):
		lower(&limits.Assets, len(p.Assets))
	case errors.Is(cause, ErrTooManySerialNumbers):
		lower(&limits.Devices, len(p.Devices))
	default:
		lower(&limits.Users, len(p.Users))
	}
	op.learnedLimits = &limits
	return limits
}

// underCeiling are the pieces of a part that are no larger than what the service
// has refused before.
func (op *Operation) splitByLearnedLimits(p *part) []batch.Part {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.learnedLimits == nil {
		return nil
	}
	return batch.Split(p.Part, *op.learnedLimits)
}

// splitByNames fails the pairs that a refusal names, and sends the rest again.
func (op *Operation) splitByNames(p *part, e *Error) func() {
	bad, rest := op.tables.namedPairs(p.Part, e)
	if bad.Len() == 0 {
		return func() { op.finish(p, verdict{OutcomeFailed, e}, nil) }
	}
	return func() {
		op.replace(p, append(rest, bad))
		op.finish(op.parts[len(op.parts)-1], verdict{OutcomeFailed, e}, nil)
	}
}

// bisect cuts a part in two, so that the bad items end up in ever smaller ones.
func (op *Operation) bisect(p *part, cause error) func() {
	op.mu.Lock()
	if p.bisectBudget == nil {
		p.bisectBudget = new(int)
		*p.bisectBudget = 64
	}
	enough := *p.bisectBudget >= 2
	if enough {
		*p.bisectBudget -= 2
	}
	op.mu.Unlock()
	if !enough {
		return func() { op.finish(p, verdict{OutcomeFailed, cause}, nil) }
	}
	half := func(n int) int { return max(1, (n+1)/2) }
	l := batch.Limits{Assets: len(p.Assets), Users: max(1, len(p.Users)), Devices: max(1, len(p.Devices))}
	if targets := max(len(p.Users), len(p.Devices)); targets > 1 {
		l.Users, l.Devices = half(targets), half(targets)
	} else if len(p.Assets) > 1 {
		l.Assets = half(len(p.Assets))
	} else { // one asset, one user, one device
		return func() {
			op.replace(p, []batch.Part{{Assets: p.Assets, Users: p.Users}, {Assets: p.Assets, Devices: p.Devices}})
		}
	}
	return func() { op.replace(p, batch.Split(p.Part, l)) }
}

// replace puts pieces in the place of a part. The caller holds op.mu.
func (op *Operation) replace(p *part, pieces []batch.Part) {
	p.state = partReplaced
	op.progress.Requests--
	op.progress.Pairs -= p.Len()
	if p.eventID != "" {
		op.progress.Accepted--
	}
	for _, b := range pieces {
		op.addPart(&part{Part: b, splits: p.splits, bisectBudget: p.bisectBudget, priorUncertainty: p.priorUncertainty, resent: p.resent})
	}
}
