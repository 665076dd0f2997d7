package appsandbooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// DefaultBaseURL is Apple's service.
const DefaultBaseURL = "https://vpp.itunes.apple.com/mdm/v2"

const defaultTimeout = 60 * time.Second

// Version is the SDK's version, sent in the User-Agent.
const Version = "0.1.0"

// Client speaks for one organizational unit: the one of its content token. It
// is immutable and safe for concurrent use; make it with [NewClient] (the zero
// value is of no use) and keep it.
type Client struct {
	Assets        *AssetsService
	Assignments   *AssignmentsService
	Config        *ConfigService
	Status        *StatusService
	Subscriptions *SubscriptionsService
	Users         *UsersService

	base    *url.URL
	send    func(context.Context, *transport.Request) *transport.Failure
	idle    func() // closes the idle connections of the client's own transport
	limiter Limiter
	opts    options
	hints   *hintHub
	life    context.Context // ends with Close
	end     context.CancelCauseFunc
}

type service struct{ client *Client }

// Limiter paces the requests of one organizational unit and holds them back
// after a Retry-After. A Client has one of its own unless [WithLimiter] gives
// it another, which several clients of the unit then share. Clients that share
// one of [NewLimiter] also share the five page reads that Apple allows at once.
type Limiter interface {
	// Acquire blocks until a request may be sent. It fails with the context's
	// error, or at once when a pause longer than maxPause is under way.
	// Release is called once, when the request is answered or given up.
	Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error)
	// Pause holds all requests back for d from now; it never shortens a pause.
	Pause(d time.Duration)
	// SetRate tells the limit that the service last named (maxRequestPerSecond).
	SetRate(perSecond int)
}

// NewLimiter makes a limiter in memory that starts with the service's
// documented 15 requests a second. The service never sees more than the rate
// in any one second: a slot is free again a second after its answer.
func NewLimiter() Limiter { return transport.NewPace(defaultLimits.MaxRequestPerSecond) }

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
	firstLook    time.Duration
	pollInterval time.Duration
	stallTime    time.Duration
	notified     bool
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
		o.firstLook, o.pollInterval = min(firstLook, forever), min(interval, forever)
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

// WithNotifications tells that the notifications of the organizational unit
// will be brought to [Client.Notify]. A waiter then first asks for the status of
// an event after the interval of [WithPolling], or as soon as notifications
// name what was asked for: an early question would only cost the right to ask
// again when they come. A client learns the same from its first notification,
// so this is for a program that does not call [ConfigService.Register] itself.
func WithNotifications() Option {
	return func(o *options) error { o.notified = true; return nil }
}

// NewClient makes a client for the organizational unit of a content token: the
// whole content of the .vpptoken file. It makes no request. An error wraps
// [ErrInvalid].
func NewClient(stoken string, opts ...Option) (*Client, error) {
	o := options{
		base:         DefaultBaseURL,
		userAgent:    "appsandbooks-go/" + Version,
		maxAttempts:  5,
		minBackoff:   500 * time.Millisecond,
		maxBackoff:   30 * time.Second,
		maxPause:     5 * time.Minute,
		firstLook:    5 * time.Second,
		pollInterval: 30 * time.Second,
		stallTime:    10 * time.Minute,
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalidf("a nil Option")
		}
		if err := opt(&o); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	base, err := parseBaseURL(o.base)
	if err != nil {
		return nil, err
	}
	switch {
	case o.tokenless:
		o.token = func(context.Context) (string, error) { return "", ErrNoToken }
	case o.token != nil:
		source := o.token
		o.token = func(ctx context.Context) (string, error) {
			t, err := source(ctx)
			if err != nil {
				return "", fmt.Errorf("token source: %w", err)
			}
			return cleanToken(t)
		}
	default:
		text, err := cleanToken(stoken)
		if err != nil {
			return nil, err
		}
		o.token = func(context.Context) (string, error) { return text, nil }
	}
	if o.limiter == nil {
		o.limiter = NewLimiter()
	}
	idle := func() {}
	if o.http == nil {
		own := defaultTransport()
		o.http, idle = &http.Client{Transport: own}, own.CloseIdleConnections
	}
	hc := *o.http
	if o.timeout != 0 {
		hc.Timeout = o.timeout
	} else if hc.Timeout == 0 {
		hc.Timeout = defaultTimeout
	}

	c := &Client{base: base, idle: idle, limiter: o.limiter, hints: newHintHub()}
	c.hints.expected.Store(o.notified)
	c.life, c.end = context.WithCancelCause(context.Background())
	// A function and not the transport: what dumps values, however deep, would
	// find the token in the buffers of its connections.
	c.send = transport.New(transport.Config{
		HTTPClient:  &hc,
		UserAgent:   o.userAgent,
		Token:       o.token,
		Inspect:     inspect,
		Limiter:     o.limiter,
		MaxAttempts: o.maxAttempts,
		MinBackoff:  o.minBackoff,
		MaxBackoff:  o.maxBackoff,
		MaxPause:    o.maxPause,
		MaxBody:     32 << 20,
		MaxError:    1 << 20,
		Logger:      o.logger,
		Trace:       o.tracer(),
	}).Do
	o.http = nil
	c.opts = o
	s := service{c}
	c.Assets = (*AssetsService)(&s)
	c.Assignments = (*AssignmentsService)(&s)
	c.Config = &ConfigService{service: s}
	c.Status = (*StatusService)(&s)
	c.Subscriptions = (*SubscriptionsService)(&s)
	c.Users = (*UsersService)(&s)
	return c, nil
}

