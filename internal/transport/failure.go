package transport

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Failure is the end of a request without success.
type Failure struct {
	Err        error         // Inspect's error, or the cause when there was no usable answer
	Status     int           // of the last answer; 0 when there was none
	Excerpt    string        // the first bytes of the last answer's body
	Attempts   int           // requests that were started
	Ambiguous  bool          // a write may have been carried out
	RetryAfter time.Duration // what the service last asked for; 0 when it did not
	Cut        bool          // of the last answer not all came
	Ended      bool          // the caller's context has ended
}

// failure sums up a call that ended without success. err is the loop's own
// error: the context's, or prepare's, when the wait for an attempt ended early.
func (c *call) failure(err error) *Failure {
	ctx := c.ctx
	f := &Failure{
		Err:        c.last,
		Status:     c.status,
		Attempts:   c.attempts,
		Ambiguous:  c.ambiguous,
		RetryAfter: c.retryAfter,
		Cut:        c.cut,
		Ended:      ctx.Err() != nil,
	}
	switch {
	case ctx.Err() != nil:
		f.Err = join(contextError(ctx), c.last)
	case err != nil && !c.judged:
		f.Err = join(c.scrub(err), c.last)
	}
	var paused interface{ RetryAfter() time.Duration }
	if errors.As(f.Err, &paused) {
		f.RetryAfter = paused.RetryAfter()
	}
	if c.buf != nil {
		// More of it is cleaned than kept: what is cut in the middle is not known.
		const excerpt, more = 512, 8 << 10
		f.Excerpt = c.clean(string(c.buf.Bytes()[:min(c.buf.Len(), more)]))
		f.Excerpt = f.Excerpt[:min(len(f.Excerpt), excerpt)]
	}
	return f
}

// contextError keeps both what a caller tests for (context.Canceled) and what
// the canceller said.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

func join(err, before error) error {
	if before == nil || errors.Is(before, err) || errors.Is(err, before) {
		return err
	}
	return fmt.Errorf("%w (before that: %w)", err, before)
}
