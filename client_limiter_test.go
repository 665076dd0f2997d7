package appsandbooks_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A Retry-After holds back every request of the client, not just the one that got it.
func TestClient_holdsBackAllRequestsDuringRetryAfter(t *testing.T) {
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
func TestClient_keepsToRequestRateOfService(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		began := time.Now()
		for range 46 {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.NoError(t, err)
		}
		require.Equal(t, 3*time.Second, time.Since(began)) // 15 a second, the first at once
	})
}

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
