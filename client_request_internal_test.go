package appsandbooks

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// inBubble runs f in virtual time with a stand-in and a client of its default unit.
func inBubble(t *testing.T, f func(t *testing.T, srv *appsandbookstest.Server, c *Client), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(45 * time.Second))
		require.NoError(t, err)
		defer srv.Close()
		c, err := NewClient(srv.Unit().Token(), append([]Option{WithHTTPClient(srv.Client())}, opts...)...)
		require.NoError(t, err)
		defer c.Close()
		f(t, srv, c)
		require.Empty(t, srv.Violations())
	})
}

// pauseOf returns a fault that asks for a pause.
func pauseOf(path, seconds string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Path: path, Number: 9729, Header: http.Header{"Retry-After": {seconds}}, Times: 1}
}

// requirePaused fails the test unless err is an [*Error] with that RetryAfter, and no time has
// passed since began.
func requirePaused(t *testing.T, err error, retryAfter time.Duration, began time.Time) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, retryAfter, e.RetryAfter)
	require.True(t, IsRetryable(err))
	require.Zero(t, time.Since(began))
}

// A call with a context of withOneAttempt makes one attempt, and does not wait for a pause. Its
// error has the RetryAfter.
func TestClient_withoutWaiting(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, c *Client) error{
		"a call": func(ctx context.Context, c *Client) error {
			_, err := c.Config.ClientConfig(ctx)
			return err
		},
		"a page": func(ctx context.Context, c *Client) error {
			_, err := Collect(c.Users.All(ctx, UserFilter{}))
			return err
		},
		"the configuration": func(ctx context.Context, c *Client) error {
			_, err := c.Config.refresh(ctx)
			return err
		},
		"a poll": func(ctx context.Context, c *Client) error {
			_, err := c.Status.Get(ctx, "unknown")
			if hasError(err, 0, ErrEventNotFound) {
				return nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
				ctx := withOneAttempt(t.Context())
				began := time.Now()
				srv.AddFault(pauseOf("", "240"))
				requirePaused(t, call(ctx, c), 4*time.Minute, began)
				requirePaused(t, call(ctx, c), 4*time.Minute, began)
				require.Len(t, srv.Requests(), 1)

				// A call that may wait waits for the pause.
				require.NoError(t, call(t.Context(), c))
				require.Equal(t, 4*time.Minute, time.Since(began))

				srv.ResetRequests()
				srv.AddFault(appsandbookstest.Fault{Number: 9603, Times: 1})
				began = time.Now()
				requirePaused(t, call(ctx, c), 0, began) // without a wait before another attempt
				require.Len(t, srv.Requests(), 1)
			})
		})
	}
}
