package transport

import "time"

// Attempt describes a finished attempt of a request, for Config.Trace.
type Attempt struct {
	Count      int // the number of the attempt; 1 for the first attempt of the request
	Status     int // 0 if no answer came
	Err        error
	Size       int           // size of the answer's body in decompressed bytes
	Queued     time.Duration // the wait for the turn, a page slot and the limiter
	Waited     time.Duration // the wait after the previous attempt: backoff or Retry-After
	Took       time.Duration // the time from the start of the attempt to the end of the answer
	RetryAfter time.Duration // the pause that the answer requested with Retry-After
	Again      bool          // another attempt follows
}

// trace calls Config.Trace for the last attempt. The attempt has returned its slots before this
// call, so a slow hook delays only its own call.
func (c *callState) trace(again bool, took time.Duration) {
	if c.transport.cfg.Trace == nil {
		return
	}
	a := Attempt{
		Count: c.attempts, Status: c.status, Queued: c.queued, Waited: c.waited,
		Took: took, RetryAfter: c.retryAfter, Again: again,
	}
	if c.body != nil {
		a.Size = c.body.Len()
	}
	if !c.succeeded {
		a.Err = c.lastErr
	}
	c.transport.cfg.Trace(c.caller, c.req, a)
}
