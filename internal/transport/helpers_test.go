package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// reply is one exchange of a scripted network.
type reply func(*http.Request) (*http.Response, error)

// network is an http.RoundTripper that follows a script: reply i serves request
// i, and the last reply serves all further requests.
type network struct {
	replies []reply

	mu   sync.Mutex
	sent []sentRequest
}

// sentRequest is a request as the network saw it.
type sentRequest struct {
	at     time.Time
	method string
	header http.Header
	body   string
}

func script(replies ...reply) *network { return &network{replies: replies} }

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	n.mu.Lock()
	next := n.replies[min(len(n.sent), len(n.replies)-1)]
	n.sent = append(n.sent, sentRequest{time.Now(), r.Method, r.Header.Clone(), string(body)})
	n.mu.Unlock()
	return next(r)
}

// requests returns what was sent so far.
func (n *network) requests() []sentRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]sentRequest(nil), n.sent...)
}

// answer is a complete answer. header holds names and values in turn.
func answer(status int, body string, header ...string) reply {
	return func(*http.Request) (*http.Response, error) {
		return response(status, strings.NewReader(body), header...), nil
	}
}

func response(status int, body io.Reader, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body), ContentLength: -1}
}

// cutAnswer is an answer whose connection breaks after body.
func cutAnswer(status int, body string) reply {
	return func(*http.Request) (*http.Response, error) {
		return response(status, io.MultiReader(strings.NewReader(body), brokenReader{})), nil
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

var (
	errDial = errors.New("connection refused")
	errLost = errors.New("connection reset by peer")
)

// notSent is a connection that cannot be opened.
func notSent(r *http.Request) (*http.Response, error) {
	httptrace.ContextClientTrace(r.Context()).GetConn("service.test:443")
	return nil, errDial
}

// lost is a request that was sent and gets no answer.
func lost(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	trace.GetConn("service.test:443")
	trace.WroteHeaders()
	return nil, errLost
}

// failing is an error of the RoundTripper.
func failing(err error) reply {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// after delays a reply, or fails with the error of the request's context.
func after(d time.Duration, next reply) reply {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			return next(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

var (
	success = answer(http.StatusOK, "ok")
	busy    = answer(http.StatusServiceUnavailable, "busy") // Apple's error, temporary
	refused = answer(http.StatusBadRequest, "refused")      // Apple's error, final
)

// answerError is the error of inspect.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.text) }

// inspect judges by the first word of the body: "busy" and "refused" are the
// service's own errors, "error" is not, and anything else counts by its status.
func inspect(status int, body []byte, clean func(string) string) transport.Verdict {
	err := &answerError{status, clean(string(body))}
	word, _, _ := strings.Cut(string(body), " ")
	switch {
	case word == "busy":
		return transport.Verdict{Err: err, Apple: true, Retryable: true}
	case word == "refused":
		return transport.Verdict{Err: err, Apple: true}
	case word == "error":
		return transport.Verdict{Err: err}
	case status/100 == 2:
		return transport.Verdict{}
	}
	temporary := status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
	return transport.Verdict{Err: err, Retryable: temporary}
}

const token = "the-content-token-of-a-unit"

// newTransport returns a Transport that sends over n. changes adapt its Config.
func newTransport(n http.RoundTripper, changes ...func(*transport.Config)) *transport.Transport {
	cfg := transport.Config{
		HTTPClient:  &http.Client{Transport: n},
		UserAgent:   "test/1",
		Token:       func(context.Context) (string, error) { return token, nil },
		Inspect:     inspect,
		Limiter:     transport.NewPace(1000),
		MaxAttempts: 5,
		MaxPause:    5 * time.Minute,
		MaxBody:     1 << 20,
		MaxError:    1 << 10,
	}
	for _, change := range changes {
		change(&cfg)
	}
	return transport.New(cfg)
}

// The URL of the requests, with an id in its query.
const target = "https://service.test/mdm/v2/users?clientUserId=ada.lovelace"

func newRequest(class transport.Class) *transport.Request {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	r := &transport.Request{
		Method: http.MethodGet, URL: u, Name: "users", Class: class, Auth: true,
		IDs: func() []string { return []string{"ada.lovelace"} },
	}
	if class == transport.Write || class == transport.Repeatable {
		r.Method, r.Body = http.MethodPost, []byte(`{"users":["ada.lovelace"]}`)
	}
	return r
}

// attempts returns a change of a Config that sets MaxAttempts.
func attempts(n int) func(*transport.Config) {
	return func(cfg *transport.Config) { cfg.MaxAttempts = n }
}

// limitedBy returns a change of a Config that sets the Limiter.
func limitedBy(l transport.Limiter) func(*transport.Config) {
	return func(cfg *transport.Config) { cfg.Limiter = l }
}

// virtual runs f in virtual time.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// elapsed returns how much virtual time f takes.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// decodeInto returns a Decode that copies the body of a success.
func decodeInto(body *string) func([]byte) error {
	return func(b []byte) error {
		*body = string(bytes.Clone(b))
		return nil
	}
}

// recordingLimiter is a Limiter without limits that records its calls.
type recordingLimiter struct {
	mu     sync.Mutex
	events []string
	err    error // of Acquire
}

func (l *recordingLimiter) record(event string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, event)
}

func (l *recordingLimiter) recorded() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.events...)
}

func (l *recordingLimiter) Acquire(context.Context, time.Duration) (func(), error) {
	if l.err != nil {
		return nil, l.err
	}
	l.record("acquire")
	return func() { l.record("release") }, nil
}

func (l *recordingLimiter) Pause(d time.Duration) { l.record("pause " + d.String()) }
func (l *recordingLimiter) SetRate(int)           {}

// requireFailure checks that a request failed with target in its error.
func requireFailure(t *testing.T, f *transport.Failure, target error) {
	t.Helper()
	require.NotNil(t, f)
	require.ErrorIs(t, f.Err, target)
}
