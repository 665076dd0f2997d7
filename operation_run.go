package appsandbooks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// Wait waits for as long as something can be learned, and returns the [Report]: it sends what
// was not sent, waits for all events together, and reads back the pairs whose outcome the
// events do not show. The report is never nil. The error is nil if every pair succeeded; otherwise it
// is an [*OperationError]. When the context ends, the report is the state so far and
// the error wraps the context's error. Wait can be called again.
//
// The first poll of an event comes early (see [WithPolling]). After that, Wait polls
// at the interval, or when notifications ([Client.Notify]) have named all pairs of the
// event. No two callers of one client poll an event sooner than the interval after PENDING.
//
// Wait also returns when some pairs stay unconfirmed: no answer came to their request, or
// their event is stalled, and reading back does not show them. A final outcome would take up to
// six stall times more, or would never come. [Operation.Next] says when to call Wait again.
//
// If the operation stopped sending, as after [ErrTokenExpired], Wait returns with that reason
// when everything that was sent is finished. The next call of Wait tries to send the rest.
func (op *Operation) Wait(ctx context.Context) (*Report, error) {
	if _, more := op.Next(); !more && op.ledger != nil {
		return op.result(nil)
	}
	done, err := op.startRun(ctx)
	if err != nil {
		return op.result(err)
	}
	defer done()
	w := op.client.hub.newWaiter()
	defer w.close()
	for {
		err := op.pass(ctx, w)
		next, more := op.nextTask()
		if err == nil && more {
			err = op.sleep(ctx, w, time.Until(next))
		}
		if err != nil || !more {
			return op.result(op.takeCause(err))
		}
	}
}

// sleep waits until d is over or a notification arrives. It returns the error of the context, or
// [ErrClosed] when the client is closed.
func (op *Operation) sleep(ctx context.Context, w *waiter, d time.Duration) error {
	ctx, cancel := op.client.withLifetime(ctx)
	defer cancel()
	return w.wait(ctx, d)
}

// Step does what is due now, each thing once: it sends, polls and reads back. It returns nil
// while the operation goes on by itself: call Step again at the time of [Operation.Next]. At the
// end, when Next reports false, it returns what Wait returns: nil if every pair succeeded, and
// otherwise an [*OperationError]. An error while Next reports true means that the operation has
// stopped; the Cause of the OperationError says why. Remove the cause, or call Step again at the
// time of Next.
//
// Step never sleeps. Where Wait would pause and try again, Step makes one attempt, and what is
// left is due later; it only waits for the pace of requests. It is for callers that must not
// sleep, such as a job engine that saves the operation and resumes it later.
func (op *Operation) Step(ctx context.Context) error {
	if _, more := op.Next(); !more && op.ledger != nil {
		return errorOnly(op.result(nil))
	}
	ctx = withOneAttempt(ctx)
	done, err := op.startRun(ctx)
	if err != nil {
		return errorOnly(op.result(err))
	}
	defer done()
	w := op.client.hub.newWaiter()
	defer w.close()
	err = op.pass(ctx, w)
	more := !op.ledger.AtEnd()
	if op.running.stopped != nil {
		_, more = op.nextTask()
	}
	isJournaled := op.opts.journal == nil || op.running.journaled
	if err == nil && more && isJournaled {
		return nil
	}
	return errorOnly(op.result(op.takeCause(err)))
}

func errorOnly(_ *Report, err error) error { return err }

// Next returns when the operation needs the next call of [Operation.Step] or
// [Operation.Wait]. It reports false, with the zero time, if the operation is at its end: every
// pair has its final outcome. A time in the past means now.
//
// If Wait has returned and some pairs are unconfirmed, Next reports true: a later call can show
// their outcomes. If the operation has stopped sending, the time is one polling interval after
// the stop. It says nothing about the reason, such as an expired token.
func (op *Operation) Next() (at time.Time, more bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.ledger == nil || op.ledger.AtEnd() {
		return time.Time{}, false
	}
	now := time.Now()
	// After the operation has stopped sending, the next call is due when something that was sent
	// needs it: the calls until then would only be refused again.
	halted, rests := op.ledger.Halted() != "", op.ledger.Rests(true)
	due, at := op.ledger.Next(now, halted && !rests)
	if len(due) > 0 {
		at = now
	}
	if halted && rests {
		pause := op.client.opts.pollInterval
		if again := op.ledger.HaltedAt().Add(pause); again.After(at) {
			at = again
		}
		if latest := now.Add(pause); at.After(latest) { // the clock was set back
			at = latest
		}
	}
	return at, true
}

