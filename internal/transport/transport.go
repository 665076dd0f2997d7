// Package transport carries one logical request to an answer: it paces,
// authenticates, sends, reads, judges and, where that is safe, sends again.
// It knows HTTP and the danger of repeating a write; it knows no endpoint.
package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Class says what repeating a request may do.
type Class int

const (
	// Read changes nothing: repeat at will.
	Read Class = iota
	// Write may start work each time it arrives: it is repeated only when the
	// earlier attempt certainly started nothing.
	Write
	// Poll changes nothing, but must not be asked again soon after an answer
	// that was lost on its way: it is repeated like a Write.
	Poll
	// Repeatable changes state, but the same request twice leaves the same
	// state as once.
	Repeatable
)

// Request is one logical request, sent as one or more attempts.
type Request struct {
	Method string
	URL    *url.URL
	Name   string // of the endpoint, for logs and traces: a path without ids
	Body   []byte // nil: no body and no Content-Type
	Class  Class
	Page   bool // a page read, of which only a few may be in flight
	Turn   Turn
	Auth   bool
	// Decode reads the body of a success, which is invalid afterwards.
	Decode func(body []byte) error
	// Grace is how long an attempt under way may go on after the context ends,
	// so that an answer on its way is not lost. No attempt begins in it.
	Grace time.Duration
	// Secret is what the body holds and no error or log may, like the token.
	Secret string
	// IDs gives the ids of users and devices in the request, which no error or
	// log may hold either. It is asked only after a failure.
	IDs func() []string
}

// Turn puts the first attempts of requests that run at the same time in order.
// The zero value is no order.
type Turn struct {
	After <-chan struct{} // closed when the request before has had its turn
	Taken func()          // called when this one is about to be sent; more than once if it is repeated
}

// Verdict is what the caller's Inspect made of a complete answer.
type Verdict struct {
	Err       error // nil: a success
	Apple     bool  // Err was decoded from the service's own error body: nothing was started
	Retryable bool  // the same request may succeed later
}

// Limiter paces requests; see the interface of the same shape in the root
// package for the contract.
type Limiter interface {
	Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error)
	Pause(d time.Duration)
	SetRate(perSecond int)
}

// Attempt is what became of one attempt of a request.
type Attempt struct {
	Count      int // 1 for the first
	Status     int // 0: no answer
	Err        error
	Size       int           // decoded bytes of the answer
	Queued     time.Duration // waited for its turn: pace, page slot, gate
	Waited     time.Duration // waited since the attempt before, by decision
	Took       time.Duration // from being sent to the end of the answer
	RetryAfter time.Duration // what the answer asked for
	Again      bool          // another attempt follows
}

// Config is everything a Transport needs. All fields are required but Logger
// and Trace.
type Config struct {
	HTTPClient  *http.Client // copied, never written to
	UserAgent   string
	Token       func(ctx context.Context) (string, error)
	Inspect     func(status int, body []byte, clean func(string) string) Verdict // clean is for texts that reach errors
	Limiter     Limiter
	MaxAttempts int
	MinBackoff  time.Duration
	MaxBackoff  time.Duration
	MaxPause    time.Duration // longest Retry-After that is waited for
	MaxBody     int64         // decoded bytes of a success
	MaxError    int64         // decoded bytes of anything else
	Logger      *slog.Logger
	Trace       func(ctx context.Context, r *Request, a Attempt)
}

// Transport is safe for concurrent use.
type Transport struct {
	cfg    Config
	client *http.Client
	pages  chan struct{}
	budget *budget
}

// New tames a copy of the configured client.
func New(cfg Config) *Transport {
	hc := *cfg.HTTPClient
	// A redirect could carry the credential elsewhere, or replay a body.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	hc.Jar = nil
	if hc.Transport == nil {
		hc.Transport = http.DefaultTransport
	}
	hc.Transport = bare{hc.Transport}
	t := &Transport{
		cfg:    cfg,
		client: &hc,
		pages:  newPlaces(),
		budget: newBudget(),
	}
	if p, ok := cfg.Limiter.(*Pace); ok {
		t.pages = p.pages
	}
	return t
}

// bare hides what else a RoundTripper can do. The retry loop closes the idle
// connections of its client on each failure; a shared pool is to stay warm.
type bare struct{ next http.RoundTripper }

// RoundTrip also drops the target of a redirect: net/http would fail on one that
// it cannot parse, although nobody follows it.
func (b bare) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if resp != nil && resp.StatusCode/100 == 3 && resp.Header.Get("Location") != "" {
		resp.Header = resp.Header.Clone()
		resp.Header.Del("Location")
	}
	return resp, err
}

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

