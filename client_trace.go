package appsandbooks

import (
	"context"
	"errors"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// An Attempt is one attempt of a call, as [WithTrace] reports it. It contains no secrets,
// and no ids of users or devices except in Err: Error.Info of an [*Error] can contain
// ids, which its text does not show. An Attempt has what metrics need: attempts by endpoint
// and result, pauses that the service asked for (RetryAfter), waits for the pace
// (Queued), polls of events (the path "status") and page reads (the paths of the
// lists).
type Attempt struct {
	Method      string
	Path        string      // path of the endpoint, such as "assets/associate", as in the Path of [Error]
	Count       int         // number of the attempt; 1 for the first attempt of a call
	StatusCode  int         // HTTP status of the answer; 0 if no answer came
	ErrorNumber ErrorNumber // Apple's errorNumber; 0 if the answer has none
	Err         error       // nil for a success
	Size        int         // decompressed size of the answer's body, in bytes
	// Queued is how long the attempt waited for the pace, for a pause that another
	// request caused, or for other page reads.
	Queued     time.Duration
	Waited     time.Duration // the pause between the previous attempt and this one, without Queued; 0 for the first attempt
	Took       time.Duration // time from the sending of the request to the last byte of the answer
	RetryAfter time.Duration // the pause that the answer asks for; 0 if it asks for none
	Again      bool          // true if another attempt of the call follows
}

// WithTrace makes the client call f after each attempt of each call, with the context of
// the call. The goroutine of the call waits for f, so f must return quickly. The client
// can call it run in many goroutines at once. The client does not report requests that
// were never sent, for example because the context was canceled or a pause was too long.
func WithTrace(f func(ctx context.Context, a Attempt)) Option {
	return func(o *options) error {
		if f == nil {
			return errors.New("WithTrace: the function is nil")
		}
		o.trace = f
		return nil
	}
}

// tracer returns the function that converts the transport's attempts and passes them
// to the function of WithTrace; nil without that option.
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
