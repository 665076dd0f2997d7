package transport_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// Config.Trace gets one Attempt for each attempt, with the result and the times of the attempt.
func TestConfig_Trace(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var all []transport.Attempt
		pace := transport.NewPace(1)
		n := script(
			after(200*time.Millisecond, answer(503, "busy", "Retry-After", "7")),
			after(300*time.Millisecond, lost),
			after(400*time.Millisecond, answer(200, "a page")),
		)
		release := acquire(t, pace)
		time.AfterFunc(2*time.Second, release)
		tr := newTransport(n, limitedBy(pace), traced(&all))
		require.Nil(t, tr.Do(t.Context(), newRequest(transport.Read)))
		require.Len(t, all, 3)
		require.EqualError(t, all[0].Err, "status 503: busy")
		require.Equal(t, transport.Attempt{
			Count: 1, Status: 503, Err: all[0].Err, Size: 4, Queued: 3 * time.Second,
			Took: 200 * time.Millisecond, RetryAfter: 7 * time.Second, Again: true,
		}, all[0])
		require.Equal(t, transport.Attempt{
			Count: 2, Err: errLost, Waited: 7 * time.Second, Took: 300 * time.Millisecond, Again: true,
		}, all[1])
		require.Equal(t, transport.Attempt{
			Count: 3, Status: 200, Size: 6, Queued: time.Second, Took: 400 * time.Millisecond,
		}, all[2])
	})
}

// Config.Trace gets the caller's context and the request. A request that was never sent is not
// traced.
func TestConfig_Trace_contextAndRequest(t *testing.T) {
	type key struct{}
	calls := 0
	r := newRequest(transport.Read)
	tr := newTransport(script(success), func(cfg *transport.Config) {
		cfg.Trace = func(ctx context.Context, got *transport.Request, _ transport.Attempt) {
			calls++
			require.Equal(t, "value", ctx.Value(key{}))
			require.Same(t, r, got)
		}
	})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	require.Nil(t, tr.Do(ctx, r))
	cancel()
	require.NotNil(t, tr.Do(ctx, r))
	require.Equal(t, 1, calls)
}

// Config.Trace runs after the slots of the attempt are free, so a slow hook does not delay other
// requests.
func TestConfig_Trace_afterRelease(t *testing.T) {
	for name, reply := range map[string]reply{"success": success, "error": refused, "no answer": lost} {
		limiter := &recordingLimiter{}
		tr := newTransport(script(reply), attempts(1), limitedBy(limiter), func(cfg *transport.Config) {
			cfg.Trace = func(context.Context, *transport.Request, transport.Attempt) { limiter.record("trace") }
		})
		_ = tr.Do(t.Context(), newRequest(transport.Read))
		require.Equal(t, []string{"acquire", "release", "trace"}, limiter.recorded(), name)
	}
}
