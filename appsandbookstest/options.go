package appsandbookstest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// These are defaults of options: of WithPageSize and WithCursorPageSize, of
// WithEventDelay, and of WithRequestLog.
const (
	defaultPageSize   = 1000
	defaultEventDelay = 50 * time.Millisecond
	defaultRequestLog = 10_000
)

// Never is a delay without an end. An event with this delay stays PENDING
// until [Unit.FinishEvents] is called. It does not delay other events.
const Never time.Duration = -1

// options are the settings of a Server. They do not change after NewServer
// returns. Server.SetLimits changes the limits of the Server, not the limits in
// its options.
type options struct {
	limits                Limits
	pageSize              int
	cursorPageSize        int
	eventDelay            func(Event) time.Duration
	latency               time.Duration
	notifications         NotificationOptions
	notificationTransport http.RoundTripper
	seed                  uint64
	requestLog            int
	anyAddress            bool
	asyncUserNotFound     bool
	looseErrorInfo        bool
	noErrorInfo           bool
	enforceRateLimit      bool
	malformedTokenStatus  int
	tokenLifetime         time.Duration
	isEmptyPage           func(path string, index int) bool
	pageHook              func(PageRead)
	lateExpirationDate    bool
}

// newOptions returns the defaults, changed by opts. It reports the first
// option that is nil or has an invalid value.
func newOptions(opts []Option) (options, error) {
	o := options{
		limits:               DefaultLimits(),
		pageSize:             defaultPageSize,
		cursorPageSize:       defaultPageSize,
		eventDelay:           func(Event) time.Duration { return defaultEventDelay },
		seed:                 1,
		requestLog:           defaultRequestLog,
		malformedTokenStatus: http.StatusOK,
		tokenLifetime:        365 * 24 * time.Hour,
	}
	for i, opt := range opts {
		if opt == nil {
			return o, fmt.Errorf("appsandbookstest: NewServer: option %d of %d is nil", i+1, len(opts))
		}
		if err := opt(&o); err != nil {
			return o, err
		}
	}
	o.notifications = o.notifications.withDefaults()
	return o, nil
}

// An Option changes a setting of a [Server]. [NewServer] returns the error of
// an option whose value is invalid.
type Option func(*options) error

// errOption returns the error of an option with an invalid value.
func errOption(name string, value any, want string) error {
	return fmt.Errorf("appsandbookstest: %s(%v): %s", name, value, want)
}

// errNilOption returns the error of an option whose argument must not be nil.
func errNilOption(name string) error {
	return errors.New("appsandbookstest: " + name + ": the argument is nil")
}

// WithLimits sets the limits. Start from [DefaultLimits], since a limit of
// zero is not announced. Negative limits are an error. [Server.SetLimits]
// changes the limits later.
func WithLimits(l Limits) Option {
	return func(o *options) error {
		var err error
		l.each(func(name string, value *int) {
			if *value < 0 && err == nil {
				err = errOption("WithLimits", fmt.Sprintf("%s: %d", name, *value), "a limit must not be negative")
			}
		})
		o.limits = l
		return err
	}
}

// WithPageSize sets the number of records on a page that is read by index.
// The default is 1000. Values below 1 are an error.
func WithPageSize(n int) Option {
	return func(o *options) error {
		if n < 1 {
			return errOption("WithPageSize", n, "the size must be at least 1")
		}
		o.pageSize = n
		return nil
	}
}

// WithCursorPageSize sets the number of records on a page that is read by
// cursor. The default is 1000. Values below 1 are an error.
func WithCursorPageSize(n int) Option {
	return func(o *options) error {
		if n < 1 {
			return errOption("WithCursorPageSize", n, "the size must be at least 1")
		}
		o.cursorPageSize = n
		return nil
	}
}

// WithEventDelay sets how long an event stays PENDING. The default is 50 ms.
// Negative values other than [Never] are an error.
func WithEventDelay(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 && d != Never {
			return errOption("WithEventDelay", d, "the delay must not be negative, except for Never")
		}
		o.eventDelay = func(Event) time.Duration { return d }
		return nil
	}
}

// WithEventDelayFunc sets a function that returns how long an event stays
// PENDING. Negative results mean [Never]. The server calls f when it accepts
// the event. f must not call the server. Events are applied in the order in
// which they were accepted, so an event never finishes before an earlier one,
// unless f returned Never for the earlier one. A nil f is an error.
func WithEventDelayFunc(f func(Event) time.Duration) Option {
	return func(o *options) error {
		if f == nil {
			return errNilOption("WithEventDelayFunc")
		}
		o.eventDelay = f
		return nil
	}
}

// WithLatency sets how long each request takes: half of d passes before the
// request is processed, and half of d after that. The default is zero.
// Negative values are an error.
func WithLatency(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return errOption("WithLatency", d, "the latency must not be negative")
		}
		o.latency = d
		return nil
	}
}

// WithNotifications sets how notifications are delivered. Negative durations,
// a negative number of attempts, and probabilities outside 0 to 1 are an
// error.
func WithNotifications(n NotificationOptions) Option {
	return func(o *options) error {
		if err := n.validate(); err != nil {
			return err
		}
		o.notifications = n
		return nil
	}
}

