package transport

import "context"

// acquireSlots waits until the attempt can be sent. It waits for the turn of the request, for a
// page slot if the request reads a page, and for a slot of the limiter.
func (c *callState) acquireSlots() error {
	ctx := c.ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.req.Turn.After != nil {
		select {
		case <-c.req.Turn.After:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.req.Page {
		if err := c.acquirePageSlot(ctx); err != nil {
			return err
		}
	}
	releaseLimiter, err := c.transport.cfg.Limiter.Acquire(ctx, c.maxPause())
	if err != nil {
		if c.req.Page {
			c.transport.pageSlots <- struct{}{}
		}
		return err
	}
	if c.req.Turn.Taken != nil {
		c.req.Turn.Taken()
	}
	c.releaseSlots = func() {
		releaseLimiter()
		if c.req.Page {
			c.transport.pageSlots <- struct{}{}
		}
	}
	return nil
}

// acquirePageSlot waits for one of the PageReads page slots. If the limiter is a Pace,
// acquirePageSlot fails at once while a pause is too long for the caller.
func (c *callState) acquirePageSlot(ctx context.Context) error {
	if p, ok := c.transport.cfg.Limiter.(*Pace); ok {
		return p.receiveToken(ctx, c.maxPause(), p.pageSlots)
	}
	select {
	case <-c.transport.pageSlots:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// returnSlots returns the slots of the current attempt. A second call does nothing.
func (c *callState) returnSlots() {
	if c.releaseSlots != nil {
		c.releaseSlots()
		c.releaseSlots = nil
	}
}
