package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
	"golang.org/x/sync/errgroup"
)

// Wait waits until the operation is finished: it sends what was not sent, waits for
// all events together, and reads back the pairs whose outcome the events do not
// show. The report is never nil. The error is nil if every pair succeeded; otherwise it
// is an [*OperationError]. When the context ends, the report is the state so far and
// the error wraps the context's error. Wait can be called again.
//
// The first poll of an event comes early (see [WithPolling]). After that, Wait polls
// at the interval, or when notifications ([Client.Notify]) have named all pairs of the
// event. If an earlier Wait stopped waiting for an event with [ErrStalled], the event is
// polled again.
func (op *Operation) Wait(ctx context.Context) (*Report, error) {
	if err := op.acquire(ctx); err != nil {
		return op.reportAndError(err)
	}
	defer op.release()
	if err := op.pollStalledAgain(ctx); err != nil {
		return op.reportAndError(err)
	}
	w := op.client.hub.newWaiter()
	defer w.close()
	for {
		next, err := op.step(ctx, w)
		if next.IsZero() || err != nil {
			return op.reportAndError(err)
		}
		if err := w.wait(ctx, time.Until(next)); err != nil {
			return op.reportAndError(contextError(ctx))
		}
	}
}

// pollStalledAgain polls each stalled event of a finished request once, if the request's
// notBefore allows the poll. A final status replaces the outcomes of the request. A temporary
// error, or an event that the service does not find, changes nothing.
func (op *Operation) pollStalledAgain(ctx context.Context) error {
	for _, p := range op.inState(partFinished) {
		stalled := p.outcome == OutcomeUnconfirmed && errors.Is(p.err, ErrStalled)
		for _, v := range p.exceptions {
			stalled = stalled || v.outcome == OutcomeUnconfirmed && errors.Is(v.err, ErrStalled)
		}
		if p.eventID == "" || !stalled || p.notBefore.After(time.Now()) {
			continue
		}
		// Journal the poll before it is sent, so that a process that resumes also keeps
		// the interval.
		if err := op.update(ctx, p, func() { p.notBefore, _ = op.client.nextPoll(nil) }); err != nil {
			return err
		}
		status, err := op.client.Status.get(ctx, p.eventID, transport.Poll)
		switch {
		case err == nil && status.finished():
			v, exceptions := op.tables.judge(p.Part, status)
			err = op.update(ctx, p, func() {
				p.wasReadBack = false
				op.finish(p, v, exceptions)
			})
		case err == nil || errors.Is(err, ErrEventNotFound) || ctx.Err() == nil && op.client.isTemporary(err):
			err = nil // the outcomes stay as they are
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Notify passes a stored notification to the operation: one that arrived before the
// operation was resumed. The next Step or Wait uses it. For notifications that arrive
// while the operation runs, use [Client.Notify].
func (op *Operation) Notify(n *Notification) {
	if n == nil || n.EventID() == "" {
		return
	}
	op.mu.Lock()
	op.pendingNotifications = append(op.pendingNotifications, n)
	op.mu.Unlock()
}

// Step does what is due now (send, poll, read back) and returns the time of the next
// step. The time is zero when the operation is finished or an error ends the step. Step
// replaces Wait for callers that must not sleep, such as a job engine that saves the
// operation and resumes it later.
func (op *Operation) Step(ctx context.Context) (next time.Time, err error) {
	if err := op.acquire(ctx); err != nil {
		return time.Time{}, err
	}
	defer op.release()
	w := op.client.hub.newWaiter()
	defer w.close()
	return op.step(ctx, w)
}

// reportAndError returns the results of Wait and Verify: the report, and an
// [*OperationError] with cause err unless err is nil and every pair succeeded.
func (op *Operation) reportAndError(err error) (*Report, error) {
	r := op.Report()
	if err == nil && r.Succeeded == r.Total {
		return r, nil
	}
	return r, &OperationError{Report: r, Cause: err}
}

// step is Step for a caller that holds the busy token. The waiter w collects the
// notifications of the operation's events.
func (op *Operation) step(ctx context.Context, w *waiter) (time.Time, error) {
	if op.haltError() == nil && len(op.inState(partPlanned)) > 0 {
		if err := op.submit(ctx); err != nil {
			return time.Time{}, err
		}
	}
	if err := op.pollDue(ctx, w); err != nil {
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
		case p.state == partPlanned && op.halt == nil: // reading back has planned pairs to be sent again
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

// maxPollsPerRound is the largest number of events that are polled before new
// notifications are processed.
const maxPollsPerRound = 16

// pollDue processes the notifications that have arrived and polls the events that are
// due, until none is due.
func (op *Operation) pollDue(ctx context.Context, w *waiter) error {
	submitted := op.inState(partSubmitted)
	events := make(map[string]*part, len(submitted))
	for _, p := range submitted {
		events[p.eventID] = p
		w.add(p.eventID)
	}
	op.mu.Lock()
	pending := op.pendingNotifications
	op.pendingNotifications = nil
	op.mu.Unlock()
	for {
		for _, n := range append(pending, w.takeAll()...) {
			if p := events[n.EventID()]; p != nil {
				op.countNotification(ctx, p, n)
			}
		}
		pending = nil
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
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(maxParallelRequests)
		for _, p := range due {
			group.Go(func() error {
				if groupCtx.Err() != nil {
					return nil //nolint:nilerr // the poll that failed first returns the error
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

// poll polls the event of one request. An error that it returns ends the wait.
func (op *Operation) poll(ctx context.Context, p *part) error {
	// Journal the poll first, so that a process that resumes also keeps the interval.
	if err := op.update(ctx, p, func() { p.polling = true }); err != nil {
		return err
	}
	status, err := op.client.Status.get(ctx, p.eventID, transport.Poll)
	switch {
	case err == nil && status.finished():
		v, exceptions := op.tables.judge(p.Part, status)
		return op.update(ctx, p, func() { op.finish(p, v, exceptions) })
	case errors.Is(err, ErrEventNotFound):
		return op.update(ctx, p, func() { p.state, p.verdict = partUnknown, verdict{OutcomeUnconfirmed, err} })
	case err != nil && (ctx.Err() != nil || !op.client.isTemporary(err)):
		_ = op.update(ctx, p, func() {
			p.polling = false
			if e := (*Error)(nil); errors.As(err, &e) && e.Attempts > 0 && e.Number == 0 {
				// The lost answer to the poll may have been PENDING.
				p.notBefore, p.nextPoll = op.client.nextPoll(nil)
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

// pendingSince returns since when the request's event is known to be unfinished, after a
// poll with result err. If the poll answered PENDING, that is the time when the event
// was accepted. If the poll failed, it is the time of the first of the failed polls,
// because the event may have finished since the last answer.
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

// countNotification records a notification of a request's event. When notifications have
// named all pairs, the event is polled as soon as the interval allows. If a poll is not
// allowed yet, the notifications are the result. The pairs of a Revoke cannot be
// counted, so each of its notifications causes a poll.
func (op *Operation) countNotification(ctx context.Context, p *part, n *Notification) {
	op.mu.Lock()
	if p.state != partSubmitted {
		op.mu.Unlock()
		return
	}
	complete := true
	if op.tables.kind != revokeAssets {
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

// finishFromNotifications finishes a request with the results that notifications gave for
// all of its pairs.
func (op *Operation) finishFromNotifications(ctx context.Context, p *part) error {
	return op.update(ctx, p, func() { op.finish(p, verdict{outcome: OutcomeSucceeded}, p.namedPairs.failed) })
}
