package appsandbooks_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// WithTimeout limits each attempt, not the whole call. With a timeout of 10 s the client
// gives up a slow attempt after 10 s and retries.
func TestWithTimeout_appliesToEachAttempt(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
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

// A client sends many requests over one TCP connection, also when half of the requests
// fail. The client does not change the caller's http.Client.
func TestWithHTTPClient_reusesConnectionsAndStaysUnchanged(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
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
	require.Nil(t, hc.CheckRedirect, "the caller's http.Client must not change")
	require.Same(t, tr, hc.Transport)
}

// When clients share an http.Client, each client sends its own content token, and no client
// changes the http.Client.
func TestWithHTTPClient_keepsTokensApartWhenShared(t *testing.T) {
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		uid := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer secret-of-")
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(fmt.Sprintf(`{"uId":%q}`, uid))}, nil
	})
	shared := &http.Client{Transport: rt}
	var wg sync.WaitGroup
	for i := range 8 {
		c, err := appsandbooks.NewClient(fmt.Sprintf("secret-of-%d", i), appsandbooks.WithHTTPClient(shared))
		require.NoError(t, err)
		defer c.Close()
		for range 4 {
			wg.Go(func() {
				config, err := c.Config.ClientConfig(t.Context())
				if assert.NoError(t, err) {
					assert.Equal(t, fmt.Sprint(i), config.UID)
				}
			})
		}
	}
	wg.Wait()
	require.Zero(t, shared.Timeout)
	require.Nil(t, shared.CheckRedirect)
}

// A base URL may have a port, an IPv6 host, slashes at its end and escaped characters.
func TestWithBaseURL_acceptsPortsIPv6AndEscapes(t *testing.T) {
	for base, want := range map[string]string{
		"https://[2001:db8::1]:8443":           "https://[2001:db8::1]:8443/users",
		"https://mdm.example.com/":             "https://mdm.example.com/users",
		"https://mdm.example.com/mdm/v2":       "https://mdm.example.com/mdm/v2/users",
		"https://mdm.example.com/mdm/v2//":     "https://mdm.example.com/mdm/v2/users",
		"https://mdm.example.com/a%20b/":       "https://mdm.example.com/a%20b/users",
		"https://mdm.example.com/t%2F1/mdm/v2": "https://mdm.example.com/t%2F1/mdm/v2/users",
	} {
		var requested string
		c := clientWithTransport(t, func(r *http.Request) (*http.Response, error) {
			requested = r.URL.String()
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(`{"users":[]}`)}, nil
		}, appsandbooks.WithBaseURL(base))
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		require.Equal(t, want, requested)
	}
}

// A transport that breaks the contract of http.RoundTripper causes an error, not a
// panic.
func TestWithHTTPClient_faultyTransportCausesErrorNotPanic(t *testing.T) {
	for name, rt := range map[string]roundTripper{
		"no body": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}}, nil
		},
		"status 0": func(*http.Request) (*http.Response, error) {
			return &http.Response{Header: http.Header{}, Body: readCloser("{}")}, nil
		},
		"no header": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Body: readCloser("x")}, nil
		},
	} {
		c := clientWithTransport(t, rt, appsandbooks.WithRetry(2, 0, 0))
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NotEmpty(t, isError(t, err).Error(), name)
	}
}

// The options accept the longest time.Duration: the client's sums and doublings of
// durations do not overflow.
func TestWithRetry_acceptsLongestDurations(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, test := range []struct {
		attempts         int
		minWait, maxWait time.Duration
	}{
		{31, 30 * time.Second, time.Minute},
		{25, time.Hour, time.Hour},
		{3, longest, longest},
	} {
		t.Run(fmt.Sprint("retry ", test), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
				c := newClient(t, srv, appsandbooks.WithRetry(test.attempts, test.minWait, test.maxWait))
				defer c.Close()
				srv.AddFault(appsandbookstest.Fault{Number: 9603})
				ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
				defer cancel()
				began := time.Now()
				_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
				require.ErrorIs(t, err, appsandbooks.ErrInternal)
				if test.maxWait < longest {
					require.Equal(t, test.attempts, isError(t, err).Attempts)
					require.LessOrEqual(t, time.Since(began), time.Duration(test.attempts)*test.maxWait)
				}
			})
		})
	}
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		time.Sleep(6 * time.Second) // virtual
		require.NoError(t, op.Step(t.Context()))
		saved, err := op.Save()
		require.NoError(t, err)
		other := newClient(t, srv, appsandbooks.WithMaxPause(longest), appsandbooks.WithStallTime(longest), appsandbooks.WithTimeout(longest))
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		require.NoError(t, op.Step(t.Context()))
		next, more := op.Next()
		require.True(t, more)
		require.GreaterOrEqual(t, time.Until(next), 29*time.Second)
		require.Equal(t, 1, countPath(srv, "status"), "the client keeps the interval between two polls")
	})
}

