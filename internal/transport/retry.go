package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// loop is the retry loop of one call. The library's hooks see too little to
// decide by themselves (no request in CheckRetry, no call in Backoff), so each
// call has its own set, bound to its state; the struct itself costs nothing.
func (c *call) loop() *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient:     c.t.client,
		Logger:         nil, // the default prints URLs, with ids in the query, to stderr
		RetryMax:       c.t.cfg.MaxAttempts - 1,
		RequestLogHook: func(retryablehttp.Logger, *http.Request, int) { c.begin() },
		CheckRetry: func(_ context.Context, resp *http.Response, err error) (bool, error) {
			return c.check(resp, err), nil
		},
		// The stock backoffs have no jitter, or no cap, and overflow on a
		// large Retry-After; the wait was decided when the attempt was judged.
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return c.wait },
		PrepareRetry: c.prepare,
		// The default throws the last answer away.
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// once tells requests that are not repeated when an attempt may have arrived.
func (c *call) once() bool { return c.req.Class == Write || c.req.Class == Poll }

// backoff sets the wait before the next attempt, or says that there is none.
func (c *call) backoff(retryAfter time.Duration) bool {
	if c.attempts >= c.t.cfg.MaxAttempts || c.ctx.Err() != nil {
		return false
	}
	if retryAfter > c.t.cfg.MaxPause {
		return false // never earlier than asked for, so not at all
	}
	c.wait = retryAfter
	if c.wait == 0 {
		ceiling := c.t.cfg.MinBackoff
		for range c.attempts - 1 {
			if ceiling > c.t.cfg.MaxBackoff/2 {
				ceiling = c.t.cfg.MaxBackoff
				break
			}
			ceiling *= 2
		}
		c.wait = time.Duration(rand.Float64() * float64(ceiling)) // full jitter
	}
	if deadline, ok := c.ctx.Deadline(); ok && time.Until(deadline) < c.wait {
		return false // the caller's time would be over before the attempt
	}
	return c.t.budget.spend()
}

// IsCertificateError tells failures that a repetition cannot mend. The
// library looks one level deep only, and misses them behind a wrapped transport.
func IsCertificateError(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid)
}
