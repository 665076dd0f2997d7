package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// Verify reads the data back (assignments, users, or assignments of subscriptions) and returns
// a report of what is there now. It compares the pairs that succeeded or are unconfirmed with
// the lists, and also those that reading back did not find before.
//
// The service is known to accept serial numbers that do not exist, and to report
// COMPLETE for them. If the event of a pair is finished, but the data does not show the
// change, the pair fails with [ErrNotVerified] in this report. The lists may show a change
// later than the status of its event: Apple does not say so, and does not exclude it.
// Therefore a pair is only missing if it is absent one polling interval after the event has
// ended; until then, Verify waits and reads again.
//
// The report of Verify also shows what other programs have changed in the meantime. Therefore
// it does not change the operation: a pair that succeeded stays succeeded in
// [Operation.Report], and [Operation.Retry] does not change it again. Only what Verify finds
// out about pairs that are unconfirmed, or that were not found before, becomes part of the
// operation.
//
// Some pairs stay unconfirmed when the data does not show the change. If the answer to its
// request was lost, a pair is unconfirmed until six stall times have passed since the request
// was lost (an hour by default; see [WithStallTime]), because the service may still carry out
// the request. A pair of a Revoke or of a deferred Disassociate does not fail because the data
// does not show its change. The lists do not show whose Managed Apple Account a user has, so a
// lost request that sets one stays unconfirmed. Verify does not read pairs whose event is
// pending.
//
// Like Wait, Verify returns an [*OperationError] unless every pair succeeded.
func (op *Operation) Verify(ctx context.Context) (*Report, error) {
	done, err := op.startRun(ctx)
	if err != nil {
		return op.result(err)
	}
	defer done()
	report, err := op.verify(ctx)
	return report.result(op, err)
}

// verify is Verify for the call that carries out the operation.
func (op *Operation) verify(ctx context.Context) (*Report, error) {
	var wanted []batch.Pair
	var unclear []int
	for _, r := range op.ledger.Requests() {
		wanted = append(wanted, comparablePairs(r)...)
		if r.IsUnclear() {
			unclear = append(unclear, r.ID)
		}
	}
	if err := op.beginReading(ctx, unclear); err != nil {
		return op.Report(), err
	}
	found, err := op.lookUpAll(ctx, wanted)
	if err == nil {
		err = op.readEarlyAgain(ctx, found)
	}
	if err != nil {
		return op.Report(), fmt.Errorf("reading back %s: %w", op.tables.kind, err)
	}
	return op.compare(ctx, found)
}

// readEarlyAgain reads again the pairs whose change the lists do not show, if their events ended
// less than one polling interval ago: the lists may show a change later than the status does.
// It waits until that interval is over.
func (op *Operation) readEarlyAgain(ctx context.Context, found lookup) error {
	now, interval := time.Now(), op.client.opts.pollInterval
	var early []batch.Pair
	var wait time.Duration
	for _, r := range op.ledger.Requests() {
		left := r.At.Add(interval).Sub(now)
		switch {
		case r.Phase == ledger.Disputed && !r.WasRead:
			left = r.Due.Sub(now)
		case r.Phase != ledger.Settled:
			left = 0
		}
		if left <= 0 {
			continue
		}
		var known reasons
		for i := range r.Len() {
			if isComparable(r, i, &known) && r.Outcome(i) != ledger.Failed && op.look(r.Pair(i), found) == notAchieved {
				early = append(early, r.Pair(i))
				wait = max(wait, min(left, interval))
			}
		}
	}
	if len(early) == 0 {
		return nil
	}
	w := op.client.hub.newWaiter() // of no event
	defer w.close()
	if err := op.sleep(ctx, w, wait); err != nil {
		return err
	}
	again, err := op.lookUpAll(ctx, early)
	for _, p := range early {
		found.replace(p, again)
	}
	return err
}

// comparablePairs returns the pairs of a request that Verify compares with the lists.
func comparablePairs(r *ledger.Request) (pairs []batch.Pair) {
	var reasons reasons
	for i := range r.Len() {
		if isComparable(r, i, &reasons) {
			pairs = append(pairs, r.Pair(i))
		}
	}
	return pairs
}

// isComparable reports whether the lists can tell something new about the pair at position i: it
// is unconfirmed after its request, it succeeded, or it was not found before.
func isComparable(r *ledger.Request, i int, reasons *reasons) bool {
	v := r.VerdictOf(i)
	switch {
	case r.IsUnclear():
		return v.Outcome == ledger.Unconfirmed
	case r.Phase == ledger.Settled:
		return v.Outcome != ledger.Failed || errors.Is(reasons.err(v.Why), ErrNotVerified)
	}
	return false
}

// compare records what the lists show of pairs that had not succeeded, and returns the report
// of what is there.
func (op *Operation) compare(ctx context.Context, found lookup) (report *Report, err error) {
	compared := map[int]*ledger.Request{} // settled requests with the outcomes that the lists show
	for id := range len(op.ledger.Requests()) {
		switch r := op.ledger.Request(id); {
		case r.IsUnclear():
			err = op.recordReading(ctx, r, found, nil, false)
		case r.Phase == ledger.Settled:
			compared[id] = op.compareSettled(r, found)
			err = op.recordVerified(ctx, r, compared[id])
		}
		if err != nil {
			return op.Report(), err
		}
	}
	report = op.Report()
	for id, r := range compared {
		report.requests[id] = r
	}
	report.count()
	return report, nil
}

// compareSettled returns a settled request with the outcomes that the lists show now.
func (op *Operation) compareSettled(r *ledger.Request, found lookup) *ledger.Request {
	byVerdict := map[ledger.Verdict][]int{}
	var known reasons
	var notVerified notVerifiedReasons
	for i := range r.Len() {
		if !isComparable(r, i, &known) {
			continue
		}
		v := r.VerdictOf(i)
		switch op.look(r.Pair(i), found) {
		case achieved:
			v = ledger.Verdict{Outcome: ledger.Succeeded}
		case notAchieved:
			if v.Outcome != ledger.Failed {
				v = ledger.Verdict{Outcome: ledger.Failed, Why: notVerified.of(v.Why)}
			}
		case notVisible:
			if v.Outcome == ledger.Succeeded && !op.tables.listsShowAbsence() {
				v = ledger.Verdict{Outcome: ledger.Unconfirmed, Why: notVerified.of("")}
			}
		case notRead: // the outcome stays as it is
		}
		byVerdict[v] = append(byVerdict[v], i)
	}
	return r.With(groupsOf(byVerdict))
}

// recordVerified records the pairs of a settled request that had not succeeded, but have
// succeeded in after, the request as the lists show it.
func (op *Operation) recordVerified(ctx context.Context, r, after *ledger.Request) error {
	var positions []int
	for i := range r.Len() {
		if r.Outcome(i) != ledger.Succeeded && after.Outcome(i) == ledger.Succeeded {
			positions = append(positions, i)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	return op.record(ctx, ledger.Fact{
		What: ledger.Verified, Request: r.ID, At: time.Now(),
		Pairs: []ledger.Group{{Pairs: ledger.ToRuns(positions), Verdict: ledger.Verdict{Outcome: ledger.Succeeded}}},
	})
}
