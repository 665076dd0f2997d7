package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"log"
	"log/slog"
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

// collectAttempts runs f in virtual time with a client that has a trace hook, and returns
// the attempts that the trace hook received.
func collectAttempts(t *testing.T, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client), opts ...appsandbooks.Option) (all []appsandbooks.Attempt) {
	t.Helper()
	var mu sync.Mutex
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithLatency(200 * time.Millisecond))
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv, append(opts, appsandbooks.WithTrace(func(_ context.Context, a appsandbooks.Attempt) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		}))...)
		defer c.Close()
		f(t, srv, c)
	})
	return all
}

// The trace hook receives every attempt of a call, with the attempt's result and waiting
// time.
func TestWithTrace_reportsEachAttempt(t *testing.T) {
	all := collectAttempts(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9729, Header: http.Header{"Retry-After": {"7"}}, Times: 1})
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "person"})
		require.NoError(t, err)
	})
	require.Len(t, all, 3)
	for i, a := range all {
		assert.Equal(t, http.MethodGet, a.Method)
		assert.Equal(t, "users", a.Path, "the path without the base URL, the query and ids")
		assert.Equal(t, i+1, a.Count)
		assert.Equal(t, i < 2, a.Again)
	}
	failed, refused, good := all[0], all[1], all[2]
	assert.Zero(t, failed.StatusCode)
	require.Error(t, failed.Err)
	assert.Zero(t, failed.Waited)

	assert.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	assert.Equal(t, appsandbooks.ErrServiceUnavailable, refused.ErrorNumber)
	require.ErrorIs(t, refused.Err, appsandbooks.ErrServiceUnavailable)
	assert.Equal(t, 7*time.Second, refused.RetryAfter)

	assert.Equal(t, http.StatusOK, good.StatusCode)
	require.NoError(t, good.Err)
	assert.Equal(t, 7*time.Second, good.Waited)
	assert.Zero(t, good.Queued)
	assert.Equal(t, 200*time.Millisecond, good.Took)
	assert.Positive(t, good.Size)
}

// Attempt.Queued is the time that a request waited for the request rate, or for the end
// of another request's Retry-After.
func TestWithTrace_reportsTimeInQueue(t *testing.T) {
	all := collectAttempts(t, func(t *testing.T, _ *appsandbookstest.Server, c *appsandbooks.Client) {
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				_, err := c.Status.Get(t.Context(), "unknown")
				assert.ErrorIs(t, err, appsandbooks.ErrEventNotFound)
			})
		}
		group.Wait()
	})
	require.Len(t, all, 16)
	var queued []time.Duration
	for _, a := range all {
		require.Equal(t, appsandbooks.ErrEventNotFound, a.ErrorNumber)
		if a.Queued > 0 {
			queued = append(queued, a.Queued)
		}
	}
	require.Equal(t, []time.Duration{1200 * time.Millisecond}, queued, "the 16th request is sent a second after the first answer")

	all = collectAttempts(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "client/config", Number: 9729, Header: http.Header{"Retry-After": {"7"}}, Times: 1})
		var group sync.WaitGroup
		group.Go(func() { _, _ = c.Config.ClientConfig(t.Context()) })
		time.Sleep(time.Second)
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		group.Wait()
	})
	for _, a := range all {
		if a.Path == "users" {
			require.Equal(t, 6200*time.Millisecond, a.Queued, "the rest of the pause")
		}
	}
}

// A call that sends no request reports no attempt to the trace hook. WithTrace refuses a
// nil hook.
func TestWithTrace_reportsNothingWithoutAttempt(t *testing.T) {
	all := collectAttempts(t, func(t *testing.T, _ *appsandbookstest.Server, c *appsandbooks.Client) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("the caller has stopped"))
		_, err := c.Config.ClientConfig(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
	require.Empty(t, all)
	_, err := appsandbooks.NewClient("token", appsandbooks.WithTrace(nil))
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
}

// The log lines that the client writes for attempts have the form that docs/operations.md
// documents.
func TestWithLogger_writesDocumentedLines(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithLatency(200 * time.Millisecond))
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv, appsandbooks.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		defer c.Close()
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9729, Header: http.Header{"Retry-After": {"7"}}, Times: 1})
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "person"})
		require.NoError(t, err)
	})
	require.Regexp(t, `^time=\S+ level=WARN msg="appsandbooks: request" method=GET path=users attempt=1 status=503 took=200ms error="[^"]+" again=true wait=7s
time=\S+ level=DEBUG msg="appsandbooks: request" method=GET path=users attempt=2 status=200 took=200ms
$`, out.String())
}

// Neither the client nor net/http writes to the standard logger when requests fail.
func TestClient_writesNothingToStandardLogger(t *testing.T) {
	var text bytes.Buffer
	before := log.Writer()
	log.SetOutput(&text)
	defer log.SetOutput(before)
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		for _, kind := range []appsandbookstest.FaultKind{
			appsandbookstest.FaultDial, appsandbookstest.FaultResetAfter, appsandbookstest.FaultCutBody, appsandbookstest.FaultRespond,
		} {
			srv.AddFault(appsandbookstest.Fault{Kind: kind, Times: 1})
		}
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
	})
	require.Empty(t, text.String())
}

// The client logs an answer that it cannot read as a warning, also when the HTTP status is
// 200.
func TestWithLogger_warnsOfUnreadableAnswer(t *testing.T) {
	var text bytes.Buffer
	c, _ := sameAnswerClient(t, 200, []byte("<html>Sign in to this network"), appsandbooks.WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
	defer c.Close()
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.Contains(t, text.String(), "level=WARN")
}
