package appsandbooks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const defaultTimeout = 60 * time.Second

type options struct {
	base         string
	http         *http.Client
	userAgent    string
	token        func(context.Context) (string, error)
	tokenless    bool
	limiter      Limiter
	logger       *slog.Logger
	trace        func(context.Context, Attempt)
	maxAttempts  int
	minBackoff   time.Duration
	maxBackoff   time.Duration
	maxPause     time.Duration
	timeout      time.Duration
	firstPoll    time.Duration
	pollInterval time.Duration
	stallTime    time.Duration
	guard        *guard
}

// forever is longer than anybody waits, and can be added to a time.
const forever = 10 * 365 * 24 * time.Hour

// Option changes a default of [NewClient], and fails on a value that makes no sense.
type Option func(*options) error

// WithBaseURL sets another service than Apple's. It must be https; http is
// accepted for a loopback host only.
func WithBaseURL(base string) Option {
	return func(o *options) error { o.base = base; return nil }
}

// WithHTTPClient sets the HTTP client, which is copied. Redirects are never
// followed and cookies never kept, whatever it says; that its transport follows
// none either is up to the caller. Its Timeout, if any, bounds each attempt, the
// reading of the body included, unless [WithTimeout] says otherwise.
func WithHTTPClient(c *http.Client) Option {
	return func(o *options) error {
		if c == nil {
			return errors.New("WithHTTPClient: nil")
		}
		o.http = c
		return nil
	}
}

// WithTokenSource asks f for the content token before each attempt, so that a
// renewed token is used at once; the stoken of NewClient may then be empty.
func WithTokenSource(f func(context.Context) (string, error)) Option {
	return func(o *options) error {
		if f == nil {
			return errors.New("WithTokenSource: nil")
		}
		o.token = f
		return nil
	}
}

// WithoutToken makes a client that can only read the service configuration,
// the one call that needs no credentials.
func WithoutToken() Option {
	return func(o *options) error { o.tokenless = true; return nil }
}

// WithUserAgent puts the program's name before the SDK's in the User-Agent.
// Printable ASCII only.
func WithUserAgent(name string) Option {
	return func(o *options) error {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("WithUserAgent: %q is not printable ASCII", name)
		}
		o.userAgent = name + " " + o.userAgent
		return nil
	}
}

// WithLimiter shares a limiter between the clients of one organizational unit.
func WithLimiter(l Limiter) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("WithLimiter: nil")
		}
		o.limiter = l
		return nil
	}
}

// WithLogger logs each attempt as "appsandbooks: request": at debug level, those
// that failed as warnings. Neither ids nor secrets are logged. For metrics there
// is [WithTrace].
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error { o.logger = l; return nil }
}

// WithRetry sets how often a request is sent at most (default 5 attempts), and
// the range of the wait between attempts (default 500 ms to 30 s), which
// doubles each time and is drawn at random from zero up.
func WithRetry(maxAttempts int, minWait, maxWait time.Duration) Option {
	return func(o *options) error {
		if maxAttempts < 1 || minWait < 0 || maxWait < minWait {
			return fmt.Errorf("WithRetry: %d attempts, %s to %s", maxAttempts, minWait, maxWait)
		}
		o.maxAttempts, o.minBackoff, o.maxBackoff = maxAttempts, min(minWait, forever), min(maxWait, forever)
		return nil
	}
}

// WithMaxPause sets the longest Retry-After that is waited for (default 5
// minutes). A longer one ends the call, with Error.RetryAfter set.
func WithMaxPause(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return fmt.Errorf("WithMaxPause: %s", d)
		}
		o.maxPause = min(d, forever)
		return nil
	}
}

// WithTimeout bounds each attempt (default 60 s); the context bounds the call.
func WithTimeout(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return fmt.Errorf("WithTimeout: %s", d)
		}
		o.timeout = min(d, forever)
		return nil
	}
}

// WithPolling sets when a waiter first asks for the status of an event
// (default 5 s after it was accepted) and how long it leaves after an answer
// of PENDING (default 30 s, which is what Apple asks for at least).
func WithPolling(firstLook, interval time.Duration) Option {
	return func(o *options) error {
		if firstLook < 0 || interval <= 0 {
			return fmt.Errorf("WithPolling: %s, %s", firstLook, interval)
		}
		o.firstPoll, o.pollInterval = min(firstLook, forever), min(interval, forever)
		return nil
	}
}

// WithStallTime sets when an event that stays PENDING is given up as
// [ErrStalled] (default 10 minutes, after which Apple advises to send the
// request again).
func WithStallTime(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return fmt.Errorf("WithStallTime: %s", d)
		}
		o.stallTime = min(d, forever)
		return nil
	}
}

// defaultTransport has a time limit for each phase and room for the parallel
// page reads. It honours the proxy settings of the environment, as net/http's own.
func defaultTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    10,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		// A connection that died without a word would swallow attempt after
		// attempt, for HTTP/2 goes on using it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

func parseBaseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%w: the base URL must be scheme, host and path only", ErrInvalid)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%w: the base URL must be https (http is for loopback hosts only)", ErrInvalid)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
