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

// retryClient returns the retry loop of one call. Each call needs its own hooks: the hooks of
// go-retryablehttp do not receive what a decision needs (CheckRetry gets no request, Backoff gets
// no call), so they use the state of the call.
func (c *callState) retryClient() *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient:     c.transport.client,
		Logger:         nil, // no logger: the default one prints URLs to stderr, and queries contain ids
		RetryMax:       c.maxAttempts() - 1,
		RequestLogHook: func(retryablehttp.Logger, *http.Request, int) { c.startAttempt() },
		CheckRetry: func(_ context.Context, resp *http.Response, err error) (bool, error) {
			return c.finishAttempt(resp, err), nil
		},
		// planRetry has set the wait before the next attempt. The functions of go-retryablehttp
		// have no jitter or no maximum, and overflow on a large Retry-After.
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return c.nextWait },
		PrepareRetry: c.prepareAttempt,
		// The default handler of go-retryablehttp discards the last answer.
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// atMostOnce reports whether the request must not be repeated if an earlier
// attempt may have arrived at the service.
func (c *callState) atMostOnce() bool { return c.req.Class == Write || c.req.Class == Poll }

// maxAttempts returns the largest number of attempts of the call.
func (c *callState) maxAttempts() int {
	if n := c.req.MaxAttempts; n > 0 {
		return min(n, c.transport.cfg.MaxAttempts)
	}
	return c.transport.cfg.MaxAttempts
}

// maxPause returns the longest pause that the call waits for.
func (c *callState) maxPause() time.Duration {
	if c.req.NoPause {
		return 0
	}
	return c.transport.cfg.MaxPause
}

// planRetry sets the wait before the next attempt: retryAfter, or a random part of the
// exponential backoff if retryAfter is 0. It reports false if no attempt follows: all attempts
// are used, the wait would be longer than the longest pause or the caller's deadline, or the retry budget
// is empty.
func (c *callState) planRetry(retryAfter time.Duration) bool {
	cfg := &c.transport.cfg
	if c.attempts >= c.maxAttempts() || c.ctx.Err() != nil {
		return false
	}
	if retryAfter > c.maxPause() {
		return false // an attempt before the end of the pause would violate the Retry-After
	}
	c.nextWait = retryAfter
	if c.nextWait == 0 {
		ceiling := cfg.MinBackoff
		for range c.attempts - 1 {
			if ceiling > cfg.MaxBackoff/2 {
				ceiling = cfg.MaxBackoff
				break
			}
			ceiling *= 2
		}
		c.nextWait = time.Duration(rand.Float64() * float64(ceiling)) // full jitter
	}
	if deadline, ok := c.ctx.Deadline(); ok && time.Until(deadline) < c.nextWait {
		return false
	}
	return c.transport.budget.spend()
}

// IsCertificateError reports whether err contains a certificate error, which a
// retry cannot fix. It finds errors at any depth, also behind a wrapped
// transport; go-retryablehttp checks only one level.
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