// nextTask returns when the call that carries out the operation has to do something again. It
// reports false if the call is finished: nothing more can be learned now.
func (op *Operation) nextTask() (at time.Time, more bool) {
	halted := op.running.stopped != nil
	now := time.Now()
	due, next := op.ledger.Next(now, halted)
	switch {
	case len(due) > 0:
		return now, true
	case op.ledger.Rests(halted):
		return time.Time{}, false
	}
	return next, true
}

// takeCause returns why a call ends: err, or else why the operation stopped sending, or nil.
// The next call sends again.
func (op *Operation) takeCause(err error) error {
	if err == nil {
		err = op.running.stopped
	}
	op.running.stopped = nil
	return err
}

// result returns the results of Wait: the report, and an [*OperationError] with the cause err
// unless err is nil and every pair succeeded.
func (op *Operation) result(err error) (*Report, error) {
	return op.Report().result(op, err)
}

// carry claims the operation for the caller. Without an error, the caller must call done.
func (op *Operation) carry(ctx context.Context) (done func(), err error) {
	if op.ledger == nil {
		return nil, errZeroOperation
	}
	op.mu.Lock() // another call may carry the operation
	facts := op.ledger.Facts()
	op.mu.Unlock()
	claims := op.client.claims
	if err := claims.claim(op.id, op.copy, facts); err != nil {
		return nil, err
	}
	release := func() { claims.release(op.id, op.durableFacts()) }
	carried := false
	defer func() {
		if !carried { // after an error, and when a callback panics
			release()
		}
	}()
	if err := op.startJournal(ctx); err != nil {
		return nil, err
	}
	if err := op.loseInterrupted(ctx); err != nil {
		return nil, err
	}
	carried = true
	return release, nil
}

