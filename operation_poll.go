package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
	"golang.org/x/sync/errgroup"
)

// Wait carries the operation to its end: it sends what was not sent, waits for
// all events together, and reads back what they leave open. The report is never
// nil; it comes with an error, an [*OperationError], unless every pair
// succeeded. When the context ends, the report is the state so far and the error
// wraps the context's; Wait can be called again.
//
// An event is first asked for early (see [WithPolling]), then at the interval,
// or when notifications ([Client.Notify]) have named all of its pairs. One that
// an earlier Wait gave up as [ErrStalled] gets another look.
func (op *Operation) Wait(ctx context.Context) (*Report, error) {
	if err := op.acquire(ctx); err != nil {
		return op.reportAndError(err)
	}
	defer op.release()
	if err := op.pollStalledAgain(ctx); err != nil {
		return op.reportAndError(err)
	}
	hints := op.client.hub.listen()
	defer hints.close()
	for {
		next, err := op.step(ctx, hints)
		if next.IsZero() || err != nil {
			return op.reportAndError(err)
		}
		if err := hints.wait(ctx, time.Until(next)); err != nil {
			return op.reportAndError(contextError(ctx))
		}
	}
}

// lookAgain asks once more for the events that were given up, if it is time.
func (op *Operation) pollStalledAgain(ctx context.Context) error {
	for _, p := range op.inState(partFinished) {
		stalled := p.outcome == OutcomeUnconfirmed && errors.Is(p.err, ErrStalled)
		for _, v := range p.exceptions {
			stalled = stalled || v.outcome == OutcomeUnconfirmed && errors.Is(v.err, ErrStalled)
		}
		if p.eventID == "" || !stalled || p.notBefore.After(time.Now()) {
			continue
		}
		// Recorded before it is asked, as ever.
		if err := op.update(ctx, p, func() { p.notBefore, _ = op.client.nextPoll(nil) }); err != nil {
			return err
		}
		status, err := op.client.Status.get(ctx, p.eventID, transport.Poll)
		switch {
		case err == nil && status.finished():
			v, odd := op.tables.judge(p.Part, status)
			err = op.update(ctx, p, func() {
				p.wasReadBack = false
				op.finish(p, v, odd)
			})
		case err == nil || errors.Is(err, ErrEventNotFound) || ctx.Err() == nil && op.client.isTemporary(err):
			err = nil // what is known stays
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Notify tells the operation of a notification that came before it was resumed,
// and that was kept: the next Step, or Wait, takes it into account. For those
// that come meanwhile there is [Client.Notify].
func (op *Operation) Notify(n *Notification) {
	if n == nil || n.EventID() == "" {
		return
	}
	op.mu.Lock()
	op.pendingNotifications = append(op.pendingNotifications, n)
	op.mu.Unlock()
}

// Step does what is due now (sending, looking at events, reading back) and
// says when the next step is due: the zero time when the operation is at its
// end. It is Wait for callers who do not want to sleep, such as a job engine that
// marshals the operation and takes it up later.
func (op *Operation) Step(ctx context.Context) (next time.Time, err error) {
	if err := op.acquire(ctx); err != nil {
		return time.Time{}, err
	}
	defer op.release()
	hints := op.client.hub.listen()
	defer hints.close()
	return op.step(ctx, hints)
}

// outcome is the end of Wait.
func (op *Operation) reportAndError(err error) (*Report, error) {
	r := op.Report()
	if err == nil && r.Succeeded == r.Total {
		return r, nil
	}
	return r, &OperationError{Report: r, Cause: err}
}

func (op *Operation) step(ctx context.Context, hints *waiter) (time.Time, error) {
	if op.haltError() == nil && len(op.inState(partPlanned)) > 0 {
		if err := op.submit(ctx); err != nil {
			return time.Time{}, err
		}
	}
	if err := op.pollDue(ctx, hints); err != nil {
		return time.Time{}, err
	}
	if ctx.Err() != nil {
		return time.Time{}, contextError(ctx)
	}
	if err := op.readBackOpen(ctx); err != nil {
		return time.Time{}, err
	}
	var next time.Time
	op.mu.Lock()
	defer op.mu.Unlock()
	for _, p := range op.parts {
		due := p.nextPoll
		switch {
		case p.state == partPlanned && op.halt == nil: // sent again
			due = time.Now()
		case p.state != partSubmitted && p.state != partUnknown && !p.needsReadback():
			continue
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if next.IsZero() {
		return next, op.halt
	}
	return next, nil
}

// looksAtOnce bounds the looks between two checks for hints.
const maxPollsPerRound = 16

// look asks for the status of the events that are due.
func (op *Operation) pollDue(ctx context.Context, hints *waiter) error {
	submitted := op.inState(partSubmitted)
	events := make(map[string]*part, len(submitted))
	for _, p := range submitted {
		events[p.eventID] = p
		hints.add(p.eventID)
	}
	op.mu.Lock()
	told := op.pendingNotifications
	op.pendingNotifications = nil
	op.mu.Unlock()
	for {
		for _, n := range append(told, hints.takeAll()...) {
			if p := events[n.EventID()]; p != nil {
				op.countNotification(ctx, p, n)
			}
		}
		told = nil
		var due []*part
		now := time.Now()
		for _, p := range submitted {
			if p.state == partSubmitted && !p.nextPoll.After(now) && len(due) < maxPollsPerRound {
				due = append(due, p)
			}
		}
		if len(due) == 0 {
			return nil
		}
		group, looking := errgroup.WithContext(ctx)
		group.SetLimit(maxParallelRequests)
		for _, p := range due {
			group.Go(func() error {
				if looking.Err() != nil {
					return nil //nolint:nilerr // what ended one look would end the others, and is told by it
				}
				return op.poll(ctx, p)
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return contextError(ctx)
		}
	}
}

// lookAt asks for the status of one event. Its error ends the wait.
func (op *Operation) poll(ctx context.Context, p *part) error {
	// Recorded before it is asked: who resumes must keep the distance, too.
	if err := op.update(ctx, p, func() { p.polling = true }); err != nil {
		return err
	}
	status, err := op.client.Status.get(ctx, p.eventID, transport.Poll)
	switch {
	case err == nil && status.finished():
		v, odd := op.tables.judge(p.Part, status)
		return op.update(ctx, p, func() { op.finish(p, v, odd) })
	case errors.Is(err, ErrEventNotFound):
		return op.update(ctx, p, func() { p.state, p.verdict = partUnknown, verdict{OutcomeUnconfirmed, err} })
	case err != nil && (ctx.Err() != nil || !op.client.isTemporary(err)):
		_ = op.update(ctx, p, func() {
			p.polling = false
			if e := (*Error)(nil); errors.As(err, &e) && e.Attempts > 0 && e.Number == 0 {
				p.notBefore, p.nextPoll = op.client.nextPoll(nil) // the answer may have been PENDING
			}
		})
		return err
	}
	if p.namedPairs.complete() {
		return op.finishFromNotifications(ctx, p)
	}
	if time.Since(op.pendingSince(p, err)) >= op.client.opts.stallTime {
		stalled := fmt.Errorf("event %s: %w", printableEventID(p.eventID), errors.Join(ErrStalled, err))
		return op.update(ctx, p, func() {
			p.state, p.verdict, p.polling = partUnknown, verdict{OutcomeUnconfirmed, stalled}, false
			p.notBefore, _ = op.client.nextPoll(err)
		})
	}
	return op.update(ctx, p, func() {
		p.polling = false
		p.notBefore, p.nextPoll = op.client.nextPoll(err)
	})
}

// pendingSince is since when a part's event has not finished, as far as the
// looks tell: one that fails does not count from the start, for the event may
// have finished long ago.
func (op *Operation) pendingSince(p *part, err error) time.Time {
	op.mu.Lock()
	defer op.mu.Unlock()
	switch {
	case err == nil:
		p.pollFailingSince = time.Time{}
		return p.sentAt
	case p.pollFailingSince.IsZero():
		p.pollFailingSince = time.Now()
	}
	return p.pollFailingSince
}

// noted takes in a notification of a part's event. When notifications have
// named all its pairs, the status is worth a look; if the last look is too
// recent for another, what they said is the result.
func (op *Operation) countNotification(ctx context.Context, p *part, n *Notification) {
	op.mu.Lock()
	if p.state != partSubmitted {
		op.mu.Unlock()
		return
	}
	complete := true
	if op.tables.kind != revokeAssets { // which cannot be counted
		if p.namedPairs == nil {
			p.namedPairs = newPairCount(&op.tables, p.Part)
		}
		p.namedPairs.add(n)
		complete = p.namedPairs.complete()
	}
	wait := time.Until(p.notBefore)
	if complete {
		p.nextPoll = time.Now().Add(max(0, wait))
	}
	op.mu.Unlock()
	if wait > 0 && p.namedPairs.complete() {
		if err := op.finishFromNotifications(ctx, p); err != nil {
			op.stop(err)
		}
	}
}

func (op *Operation) finishFromNotifications(ctx context.Context, p *part) error {
	return op.update(ctx, p, func() { op.finish(p, verdict{outcome: OutcomeSucceeded}, p.namedPairs.failed) })
}
