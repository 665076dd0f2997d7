package appsandbooks_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

func isError(t testing.TB, err error) *appsandbooks.Error {
	t.Helper()
	var e *appsandbooks.Error
	require.ErrorAs(t, err, &e)
	return e
}

// When a read is repeated, and when not: attempts seen by the service, and the
// virtual time that went by.
func TestRetryOfReads(t *testing.T) {
	header := func(v string) http.Header { return http.Header{"Retry-After": {v}} }
	for name, test := range map[string]struct {
		fault    appsandbookstest.Fault
		attempts int // that reach the service
		ok       bool
		min, max time.Duration
	}{
		"reset before":        {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 2}, attempts: 3, ok: true, max: 2 * time.Second},
		"cut body":            {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody, Times: 2}, attempts: 3, ok: true, max: 2 * time.Second},
		"for ever":            {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore}, attempts: 5, max: 8 * time.Second},
		"9603":                {fault: appsandbookstest.Fault{Number: 9603, Times: 1}, attempts: 2, ok: true, max: time.Second},
		"9646":                {fault: appsandbookstest.Fault{Number: 9646, Times: 4}, attempts: 5, ok: true, max: 8 * time.Second},
		"9603 inside 200":     {fault: appsandbookstest.Fault{Status: 200, Number: 9603, Times: 1}, attempts: 2, ok: true, max: time.Second},
		"HTML 502":            {fault: appsandbookstest.Fault{Status: 502, Body: "<html>", Times: 1}, attempts: 2, ok: true, max: time.Second},
		"501":                 {fault: appsandbookstest.Fault{Status: 501, Body: "no", Times: 1}, attempts: 1},
		"404":                 {fault: appsandbookstest.Fault{Status: 404, Body: "no", Times: 1}, attempts: 1},
		"400":                 {fault: appsandbookstest.Fault{Number: 9602, Times: 1}, attempts: 1},
		"expired":             {fault: appsandbookstest.Fault{Number: 9621, Times: 1}, attempts: 1},
		"500 seconds":         {fault: appsandbookstest.Fault{Number: 9603, Header: header("120"), Times: 1}, attempts: 2, ok: true, min: 120 * time.Second, max: 120 * time.Second},
		"502 seconds":         {fault: appsandbookstest.Fault{Status: 502, Header: header(" 7 "), Times: 1}, attempts: 2, ok: true, min: 7 * time.Second, max: 7 * time.Second},
		"503 date":            {fault: appsandbookstest.Fault{Number: 9729, Header: header("Sat, 01 Jan 2000 00:01:30 GMT"), Times: 1}, attempts: 2, ok: true, min: 90 * time.Second, max: 90 * time.Second},
		"503 RFC 850 date":    {fault: appsandbookstest.Fault{Number: 9729, Header: header("Saturday, 01-Jan-00 00:01:30 GMT"), Times: 1}, attempts: 2, ok: true, min: 90 * time.Second, max: 90 * time.Second},
		"past date":           {fault: appsandbookstest.Fault{Number: 9729, Header: header("Fri, 31 Dec 1999 23:59:59 GMT"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"above the cap":       {fault: appsandbookstest.Fault{Number: 9729, Header: header("3600"), Times: 1}, attempts: 1},
		"overflowing seconds": {fault: appsandbookstest.Fault{Number: 9729, Header: header("9223372036854775807"), Times: 1}, attempts: 1},
		"more than an int":    {fault: appsandbookstest.Fault{Number: 9729, Header: header("99999999999999999999"), Times: 1}, attempts: 1},
		"junk":                {fault: appsandbookstest.Fault{Number: 9729, Header: header("foo"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"negative":            {fault: appsandbookstest.Fault{Number: 9729, Header: header("-5"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"fraction":            {fault: appsandbookstest.Fault{Number: 9729, Header: header("1.5"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"429 seconds":         {fault: appsandbookstest.Fault{Number: 9646, Header: header("9"), Times: 1}, attempts: 2, ok: true, min: 9 * time.Second, max: 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(test.fault)
				began := time.Now()
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				took := time.Since(began)
				require.Equal(t, test.attempts, countPath(srv, "users"))
				if test.ok {
					require.NoError(t, err)
				} else {
					e := isError(t, err)
					require.Equal(t, test.attempts, e.Attempts)
					require.Equal(t, "users", e.Path)
					require.False(t, e.Ambiguous)
				}
				require.GreaterOrEqual(t, took, test.min)
				require.LessOrEqual(t, took, test.max)
			})
		})
	}
}

// A write is repeated only when it was certainly not carried out.
func TestRetryOfWrites(t *testing.T) {
	for name, test := range map[string]struct {
		fault     appsandbookstest.Fault
		attempts  int
		ok        bool
		ambiguous bool
	}{
		"dial":           {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultDial, Times: 2}, attempts: 1, ok: true}, // the two never arrived
		"reset before":   {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 1}, attempts: 1, ambiguous: true},
		"reset after":    {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter, Times: 1}, attempts: 1, ambiguous: true},
		"cut body":       {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody, Times: 1}, attempts: 1, ambiguous: true},
		"huge body":      {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultHugeBody, Size: 33 << 20, Process: true, Times: 1}, attempts: 1, ambiguous: true},
		"empty 200":      {fault: appsandbookstest.Fault{Status: 200, Body: " ", Times: 1}, attempts: 1, ambiguous: true},
		"HTML 200":       {fault: appsandbookstest.Fault{Status: 200, Body: "<html>", Times: 1}, attempts: 1, ambiguous: true},
		"HTML 502":       {fault: appsandbookstest.Fault{Status: 502, Body: "<html>", Times: 1}, attempts: 1, ambiguous: true},
		"9603":           {fault: appsandbookstest.Fault{Number: 9603, Times: 2}, attempts: 3, ok: true},
		"9603 in 200":    {fault: appsandbookstest.Fault{Status: 200, Number: 9603, Times: 2}, attempts: 3, ok: true},
		"9644":           {fault: appsandbookstest.Fault{Number: 9644, Status: 500, Times: 1}, attempts: 2, ok: true},
		"9646":           {fault: appsandbookstest.Fault{Number: 9646, Times: 1}, attempts: 2, ok: true},
		"429 without it": {fault: appsandbookstest.Fault{Status: 429, Body: "slow down", Times: 1}, attempts: 2, ok: true},
		"9729":           {fault: appsandbookstest.Fault{Number: 9729, Times: 1}, attempts: 2, ok: true},
		"9709":           {fault: appsandbookstest.Fault{Number: 9709, Status: 400, Times: 1}, attempts: 1},
		"307":            {fault: appsandbookstest.Fault{Status: 307, Header: http.Header{"Location": {"http://elsewhere.example.com/"}}, Body: " ", Times: 1}, attempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				test.fault.Method = "POST"
				srv.AddFault(test.fault)
				var out map[string]any
				in := map[string]any{"users": []map[string]string{{"clientUserId": "u"}}}
				err := c.Do(t.Context(), http.MethodPost, "users/create", nil, in, &out)
				require.Equal(t, test.attempts, countPath(srv, "users/create"))
				if test.ok {
					require.NoError(t, err)
					require.NotEmpty(t, out["eventId"])
				} else {
					require.Error(t, err)
				}
				require.Equal(t, test.ambiguous, errors.Is(err, appsandbooks.ErrAmbiguous))
				require.Equal(t, name == "307", errors.Is(err, appsandbooks.ErrRedirect))
				if test.ambiguous {
					require.False(t, appsandbooks.IsRetryable(err))
				}
				for _, r := range srv.Requests() { // each attempt is whole
					require.Equal(t, `{"users":[{"clientUserId":"u"}]}`, string(r.Body))
				}
			})
		})
	}
}