// Failure is the end of a request without success.
type Failure struct {
	Err        error         // Inspect's error, or the cause when there was no usable answer
	Status     int           // of the last answer; 0 when there was none
	Excerpt    string        // the first bytes of the last answer's body
	Attempts   int           // requests that were started
	Ambiguous  bool          // a write may have been carried out
	RetryAfter time.Duration // what the service last asked for; 0 when it did not
	Cut        bool          // of the last answer not all came
	Ended      bool          // the caller's context has ended
}

// Do sends r until it has an answer that settles it. A success is nil: its answer
// has been decoded.
func (t *Transport) Do(ctx context.Context, r *Request) *Failure {
	c := &call{t: t, req: r, ctx: ctx}
	if r.Grace > 0 {
		var cancel context.CancelFunc
		ctx, cancel = withGrace(ctx, r.Grace, &c.underWay)
		defer cancel()
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { c.connecting.Store(true) },
		WroteHeaders: func() { c.wrote.Store(true) },
	})
	defer c.release()

	var body any
	if r.Body != nil {
		body = r.Body // a []byte is replayed without a copy
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, r.Method, r.URL.String(), body)
	if err != nil {
		return &Failure{Err: scrub(err)}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", t.cfg.UserAgent)
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := c.prepare(req.Request); err != nil {
		return c.failure(err)
	}

	resp, err := c.loop().Do(req)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if c.done {
		return nil
	}
	return c.failure(err)
}

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

