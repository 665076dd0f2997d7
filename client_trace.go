package appsandbooks

import (
	"context"
	"errors"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// Attempt is one attempt of a request, as [WithTrace] reports it. It names no
// user, no device and no secret. What a metric needs is here: attempts by
// endpoint and outcome, pauses that the service asked for (RetryAfter), waits
// for the pace (Queued), questions for the status of events (the path "status")
// and pages read (the paths of the lists).
type Attempt struct {
	Method      string
	Path        string // of the endpoint, such as "assets/associate"; as in [Error]
	Count       int    // 1 for the first attempt of a call
	StatusCode  int    // HTTP status; 0 when there was no answer
	ErrorNumber ErrorNumber
	Err         error         // nil when it was a success
	Size        int           // bytes of the answer's body, decompressed
	Queued      time.Duration // how long it waited for its turn: the pace, a Retry-After of another request, five other pages
	Waited      time.Duration // how long the retry rules held it back before that
	Took        time.Duration // from being sent to the last byte of the answer
	RetryAfter  time.Duration // the pause that the answer asked for; 0 when it asked for none
	Again       bool          // another attempt follows
}

// WithTrace calls f after each attempt of each request, with the context of the
// call, from the goroutine that waits for it: f must return quickly, and many
// calls of it can run at once. Requests that were never sent, such as those that
// a canceled context or a long Retry-After held back, are not reported.
func WithTrace(f func(ctx context.Context, a Attempt)) Option {
	return func(o *options) error {
		if f == nil {
			return errors.New("WithTrace: nil")
		}
		o.trace = f
		return nil
	}
}

// tracer brings what the transport reports into the form of WithTrace.
func (o *options) tracer() func(context.Context, *transport.Request, transport.Attempt) {
	if o.trace == nil {
		return nil
	}
	return func(ctx context.Context, r *transport.Request, t transport.Attempt) {
		a := Attempt{
			Method: r.Method, Path: r.Name, Count: t.Count, StatusCode: t.Status, Err: t.Err, Size: t.Size,
			Queued: t.Queued, Waited: t.Waited, Took: t.Took, RetryAfter: t.RetryAfter, Again: t.Again,
		}
		var e *Error
		if errors.As(t.Err, &e) {
			a.ErrorNumber = e.Number
		}
		o.trace(ctx, a)
	}
}