// Close ends what runs in the background and closes the idle connections of
// the client's own transport; one given by [WithHTTPClient] is left alone. The
// client is of no use afterwards: calls end with [ErrClosed].
func (c *Client) Close() {
	if c.end == nil {
		return // a zero Client
	}
	c.end(ErrClosed)
	c.Config.join()
	c.hints.close()
	c.idle()
}

// Format implements [fmt.Formatter]: a client prints as its base URL.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil || c.base == nil {
		fmt.Fprint(f, "appsandbooks.Client(<nil>)")
		return
	}
	fmt.Fprintf(f, "appsandbooks.Client(%s)", c.base)
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

// Do calls an endpoint that the SDK has no method for, with the same
// authentication, pacing, retries and errors. The path is relative to the base
// URL ("assets/associate"). In is sent as JSON unless it is nil; the answer is
// decoded into out unless that is nil. A GET is a read and is repeated freely;
// any other method is a write, and is not repeated when its fate is unknown.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	class := transport.Write
	if method == http.MethodGet || method == http.MethodHead {
		class = transport.Read
	}
	return c.do(ctx, request{method: method, path: path, query: query, in: in, class: class}, out)
}

// request is one call of an endpoint.
type request struct {
	method string
	path   string // relative to the base URL
	key    string // in the service configuration's urls; "" when it has none
	query  url.Values
	in     any
	class  transport.Class
	page   bool // counts among the parallel page reads
	turn   transport.Turn
	public bool          // needs no token
	grace  time.Duration // for an attempt under way when the context ends
	secret string        // in the body; kept out of errors and logs
	claim  bool          // takes the organizational unit over
}

