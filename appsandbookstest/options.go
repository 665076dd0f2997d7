package appsandbookstest

import (
	"net/http"
	"net/url"
	"time"
)

// Values that an option left alone has.
const (
	defaultPageSize   = 1000
	defaultEventDelay = 50 * time.Millisecond
	defaultRequestLog = 10_000
)

// Never is a delay that never elapses. An event with this delay stays PENDING
// until [Unit.FinishEvents] is called, and holds up no other event.
const Never time.Duration = -1

// options are the settings of a Server. They do not change once NewServer
// has returned, except for the limits, which live in the Server.
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

// An Option sets up a [Server].
type Option func(*options)

// WithLimits sets the limits; start from [DefaultLimits]. Limits can change
// at any time with [Server.SetLimits].
func WithLimits(l Limits) Option { return func(o *options) { o.limits = l } }

// WithPageSize sets the number of records on a page that is read by index,
// 1000 by default. Values below one are ignored.
func WithPageSize(n int) Option {
	return func(o *options) {
		if n > 0 {
			o.pageSize = n
		}
	}
}

// WithCursorPageSize sets the number of records on a page that is read by
// cursor, 1000 by default. Values below one are ignored.
func WithCursorPageSize(n int) Option {
	return func(o *options) {
		if n > 0 {
			o.cursorPageSize = n
		}
	}
}

// WithEventDelay sets how long an event stays PENDING, 50 ms by default.
func WithEventDelay(d time.Duration) Option {
	return WithEventDelayFunc(func(Event) time.Duration { return d })
}

// WithEventDelayFunc lets f choose how long each event stays PENDING; f may
// return [Never]. It is called while the event is accepted and must not call
// the server. As events are carried out in the order in which they were
// accepted, none ends before an earlier one did.
func WithEventDelayFunc(f func(Event) time.Duration) Option {
	return func(o *options) { o.eventDelay = f }
}

// WithLatency makes every request take d, half of it before and half of it
// after the request is processed.
func WithLatency(d time.Duration) Option { return func(o *options) { o.latency = d } }

// WithNotifications sets how notifications are delivered.
func WithNotifications(n NotificationOptions) Option {
	return func(o *options) { o.notifications = n }
}

// WithNotificationTransport sets the transport that delivers notifications:
// [HandlerTransport] for a receiver in memory, or one that trusts the
// certificate of a receiver. Redirects are not followed.
func WithNotificationTransport(rt http.RoundTripper) Option {
	return func(o *options) { o.notificationTransport = rt }
}

// WithSeed sets what everything random is derived from: tokens, ids, and
// what happens with a probability. Without it the seed is 1, so that tests
// are reproducible; give servers that must not share ids different seeds.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithRequestLog sets how many requests [Server.Requests] and how many
// deliveries [Server.Deliveries] remember at most, 10,000 by default. When
// the record is full, a quarter is dropped at once, the oldest first. Zero
// turns both records off; violations are always noted.
func WithRequestLog(n int) Option { return func(o *options) { o.requestLog = max(n, 0) } }

// WithAnyAddress lets [Server.Listen] bind addresses that are not loopback.
// The stand-in accepts any caller who has its token, over plain HTTP.
func WithAnyAddress() Option { return func(o *options) { o.anyAddress = true } }

// WithAsyncUserNotFound reports unknown clientUserIds as failures of the
// event (9609) instead of refusing the whole request.
func WithAsyncUserNotFound() Option { return func(o *options) { o.asyncUserNotFound = true } }

// WithLooseErrorInfo merges all failures of one error number into a single
// errorInfo. The product of the assets and the targets it names then claims
// more than what failed.
func WithLooseErrorInfo() Option { return func(o *options) { o.looseErrorInfo = true } }

// WithoutErrorInfo leaves errorInfo out of every answer, status and
// notification.
func WithoutErrorInfo() Option { return func(o *options) { o.noErrorInfo = true } }

// WithRateLimit makes the server refuse (429, number 9646) the requests of a
// unit above MaxRequestPerSecond. Without it they are served, and noted in
// [Server.Violations].
func WithRateLimit() Option { return func(o *options) { o.enforceRateLimit = true } }

// WithMalformedTokenStatus sets the HTTP status that goes with number 9622.
// It is 200 by default: a service that reports an unusable token in a
// successful answer is what other clients have met.
func WithMalformedTokenStatus(status int) Option {
	return func(o *options) { o.malformedTokenStatus = status }
}

// WithTokenLifetime sets how long new tokens are valid, a year by default.
// Afterwards they are refused with number 9621.
func WithTokenLifetime(d time.Duration) Option { return func(o *options) { o.tokenLifetime = d } }

// WithPromptedTokenExpiry leaves tokenExpirationDate out of every answer
// until the token is within 15 days of its end. Without it the field is
// always present. (The service's pages say one and show the other.)
func WithLateTokenExpirationDate() Option { return func(o *options) { o.lateExpirationDate = true } }

// WithEmptyPages makes chosen pages empty, which is odd but legal: records
// move to the pages behind them. The function is asked with the path below
// /mdm/v2/ and the zero-based number of the page. When it is true of the page
// behind the last record, an empty page ends the walk.
func WithEmptyPages(empty func(path string, index int) bool) Option {
	return func(o *options) { o.isEmptyPage = empty }
}

// A PageRead is one page that is about to be read.
type PageRead struct {
	Unit  *Unit
	Path  string // below /mdm/v2/
	Index int    // zero-based; -1 for a page read by cursor
	Query url.Values
}

// WithPageHook calls f before each page is put together. The hook may write
// to the ledger, which makes the data change in the middle of a walk.
func WithPageHook(f func(PageRead)) Option { return func(o *options) { o.pageHook = f } }
