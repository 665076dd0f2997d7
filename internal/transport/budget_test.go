package transport_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// retries sends a read that always fails, again and again until the retry budget is empty. It
// returns the number of retries.
func retries(t *testing.T, tr *transport.Transport) int {
	t.Helper()
	f := tr.Do(t.Context(), newRequest(transport.Read))
	requireFailure(t, f, errLost)
	return f.Attempts - 1
}

// newBudgetedTransport returns a Transport whose requests fail while *down is true. Only the
// retry budget limits their retries.
func newBudgetedTransport(down *bool) *transport.Transport {
	return newTransport(script(func(r *http.Request) (*http.Response, error) {
		if *down {
			return lost(r)
		}
		return success(r)
	}), attempts(1000), limitedBy(&recordingLimiter{}))
}

// A full retry budget allows 100 retries. All requests of the Transport share the budget.
func TestTransport_Do_retryBudget(t *testing.T) {
	virtual(t, func(t *testing.T) {
		down := true
		tr := newBudgetedTransport(&down)
		require.Equal(t, 100, retries(t, tr))
		require.Zero(t, retries(t, tr))
	})
}

// The retry budget gains one retry every ten seconds, until it is full.
func TestTransport_Do_retryBudgetGrowsWithTime(t *testing.T) {
	virtual(t, func(t *testing.T) {
		down := true
		tr := newBudgetedTransport(&down)
		retries(t, tr)
		for _, test := range []struct {
			pause time.Duration
			want  int
		}{
			{10*time.Second - 1, 0},
			{1, 1},
			{39 * time.Second, 3},
			{time.Second, 1},
			{24 * time.Hour, 100},
			{0, 0},
		} {
			time.Sleep(test.pause)
			require.Equal(t, test.want, retries(t, tr), "after %s", test.pause)
		}
	})
}

// The retry budget gains one retry for five successes, until it is full.
func TestTransport_Do_retryBudgetGrowsWithSuccess(t *testing.T) {
	virtual(t, func(t *testing.T) {
		down := true
		tr := newBudgetedTransport(&down)
		succeed := func(n int) {
			down = false
			for range n {
				require.Nil(t, tr.Do(t.Context(), newRequest(transport.Read)))
			}
			down = true
		}
		succeed(1000)
		require.Equal(t, 100, retries(t, tr), "a full budget does not grow")
		succeed(4)
		require.Zero(t, retries(t, tr))
		succeed(1)
		require.Equal(t, 1, retries(t, tr))
		succeed(1000)
		require.Equal(t, 100, retries(t, tr))
	})
}

// A request that is not repeated takes nothing from the retry budget.
func TestTransport_Do_retryBudgetOfFirstAttempts(t *testing.T) {
	virtual(t, func(t *testing.T) {
		down := true
		tr := newBudgetedTransport(&down)
		for range 300 {
			f := tr.Do(t.Context(), newRequest(transport.Write))
			requireFailure(t, f, errLost)
			require.Equal(t, 1, f.Attempts)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 300 {
			requireFailure(t, tr.Do(ctx, newRequest(transport.Read)), context.Canceled)
		}
		require.Equal(t, 100, retries(t, tr))
	})
}
