package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
	"golang.org/x/sync/errgroup"
)

// Submit sends what has not been sent, several requests at a time. It returns
// when all are answered; an error only if no request of the operation was ever
// accepted or is of unknown fate, so that nothing changed. Everything else is
// in the [Report].
func (op *Operation) Submit(ctx context.Context) error {
	if err := op.acquire(ctx); err != nil {
		return err
	}
	defer op.release()
	return op.submit(ctx)
}

// begin takes the right to change parts, allows sending again, and makes sure
// that the journal has the plan.
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
		// An operation that was resumed needs no limits to go on, but the pace
		// and the URLs. Whether they can be read is not what its caller asks.
		_, _ = op.client.Config.limits(ctx)
	}
	if err := op.startJournal(ctx); err != nil {
		op.release()
		return err
	}
	return nil
}

// sameUnit makes sure, before something is sent, that the client is still that of
// the operation's organizational unit: elsewhere its changes would be somebody
// else's.
func (op *Operation) verifyUnit(ctx context.Context) error {
	op.mu.Lock()
	known := !op.unitUnverified || op.unit == ""
	op.mu.Unlock()
	if known {
		return nil
	}
	config, err := op.client.Config.ClientConfig(ctx)
	if err != nil {
		return fmt.Errorf("whose operation it is: %w", err)
	}
	if err := op.checkUnit(config.UID); err != nil {
		return err
	}
	op.mu.Lock()
	op.unitUnverified = false
	op.mu.Unlock()
	return nil
}

// ofUnit compares an answer's UID with the operation's, which is that of the
// first answer that has one.
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

func (op *Operation) release() { op.busy <- struct{}{} }

// parallelWrites is how many requests of an operation are on their way at
// once. Apple advises few large requests over many parallel ones.
const maxParallelRequests = 4

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

// explainUnsent tells the parts that were not even tried why.
func (op *Operation) explainUnsent() {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.halt == nil {
		return
	}
	why := &notSentError{op.halt} // one for all: reports tell reasons apart by it
	for _, p := range op.parts {
		if p.state == partPlanned {
			p.verdict = p.unsentVerdict(why)
		}
	}
}

// refused is the error of Submit: not nil when nothing of the operation got through.
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

func (op *Operation) haltError() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.halt
}

// stop ends the sending; the first reason counts.
func (op *Operation) stop(err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.unitUnverified = op.unitUnverified || errors.Is(err, ErrOtherUnit)
	if op.halt == nil {
		op.halt = err
	}
}

// send sends one part and records what became of it.
func (op *Operation) send(ctx context.Context, p *part) {
	if op.haltError() != nil {
		return
	}
	if pieces := op.splitByLearnedLimits(p); len(pieces) > 1 { // what the service has refused for its size is not tried again
		if err := op.update(ctx, p, func() { op.replace(p, pieces) }); err != nil {
			op.stop(err)
		}
		return
	}
	if err := op.update(ctx, p, func() { p.state, p.verdict = partSending, verdict{OutcomeUnconfirmed, ErrPending} }); err != nil {
		// Without the journal's word that it is being sent, it must not be sent.
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
		op.stop(other)
		_ = op.update(ctx, p, func() { // it happens where nobody asked for it
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

// checkEvent refuses what cannot be the event of a new request: what became of
// the request is not known then.
func (op *Operation) checkEventID(id string) error {
	const longest = 512 // it becomes a part of URLs
	op.mu.Lock()
	defer op.mu.Unlock()
	var why string
	switch {
	case id == "":
		why = "the answer names no event"
	case len(id) > longest:
		why = "the answer names an event by a text that is no id"
	case op.events[id]:
		why = "the answer names the event of an earlier request"
	default:
		op.events[id] = true
		return nil
	}
	return &Error{Method: "POST", Path: string(op.tables.kind), StatusCode: 200, Attempts: 1, Ambiguous: true, Message: why}
}
