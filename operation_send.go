package appsandbooks

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/appsandbooks/appsandbooks/internal/ledger"
	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// beginSend records that a request is about to be sent, and returns the exchange that sends it.
// It returns nil if the request is not sent: because it is too large and was cut, or because
// the journal failed.
func (op *Operation) beginSend(ctx context.Context, r *ledger.Request) (exchange func() func() error) {
	if learned := op.ledger.Learned(); learned != nil {
		// Do not send a request of a size that the service has refused before.
		if pieces := batch.Split(r.Part, *learned); len(pieces) > 1 {
			if err := op.record(ctx, cutFact(r, pieces)); err != nil {
				op.stopSending(err)
			}
			return nil
		}
	}
	if err := op.record(ctx, ledger.Fact{What: ledger.Begun, Request: r.ID, At: time.Now(), Aged: r.Aged(time.Now())}); err != nil {
		// Do not send the request unless the journal has recorded that it is being sent.
		op.stopSending(err)
		if !errors.Is(err, ledger.ErrIllegal) { // then the request is still queued
			_ = op.record(ctx, ledger.Fact{What: ledger.TurnedAway, Request: r.ID, At: time.Now(), Due: time.Now(), Why: toReason(err)})
		}
		return nil
	}
	return func() func() error {
		var answer acceptance
		var unsure bool
		err := op.client.do(ctx, request{
			method: "POST", path: string(op.tables.kind), key: op.tables.info.urlKey,
			in: op.tables.info.body(&op.tables, r.Part), class: transport.Write, grace: 5 * time.Second, unsure: &unsure,
		}, &answer)
		return func() error {
			fact := op.sent(ctx, op.ledger.Request(r.ID), &answer, err)
			// An internal error of the service may come from work that has begun. A failure
			// after it can be the consequence, such as "the user exists": the lists decide.
			fact.Unsure = unsure
			if err := op.record(ctx, fact); err != nil {
				op.stopSending(err)
			}
			return nil
		}
	}
}

// sent returns the fact of a request's answer, and may stop the sending. err is the error of
// the exchange.
func (op *Operation) sent(ctx context.Context, r *ledger.Request, answer *acceptance, err error) ledger.Fact {
	if err == nil {
		err = op.checkEventID(answer.EventID)
	}
	f := ledger.Fact{Request: r.ID, At: time.Now(), Aged: r.Aged(time.Now())}
	if err != nil {
		return op.sendFailed(ctx, r, err, f)
	}
	if other := op.compareUnit(answer.UID); other != nil {
		// The answer shows that another organizational unit accepted the request.
		op.stopSending(other)
		f.What, f.Event, f.Why = ledger.Strayed, answer.EventID, toReason(other)
		return f
	}
	op.running.events[answer.EventID] = r.ID
	f.What, f.Event, f.Due = ledger.Accepted, answer.EventID, f.At.Add(op.client.firstPoll())
	return f
}

// sendFailed returns the fact of a request that the service did not accept. f has the request
// and the time.
func (op *Operation) sendFailed(ctx context.Context, r *ledger.Request, err error, f ledger.Fact) ledger.Fact {
	var e *Error
	isError := errors.As(err, &e)
	hasNumber := isError && e.Number != 0
	f.Why = toReason(err)
	switch {
	case errors.Is(err, ErrAmbiguous):
		f.What, f.Due = ledger.GotLost, f.At.Add(op.client.opts.pollInterval)
		return f
	case hasNumber && isLimit(err):
		return op.cutByLimits(ctx, r, err, f)
	case !hasNumber && (!isError || e.StatusCode/100 != 4), IsAuth(err), IsForbidden(err), IsRetryable(err):
		return op.turnedAway(ctx, r, err, f)
	case hasNumber && e.Info != nil && !e.Info.empty():
		return op.cutByNames(r, e, f)
	case hasNumber && op.ledger.Rules().Bisect && r.Len() > 1:
		return op.bisect(r, f)
	}
	return op.refused(f)
}

// refused returns the fact of a refusal that is final for all pairs of the request.
func (op *Operation) refused(f ledger.Fact) ledger.Fact {
	f.What, f.Due = ledger.Refused, f.At.Add(op.client.opts.pollInterval)
	return f
}

// turnedAway returns the fact of a request that can be sent again. The reason of the error
// applies to the other requests too, so the operation stops sending. Step does not pause for a
// temporary error as Wait does: it sends the request again later, as often as Wait would.
func (op *Operation) turnedAway(ctx context.Context, r *ledger.Request, err error, f ledger.Fact) ledger.Fact {
	f.What, f.Due = ledger.TurnedAway, f.At
	opts := &op.client.opts
	if e := (*Error)(nil); hasOneAttempt(ctx) && errors.As(err, &e) && op.client.isTemporary(err) && (r.Tries+1)%opts.maxAttempts != 0 {
		wait := min(opts.minBackoff<<min(r.Tries%opts.maxAttempts, 16), opts.maxBackoff)
		f.Due = f.At.Add(max(e.RetryAfter, wait/2+rand.N(wait/2+1)))
		return f
	}
	op.stopSending(err)
	return f
}

// checkEventID returns an ambiguous error if id cannot be the event of a new request:
// then the result of the request is unknown.
func (op *Operation) checkEventID(id string) error {
	const maxLength = 512 // the id becomes part of a URL
	_, known := op.running.events[id]
	var why string
	switch {
	case id == "":
		why = "the answer contains no event id"
	case len(id) > maxLength:
		why = "the event id in the answer is too long"
	case known:
		why = "the answer contains the event id of an earlier request"
	default:
		return nil
	}
	return &Error{Method: "POST", Path: string(op.tables.kind), StatusCode: 200, Attempts: 1, Ambiguous: true, Message: why}
}
