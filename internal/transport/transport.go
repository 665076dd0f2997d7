// Package transport carries one logical request to an answer: it paces,
// authenticates, sends, reads, judges and, where that is safe, sends again.
// It knows HTTP and the danger of repeating a write; it knows no endpoint.
package transport

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

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
