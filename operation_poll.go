package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// beginPoll records that the status of a request's event is about to be read, so that a process
// that resumes also keeps the interval, and returns the exchange that reads it.
func (op *Operation) beginPoll(ctx context.Context, r *ledger.Request) (exchange func() func() error) {
	before := r.NotBefore
	err := op.record(ctx, ledger.Fact{What: ledger.Polling, Request: r.ID, At: time.Now(), NotBefore: time.Now().Add(op.client.opts.pollInterval), Asks: true})
	if err != nil {
		return func() func() error { return func() error { return err } }
	}
	return func() func() error {
		result, err := op.client.polls.poll(ctx, r.Event)
		return func() error { return op.recordPoll(ctx, op.ledger.Request(r.ID), result, err, before) }
	}
}

// recordPoll records the result of a poll. before is the NotBefore of the request before the poll.
// An error that recordPoll returns ends the call.
func (op *Operation) recordPoll(ctx context.Context, r *ledger.Request, result pollResult, err error, before time.Time) error {
	if r.Phase == ledger.Settled || r.Phase == ledger.Disputed {
		return nil // notifications have given the result in the meantime
	}
	now := time.Now()
	f := ledger.Fact{Request: r.ID, At: now, Aged: r.Aged(now), NotBefore: result.notBefore}
	status := result.status
	switch {
	case err != nil:
		return op.recordFailedPoll(ctx, r, err, before, f)
	case status == nil: // another caller of this client has polled the event just now
		f.What = ledger.Polling
		return op.record(ctx, f)
	case op.compareUnit(status.UID) != nil:
		return op.compareUnit(status.UID)
	case status.finished():
		return op.record(ctx, op.ended(r, status, f))
	}
	return op.recordPending(ctx, r, nil, f)
}

// recordFailedPoll records a poll that failed with err. It returns err if it ends the call.
func (op *Operation) recordFailedPoll(ctx context.Context, r *ledger.Request, err error, before time.Time, f ledger.Fact) error {
	f.Failing, f.NotFound = true, errors.Is(err, ErrEventNotFound)
	if f.NotFound {
		// One such answer proves nothing: the event may be new, or the answer may come from
		// another unit.
		op.readUnitNextTime()
		return op.recordPending(ctx, r, err, f)
	}
	if ctx.Err() == nil && op.client.isTemporary(err) {
		return op.recordPending(ctx, r, err, f)
	}
	f = ledger.Fact{What: ledger.Polling, Request: r.ID, At: f.At, NotBefore: f.NotBefore}
	if f.NotBefore.Before(f.At) { // the lost answer cannot have been PENDING
		f.NotBefore = before
	}
	_ = op.record(ctx, f)
	return err
}

// ended returns the fact of a final status.
func (op *Operation) ended(r *ledger.Request, s *EventStatus, f ledger.Fact) ledger.Fact {
	delete(op.running.named, r.ID)
	// If reading back is necessary, the lists may show the change a little later than the status.
	f.What, f.Due = ledger.Ended, f.At.Add(op.client.opts.pollInterval)
	common, exceptions := op.tables.judge(r.Part, s)
	f.Rest, f.Pairs = toVerdict(common), toGroups(exceptions)
	return f
}

// recordPending records a poll that did not show the end of an event, because of the answer PENDING
// or the temporary error err. f has the request and the time.
func (op *Operation) recordPending(ctx context.Context, r *ledger.Request, err error, f ledger.Fact) error {
	if named := op.running.named[r.ID]; named.complete() {
		return op.record(ctx, op.namedAll(r, named, f))
	}
	f.What = ledger.Polled
	wait := op.client.opts.pollInterval
	if r.Phase != ledger.Pending { // an overdue event: poll less often
		wait = max(wait, min(r.Age/4, op.client.opts.stallTime))
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		wait = max(wait, e.RetryAfter)
	}
	if earliest := f.At.Add(wait); f.NotBefore.Before(earliest) {
		f.NotBefore = earliest
	}
	f.Due = op.client.spread(f.NotBefore)
	if err := op.record(ctx, f); err != nil {
		return err
	}
	why := fmt.Errorf("event %s: %w", printableEventID(r.Event), withCause(ErrStalled, err))
	if follows, ok := op.ledger.Follow(r.ID, f.At, toReason(why)); ok {
		return op.record(ctx, follows)
	}
	return nil
}

// namedAll returns the fact that notifications gave the outcome of every pair.
func (op *Operation) namedAll(r *ledger.Request, named *pairCount, f ledger.Fact) ledger.Fact {
	delete(op.running.named, r.ID)
	f.What, f.Due = ledger.Named, f.At.Add(op.client.opts.pollInterval)
	f.Rest, f.Pairs = ledger.Verdict{Outcome: ledger.Succeeded}, toGroups(named.failed)
	return f
}

// Notify passes a stored notification to the operation: one that arrived before the
// operation was resumed. The next Step or Wait uses it. For notifications that arrive
// while the operation runs, use [Client.Notify]. The operation keeps up to 250,000 elements of
// notifications until then, and drops later ones: that only costs time.
func (op *Operation) Notify(n *Notification) {
	if n == nil || n.EventID() == "" {
		return
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.notifiedElements < maxQueued {
		op.notifications = append(op.notifications, n)
		op.notifiedElements += n.countElements()
	}
}

// notice uses one notification of a request's event.
func (op *Operation) notice(ctx context.Context, r *ledger.Request, n *Notification) error {
	if r.Phase != ledger.Pending && r.Phase != ledger.Overdue {
		return nil
	}
	if p := n.eventPayload(); p != nil && !op.tables.isOwnEvent(p.event().Type) {
		return nil // as with a status: it is the event of another kind of change
	}
	now := time.Now()
	f := ledger.Fact{What: ledger.Noticed, Request: r.ID, At: now, Aged: r.Aged(now)}
	if op.tables.info.uncountable {
		return op.record(ctx, f)
	}
	named := op.running.named[r.ID]
	if named == nil {
		named = newPairCount(&op.tables, r.Part)
		op.running.named[r.ID] = named
	}
	named.add(n)
	switch {
	case !named.complete():
		return nil
	case r.NotBefore.After(now):
		return op.record(ctx, op.namedAll(r, named, f))
	}
	return op.record(ctx, f)
}

// toVerdict returns a verdict in the form of the ledger.
func toVerdict(v verdict) ledger.Verdict {
	if v.err == nil {
		return ledger.Verdict{Outcome: ledger.Outcome(v.outcome)}
	}
	return ledger.Verdict{Outcome: ledger.Outcome(v.outcome), Why: toReason(v.err)}
}

// toGroups returns verdicts by position as groups of the ledger.
func toGroups(verdicts map[int]verdict) []ledger.Group {
	if len(verdicts) == 0 {
		return nil
	}
	converted := map[verdict]ledger.Verdict{}
	byVerdict := map[ledger.Verdict][]int{}
	for _, i := range slices.Sorted(maps.Keys(verdicts)) {
		v, ok := converted[verdicts[i]]
		if !ok {
			v = toVerdict(verdicts[i])
			converted[verdicts[i]] = v
		}
		byVerdict[v] = append(byVerdict[v], i)
	}
	return groupsOf(byVerdict)
}
