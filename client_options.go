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

// defaultTimeout bounds each attempt, unless [WithTimeout] or the HTTP client of
// [WithHTTPClient] sets a timeout.
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

// forever is the largest duration that the options accept: longer values are
// shortened to it, because adding them to a time could overflow.
const forever = 10 * 365 * 24 * time.Hour

// An Option changes a default of [NewClient]. It returns an error for an invalid
// value.
type Option func(*options) error

// WithBaseURL sets the base URL of the service (default [DefaultBaseURL]). The scheme
// must be https; http is accepted for a loopback host only.
func WithBaseURL(base string) Option {
	return func(o *options) error { o.base = base; return nil }
}

// WithHTTPClient sets the HTTP client. The SDK copies it. The copy follows no
// redirects and keeps no cookies, whatever c is set to; the caller must make sure
// that the transport of c follows no redirects either. The Timeout of c, if it is
// set, bounds each attempt, including the reading of the body. [WithTimeout]
// overrides it.
func WithHTTPClient(c *http.Client) Option {
	return func(o *options) error {
		if c == nil {
			return errors.New("WithHTTPClient: the client is nil")
		}
		o.http = c
		return nil
	}
}

// WithTokenSource makes the client call f for the content token before each attempt,
// so that it uses a renewed token at once. The stoken of [NewClient] is then ignored
// and can be empty.
func WithTokenSource(f func(context.Context) (string, error)) Option {
	return func(o *options) error {
		if f == nil {
			return errors.New("WithTokenSource: the function is nil")
		}
		o.token = f
		return nil
	}
}

// WithoutToken creates a client without a content token. It can only call
// [ConfigService.ServiceConfig], the one call that needs no token; all other calls
// return [ErrNoToken].
func WithoutToken() Option {
	return func(o *options) error { o.tokenless = true; return nil }
}

// WithUserAgent puts the name of the program before the SDK's name in the User-Agent
// header. The name must consist of printable ASCII characters.
func WithUserAgent(name string) Option {
	return func(o *options) error {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("WithUserAgent: %q is not printable ASCII", name)
		}
		o.userAgent = name + " " + o.userAgent
		return nil
	}
}

// WithLimiter sets the limiter that paces the client's requests. All clients of one
// organizational unit must share one limiter. The default is a new limiter for each
// client.
func WithLimiter(l Limiter) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("WithLimiter: the limiter is nil")
		}
		o.limiter = l
		return nil
	}
}

// WithLogger makes the client log each attempt with the message "appsandbooks:
// request": a success at debug level, a failure as a warning. The log contains no
// ids of users or devices and no secrets. For metrics, see [WithTrace].
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error { o.logger = l; return nil }
}

// WithRetry sets the largest number of attempts of a call (default 5) and the range
// of the wait between attempts (default 500 ms to 30 s). The longest possible wait is
// minWait before the second attempt, and doubles with each attempt up to maxWait. The
// actual wait is a random duration between zero and the longest possible one.
func WithRetry(maxAttempts int, minWait, maxWait time.Duration) Option {
	return func(o *options) error {
		if maxAttempts < 1 || minWait < 0 || maxWait < minWait {
			return fmt.Errorf("WithRetry: %d attempts with waits of %s to %s is not possible", maxAttempts, minWait, maxWait)
		}
		o.maxAttempts, o.minBackoff, o.maxBackoff = maxAttempts, min(minWait, forever), min(maxWait, forever)
		return nil
	}
}

// WithMaxPause sets the longest Retry-After that a call waits for (default 5
// minutes). A longer one ends the call with an error whose RetryAfter is set.
func WithMaxPause(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return fmt.Errorf("WithMaxPause: %s is negative", d)
		}
		o.maxPause = min(d, forever)
		return nil
	}
}

// WithTimeout bounds the duration of each attempt (default 60 s). The context bounds
// the whole call. The end of an attempt's time is a network error like any other: its error
// matches [context.DeadlineExceeded] only if the deadline of the call's context has passed.
func WithTimeout(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return fmt.Errorf("WithTimeout: %s is not positive", d)
		}
		o.timeout = min(d, forever)
		return nil
	}
}

// WithPolling sets when [Operation.Wait] and [StatusService.Wait] poll the status of
// an event. The firstPoll is the time from the start of the wait, or from the acceptance
// of the request, to the first poll (default 5 s). The interval is the shortest time
// between an answer of PENDING and the next poll (default 30 s, the minimum that
// Apple requires). If the client receives notifications (see [Client.Notify]), the
// first poll comes after interval, unless firstPoll is longer.
func WithPolling(firstPoll, interval time.Duration) Option {
	return func(o *options) error {
		if firstPoll < 0 || interval <= 0 {
			return fmt.Errorf("WithPolling: a first poll after %s with an interval of %s is not possible", firstPoll, interval)
		}
		o.firstPoll, o.pollInterval = min(firstPoll, forever), min(interval, forever)
		return nil
	}
}

// WithStallTime sets how long an event may stay PENDING before it counts as stalled
// ([ErrStalled]). The default is 10 minutes; Apple advises to send the request again
// after that time.
func WithStallTime(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return fmt.Errorf("WithStallTime: %s is not positive", d)
		}
		o.stallTime = min(d, forever)
		return nil
	}
}

// defaultTransport returns a transport with a time limit for each phase of a request
// and enough idle connections for the page reads in parallel. It honors the proxy
// settings of the environment, like the default transport of net/http.
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
		// Without pings, HTTP/2 continues to use a connection that was dropped without
		// a FIN or RST, and attempt after attempt fails on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// parseBaseURL parses and checks the value of WithBaseURL.
func parseBaseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%w: the base URL must consist of a scheme, a host and a path only", ErrInvalid)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%w: the base URL must use https (http is accepted for loopback hosts only)", ErrInvalid)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
