package transport

import (
	"errors"
	"fmt"
	"net/http"
)

// Verdict is the result of Config.Inspect for a complete answer.
type Verdict struct {
	Err       error // nil means success
	Apple     bool  // Err comes from the service's own error body, so the service started nothing
	Retryable bool  // the same request can succeed when it is sent again later
	Unsure    bool  // the service's own error, but one that can also come from work that has begun
}

// judge sets the results of an attempt: its error, whether it is ambiguous, and
// the wait before the next attempt. It reports whether another attempt follows.
// err is the reason why no complete answer came. resp is nil if no answer came.
func (c *callState) judge(resp *http.Response, err error) (again bool) {
	if err == nil {
		return c.judgeAnswer(resp)
	}
	c.lastErr = c.redactError(err)
	if !callerEnded(c.caller) {
		c.lastErr = withoutContextError(c.lastErr)
	}
	c.redactBody(c.req.Secret, true)
	var tooLarge *http.MaxBytesError
	c.truncated = resp != nil && !errors.As(err, &tooLarge)
	if resp != nil && resp.StatusCode/100 != 2 {
		// The status is known and only the body is incomplete. Judge the status and the received
		// part of the body.
		return c.judgeAnswer(resp)
	}
	notSent := resp == nil && c.connecting.Load() && !c.wroteHeaders.Load()
	c.ambiguous = c.req.Class == Write && !notSent
	if c.atMostOnce() && !notSent || errors.As(err, &tooLarge) || IsCertificateError(err) {
		return false
	}
	return c.planRetry(0)
}

// judgeAnswer does what judge does, for an answer whose status is known.
func (c *callState) judgeAnswer(resp *http.Response) (again bool) {
	v := c.transport.cfg.Inspect(resp.StatusCode, c.body.Bytes(), c.redactText)
	// A successful answer may return the request's secret to the caller. An error must not
	// contain it.
	if v.Err != nil && c.redactBody(c.req.Secret, false) {
		v = c.transport.cfg.Inspect(resp.StatusCode, c.body.Bytes(), c.redactText)
	}
	if v.Err == nil && c.req.Decode != nil {
		c.returnSlots() // Return the slots now, so that other requests do not wait until this answer is decoded.
		if err := c.req.Decode(c.body.Bytes()); err != nil {
			// The service reported success, but the answer cannot be read.
			v.Err = fmt.Errorf("unreadable answer: %w", err)
		}
	}
	c.lastErr = v.Err
	if v.Err == nil {
		c.succeeded = true
		c.transport.budget.success()
		return false
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || v.Retryable {
		c.retryAfter = ParseRetryAfter(resp.Header.Values("Retry-After"), serverTime(resp))
		if c.retryAfter > 0 {
			c.transport.cfg.Limiter.Pause(c.retryAfter)
		}
	}
	if !v.Apple && c.atMostOnce() && mayHaveStarted(resp.StatusCode) {
		c.ambiguous = c.req.Class == Write
		return false
	}
	if !v.Retryable {
		return false
	}
	c.req.Unsure = c.req.Unsure || v.Unsure
	return c.planRetry(c.retryAfter)
}

// mayHaveStarted reports whether the service may have carried out a request that
// was answered with this status and an error that is not the service's own. A
// gateway sends a 5xx without knowledge of the service's result, and a 2xx reports a
// success although it contains an error. Servers send 303 See Other after a write that
// succeeded, and many send 301 or 302 instead. 307 and 308 ask for the same request at
// another URL, so the service has not processed it.
func mayHaveStarted(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return true
	}
	return status >= 500 || status/100 == 2
}
