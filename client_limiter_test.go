package appsandbooks_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Retry-After of thousands of years pauses the client for one day. After that day the
// client sends requests again.
func TestClient_limitsRetryAfterToOneDay(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"99999999999"}}, Times: 1})
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		time.Sleep(23 * time.Hour)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.True(t, appsandbooks.IsRetryable(err), "%v", err)
		require.Equal(t, 1, countPath(srv, "users"))
		time.Sleep(time.Hour)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		// ResetRequests drops a violation that the stand-in recorded: the client ignored
		// the rest of the Retry-After.
		srv.ResetRequests()
	})
}

// A Retry-After pauses all requests of the client, not only the request whose answer
// contained the Retry-After.
func TestClient_delaysAllRequestsDuringRetryAfter(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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

		// A call ends at once, with an error, when the pause is longer than WithMaxPause
		// (default 5 minutes).
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
		require.NotZero(t, isError(t, err).RetryAfter, "the error must contain RetryAfter, not only the deadline: %v", err)
	})
}

// In no second does the client send more requests than the service's
// maxRequestPerSecond.
func TestClient_respectsRequestRateOfService(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		began := time.Now()
		for range 46 {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.NoError(t, err)
		}
		// The rate is 15 requests a second, and the client sends the first 15 requests at
		// once.
		require.Equal(t, 3*time.Second, time.Since(began))
	})
}

// Clients that share a Limiter share one request rate.
func TestLimiter_keepsRateAcrossClients(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
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

// When a long pause is in progress, Limiter.Pause with a shorter time does not shorten it.
func TestLimiter_Pause_isNotShortenedByShorterPause(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		limiter := appsandbooks.NewLimiter()
		c := newClient(t, srv, appsandbooks.WithLimiter(limiter))
		defer c.Close()
		began := time.Now()
		for _, pause := range []time.Duration{time.Minute, time.Second, 0, -time.Hour} {
			limiter.Pause(pause)
		}
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

// The client respects the Retry-After of any answer, also of an answer with HTTP 200. If
// the Retry-After is an HTTP date, the client compares it with the answer's Date header,
// not with the client's own clock.
func TestClient_respectsRetryAfterOfAnyAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		number int
		header http.Header
		want   time.Duration
	}{
		"HTTP 200": {200, 9646, http.Header{"Retry-After": {"60"}}, time.Minute},
		"server clock is behind": {503, 9729, http.Header{
			"Date": {"Fri, 31 Dec 1999 22:00:00 GMT"}, "Retry-After": {"Fri, 31 Dec 1999 22:01:30 GMT"},
		}, 90 * time.Second},
		"server clock is ahead": {503, 9729, http.Header{
			"Date": {"Sat, 01 Jan 2000 02:00:00 GMT"}, "Retry-After": {"Sat, 01 Jan 2000 02:01:30 GMT"},
		}, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c := clientWithTransport(t, func(*http.Request) (*http.Response, error) {
					if requests++; requests == 1 {
						body := readCloser(fmt.Sprintf(`{"errorNumber":%d}`, test.number))
						return &http.Response{StatusCode: test.status, Header: test.header, Body: body}, nil
					}
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(`{"users":[]}`)}, nil
				})
				began := time.Now()
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				require.NoError(t, err)
				require.Equal(t, test.want, time.Since(began))
			})
		})
	}
}

// A call whose deadline is before the end of a pause fails at once, also when other calls
// wait for the end of the pause.
func TestClient_failsAtOnceWhenPauseOutlastsDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		path   string
		places int // the number of calls that use up the page reads or the request rate
		call   func(context.Context, *appsandbooks.Client) error
	}{
		"page reads": {"users", 5, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOf(c.Users.List(ctx, appsandbooks.UserFilter{}))
		}},
		"request rate": {"client/config", 15, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOf(c.Config.ClientConfig(ctx))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: test.path, Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
				var waiting sync.WaitGroup
				for range test.places + 2 {
					waiting.Go(func() { assert.NoError(t, test.call(t.Context(), c)) })
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				began := time.Now()
				require.Equal(t, 200*time.Second, isError(t, test.call(ctx, c)).RetryAfter)
				require.Zero(t, time.Since(began))
				waiting.Wait()
			})
		})
	}
}

// A call that waits for the request rate fails as soon as a pause begins that ends after
// the call's deadline.
func TestClient_leavesQueueWhenPauseOutlastsDeadline(t *testing.T) {
	inVirtualTime(t, []appsandbookstest.Option{appsandbookstest.WithLatency(100 * time.Millisecond)}, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "client/config", Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
		var waiting sync.WaitGroup
		// 15 calls use up the request rate, and one more call waits at the head of the
		// queue.
		for range 15 + 1 {
			waiting.Go(func() { assert.NoError(t, errorOf(c.Config.ClientConfig(t.Context()))) })
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		began := time.Now()
		_, err := c.Config.ClientConfig(ctx)
		require.Equal(t, 200*time.Second, isError(t, err).RetryAfter)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		waiting.Wait()
	})
}
