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

// reply makes the answer, or the error, of one request to the test's network.
type reply func(*http.Request) (*http.Response, error)

// network is an http.RoundTripper that follows a list of replies: reply i serves request i, and
// the last reply serves all further requests.
type network struct {
	replies []reply

	mu   sync.Mutex
	sent []sentRequest
}

// sentRequest is a copy of a request that the test's network received.
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

// requests returns the requests that the network has received so far.
func (n *network) requests() []sentRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]sentRequest(nil), n.sent...)
}

// answer returns a reply with a complete answer. header holds names and values alternately.
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

// cutAnswer returns a reply whose connection breaks after the text body.
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

// notSent is a reply that fails because the connection cannot be opened.
func notSent(r *http.Request) (*http.Response, error) {
	httptrace.ContextClientTrace(r.Context()).GetConn("service.test:443")
	return nil, errDial
}

// lost is a reply for a request that is sent and gets no answer.
func lost(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	trace.GetConn("service.test:443")
	trace.WroteHeaders()
	return nil, errLost
}

// failing returns a reply that fails with err, as an error of the RoundTripper.
func failing(err error) reply {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// after returns a reply that waits for d and then calls next. If the request's context ends
// first, the reply fails with the error of the context.
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

// answerError is the error that the test function inspect returns.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.text) }

// inspect is the Config.Inspect of the tests. It judges an answer by the first word of the body:
// "busy" and "refused" are the service's own errors, "error" is another error, and for any other
// word the status decides.
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

// newTransport returns a Transport that sends its requests to n. changes modify its Config.
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

// target is the URL of the requests in the tests. Its query contains an id.
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

// attempts returns a function that sets Config.MaxAttempts to n.
func attempts(n int) func(*transport.Config) {
	return func(cfg *transport.Config) { cfg.MaxAttempts = n }
}

// limitedBy returns a function that sets Config.Limiter to l.
func limitedBy(l transport.Limiter) func(*transport.Config) {
	return func(cfg *transport.Config) { cfg.Limiter = l }
}

// virtual runs the test function f in virtual time (synctest).
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// elapsed runs f and returns how much virtual time f takes.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// decodeInto returns a Request.Decode that copies the body of a successful answer to *body.
func decodeInto(body *string) func([]byte) error {
	return func(b []byte) error {
		*body = string(bytes.Clone(b))
		return nil
	}
}

// recordingLimiter is a Limiter without limits. It records the calls of its methods.
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

// requireFailure fails the test unless f is a Failure whose error wraps target.
func requireFailure(t *testing.T, f *transport.Failure, target error) {
	t.Helper()
	require.NotNil(t, f)
	require.ErrorIs(t, f.Err, target)
}
