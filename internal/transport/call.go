package transport

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// callState is the state of one call of Transport.Do. Only the goroutine of Do
// uses it, except for inProgress and the atomic fields.
type callState struct {
	transport *Transport
	req       *Request
	caller    context.Context // the context of the caller
	ctx       context.Context // ends with the caller's context and with Config.Lifetime; all waiting ends with it
	attempts  int             // started so far
	queued    time.Duration   // how long the current attempt waited for its slots
	started   time.Time       // of the current attempt
	tokens    []string        // the different tokens of the attempts, the current token last

	// net/http sets connecting and wroteHeaders on its own goroutines during an attempt.
	connecting, wroteHeaders atomic.Bool

	progress   sync.Mutex // guards inProgress
	inProgress bool       // true while an attempt is in progress; false between two attempts

	releaseSlots func()        // returns the slots of the current attempt; nil if the attempt holds none
	body         *bytes.Buffer // the body of the last answer; nil before the first answer

	// The fields from judged to retryAfter are the results of the last attempt.
	judged     bool // the attempt has a verdict
	succeeded  bool
	status     int
	lastErr    error // nil after a success
	ambiguous  bool
	truncated  bool // the body of the answer ended too early
	retryAfter time.Duration

	nextWait time.Duration // the wait between the last attempt and the next one
	waited   time.Duration // the wait between the previous attempt and the current one
}

// prepareAttempt adds the token to the request, and waits for the slots of the next attempt.
func (c *callState) prepareAttempt(req *http.Request) error {
	c.judged = false
	if c.req.Auth {
		token, err := c.transport.cfg.Token(c.ctx)
		if err != nil {
			return err
		}
		if token != c.token() {
			c.tokens = append(c.tokens, token)
		}
		// Copy the header: the connection of the previous attempt may still read it.
		h := req.Header.Clone()
		h.Set("Authorization", "Bearer "+token)
		req.Header = h
	}
	c.waited, c.nextWait = c.nextWait, 0
	ready := time.Now()
	err := c.acquireSlots()
	c.queued = time.Since(ready)
	return err
}

// token returns the token of the current attempt, or "" if the attempt sends no token.
func (c *callState) token() string {
	if len(c.tokens) == 0 {
		return ""
	}
	return c.tokens[len(c.tokens)-1]
}

// startAttempt resets the fields of the call that describe an attempt. It runs directly before
// the attempt is sent.
func (c *callState) startAttempt() {
	c.attempts++
	c.judged = false
	c.started = time.Now()
	c.connecting.Store(false)
	c.wroteHeaders.Store(false)
	c.setInProgress(true)
}

// finishAttempt reads the answer of an attempt to its end and judges it. It
// reports whether another attempt follows.
func (c *callState) finishAttempt(resp *http.Response, err error) (again bool) {
	c.status, c.retryAfter, c.ambiguous, c.truncated, c.judged = 0, 0, false, false, true
	if c.body != nil {
		c.body.Reset() // The excerpt of an error must not show the answer of an earlier attempt.
	}
	switch {
	case resp == nil:
	case resp.StatusCode < http.StatusOK:
		// The body of status 101 is the connection itself. A read of it does not
		// end, not even with the context.
		_ = resp.Body.Close()
		err = fmt.Errorf("the service tried to switch protocols (status %d)", resp.StatusCode)
		resp = nil
	default:
		c.status = resp.StatusCode
		err = c.readBody(resp)
	}
	c.setInProgress(false)
	again = c.judge(resp, err)
	// Release the slots only now: judge has paused the limiter if the answer has
	// a Retry-After, so that the next request in the queue waits.
	c.returnSlots()
	took := time.Since(c.started)
	c.log(again, took)
	c.trace(again, took)
	return again
}

// close returns the slots and the buffer that the call still holds.
func (c *callState) close() {
	c.returnSlots()
	if c.body != nil {
		putBuffer(c.body)
		c.body = nil
	}
}
