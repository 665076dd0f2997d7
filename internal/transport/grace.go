package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// attemptContext returns the context of the attempts of the call. It ends with the context of
// the caller, or Request.Grace later if an attempt is in progress then; with a grace, it does
// not inherit the deadline of the caller. It ends with Config.Lifetime only if no attempt is in
// progress then.
func (c *callState) attemptContext() (context.Context, context.CancelFunc) {
	parent, grace := c.caller, c.req.Grace
	if grace > 0 {
		parent = context.WithoutCancel(parent)
	}
	ctx, cancel := context.WithCancel(parent)
	stopIdle := context.AfterFunc(c.ctx, func() {
		c.progress.Lock()
		defer c.progress.Unlock()
		if !c.inProgress {
			cancel()
		}
	})
	if grace == 0 {
		return ctx, func() { stopIdle(); cancel() }
	}
	var timer *time.Timer
	var mu sync.Mutex
	stopGrace := context.AfterFunc(c.caller, func() {
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, cancel)
	})
	return ctx, func() {
		stopIdle()
		stopGrace()
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
		cancel()
	}
}

// setInProgress records whether an attempt is in progress.
func (c *callState) setInProgress(inProgress bool) {
	c.progress.Lock()
	defer c.progress.Unlock()
	c.inProgress = inProgress
}

// waitingContext returns a context that ends with caller and with lifetime. A nil lifetime
// never ends.
func waitingContext(caller, lifetime context.Context) (context.Context, context.CancelFunc) {
	if lifetime == nil {
		return caller, func() {}
	}
	ctx, cancel := context.WithCancelCause(caller)
	stop := context.AfterFunc(lifetime, func() { cancel(context.Cause(lifetime)) })
	return ctx, func() { stop(); cancel(nil) }
}

// endError returns nil while the call may go on. After that it returns the error of the
// caller's context, or the cause of the end of Config.Lifetime.
func (c *callState) endError() error {
	if callerEnded(c.caller) {
		return contextError(c.caller)
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return nil
}

// callerEnded reports whether a context has ended. A context whose deadline has passed counts as
// ended: a connection with the same deadline can fail a moment before the context ends.
func callerEnded(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// contextError returns the error of an ended context. It wraps both the error
// that callers test for (such as context.Canceled) and the cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case err == nil:
		return context.DeadlineExceeded // the deadline has passed, and the context ends in a moment
	case errors.Is(err, cause):
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
