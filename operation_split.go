package appsandbooks

import (
	"context"
	"errors"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// sendFailed handles the error of a request. It splits the request, returns it to the plan,
// or gives the request an outcome, and it may stop the sending.
func (op *Operation) sendFailed(ctx context.Context, p *part, err error) {
	var e *Error
	isError := errors.As(err, &e)
	hasNumber := isError && e.Number != 0
	var change func()
	switch {
	case errors.Is(err, ErrAmbiguous):
		change = func() {
			p.state, p.sentAt, p.verdict = partUnknown, time.Now(), verdict{OutcomeUnconfirmed, err}
			p.nextPoll = p.sentAt.Add(op.client.opts.pollInterval)
		}
	case hasNumber && isLimit(err):
		change = op.splitByLimits(ctx, p, err)
	case !hasNumber && (!isError || e.StatusCode/100 != 4), IsAuth(err), IsForbidden(err), IsRetryable(err):
		// The reason of the error applies to the other requests too.
		op.stop(err)
		change = func() { op.returnToPlan(p, err) }
	case hasNumber && e.Info != nil && !e.Info.empty():
		change = op.splitByNames(p, e)
	case hasNumber && op.opts.bisect && p.Len() > 1:
		change = op.bisect(p, err)
	default:
		change = func() { op.finish(p, verdict{OutcomeFailed, err}, nil) }
	}
	if err := op.update(ctx, p, change); err != nil {
		op.stop(err)
	}
}

// maxSplits is how often a pair's request is split by the announced limits. After
// that the operation uses smaller limits of its own (learnedLimits).
const maxSplits = 4

// splitByLimits reads the limits again and splits a request that was too large. If the
// request fits the limits that were read, or was split too often, those limits are wrong.
// Then the side that was too large is halved, for this request and for requests that are
// sent later.
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
	if len(pieces) == 1 {
		// A request that cannot be split is not too large, so the cause is something else.
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

// lowerLearnedLimits sets the learned limit of the side that cause is about to half of
// that side of p, at least 1, and returns the learned limits.
// [ErrTooManySubscriptions] does not show whether it is about assets or users: then the
// longer side is halved. The first time, the other limits are taken from limits.
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

// splitByLearnedLimits splits a request by the learned limits. It returns nil if there
// are none, and one piece if the request fits them.
func (op *Operation) splitByLearnedLimits(p *part) []batch.Part {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.learnedLimits == nil {
		return nil
	}
	return batch.Split(p.Part, *op.learnedLimits)
}

// splitByNames fails the pairs that a refusal names and returns the other pairs to
// the plan. If the refusal names no pair of the request, all pairs fail.
func (op *Operation) splitByNames(p *part, e *Error) func() {
	named, rest := op.tables.namedPairs(p.Part, e)
	if named.Len() == 0 {
		return func() { op.finish(p, verdict{OutcomeFailed, e}, nil) }
	}
	return func() {
		op.replace(p, append(rest, named))
		op.finish(op.parts[len(op.parts)-1], verdict{OutcomeFailed, e}, nil)
	}
}

// bisect splits a request into two pieces. Repeating this isolates the invalid items. If
// the request's budget is used up, its pairs fail with cause.
func (op *Operation) bisect(p *part, cause error) func() {
	op.mu.Lock()
	if p.bisectBudget == nil {
		p.bisectBudget = new(int)
		*p.bisectBudget = 64
	}
	affordable := *p.bisectBudget >= 2
	if affordable {
		*p.bisectBudget -= 2
	}
	op.mu.Unlock()
	if !affordable {
		return func() { op.finish(p, verdict{OutcomeFailed, cause}, nil) }
	}
	half := func(n int) int { return max(1, (n+1)/2) }
	l := batch.Limits{Assets: len(p.Assets), Users: max(1, len(p.Users)), Devices: max(1, len(p.Devices))}
	if targets := max(len(p.Users), len(p.Devices)); targets > 1 {
		l.Users, l.Devices = half(targets), half(targets)
	} else if len(p.Assets) > 1 {
		l.Assets = half(len(p.Assets))
	} else { // the request has one asset, one user and one device: two pairs
		return func() {
			op.replace(p, []batch.Part{{Assets: p.Assets, Users: p.Users}, {Assets: p.Assets, Devices: p.Devices}})
		}
	}
	return func() { op.replace(p, batch.Split(p.Part, l)) }
}

// replace replaces a request with pieces of it. The caller holds op.mu.
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
