package transport

import "context"

func (c *call) acquire() error {
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
		if err := c.takePage(ctx); err != nil {
			return err
		}
	}
	free, err := c.t.cfg.Limiter.Acquire(ctx, c.t.cfg.MaxPause)
	if err != nil {
		if c.req.Page {
			c.t.pages <- struct{}{}
		}
		return err
	}
	if c.req.Turn.Taken != nil {
		c.req.Turn.Taken()
	}
	c.freeSlot = func() {
		free()
		if c.req.Page {
			c.t.pages <- struct{}{}
		}
	}
	return nil
}

// takePage waits for one of the places of page reads.
func (c *call) takePage(ctx context.Context) error {
	if p, ok := c.t.cfg.Limiter.(*Pace); ok {
		return p.queue(ctx, c.t.cfg.MaxPause, p.pages)
	}
	select {
	case <-c.t.pages:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// free gives back the slots of the attempt under way.
func (c *call) free() {
	if c.freeSlot != nil {
		c.freeSlot()
		c.freeSlot = nil
	}
}
