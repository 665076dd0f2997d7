package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// backoff returns a function that sets the number of attempts and the range of the backoff in a
// Config.
func backoff(attempts int, low, high time.Duration) func(*transport.Config) {
	return func(cfg *transport.Config) {
		cfg.MaxAttempts, cfg.MinBackoff, cfg.MaxBackoff = attempts, low, high
	}
}

// traced returns a function that sets Config.Trace, so that every attempt is appended to *all.
func traced(all *[]transport.Attempt) func(*transport.Config) {
	return func(cfg *transport.Config) {
		cfg.Trace = func(_ context.Context, _ *transport.Request, a transport.Attempt) { *all = append(*all, a) }
	}
}

// The waits between attempts are random between zero and a maximum that doubles with each attempt
// from MinBackoff to MaxBackoff.
func TestTransport_Do_backoff(t *testing.T) {
	virtual(t, func(t *testing.T) {
		longest := make([]time.Duration, 6)
		shortest := []time.Duration{0, noLimit, noLimit, noLimit, noLimit, noLimit}
		for range 200 {
			var all []transport.Attempt
			tr := newTransport(script(lost), backoff(6, time.Second, 5*time.Second), traced(&all))
			require.NotNil(t, tr.Do(t.Context(), newRequest(transport.Read)))
			require.Len(t, all, 6)
			for i, a := range all {
				longest[i], shortest[i] = max(longest[i], a.Waited), min(shortest[i], a.Waited)
			}
		}
		for i, ceiling := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
			require.LessOrEqual(t, longest[i], ceiling, "wait %d", i)
			if i > 0 { // In 200 random waits, each of these conditions fails once in 10²⁴ runs.
				require.Greater(t, longest[i], ceiling*3/4, "wait %d", i)
				require.Less(t, shortest[i], ceiling/4, "wait %d", i)
			}
		}
	})
}

// A large MinBackoff or MaxBackoff does not overflow.
func TestTransport_Do_backoffOverflow(t *testing.T) {
	for _, test := range []struct {
		attempts  int
		low, high time.Duration
	}{
		{90, 30 * time.Second, time.Minute},
		{90, time.Hour, time.Hour},
		{90, time.Hour, noLimit},
		{3, noLimit, noLimit},
	} {
		virtual(t, func(t *testing.T) {
			var all []transport.Attempt
			tr := newTransport(script(lost), backoff(test.attempts, test.low, test.high), traced(&all))
			ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
			defer cancel()
			require.NotNil(t, tr.Do(ctx, newRequest(transport.Read)))
			for _, a := range all {
				require.GreaterOrEqual(t, a.Waited, time.Duration(0))
				require.LessOrEqual(t, a.Waited, test.high)
			}
			if test.high < noLimit {
				require.Len(t, all, test.attempts)
			}
		})
	}
}

// A request has at most Config.MaxAttempts attempts.
func TestTransport_Do_maxAttempts(t *testing.T) {
	for _, most := range []int{1, 2, 7} {
		n := script(lost)
		var all []transport.Attempt
		f := newTransport(n, attempts(most), traced(&all)).Do(t.Context(), newRequest(transport.Read))
		requireFailure(t, f, errLost)
		require.Equal(t, most, f.Attempts)
		require.Len(t, n.requests(), most)
		require.False(t, all[most-1].Again)
	}
}

// A retry waits exactly as long as the Retry-After of the answer requests, also with a Limiter
// that ignores the pause.
func TestTransport_Do_waitsForRetryAfter(t *testing.T) {
	virtual(t, func(t *testing.T) {
		n := script(answer(503, "busy", "Retry-After", "120"), success)
		require.Equal(t, 2*time.Minute, elapsed(func() {
			tr := newTransport(n, limitedBy(&recordingLimiter{}))
			require.Nil(t, tr.Do(t.Context(), newRequest(transport.Read)))
		}))
	})
}

// When the Retry-After of an answer is longer than Config.MaxPause, the request ends at once.
func TestTransport_Do_retryAfterLongerThanMaxPause(t *testing.T) {
	virtual(t, func(t *testing.T) {
		for seconds, want := range map[string]int{"300": 2, "301": 1, "9223372036854775807": 1} {
			n := script(answer(503, "busy", "Retry-After", seconds), success)
			tr := newTransport(n)
			began := time.Now()
			f := tr.Do(t.Context(), newRequest(transport.Read))
			require.Len(t, n.requests(), want)
			if want == 2 {
				require.Nil(t, f)
				require.Equal(t, 5*time.Minute, time.Since(began))
				continue
			}
			require.NotNil(t, f)
			require.Greater(t, f.RetryAfter, 5*time.Minute)
			require.Zero(t, time.Since(began))
		}
	})
}

// When the wait before a retry would end after the caller's deadline, the request ends without
// the wait.
func TestTransport_Do_deadlineBeforeRetry(t *testing.T) {
	virtual(t, func(t *testing.T) {
		for timeout, want := range map[time.Duration]int{60*time.Second - 1: 1, 61 * time.Second: 2} {
			n := script(answer(503, "busy", "Retry-After", "60"))
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			tr := newTransport(n, attempts(2))
			began := time.Now()
			f := tr.Do(ctx, newRequest(transport.Read))
			require.NotNil(t, f)
			require.Len(t, n.requests(), want)
			require.False(t, f.Ended, "the context has not ended")
			require.Equal(t, time.Duration(want-1)*time.Minute, time.Since(began))
		}
	})
}