// WithTimeout limits an attempt also when the Timeout of the caller's http.Client is
// longer.
func TestWithTimeout_limitsHTTPClientWithLongerTimeout(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour})
		hc := *srv.Client()
		hc.Timeout = 5 * time.Minute
		c := newClient(t, srv, appsandbooks.WithHTTPClient(&hc), appsandbooks.WithTimeout(10*time.Second), appsandbooks.WithRetry(1, 0, 0))
		defer c.Close()
		began := time.Now()
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		_ = isError(t, err)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// NewClient returns ErrInvalid for each invalid option or token.
func TestNewClient_refusesBadOptions(t *testing.T) {
	for name, opts := range map[string][]appsandbooks.Option{
		"http to a public host":           {appsandbooks.WithBaseURL("http://vpp.itunes.apple.com/mdm/v2")},
		"URL with user":                   {appsandbooks.WithBaseURL("https://a:b@vpp.itunes.apple.com/mdm/v2")},
		"URL with query":                  {appsandbooks.WithBaseURL("https://vpp.itunes.apple.com/mdm/v2?x=y")},
		"URL without host":                {appsandbooks.WithBaseURL("mdm/v2")},
		"ftp":                             {appsandbooks.WithBaseURL("ftp://localhost/")},
		"nil client":                      {appsandbooks.WithHTTPClient(nil)},
		"nil limiter":                     {appsandbooks.WithLimiter(nil)},
		"nil source":                      {appsandbooks.WithTokenSource(nil)},
		"no attempts":                     {appsandbooks.WithRetry(0, 0, 0)},
		"longest wait below shortest":     {appsandbooks.WithRetry(3, time.Second, 0)},
		"negative pause":                  {appsandbooks.WithMaxPause(-1)},
		"zero timeout":                    {appsandbooks.WithTimeout(0)},
		"zero interval":                   {appsandbooks.WithPolling(0, 0)},
		"zero stall time":                 {appsandbooks.WithStallTime(0)},
		"line break in user agent":        {appsandbooks.WithUserAgent("a\r\nb")},
		"empty user agent":                {appsandbooks.WithUserAgent("")},
		"valid option and invalid option": {appsandbooks.WithBaseURL("http://127.0.0.1:1"), appsandbooks.WithRetry(0, 0, 0)},
	} {
		_, err := appsandbooks.NewClient(stoken, opts...)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, name)
	}
	for _, bad := range []string{"", " ", "a\x00b", "ä", strings.Repeat("a", 10_000)} {
		_, err := appsandbooks.NewClient(bad)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	}
	for _, good := range []string{"http://localhost:8080/mdm/v2/", "http://[::1]:8080", "https://example.com"} {
		_, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(good))
		require.NoError(t, err)
	}
}

// A client without a content token can read the service configuration. Every other call
// fails with ErrNoToken, and the client does not send its request.
func TestWithoutToken_allowsOnlyServiceConfig(t *testing.T) {
	r := &recordedAnswers{t: t, answers: []string{"walkthrough/01-service-config.response.json"}}
	c, err := appsandbooks.NewClient("", appsandbooks.WithoutToken(), appsandbooks.WithHTTPClient(&http.Client{Transport: r}))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.requests[0].Header["Authorization"])
	_, err = c.Config.ClientConfig(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrNoToken)
	require.Len(t, r.requests, 1)
}

// The client calls the token source before each attempt, so that a renewed token is used at
// once.
func TestWithTokenSource_isCalledBeforeEachAttempt(t *testing.T) {
	r := &recordedAnswers{t: t, answers: []string{`{}`, `{}`}}
	n := 0
	c, err := appsandbooks.NewClient("", appsandbooks.WithHTTPClient(&http.Client{Transport: r}),
		appsandbooks.WithTokenSource(func(context.Context) (string, error) { n++; return fmt.Sprintf("token%d\n", n), nil }))
	require.NoError(t, err)
	defer c.Close()
	for range 2 {
		_, err = c.Config.ClientConfig(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, "Bearer token1", r.requests[0].Header.Get("Authorization"))
	require.Equal(t, "Bearer token2", r.requests[1].Header.Get("Authorization"))
}

// The time limit of an attempt does not look like the deadline of the caller's context.
func TestWithTimeout_isNotTheDeadlineOfTheCaller(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		var attempt error
		c := newClient(t, srv, appsandbooks.WithTimeout(time.Second), appsandbooks.WithRetry(1, 0, 0),
			appsandbooks.WithTrace(func(_ context.Context, a appsandbooks.Attempt) { attempt = a.Err }))
		defer c.Close()
		srv.AddFault(appsandbookstest.Fault{Path: "users", Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour})
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.True(t, appsandbooks.IsRetryable(err))
		for _, err := range []error{err, attempt} {
			require.Error(t, err)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, context.Canceled)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err = c.Users.List(ctx, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, appsandbooks.IsRetryable(err))
	})
}
