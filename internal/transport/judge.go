package transport

import (
	"errors"
	"fmt"
	"net/http"
)

// Verdict is what the caller's Inspect made of a complete answer.
type Verdict struct {
	Err       error // nil: a success
	Apple     bool  // Err was decoded from the service's own error body: nothing was started
	Retryable bool  // the same request may succeed later
}

func (c *call) judge(resp *http.Response, err error) (again bool) {
	if err != nil {
		c.last = c.scrub(err)
		c.redact(c.req.Secret, true)
		var tooLarge *http.MaxBytesError
		c.cut = resp != nil && !errors.As(err, &tooLarge)
		notSent := resp == nil && c.connecting.Load() && !c.wrote.Load()
		if resp != nil && resp.StatusCode/100 != 2 {
			// The status is known, only the explanation is cut: judge by the
			// status with what there is of the body.
			return c.judgeAnswer(resp)
		}
		c.ambiguous = c.req.Class == Write && !notSent
		switch {
		case c.once() && !notSent, errors.As(err, &tooLarge), IsCertificateError(err):
			return false
		}
		return c.backoff(0)
	}
	return c.judgeAnswer(resp)
}

func (c *call) judgeAnswer(resp *http.Response) (again bool) {
	v := c.t.cfg.Inspect(resp.StatusCode, c.buf.Bytes(), c.clean)
	if v.Err != nil && c.redact(c.req.Secret, false) { // a success may repeat it to who sent it
		v = c.t.cfg.Inspect(resp.StatusCode, c.buf.Bytes(), c.clean)
	}
	if v.Err == nil && c.req.Decode != nil {
		c.free() // nobody has to wait for the decoding
		if err := c.req.Decode(c.buf.Bytes()); err != nil {
			// The service said yes and we cannot read to what.
			v.Err = fmt.Errorf("unreadable answer: %w", err)
		}
	}
	c.last = v.Err
	if v.Err == nil {
		c.done = true
		c.t.budget.success()
		return false
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || v.Retryable {
		c.retryAfter = ParseRetryAfter(resp.Header.Values("Retry-After"), serverTime(resp))
		if c.retryAfter > 0 {
			c.t.cfg.Limiter.Pause(c.retryAfter)
		}
	}
	if !v.Apple && c.once() && (resp.StatusCode >= 500 || resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusSeeOther) {
		// A gateway's page says nothing about what happened behind it, nor does
		// a success that speaks of an error which cannot be read. To be sent on
		// to see something else is how a write often ends.
		c.ambiguous = c.req.Class == Write
		return false
	}
	if !v.Retryable {
		return false
	}
	return c.backoff(c.retryAfter)
}