// A Retry-After holds back every request of the client, not just the one that got it.
func TestRetryAfterClosesTheGate(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9729, Header: http.Header{"Retry-After": {"60"}}, Times: 1})
		began := time.Now()
		done := make(chan error, 1)
		go func() {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			done <- err
		}()
		synctest.Wait()
		_, err := c.Assets.List(t.Context(), appsandbooks.AssetFilter{})
		require.NoError(t, err)
		require.Equal(t, 60*time.Second, time.Since(began))
		require.NoError(t, <-done)

		// A pause that is too long for the caller ends the call at once.
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9729, Header: http.Header{"Retry-After": {"3600"}}, Times: 1})
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.Equal(t, time.Hour, isError(t, err).RetryAfter)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		time.Sleep(time.Minute) // virtual
		_, err = c.Assets.List(t.Context(), appsandbooks.AssetFilter{})
		e := isError(t, err)
		require.Equal(t, 59*time.Minute, e.RetryAfter)
		require.Zero(t, e.Attempts)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Assets.List(ctx, appsandbooks.AssetFilter{})
		require.NotZero(t, isError(t, err).RetryAfter, "not a mere deadline: %v", err)
	})
}

// No second ever sees more requests than the limit that the service names.
func TestPace(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		began := time.Now()
		for range 46 {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.NoError(t, err)
		}
		require.Equal(t, 3*time.Second, time.Since(began)) // 15 a second, the first at once
	})
}

