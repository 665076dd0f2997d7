package transport

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// call is the state of one Do. Everything but the atomic flags is touched by
// the goroutine of Do alone.
type call struct {
	t        *Transport
	req      *Request
	ctx      context.Context // the caller's; attempts may have a little longer
	attempts int
	queued   time.Duration // before the current attempt
	started  time.Time     // of the current attempt
	tokens   []string      // of the attempts: the last is the current one's

	// Set by the HTTP transport of the current attempt, on its goroutines.
	connecting, wrote atomic.Bool

	underWay atomic.Bool // an attempt, as opposed to a pause between two

	freeSlot func() // gives back the pace slot of the attempt under way
	buf      *bytes.Buffer

	judged     bool // the last attempt came to a verdict
	done       bool // it was a success
	status     int
	last       error // why the last attempt was no success
	ambiguous  bool
	cut        bool // of its answer not all came
	retryAfter time.Duration
	wait       time.Duration // before the next attempt
	waited     time.Duration // before the current one
}

// prepare authenticates an attempt and waits for its turn. The header map is
// copied: the previous attempt's transport may still be writing the old one.
func (c *call) prepare(req *http.Request) error {
	c.judged = false
	if c.req.Auth {
		token, err := c.t.cfg.Token(c.ctx)
		if err != nil {
			return err
		}
		if token != c.token() {
			c.tokens = append(c.tokens, token)
		}
		h := req.Header.Clone()
		h.Set("Authorization", "Bearer "+token)
		req.Header = h
	}
	c.waited, c.wait = c.wait, 0
	ready := time.Now()
	err := c.acquire()
	c.queued = time.Since(ready)
	return err
}

func (c *call) token() string {
	if len(c.tokens) == 0 {
		return ""
	}
	return c.tokens[len(c.tokens)-1]
}

func (c *call) release() {
	c.free()
	if c.buf != nil {
		putBuffer(c.buf)
		c.buf = nil
	}
}

func (c *call) begin() {
	c.attempts++
	c.judged = false
	c.started = time.Now()
	c.connecting.Store(false)
	c.wrote.Store(false)
	c.underWay.Store(true)
}

// check reads the answer of one attempt to its end and decides whether
// another follows.
func (c *call) check(resp *http.Response, err error) (again bool) {
	c.status, c.retryAfter, c.ambiguous, c.cut, c.judged = 0, 0, false, false, true
	if c.buf != nil {
		c.buf.Reset() // an excerpt must not show an earlier attempt
	}
	switch {
	case resp == nil:
	case resp.StatusCode < http.StatusOK:
		// The body of 101 is the bare connection: it never ends, and no context
		// ends the reading of it.
		_ = resp.Body.Close()
		err = fmt.Errorf("the service wants to switch protocols (status %d)", resp.StatusCode)
		resp = nil
	default:
		c.status = resp.StatusCode
		err = c.read(resp)
	}
	c.underWay.Store(false)
	again = c.judge(resp, err)
	c.free() // not before a pause that the answer asked for holds for the next in line
	took := time.Since(c.started)
	c.log(again, took)
	c.trace(again, took)
	return again
}
