package appsandbookstest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A request in memory ends when its context ends or the server is closed,
// before, during and after its processing.
func TestServer_Transport_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, u, c := newServer(t, fake.WithLatency(time.Second))
		send := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			resp, err := c.client.Do(c.request(http.MethodPost, "users/create", usersBody(fmt.Sprint(timeout))).WithContext(ctx))
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
		start := time.Now()
		require.ErrorIs(t, send(499*time.Millisecond), context.DeadlineExceeded)
		require.Empty(t, u.Events(), "the request was not processed")
		require.Equal(t, 499*time.Millisecond, time.Since(start))
		require.ErrorIs(t, send(999*time.Millisecond), context.DeadlineExceeded)
		require.Len(t, u.Events(), 1, "the request was processed")
		start = time.Now()
		require.NoError(t, send(1001*time.Millisecond))
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, send(0), context.DeadlineExceeded)
		require.Len(t, srv.Requests(), 3, "a context that has ended sends no request")

		// Reading the body of an answer also ends when the context ends.
		srv.AddFault(fake.Fault{Kind: fake.FaultSlowBody, Delay: time.Minute})
		ctx, cancel := context.WithCancelCause(t.Context())
		resp, err := c.client.Do(c.request(http.MethodGet, "users", nil).WithContext(ctx))
		require.NoError(t, err)
		reason := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(reason) })
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, reason)
		_, err = resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, reason)
		require.NoError(t, resp.Body.Close())
		_, err = resp.Body.Read(make([]byte, 1))
		require.Error(t, err)

		start = time.Now()
		srv.ClearFaults()
		srv.AddFault(fake.Fault{Kind: fake.FaultSlowBody, Delay: time.Minute})
		c.get("users")
		require.Equal(t, time.Minute+time.Second, time.Since(start))

		// Server.Close ends the requests that are waiting for an answer.
		time.AfterFunc(100*time.Millisecond, srv.Close)
		_, err = c.client.Do(c.request(http.MethodGet, "users", nil))
		require.ErrorIs(t, err, http.ErrServerClosed)
		_, err = c.client.Do(c.request(http.MethodGet, "users", nil))
		require.ErrorIs(t, err, http.ErrServerClosed)
	})
}

// A closeRecorder is a request body that records whether it was closed.
type closeRecorder struct {
	io.Reader
	closed bool
}

func (b *closeRecorder) Close() error {
	b.closed = true
	return nil
}

// The transport closes the body of every request, and returns the errors of
// reading the body.
func TestServer_Transport_closesRequestBody(t *testing.T) {
	srv, _, c := newServer(t)
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		kind fake.FaultKind
		read bool
	}{
		{"success", t.Context(), "", true},
		{"dial", t.Context(), fake.FaultDial, false},
		{"reset", t.Context(), fake.FaultResetBefore, true},
		{"dead", dead, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv.ClearFaults()
			if tt.kind != "" {
				srv.AddFault(fake.Fault{Kind: tt.kind})
			}
			content := strings.NewReader(`{"users":[{"clientUserId":"a"}]}`)
			b := &closeRecorder{Reader: content}
			req := c.request(http.MethodPost, "users/create", nil).WithContext(tt.ctx)
			req.Body = b
			resp, err := srv.Transport().RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			require.True(t, b.closed)
			require.Equal(t, tt.read, content.Len() == 0)
		})
	}
	srv.ClearFaults()
	b := &closeRecorder{Reader: errReader{}}
	req := c.request(http.MethodPost, "users/create", nil)
	req.Body = b
	_, err := srv.Transport().RoundTrip(req)
	require.ErrorIs(t, err, errBody)
	require.True(t, b.closed)

	req = c.request(http.MethodGet, "users", nil)
	req.Method = ""
	resp, err := srv.Transport().RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	resp.Body.Close()
	req.URL.Host = ""
	_, err = srv.Transport().RoundTrip(req)
	require.Error(t, err)
}