// When the context ends during the wait between two attempts, the request ends at once. The error
// keeps the cause and the error of the last attempt.
func TestTransport_Do_contextEndsDuringWait(t *testing.T) {
	virtual(t, func(t *testing.T) {
		reason := errors.New("shutdown")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Second, func() { cancel(reason) })
		n := script(answer(503, "busy", "Retry-After", "60"))
		require.Equal(t, 20*time.Second, elapsed(func() {
			f := newTransport(n).Do(ctx, newRequest(transport.Write))
			requireFailure(t, f, context.Canceled)
			requireFailure(t, f, reason)
			require.EqualError(t, f.Err, "context canceled: shutdown (before that: status 503: busy)")
			require.True(t, f.Ended)
			require.False(t, f.Ambiguous)
			require.Equal(t, 1, f.Attempts)
			require.Equal(t, http.StatusServiceUnavailable, f.Status)
		}))
	})
}

// When the context ends during an attempt, no further attempt follows.
func TestTransport_Do_contextEndsDuringAttempt(t *testing.T) {
	for class, ambiguous := range map[transport.Class]bool{transport.Read: false, transport.Write: true} {
		virtual(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			n := script(after(time.Minute, success))
			require.Equal(t, time.Second, elapsed(func() {
				f := newTransport(n).Do(ctx, newRequest(class))
				requireFailure(t, f, context.Canceled)
				require.Equal(t, ambiguous, f.Ambiguous)
				require.True(t, f.Ended)
			}))
			require.Len(t, n.requests(), 1)
		})
	}
}

// The timeout of the HTTP client limits a single attempt: a read is sent again after it.
func TestTransport_Do_timeoutOfAttempt(t *testing.T) {
	virtual(t, func(t *testing.T) {
		n := script(after(time.Hour, success), success)
		tr := newTransport(n, func(cfg *transport.Config) { cfg.HTTPClient.Timeout = 10 * time.Second })
		require.Equal(t, 10*time.Second, elapsed(func() {
			require.Nil(t, tr.Do(t.Context(), newRequest(transport.Read)))
		}))
	})
}

// A certificate error is not retried, also with a RoundTripper that wraps the error.
func TestTransport_Do_certificateError(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	inner := &http.Transport{}
	defer inner.CloseIdleConnections()
	rt := reply(func(r *http.Request) (*http.Response, error) {
		resp, err := inner.RoundTrip(r)
		if err != nil {
			err = fmt.Errorf("middleware: %w", err)
		}
		return resp, err
	})
	r := newRequest(transport.Read)
	var err error
	r.URL, err = url.Parse(srv.URL)
	require.NoError(t, err)
	f := newTransport(script(rt)).Do(t.Context(), r)
	require.NotNil(t, f)
	require.True(t, transport.IsCertificateError(f.Err), "%v", f.Err)
	require.Equal(t, 1, f.Attempts)
}

// IsCertificateError recognizes every kind of certificate error at any depth, and no other error.
func TestIsCertificateError(t *testing.T) {
	for _, err := range []error{
		&tls.CertificateVerificationError{Err: errors.New("x")},
		x509.UnknownAuthorityError{},
		x509.HostnameError{Certificate: &x509.Certificate{}, Host: "service.test"},
		x509.CertificateInvalidError{},
	} {
		require.True(t, transport.IsCertificateError(err), "%T", err)
		wrapped := &url.Error{Op: "Get", Err: fmt.Errorf("middleware: %w", err)}
		require.True(t, transport.IsCertificateError(wrapped), "%T", err)
	}
	for _, err := range []error{nil, errLost, &url.Error{Err: errLost}, tls.AlertError(42)} {
		require.False(t, transport.IsCertificateError(err), "%T", err)
	}
}

// A request with NoPause fails at once when its answer has a Retry-After, and during a pause of the
// limiter. Its failure has the pause. The wait for the pace remains.
func TestRequest_NoPause(t *testing.T) {
	virtual(t, func(t *testing.T) {
		pace := transport.NewPace(1)
		n := script(answer(503, "busy", "Retry-After", "60"), success)
		tr := newTransport(n, limitedBy(pace))
		r := newRequest(transport.Read)
		r.NoPause = true
		r.Page = true
		require.Zero(t, elapsed(func() {
			f := tr.Do(t.Context(), r)
			require.NotNil(t, f)
			require.Equal(t, time.Minute, f.RetryAfter)
			require.Equal(t, 1, f.Attempts)
			f = tr.Do(t.Context(), r)
			var paused *transport.PausedError
			require.ErrorAs(t, f.Err, &paused)
			require.Equal(t, time.Minute, f.RetryAfter)
			require.Zero(t, f.Attempts)
		}))
		require.Len(t, n.requests(), 1)
		time.Sleep(time.Minute)
		require.Nil(t, tr.Do(t.Context(), r))
		require.Equal(t, time.Second, elapsed(func() { require.Nil(t, tr.Do(t.Context(), r)) }), "the wait for the pace")
	})
}

// Request.MaxAttempts lowers Config.MaxAttempts for one request, and never raises it.
func TestRequest_MaxAttempts(t *testing.T) {
	for most, want := range map[int]int{0: 3, 1: 1, 2: 2, 3: 3, 4: 3} {
		r := newRequest(transport.Read)
		r.MaxAttempts = most
		f := newTransport(script(busy), attempts(3)).Do(t.Context(), r)
		require.NotNil(t, f)
		require.Equal(t, want, f.Attempts, most)
	}
}
