// Package transport sends one request and repeats it until an answer or an error is final. It
// waits for the pace, adds the token, sends the request, reads and judges the answer, and sends
// the request again where that is safe.
//
// The package implements HTTP and the retry rules. It does not depend on any single endpoint.
package transport

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Config configures a Transport. All fields except Logger, Trace and
// Lifetime are required.
type Config struct {
	HTTPClient *http.Client // New copies the HTTP client and never changes it
	UserAgent  string
	// Token returns the content token. The transport calls it before every attempt of a request
	// that needs the token.
	Token func(ctx context.Context) (string, error)
	// Inspect judges a complete answer. It must pass every text from the body
	// that becomes part of an error through clean, which removes secrets and ids.
	Inspect     func(status int, body []byte, clean func(string) string) Verdict
	Limiter     Limiter
	MaxAttempts int // the largest number of attempts of one request, including the first
	MinBackoff  time.Duration
	MaxBackoff  time.Duration
	MaxPause    time.Duration // the longest wait for a Retry-After; a longer one ends the request
	MaxBody     int64         // the largest size of a 2xx answer, in decompressed bytes
	MaxError    int64         // the largest size of any other answer, in decompressed bytes
	Logger      *slog.Logger
	Trace       func(ctx context.Context, r *Request, a Attempt)
	// Lifetime ends all waiting of all calls, and its cause becomes their error. An attempt in
	// progress continues, and no attempt follows it.
	Lifetime context.Context
}

// Transport sends requests and repeats them. It is safe for concurrent use.
type Transport struct {
	cfg       Config
	client    *http.Client
	pageSlots chan struct{} // holds a token for each free page slot; an attempt receives one to take a slot
	budget    *retryBudget
}

// New returns a Transport that uses a copy of cfg.HTTPClient. The copy follows
// no redirects and stores no cookies.
func New(cfg Config) *Transport {
	hc := *cfg.HTTPClient
	// A redirect could send the token to another host, or send a write twice.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	hc.Jar = nil
	if hc.Transport == nil {
		hc.Transport = http.DefaultTransport
	}
	hc.Transport = restrictedTransport{hc.Transport}
	t := &Transport{
		cfg:       cfg,
		client:    &hc,
		pageSlots: newPageSlots(),
		budget:    newRetryBudget(),
	}
	if p, ok := cfg.Limiter.(*Pace); ok {
		t.pageSlots = p.pageSlots
	}
	return t
}

// Do sends r, and repeats it until an answer or an error is final. It returns nil after a
// success, when r.Decode has read the answer.
func (t *Transport) Do(ctx context.Context, r *Request) *Failure {
	c := &callState{transport: t, req: r, caller: ctx}
	var stopWaiting, cancel context.CancelFunc
	c.ctx, stopWaiting = waitingContext(ctx, t.cfg.Lifetime)
	defer stopWaiting()
	ctx, cancel = c.attemptContext()
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { c.connecting.Store(true) },
		WroteHeaders: func() { c.wroteHeaders.Store(true) },
	})
	defer c.close()

	var body any
	if r.Body != nil {
		body = r.Body // go-retryablehttp sends a []byte again without a copy.
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, r.Method, r.URL.String(), body)
	if err != nil {
		return &Failure{Err: withoutURL(err)}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", t.cfg.UserAgent)
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := c.prepareAttempt(req.Request); err != nil {
		return c.failure(err)
	}

	resp, err := c.retryClient().Do(req)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if c.succeeded {
		return nil
	}
	return c.failure(err)
}
