package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
	"golang.org/x/sync/errgroup"
)

// Submit sends the requests that have not been sent, up to four at the same time. It
// returns when all of them are answered. It returns an error only if certainly nothing
// changed: no request of the operation was ever accepted, and no result is unknown. The
// [Report] shows every other failure.
func (op *Operation) Submit(ctx context.Context) error {
	if err := op.acquire(ctx); err != nil {
		return err
	}
	defer op.release()
	return op.submit(ctx)
}

// acquire takes the busy token, allows sending again, and makes sure that the journal
// has the plan. It waits for the token until ctx ends. If it returns an error, the
// caller does not have the token.
func (op *Operation) acquire(ctx context.Context) error {
	select {
	case <-op.busy:
	case <-ctx.Done():
		return contextError(ctx)
	}
	op.mu.Lock()
	op.halt = nil
	op.mu.Unlock()
	if op.client.Config.cached.Load() == nil {
		// A resumed operation needs the rate and the URLs from the configuration.
		// Defaults exist for both, so an error of the read is ignored.
		_, _ = op.client.Config.limits(ctx)
	}
	if err := op.startJournal(ctx); err != nil {
		op.release()
		return err
	}
	return nil
}

// verifyUnit checks that the client belongs to the operation's organizational unit
// before something is sent. Otherwise the operation would change another unit. It
// reads the client configuration only if the unit is known and unverified.
func (op *Operation) verifyUnit(ctx context.Context) error {
	op.mu.Lock()
	verified := !op.unitUnverified || op.unit == ""
	op.mu.Unlock()
	if verified {
		return nil
	}
	config, err := op.client.Config.ClientConfig(ctx)
	if err != nil {
		return fmt.Errorf("verifying the organizational unit of the client: %w", err)
	}
	if err := op.checkUnit(config.UID); err != nil {
		return err
	}
	op.mu.Lock()
	op.unitUnverified = false
	op.mu.Unlock()
	return nil
}

// checkUnit compares the uId of an answer with the operation's. The first answer
// with a uId sets the operation's. The error is [ErrOtherUnit].
func (op *Operation) checkUnit(uid string) error {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.unit == "" {
		op.unit = uid
	}
	if uid != "" && uid != op.unit {
		return fmt.Errorf("%s: %w", op.tables.kind, ErrOtherUnit)
	}
	return nil
}

// release returns the busy token.
func (op *Operation) release() { op.busy <- struct{}{} }

// maxParallelRequests is how many requests, or polls, of an operation are in
// progress at the same time. Apple advises to send few large requests instead of many
// parallel ones.
const maxParallelRequests = 4

// submit is Submit for a caller that holds the busy token.
func (op *Operation) submit(ctx context.Context) error {
	if err := op.verifyUnit(ctx); err != nil {
		op.stop(err)
	}
	for {
		planned := op.inState(partPlanned)
		if len(planned) == 0 || op.haltError() != nil {
			break
		}
		var group errgroup.Group
		group.SetLimit(maxParallelRequests)
		for _, p := range planned {
			if ctx.Err() != nil {
				op.stop(contextError(ctx))
			}
			if op.haltError() != nil {
				break
			}
			group.Go(func() error {
				op.send(ctx, p)
				return nil
			})
		}
		_ = group.Wait()
	}
	op.explainUnsent()
	return op.nothingAccepted()
}

// explainUnsent gives the requests that were never sent the reason why the sending stopped.
func (op *Operation) explainUnsent() {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.halt == nil {
		return
	}
	why := &notSentError{op.halt} // all requests share this error, so that a report counts it as one reason
	for _, p := range op.parts {
		if p.state == partPlanned {
			p.verdict = p.unsentVerdict(why)
		}
	}
}

// nothingAccepted returns the error of Submit. It is nil if a request was accepted,
// if the result of a request is unknown, or if no reason is known.
func (op *Operation) nothingAccepted() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	var reasons []error
	for _, p := range op.parts {
		if p.eventID != "" || p.priorUncertainty != nil {
			return nil
		}
		switch p.state {
		case partPlanned, partReplaced:
		case partFinished:
			if p.err == nil || p.hasOutcome(OutcomeUnconfirmed) {
				return nil
			}
			if len(reasons) < 8 {
				reasons = append(reasons, p.err)
			}
		default:
			return nil
		}
	}
	if op.halt != nil {
		reasons = append(reasons, op.halt)
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%s: nothing was accepted: %w", op.tables.kind, errors.Join(reasons...))
}

// haltError returns the reason why the operation stopped sending, or nil.
func (op *Operation) haltError() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.halt
}

// stop makes the operation stop sending, with the reason err. The first reason is kept.
func (op *Operation) stop(err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.unitUnverified = op.unitUnverified || errors.Is(err, ErrOtherUnit)
	if op.halt == nil {
		op.halt = err
	}
}

// send sends one request of the operation and records the result.
func (op *Operation) send(ctx context.Context, p *part) {
	if op.haltError() != nil {
		return
	}
	// Do not send a request of a size that the service has refused before.
	if pieces := op.splitByLearnedLimits(p); len(pieces) > 1 {
		if err := op.update(ctx, p, func() { op.replace(p, pieces) }); err != nil {
			op.stop(err)
		}
		return
	}
	if err := op.update(ctx, p, func() { p.state, p.verdict = partSending, verdict{OutcomeUnconfirmed, ErrPending} }); err != nil {
		// Do not send the request unless the journal has recorded that it is being sent.
		op.stop(err)
		_ = op.update(ctx, p, func() { op.returnToPlan(p, err) })
		return
	}
	var answer struct {
		EventID string `json:"eventId"`
		Meta
	}
	err := op.client.do(ctx, request{
		method: "POST", path: string(op.tables.kind), key: urlKeys[op.tables.kind],
		in: op.tables.body(p.Part), class: transport.Write, grace: 5 * time.Second,
	}, &answer)
	if err == nil {
		err = op.checkEventID(answer.EventID)
	}
	if err != nil {
		op.sendFailed(ctx, p, err)
		return
	}
	if other := op.checkUnit(answer.UID); other != nil {
		// The answer shows that another organizational unit accepted the request.
		op.stop(other)
		_ = op.update(ctx, p, func() {
			p.eventID, p.sentAt = answer.EventID, time.Now()
			op.progress.Accepted++
			op.finish(p, verdict{OutcomeUnconfirmed, other}, nil)
			p.wasReadBack = true
		})
		return
	}
	err = op.update(ctx, p, func() {
		p.state, p.eventID, p.sentAt = partSubmitted, answer.EventID, time.Now()
		p.nextPoll = p.sentAt.Add(op.client.firstPoll())
		p.verdict = verdict{OutcomeUnconfirmed, ErrPending}
		op.progress.Accepted++
	})
	if err != nil {
		op.stop(err)
	}
}

// checkEventID returns an ambiguous error if id cannot be the event of a new request:
// then the result of the request is unknown.
func (op *Operation) checkEventID(id string) error {
	const maxLength = 512 // the id becomes part of a URL
	op.mu.Lock()
	defer op.mu.Unlock()
	var why string
	switch {
	case id == "":
		why = "the answer contains no event id"
	case len(id) > maxLength:
		why = "the event id in the answer is too long"
	case op.events[id]:
		why = "the answer contains the event id of an earlier request"
	default:
		op.events[id] = true
		return nil
	}
	return &Error{Method: "POST", Path: string(op.tables.kind), StatusCode: 200, Attempts: 1, Ambiguous: true, Message: why}
}
