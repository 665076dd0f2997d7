package transport

import "time"

// Attempt is what became of one attempt of a request.
type Attempt struct {
	Count      int // 1 for the first
	Status     int // 0: no answer
	Err        error
	Size       int           // decoded bytes of the answer
	Queued     time.Duration // waited for its turn: pace, page slot, gate
	Waited     time.Duration // waited since the attempt before, by decision
	Took       time.Duration // from being sent to the end of the answer
	RetryAfter time.Duration // what the answer asked for
	Again      bool          // another attempt follows
}

// trace reports the attempt. It comes after the slot is given back, so that a
// slow hook holds up its own call only.
func (c *call) trace(again bool, took time.Duration) {
	if c.t.cfg.Trace == nil {
		return
	}
	a := Attempt{
		Count: c.attempts, Status: c.status, Queued: c.queued, Waited: c.waited,
		Took: took, RetryAfter: c.retryAfter, Again: again,
	}
	if c.buf != nil {
		a.Size = c.buf.Len()
	}
	if !c.done {
		a.Err = c.last
	}
	c.t.cfg.Trace(c.ctx, c.req, a)
}