// loseInterrupted records that the requests are lost that an earlier call was sending when a
// callback panicked. Nobody else sends them, because this call has the claim.
func (op *Operation) loseInterrupted(ctx context.Context) error {
	now := time.Now()
	for _, r := range op.ledger.Requests() {
		if r.Phase != ledger.Sending {
			continue
		}
		f := ledger.Fact{What: ledger.GotLost, Request: r.ID, At: now, Due: now.Add(op.client.opts.pollInterval), Why: op.interrupted()}
		if err := op.record(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// interrupted returns the reason of a request that was being sent when the process, or the call,
// ended.
func (op *Operation) interrupted() ledger.Reason {
	return toReason(&Error{Method: "POST", Path: string(op.tables.kind), Ambiguous: true, Message: "interrupted while the request was being sent"})
}

// durableFacts returns how many facts a copy of the operation can have that is resumed later. If
// writing the journal has failed, the copy has only what the journal has.
func (op *Operation) durableFacts() int {
	if op.opts.journal != nil && !op.running.journaled {
		return op.running.journaledFacts
	}
	return op.ledger.Facts()
}

// startRun claims the operation for a call that carries it out, and makes sure that the client
// belongs to the operation's unit. Without an error, the caller must call done.
func (op *Operation) startRun(ctx context.Context) (done func(), err error) {
	release, err := op.carry(ctx)
	if err != nil {
		return nil, err
	}
	started := false
	defer func() {
		if !started { // after an error, and when a callback panics
			release()
		}
	}()
	if op.client.Config.cached.Load() == nil {
		// A resumed operation needs the rate and the URLs from the configuration.
		// Defaults exist for both, so an error of the read is ignored.
		_, _ = op.client.Config.limits(ctx)
	}
	if err := op.waitForClientUnit(ctx); err != nil {
		return nil, err
	}
	started = true
	return release, nil
}

// waitForClientUnit verifies the unit. As with polls, temporary errors do not end Wait and Verify
// before the stall time.
func (op *Operation) waitForClientUnit(ctx context.Context) error {
	w := op.client.hub.newWaiter() // of no event
	defer w.close()
	for began := time.Now(); ; {
		err := op.checkClientUnit(ctx)
		if err == nil || hasOneAttempt(ctx) || op.isLasting(ctx, err) || time.Since(began) >= op.ledger.Rules().Stall {
			return err
		}
		if err := op.sleep(ctx, w, op.client.opts.pollInterval); err != nil {
			return err
		}
	}
}

// checkClientUnit checks that the client belongs to the operation's organizational unit before
// something is sent, polled or read. Otherwise the operation would change another unit, or take
// that unit's data for its own. After Resume it reads the client configuration, unless an
// earlier answer has shown the client's unit. It always reads it after an answer that may come
// from another unit.
func (op *Operation) checkClientUnit(ctx context.Context) error {
	run := &op.running
	switch {
	case run.unitChecked:
		return nil
	case op.unit == "":
		return fmt.Errorf("%w: the saved operation has no organizational unit", ErrOtherUnit)
	case !run.mustReadUnit && op.client.knownUnit() == op.unit:
		run.unitChecked = true
		return nil
	}
	config, err := op.client.Config.ClientConfig(ctx)
	if err != nil {
		return fmt.Errorf("checking the organizational unit of the client: %w", err)
	}
	if err := op.compareUnit(config.UID); err != nil {
		return err
	}
	run.unitChecked, run.mustReadUnit = true, false
	return nil
}

// readUnitNextTime makes the next call verify the unit of the client.
func (op *Operation) readUnitNextTime() {
	op.running.unitChecked, op.running.mustReadUnit = false, true
}

// compareUnit compares the uId of an answer with the operation's. The error is [ErrOtherUnit].
// An answer without a uId shows nothing.
func (op *Operation) compareUnit(uid string) error {
	if uid == "" || op.unit == "" || uid == op.unit {
		return nil
	}
	op.readUnitNextTime()
	return fmt.Errorf("%s: %w", op.tables.kind, ErrOtherUnit)
}

// stopSending makes the operation stop sending, with the reason err. The first reason is kept.
func (op *Operation) stopSending(err error) {
	if op.running.stopped == nil {
		op.running.stopped = err
	}
}

// maxParallelRequests is how many requests, or polls, of an operation are in
// progress at the same time. Apple advises to send few large requests instead of many
// parallel ones.
const maxParallelRequests = 4

// pass does once each thing that is due when it begins, in the order in which it became due:
// it sends and polls, a few requests at a time, and then reads back. Because nothing is repeated,
// a pass ends, and no task waits for a repetition. The waiter w collects the notifications of the operation's events; it is nil in a pass that only
// sends.
func (op *Operation) pass(ctx context.Context, w *waiter) error {
	if w != nil {
		op.listen(w)
		op.takeNotifications(ctx, w)
	}
	tasks, _ := op.ledger.Next(time.Now(), op.running.stopped != nil)
	var exchanges []ledger.Task
	for _, t := range tasks {
		if t.Do == ledger.Send || t.Do == ledger.Poll && w != nil {
			exchanges = append(exchanges, t)
		}
	}
	err := op.inParallel(ctx, w, exchanges)
	op.recordStop(ctx)
	if err == nil && ctx.Err() != nil {
		err = contextError(ctx)
	}
	if err != nil || w == nil {
		return err
	}
	// What the polls have shown decides what has to be read back.
	var unclear []int
	tasks, _ = op.ledger.Next(time.Now(), true)
	for _, t := range tasks {
		if t.Do == ledger.Read {
			unclear = append(unclear, t.Request)
		}
	}
	if len(unclear) == 0 {
		return nil
	}
	return op.readBack(ctx, unclear)
}

// listen makes the waiter collect the notifications of all events that are not finished.
func (op *Operation) listen(w *waiter) {
	for _, r := range op.ledger.Requests() {
		if r.Phase == ledger.Pending || r.Phase == ledger.Overdue {
			w.add(r.Event)
		}
	}
}

// takeNotifications uses the notifications that have arrived. When they have named all pairs of
// a request, its event is polled as soon as the interval allows. If a poll is not allowed yet,
// the notifications are the result. The pairs of a Revoke cannot be counted, so each of its
// notifications causes a poll. A notification of another unit is ignored.
func (op *Operation) takeNotifications(ctx context.Context, w *waiter) {
	op.mu.Lock()
	all := op.notifications
	op.notifications, op.notifiedElements = nil, 0
	op.mu.Unlock()
	for _, n := range append(all, w.takeAll()...) {
		id, known := op.running.events[n.EventID()]
		if !known || n.UID != "" && op.unit != "" && n.UID != op.unit {
			continue
		}
		if err := op.notice(ctx, op.ledger.Request(id), n); err != nil {
			op.stopSending(err)
		}
	}
}

// inParallel sends and polls the requests of tasks, maxParallelRequests at a time. Only the
// exchanges run in goroutines of their own: each returns a function that records the result,
// and this goroutine calls it. It returns the first error that ends the call.
func (op *Operation) inParallel(ctx context.Context, w *waiter, tasks []ledger.Task) (err error) {
	results := make(chan func() error, maxParallelRequests)
	running := 0
	for len(tasks) > 0 || running > 0 {
		if len(tasks) > 0 && running < maxParallelRequests {
			exchange := op.begin(ctx, tasks[0], err == nil)
			tasks = tasks[1:]
			if exchange != nil {
				running++
				go func() { results <- exchange() }()
			}
			continue
		}
		finish := <-results
		running--
		if failed := finish(); failed != nil && err == nil {
			err = failed
		}
		if w != nil {
			op.takeNotifications(ctx, w)
		}
	}
	return err
}

// begin prepares the exchange of a task and records that it is about to happen. It returns nil
// if the task is not due any more, or must not be done.
func (op *Operation) begin(ctx context.Context, t ledger.Task, wanted bool) (exchange func() func() error) {
	r := op.ledger.Request(t.Request)
	if ctx.Err() != nil {
		op.stopSending(contextError(ctx))
		return nil
	}
	if t.Do == ledger.Send {
		if op.running.stopped != nil || r.Phase != ledger.Queued {
			return nil
		}
		return op.beginSend(ctx, r)
	}
	if !wanted || r.Phase == ledger.Settled || r.Phase == ledger.Disputed {
		return nil // notifications have given its result
	}
	return op.beginPoll(ctx, r)
}

// recordStop records why the operation stopped sending, if something was not sent.
func (op *Operation) recordStop(ctx context.Context) {
	halt := op.running.stopped
	isQueued := func(r *ledger.Request) bool { return r.Phase == ledger.Queued }
	if halt == nil || !slices.ContainsFunc(op.ledger.Requests(), isQueued) {
		return
	}
	if why := toReason(halt); why != op.ledger.Halted() {
		// If the journal fails, the next entry is the whole operation.
		_ = op.record(ctx, ledger.Fact{What: ledger.Halted, At: time.Now(), Why: why})
	}
}

// sendAll sends the queued requests for the method that started the operation. Why it stops
// sending, if it does, is for the next Wait or Step to return.
func (op *Operation) sendAll(ctx context.Context) {
	done, err := op.startRun(ctx)
	if err != nil {
		op.running.stopped = err
		_ = op.ledger.Apply(ledger.Fact{What: ledger.Halted, At: time.Now(), Why: toReason(err)})
		return
	}
	defer done()
	for op.running.stopped == nil {
		if err := op.pass(ctx, nil); err != nil {
			op.stopSending(err)
			return
		}
		due, _ := op.ledger.Next(time.Now(), false)
		if !slices.ContainsFunc(due, func(t ledger.Task) bool { return t.Do == ledger.Send }) {
			return
		}
	}
}