func TestSharedLimiter(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		limiter := appsandbooks.NewLimiter()
		began := time.Now()
		for range 3 {
			c := newClient(t, srv, appsandbooks.WithLimiter(limiter))
			defer c.Close()
			for range 10 {
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				require.NoError(t, err)
			}
		}
		require.Equal(t, time.Second, time.Since(began))
	})
}

// An outage is not made worse: retries end when the budget is spent.
func TestRetryBudget(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9603})
		const calls = 60
		began := time.Now()
		for range calls {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.ErrorIs(t, err, appsandbooks.ErrInternal)
		}
		earned := int(time.Since(began) / (10 * time.Second)) // one for each ten seconds
		require.Less(t, earned, 15)
		require.Equal(t, calls+100+earned, countPath(srv, "users"))

		srv.ResetRequests()
		time.Sleep(time.Hour) // the outage is forgotten
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrInternal)
		require.Equal(t, 5, countPath(srv, "users"))
	})
}

// Clients that fail together do not come back together.
func TestFullJitter(t *testing.T) {
	virtual(t, []appsandbookstest.Option{appsandbookstest.WithLimits(func() appsandbookstest.Limits {
		l := appsandbookstest.DefaultLimits()
		l.MaxRequestPerSecond = 0
		return l
	}())}, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9603, Times: 200})
		began := time.Now()
		done := make(chan error)
		for range 200 {
			c := newClient(t, srv)
			defer c.Close()
			go func() {
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				done <- err
			}()
		}
		for range 200 {
			require.NoError(t, <-done)
		}
		buckets := map[time.Duration]int{}
		for _, r := range srv.Requests()[200:] {
			buckets[r.Time.Sub(began)/(50*time.Millisecond)]++
		}
		require.Len(t, buckets, 10) // of 0 to 500 ms
	})
}

func TestCancelKeepsTheCause(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9603, Header: http.Header{"Retry-After": {"60"}}})
		reason := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Second, func() { cancel(reason) })
		began := time.Now()
		_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
		require.Equal(t, 20*time.Second, time.Since(began))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, err, appsandbooks.ErrInternal) // what happened before
		require.Equal(t, 1, isError(t, err).Attempts)

		// A wait that the deadline does not leave room for is not begun.
		ctx2, cancel2 := context.WithTimeout(t.Context(), 41*time.Second)
		defer cancel2()
		began = time.Now()
		_, err = c.Users.List(ctx2, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrInternal)
		require.Equal(t, 40*time.Second, time.Since(began)) // the gate; then the answer, and no further wait
	})
}

// The grace of a cancelled write is for its answer, not for a wait that no
// attempt can follow.
func TestGraceIsNotWaitedOut(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(2 * time.Second)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Number: 9729, Header: http.Header{"Retry-After": {"60"}}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err = c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: stock(srv, 1, 1), SerialNumbers: []string{"C02"}})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

func TestSlowAnswerTimesOutPerAttempt(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour, Times: 1})
		c := newClient(t, srv, appsandbooks.WithTimeout(10*time.Second))
		defer c.Close()
		began := time.Now()
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.Less(t, time.Since(began), 11*time.Second)
	})
}

// Over real connections: one is enough for many requests, half of which fail,
// and somebody else's idle connections stay open.
func TestConnectionsAreKept(t *testing.T) {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	require.NoError(t, srv.Listen(""))
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr, Timeout: 5 * time.Second}
	c, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithBaseURL(srv.URL()),
		appsandbooks.WithHTTPClient(hc), appsandbooks.WithRetry(1, 0, 0))
	require.NoError(t, err)
	srv.AddFault(appsandbookstest.Fault{Status: 503, Body: strings.Repeat("x", 50_000), Probability: 0.5})
	var connections atomic.Int32
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			connections.Add(1)
		}
	}})
	failures := 0
	for range 14 {
		if _, err := c.Users.List(ctx, appsandbooks.UserFilter{}); err != nil {
			failures++
		}
	}
	require.NotZero(t, failures)
	require.EqualValues(t, 1, connections.Load())
	require.Nil(t, hc.CheckRedirect, "the caller's client was written to")
	require.Same(t, tr, hc.Transport)
}

// A redirect is an error, and nothing is sent to where it points.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(thief.URL, status))
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrRedirect)
		require.Equal(t, status, isError(t, err).StatusCode)
		c.Close()
		srv.Close()
	}
	require.Zero(t, elsewhere.Load())
}

// What a certificate error means does not change by asking again.
func TestCertificateErrorsAreFinal(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
	var cert *tls.CertificateVerificationError
	require.ErrorAs(t, err, &cert)
	require.Equal(t, 1, isError(t, err).Attempts)
}