func (c *Client) do(ctx context.Context, r request, out any) error {
	if c.life.Err() != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, ErrClosed)
	}
	u, err := c.url(r)
	if err != nil {
		return err
	}
	var body []byte
	if r.in != nil {
		if body, err = json.Marshal(r.in); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	era, err := c.opts.guard.admit(r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if r.class == transport.Write {
		c.hints.writing()
	}
	var decode func([]byte) error
	if out != nil {
		decode = func(answer []byte) error { return r.decode(answer, out) }
	}
	failure := c.send(ctx, &transport.Request{
		Method: r.method,
		URL:    u,
		Name:   r.path,
		Body:   body,
		Class:  r.class,
		Page:   r.page,
		Turn:   r.turn,
		Auth:   !(r.public && c.opts.tokenless),
		Decode: decode,
		Grace:  r.grace,
		Secret: r.secret,
		IDs:    func() []string { return r.ids(body) },
	})
	if failure != nil {
		return c.failure(r, failure)
	}
	if m, ok := out.(interface{ meta() *Meta }); ok {
		c.opts.guard.see(era, m.meta())
	}
	return nil
}

// ids are the users and devices that a request names.
func (r request) ids(body []byte) (ids []string) {
	ids = append(ids, r.query["clientUserId"]...)
	ids = append(ids, r.query["serialNumber"]...)
	var in struct {
		ClientUserIDs []string      `json:"clientUserIds"`
		SerialNumbers []string      `json:"serialNumbers"`
		Users         []UserRequest `json:"users"`
	}
	_ = json.Unmarshal(body, &in) // the caller's own, of Do, can have any form
	for _, u := range in.Users {
		ids = append(ids, u.ClientUserID, u.Email, u.ManagedAppleID)
	}
	return append(append(ids, in.ClientUserIDs...), in.SerialNumbers...)
}

func (r request) decode(body []byte, out any) error {
	if len(body) == 0 {
		return errors.New("it is empty")
	}
	// Empty objects take little in a body, and much in memory.
	const most = 1 << 20
	if bytes.Count(body, []byte("{")) > most {
		return fmt.Errorf("it has more than %d objects", most)
	}
	if p, ok := out.(plainPage); ok && r.page && p.decodePlain(body) {
		return nil
	}
	return json.Unmarshal(body, out)
}

// failure completes the error of a call.
func (c *Client) failure(r request, f *transport.Failure) error {
	if f.Attempts == 0 && errors.Is(f.Err, ErrNoToken) {
		return fmt.Errorf("%s %s: %w", r.method, r.path, f.Err)
	}
	e := &Error{StatusCode: f.Status, err: f.Err}
	var inner *Error // made by inspect
	if errors.As(f.Err, &inner) {
		e.Number, e.Message, e.Info = inner.Number, inner.Message, inner.Info
		if inner == f.Err { //nolint:errorlint // the question is whether it is wrapped
			e.err = nil // no need to wrap what e says itself
		}
	}
	// The JSON of a success holds other people's names, and settings.
	if json := strings.IndexAny(strings.TrimLeft(f.Excerpt, " \t\r\n\ufeff"), "{[") == 0; e.Number == 0 && !(json && f.Status/100 == 2) {
		e.Excerpt = clean(strings.ToValidUTF8(f.Excerpt, "?"))
	}
	e.Method, e.Path = clean(r.method), r.path
	e.Attempts, e.RetryAfter, e.Ambiguous = f.Attempts, f.RetryAfter, f.Ambiguous
	e.cut, e.ended = f.Cut, f.Ended
	return e
}

// url is the discovered URL of an endpoint, or the base URL and its path.
func (c *Client) url(r request) (*url.URL, error) {
	u := c.Config.discovered(r.key)
	if u == nil {
		path := strings.TrimPrefix(r.path, "/")
		for segment := range strings.SplitSeq(path, "/") {
			if segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "?#\\%") {
				return nil, fmt.Errorf("%w: the path %q is not plain", ErrInvalid, r.path)
			}
		}
		u = c.base.JoinPath(path)
	}
	u.RawQuery = r.query.Encode()
	return u, nil
}

// inspect judges a complete answer. Only one that speaks of an error is looked
// at more closely.
func inspect(status int, body []byte, clean func(string) string) transport.Verdict {
	serverTrouble := status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
	if mentionsError(status, body) {
		var b struct {
			errorBody
			EventID string `json:"eventId"`
		}
		err := json.Unmarshal(body, &b) // a field of an unexpected type must not hide the number
		if syntax := (*json.SyntaxError)(nil); status/100 != 2 && errors.As(err, &syntax) {
			b.Number = looseNumber(body)
		}
		if b.Number != 0 || status/100 == 2 && b.Message != "" {
			e := &Error{StatusCode: status, Number: b.Number, Message: shorten(clean(shorten(b.Message, 8*maxMessage)), maxMessage), Info: b.Info}
			_, known := meanings[b.Number]
			return transport.Verdict{
				Err:       e,
				Apple:     b.Number > 0 && b.EventID == "", // an event would mean that something was started
				Retryable: has(e, 0, ErrInternal, ErrMaintenance, ErrTooManyRequests, ErrServiceUnavailable) || !known && serverTrouble,
			}
		}
	}
	if status/100 == 2 {
		return transport.Verdict{}
	}
	return transport.Verdict{Err: &Error{StatusCode: status}, Retryable: serverTrouble}
}

// maxMessage bounds what is kept of Apple's errorMessage.
const maxMessage = 1 << 10

var numberInside = regexp.MustCompile(`"errorNumber"\s*:\s*"?(\d{1,9})\b`)

// looseNumber finds the error number in a body that is no JSON, such as one that was cut.
func looseNumber(body []byte) ErrorNumber {
	m := numberInside.FindSubmatch(body)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return ErrorNumber(n)
}

// mentionsError looks for an error number or message. In an answer that passes
// for a success they stand before or behind the one part that can be long, so
// the middle needs no look.
func mentionsError(status int, body []byte) bool {
	const edge = 4 << 10
	key := []byte(`"error`)
	if status/100 != 2 || len(body) <= 2*edge {
		return bytes.Contains(body, key)
	}
	return bytes.Contains(body[:edge], key) || bytes.Contains(body[len(body)-edge:], key)
}