func (c *call) acquire() error {
	ctx := c.ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.req.Turn.After != nil {
		select {
		case <-c.req.Turn.After:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.req.Page {
		if err := c.takePage(ctx); err != nil {
			return err
		}
	}
	free, err := c.t.cfg.Limiter.Acquire(ctx, c.t.cfg.MaxPause)
	if err != nil {
		if c.req.Page {
			c.t.pages <- struct{}{}
		}
		return err
	}
	if c.req.Turn.Taken != nil {
		c.req.Turn.Taken()
	}
	c.freeSlot = func() {
		free()
		if c.req.Page {
			c.t.pages <- struct{}{}
		}
	}
	return nil
}

// takePage waits for one of the places of page reads.
func (c *call) takePage(ctx context.Context) error {
	if p, ok := c.t.cfg.Limiter.(*Pace); ok {
		return p.queue(ctx, c.t.cfg.MaxPause, p.pages)
	}
	select {
	case <-c.t.pages:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// free gives back the slots of the attempt under way.
func (c *call) free() {
	if c.freeSlot != nil {
		c.freeSlot()
		c.freeSlot = nil
	}
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

// read takes the whole body, decompressed and bounded, into a pooled buffer.
func (c *call) read(resp *http.Response) error {
	limit := c.t.cfg.MaxError
	if resp.StatusCode/100 == 2 {
		limit = c.t.cfg.MaxBody
	}
	if c.buf == nil {
		c.buf = getBuffer()
	}
	c.buf.Reset()
	if n := resp.ContentLength; n > 0 && n <= limit {
		c.buf.Grow(int(n) + bytes.MinRead)
	}
	_, err := c.buf.ReadFrom(http.MaxBytesReader(nil, resp.Body, limit))
	_ = resp.Body.Close()
	resp.Body = http.NoBody
	if token := c.token(); len(token) >= 16 || err != nil { // shorter ones are words of somebody's tests
		c.redact(token, err != nil)
	}
	return err
}

func (c *call) judge(resp *http.Response, err error) (again bool) {
	if err != nil {
		c.last = c.scrub(err)
		c.redact(c.req.Secret, true)
		var tooLarge *http.MaxBytesError
		c.cut = resp != nil && !errors.As(err, &tooLarge)
		notSent := resp == nil && c.connecting.Load() && !c.wrote.Load()
		if resp != nil && resp.StatusCode/100 != 2 {
			// The status is known, only the explanation is cut: judge by the
			// status with what there is of the body.
			return c.judgeAnswer(resp)
		}
		c.ambiguous = c.req.Class == Write && !notSent
		switch {
		case c.once() && !notSent, errors.As(err, &tooLarge), IsCertificateError(err):
			return false
		}
		return c.backoff(0)
	}
	return c.judgeAnswer(resp)
}

// once tells requests that are not repeated when an attempt may have arrived.
func (c *call) once() bool { return c.req.Class == Write || c.req.Class == Poll }

func (c *call) judgeAnswer(resp *http.Response) (again bool) {
	v := c.t.cfg.Inspect(resp.StatusCode, c.buf.Bytes(), c.clean)
	if v.Err != nil && c.redact(c.req.Secret, false) { // a success may repeat it to who sent it
		v = c.t.cfg.Inspect(resp.StatusCode, c.buf.Bytes(), c.clean)
	}
	if v.Err == nil && c.req.Decode != nil {
		c.free() // nobody has to wait for the decoding
		if err := c.req.Decode(c.buf.Bytes()); err != nil {
			// The service said yes and we cannot read to what.
			v.Err = fmt.Errorf("unreadable answer: %w", err)
		}
	}
	c.last = v.Err
	if v.Err == nil {
		c.done = true
		c.t.budget.success()
		return false
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || v.Retryable {
		c.retryAfter = ParseRetryAfter(resp.Header.Values("Retry-After"), serverTime(resp))
		if c.retryAfter > 0 {
			c.t.cfg.Limiter.Pause(c.retryAfter)
		}
	}
	if !v.Apple && c.once() && (resp.StatusCode >= 500 || resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusSeeOther) {
		// A gateway's page says nothing about what happened behind it, nor does
		// a success that speaks of an error which cannot be read. To be sent on
		// to see something else is how a write often ends.
		c.ambiguous = c.req.Class == Write
		return false
	}
	if !v.Retryable {
		return false
	}
	return c.backoff(c.retryAfter)
}

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

// failure sums up a call that ended without success. err is the loop's own
// error: the context's, or prepare's, when the wait for an attempt ended early.
func (c *call) failure(err error) *Failure {
	ctx := c.ctx
	f := &Failure{
		Err:        c.last,
		Status:     c.status,
		Attempts:   c.attempts,
		Ambiguous:  c.ambiguous,
		RetryAfter: c.retryAfter,
		Cut:        c.cut,
		Ended:      ctx.Err() != nil,
	}
	switch {
	case ctx.Err() != nil:
		f.Err = join(contextError(ctx), c.last)
	case err != nil && !c.judged:
		f.Err = join(c.scrub(err), c.last)
	}
	var paused interface{ RetryAfter() time.Duration }
	if errors.As(f.Err, &paused) {
		f.RetryAfter = paused.RetryAfter()
	}
	if c.buf != nil {
		// More of it is cleaned than kept: what is cut in the middle is not known.
		const excerpt, more = 512, 8 << 10
		f.Excerpt = c.clean(string(c.buf.Bytes()[:min(c.buf.Len(), more)]))
		f.Excerpt = f.Excerpt[:min(len(f.Excerpt), excerpt)]
	}
	return f
}

// withGrace is a context that ends some time after another if an attempt is
// under way then, and with it in the pause between two. The time of the wait
// itself is the caller's alone, so its deadline is not inherited.
func withGrace(ctx context.Context, grace time.Duration, underWay *atomic.Bool) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		if !underWay.Load() {
			cancel()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, cancel)
	})
	return late, func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
		cancel()
	}
}

// contextError keeps both what a caller tests for (context.Canceled) and what
// the canceller said.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

func join(err, before error) error {
	if before == nil || errors.Is(before, err) || errors.Is(err, before) {
		return err
	}
	return fmt.Errorf("%w (before that: %w)", err, before)
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

// log writes one event an attempt. Neither query nor headers: ids and secrets.
// Its message and the names of its attributes are documented in docs/operations.md.
func (c *call) log(again bool, took time.Duration) {
	if c.t.cfg.Logger == nil {
		return
	}
	level, attrs := slog.LevelDebug, []slog.Attr{
		slog.String("method", c.req.Method),
		slog.String("path", c.req.Name),
		slog.Int("attempt", c.attempts),
		slog.Int("status", c.status),
		slog.Duration("took", took),
	}
	if c.last != nil && !c.done {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", c.last.Error()), slog.Bool("again", again))
		if again {
			attrs = append(attrs, slog.Duration("wait", c.wait))
		}
	}
	c.t.cfg.Logger.LogAttrs(c.ctx, level, "appsandbooks: request", attrs...)
}

// trace reports the attempt. It comes after the slot is given back, so that a
// slow hook holds up its own call only.
func (c *call) trace(again bool, took time.Duration) {
	if c.t.cfg.Trace == nil {
		return
	}
	a := Attempt{
		Count: c.attempts, Status: c.status, Queued: c.queued, Waited: c.waited,
		Took: took, RetryAfter: c.retryAfter, Again: again,
	}
	if c.buf != nil {
		a.Size = c.buf.Len()
	}
	if !c.done {
		a.Err = c.last
	}
	c.t.cfg.Trace(c.ctx, c.req, a)
}

// Buffers are shared: a page is decoded and its bytes are free again.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	const keep = 4 << 20 // one huge page must not stay for ever
	if b.Cap() <= keep {
		b.Reset()
		buffers.Put(b)
	}
}