// Nothing that identifies a person or opens a door is in an error or a log line.
func TestErrorsAndLogsAreClean(t *testing.T) {
	var log bytes.Buffer
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	answers := []func() (*http.Response, error){
		func() (*http.Response, error) { return nil, refused },
		func() (*http.Response, error) {
			body := "<html>you sent\x1b[31m Bearer " + stoken + "\n</html>" + strings.Repeat("x", 10_000)
			return &http.Response{StatusCode: 418, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) {
			body := `{"errorNumber":9622,"errorMessage":"bad token ` + stoken + `"}`
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // as some encoders of JSON write it
			body := `{"errorNumber":9622,"errorMessage":"bad token ` + strings.ReplaceAll(stoken, "=", `\u003d`) + `"}`
			return &http.Response{StatusCode: 401, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // large, and no JSON
			body := "<html>" + stoken + strings.Repeat("x", 10_000)
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // cut off
			body := io.MultiReader(strings.NewReader("<html>"+stoken), iotest.ErrReader(io.ErrUnexpectedEOF))
			return &http.Response{StatusCode: 200, Body: io.NopCloser(body), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // from a transport that is a client itself
			return nil, &url.Error{Op: "Get", URL: "https://proxy.example.com/?clientUserId=person", Err: refused}
		},
	}
	for i, answer := range answers {
		rt := roundTripper(func(*http.Request) (*http.Response, error) { return answer() })
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}),
			appsandbooks.WithRetry(1, 0, 0),
			appsandbooks.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "person@example.com"})
		e := isError(t, err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", e), e.Excerpt, e.Message, log.String()} {
			assert.NotContains(t, text, stoken, i)
			assert.NotContains(t, text, stoken[:40], i)
			assert.NotContains(t, text, "person", i)
			assert.NotContains(t, text, "\x1b", i)
		}
		assert.LessOrEqual(t, len(e.Excerpt), 512)
		var u *url.Error
		assert.NotErrorAs(t, err, &u)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The limits come from one request for all callers, are used for five minutes,
// then refreshed behind the callers' backs, and survive an outage.
func TestServiceConfigCache(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(time.Second)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := stock(srv, 1, 1000)
		plan := func(ctx context.Context) (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 1000)}, appsandbooks.WithPlanOnly())
		}
		hasty, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		errs := make(chan error)
		go func() { _, err := plan(hasty); errs <- err }()
		for range 9 {
			go func() { _, err := plan(t.Context()); errs <- err }()
		}
		failed := 0
		for range 10 {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				failed++
			}
		}
		require.Equal(t, 1, failed, "one caller's impatience is not the others'")
		require.Equal(t, 1, countPath(srv, "service/config"))

		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 100 })
		requests := func() int {
			op, err := plan(t.Context())
			require.NoError(t, err)
			return op.Plan().Requests
		}
		time.Sleep(4 * time.Minute) // virtual, as all below
		require.Equal(t, 1, requests())
		time.Sleep(2 * time.Minute)
		began := time.Now()
		require.Equal(t, 1, requests()) // stale, but at once
		require.Zero(t, time.Since(began))
		time.Sleep(2 * time.Second)
		require.Equal(t, 10, requests())
		require.Equal(t, 2, countPath(srv, "service/config"))

		srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 500, Body: "<html>"})
		time.Sleep(time.Hour)
		require.Equal(t, 10, requests()) // the last good ones
		_, err := c.Config.ServiceConfig(t.Context())
		require.Error(t, err) // who asks for the configuration itself is told
	})
}

// A waiter does not sit out a pause that no call of its client would.
func TestWaitGivesUpOnALongPause(t *testing.T) {
	for _, pause := range []string{"3600", "99999999999999999999"} {
		virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3)})
			require.NoError(t, err)
			srv.AddFault(appsandbookstest.Fault{Path: "status", Number: 9729, Header: http.Header{"Retry-After": {pause}}})
			began := time.Now()
			_, err = op.Wait(t.Context())
			require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
			require.GreaterOrEqual(t, isError(t, err).RetryAfter, time.Hour)
			_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
			require.NotZero(t, isError(t, err).RetryAfter)
			require.Equal(t, 10*time.Second, time.Since(began)) // one early look each
		})
	}
}

// The five seconds for an answer on its way are not spent on a pause in which
// no answer is on its way.
func TestCancelInThePauseOfAWrite(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9729, Header: http.Header{"Retry-After": {"60"}}})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		began := time.Now()
		_, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable) // what happened before
		require.Equal(t, 20*time.Second, time.Since(began))
	})
}

// A pause that any other call would wait for is waited for.
func TestServiceConfigWaitsForAPause(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
		began := time.Now()
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		require.Equal(t, 200*time.Second, time.Since(began))
	})
}
