package appsandbooks

import (
	"context"
	"errors"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// cutFact returns the fact that pieces take the place of a request.
func cutFact(r *ledger.Request, pieces []batch.Part) ledger.Fact {
	f := ledger.Fact{What: ledger.Cut, Request: r.ID, At: time.Now(), Aged: r.Aged(time.Now())}
	for _, p := range pieces {
		f.Pieces = append(f.Pieces, ledger.Piece{Part: p})
	}
	return f
}

// maxSplits is how often a pair's request is split by the announced limits. After
// that the operation uses smaller limits of its own.
const maxSplits = 4

// cutByLimits reads the limits again and splits a request that was too large. If the limits
// cannot be read, if the request fits them, or if it was split too often, they do not help.
// Then the side that was too large is halved, for this request and for requests that are sent
// later.
func (op *Operation) cutByLimits(ctx context.Context, r *ledger.Request, cause error, f ledger.Fact) ledger.Fact {
	info := op.tables.info
	// After an error, the last known limits, or the documented ones.
	limits, _ := op.client.Config.limits(ctx)
	fresh, err := op.client.Config.refresh(ctx)
	if err == nil {
		limits = fresh.config.Limits
	}
	announced := info.limits(limits.orDefaults())
	var learned *batch.Limits
	pieces := batch.Split(r.Part, announced)
	if err != nil || r.Splits >= maxSplits || len(pieces) == 1 {
		learned = op.learnLimits(r, announced, cause)
		pieces = batch.Split(r.Part, *learned)
	}
	if len(pieces) == 1 {
		// A request that cannot be split is not too large, so the cause is something else.
		op.stopSending(cause)
		return op.refused(f)
	}
	cut := cutFact(r, pieces)
	cut.Limits, cut.Learned = true, learned
	return cut
}

// learnLimits returns the learned limits after a refusal: the limit of the side that cause is
// about is about half of that side of the request, and at least 1.
// [ErrTooManySubscriptions] does not show whether it is about assets or users: then the
// longer side is halved. The first time, the other limits are the announced ones.
func (op *Operation) learnLimits(r *ledger.Request, announced batch.Limits, cause error) *batch.Limits {
	limits := announced
	if before := op.ledger.Learned(); before != nil {
		limits = *before
	}
	lower := func(limit *int, n int) { *limit = min(*limit, max(1, n/2)) }
	switch {
	case errors.Is(cause, ErrTooManyAssets), errors.Is(cause, ErrTooManySubscriptions) && len(r.Assets) >= len(r.Users):
		lower(&limits.Assets, len(r.Assets))
	case errors.Is(cause, ErrTooManySerialNumbers):
		lower(&limits.Devices, len(r.Devices))
	default:
		lower(&limits.Users, len(r.Users))
	}
	return &limits
}

// cutByNames fails the pairs that a refusal names, and queues the other pairs. If the refusal
// names no pair of the request, all pairs fail.
func (op *Operation) cutByNames(r *ledger.Request, e *Error, f ledger.Fact) ledger.Fact {
	named, rest := op.tables.namedPairs(r.Part, e)
	if named.Len() == 0 || len(rest) == 0 {
		return op.refused(f)
	}
	cut := cutFact(r, rest)
	cut.Due = cut.At.Add(op.client.opts.pollInterval)
	cut.Pieces = append(cut.Pieces, ledger.Piece{Part: named, Outcome: ledger.Failed, Why: f.Why})
	return cut
}

// maxTrials is how many requests bisection adds for each request that was refused first.
const maxTrials = 64

// bisect splits a request into two pieces. Repeating this isolates the invalid items. If
// bisection has added too many requests, the pairs fail.
func (op *Operation) bisect(r *ledger.Request, f ledger.Fact) ledger.Fact {
	if op.ledger.Trials(r.ID)+2 > maxTrials {
		return op.refused(f)
	}
	cut := cutFact(r, halves(r.Part))
	cut.Bisects = true
	return cut
}

// halves returns two pieces of a request that has at least two pairs.
func halves(p batch.Part) []batch.Part {
	half := func(n int) int { return max(1, (n+1)/2) }
	l := batch.Limits{Assets: len(p.Assets), Users: max(1, len(p.Users)), Devices: max(1, len(p.Devices))}
	if targets := max(len(p.Users), len(p.Devices)); targets > 1 {
		l.Users, l.Devices = half(targets), half(targets)
	} else if len(p.Assets) > 1 {
		l.Assets = half(len(p.Assets))
	} else { // the request has one asset, one user and one device: two pairs
		return []batch.Part{{Assets: p.Assets, Users: p.Users}, {Assets: p.Assets, Devices: p.Devices}}
	}
	return batch.Split(p, l)
}