// WithNotificationTransport sets the transport that delivers notifications.
// Use [HandlerTransport] for a receiver in memory, or a transport that trusts
// the certificate of the receiver. Redirects are not followed. The default is
// a transport of the server's own, which uses the proxy settings of the
// environment. A nil transport is an error.
func WithNotificationTransport(rt http.RoundTripper) Option {
	return func(o *options) error {
		if rt == nil {
			return errNilOption("WithNotificationTransport")
		}
		o.notificationTransport = rt
		return nil
	}
}

// WithSeed sets the seed of everything random: tokens, ids, and everything that
// happens with a probability. The default is 1, so that tests are
// reproducible. Use different seeds for servers that must not share ids.
func WithSeed(seed uint64) Option {
	return func(o *options) error {
		o.seed = seed
		return nil
	}
}

// WithRequestLog sets how many requests [Server.Requests] and how many
// deliveries [Server.Deliveries] return at most. The default is 10,000. When a
// list is full, the server drops the oldest quarter. Zero turns both lists
// off. Violations are always recorded. Negative values are an error.
func WithRequestLog(n int) Option {
	return func(o *options) error {
		if n < 0 {
			return errOption("WithRequestLog", n, "the number must not be negative")
		}
		o.requestLog = n
		return nil
	}
}

// WithAnyAddress lets [Server.Listen] bind addresses that are not loopback.
// The server accepts every client with one of its tokens, over HTTP without TLS.
func WithAnyAddress() Option {
	return func(o *options) error {
		o.anyAddress = true
		return nil
	}
}

// WithAsyncUserNotFound makes the server report an unknown clientUserId as a
// failure of the event (9609). Without it, the server refuses the whole
// request.
func WithAsyncUserNotFound() Option {
	return func(o *options) error {
		o.asyncUserNotFound = true
		return nil
	}
}

// WithLooseErrorInfo merges all failures with the same error number into one
// errorInfo. The assets and targets in this errorInfo then also form pairs that
// did not fail.
func WithLooseErrorInfo() Option {
	return func(o *options) error {
		o.looseErrorInfo = true
		return nil
	}
}

// WithoutErrorInfo leaves errorInfo out of every answer, status and
// notification.
func WithoutErrorInfo() Option {
	return func(o *options) error {
		o.noErrorInfo = true
		return nil
	}
}

// WithRateLimit makes the server refuse the requests of a unit above
// MaxRequestPerSecond, with HTTP status 429 and error number 9646. Without it,
// the server serves these requests and records a violation of
// [RuleRequestRate].
func WithRateLimit() Option {
	return func(o *options) error {
		o.enforceRateLimit = true
		return nil
	}
}

// WithMalformedTokenStatus sets the HTTP status of an answer with error number
// 9622. The default is 200, because other clients of the service have received
// this error in a successful answer. Values outside 200 to 599 are an error.
func WithMalformedTokenStatus(status int) Option {
	return func(o *options) error {
		if status < 200 || status > 599 {
			return errOption("WithMalformedTokenStatus", status, "the status must be from 200 to 599")
		}
		o.malformedTokenStatus = status
		return nil
	}
}

// WithTokenLifetime sets how long new tokens are valid. The default is 365
// days. After that time the server refuses them with error number 9621.
// Values of zero and below are an error.
func WithTokenLifetime(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return errOption("WithTokenLifetime", d, "the lifetime must be positive")
		}
		o.tokenLifetime = d
		return nil
	}
}

// WithLateTokenExpirationDate leaves tokenExpirationDate out of every answer
// until 15 days before the token expires. Without it, every answer has the
// field. Apple's pages describe the behavior with this option, and show the
// behavior without it.
func WithLateTokenExpirationDate() Option {
	return func(o *options) error {
		o.lateExpirationDate = true
		return nil
	}
}

// WithEmptyPages makes chosen pages empty, which the service's documentation
// allows. Their records move to the next pages. The server calls empty with
// the path below /mdm/v2/ and the zero-based number of the page. If empty is
// true for the page after the last record, the list ends with an empty page.
// At most 100 empty pages are added to a list. A nil function is an error.
func WithEmptyPages(empty func(path string, index int) bool) Option {
	return func(o *options) error {
		if empty == nil {
			return errNilOption("WithEmptyPages")
		}
		o.isEmptyPage = empty
		return nil
	}
}

// A PageRead describes a page that a client is about to read.
type PageRead struct {
	Unit  *Unit
	Path  string // below /mdm/v2/
	Index int    // zero-based index of the page; -1 for a page that is read by cursor
	Query url.Values
}

// WithPageHook sets a function that the server calls before it builds a page.
// The hook may change what a unit holds, for example to change a list while a
// client reads it. A nil hook is an error.
func WithPageHook(f func(PageRead)) Option {
	return func(o *options) error {
		if f == nil {
			return errNilOption("WithPageHook")
		}
		o.pageHook = f
		return nil
	}
}
