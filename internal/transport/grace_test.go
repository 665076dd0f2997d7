package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// graced returns a write request that can wait for its answer until five seconds after
// its context has ended.
func graced() *transport.Request {
	r := newRequest(transport.Write)
	r.Grace = 5 * time.Second
	return r
}

// endings are two ways to end a context after one second: a deadline, and a call of cancel.
var endings = []func(context.Context) (context.Context, context.CancelFunc){
	func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Second)
	},
	func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		return ctx, cancel
	},
}

// An answer that arrives after the context has ended, but within Request.Grace, is a success.
func TestRequest_Grace_answerInTime(t *testing.T) {
	for _, end := range endings {
		virtual(t, func(t *testing.T) {
			ctx, cancel := end(t.Context())
			defer cancel()
			r := graced()
			var got string
			r.Decode = decodeInto(&got)
			require.Equal(t, 3*time.Second, elapsed(func() {
				require.Nil(t, newTransport(script(after(3*time.Second, success))).Do(ctx, r))
			}))
			require.Equal(t, "ok", got)
		})
	}
}

// An attempt ends when its grace ends. The result of a write is ambiguous then.
func TestRequest_Grace_answerTooLate(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, 6*time.Second, elapsed(func() {
			f := newTransport(script(after(time.Hour, success))).Do(ctx, graced())
			requireFailure(t, f, context.DeadlineExceeded)
			require.True(t, f.Ambiguous)
			require.True(t, f.Ended)
			require.Equal(t, 1, f.Attempts)
		}))
	})
}

// Request.Grace does not limit an attempt while the context has not ended.
func TestRequest_Grace_contextHasNotEnded(t *testing.T) {
	virtual(t, func(t *testing.T) {
		require.Equal(t, time.Hour, elapsed(func() {
			require.Nil(t, newTransport(script(after(time.Hour, success))).Do(t.Context(), graced()))
		}))
	})
}

// After the context has ended, no attempt starts during the grace, and the request does not wait
// for another attempt: an answer that permits a retry ends the request.
func TestRequest_Grace_noRetry(t *testing.T) {
	for _, end := range endings {
		virtual(t, func(t *testing.T) {
			ctx, cancel := end(t.Context())
			defer cancel()
			n := script(after(2*time.Second, answer(503, "busy", "Retry-After", "1")), success)
			var all []transport.Attempt
			tr := newTransport(n, limitedBy(&recordingLimiter{}), traced(&all))
			require.Equal(t, 2*time.Second, elapsed(func() {
				f := tr.Do(ctx, graced())
				requireFailure(t, f, ctx.Err())
				var last *answerError
				require.ErrorAs(t, f.Err, &last)
				require.Equal(t, http.StatusServiceUnavailable, last.status)
				require.False(t, f.Ambiguous)
			}))
			require.Len(t, n.requests(), 1)
			require.False(t, all[0].Again)
		})
	}
}

// When the context ends during the wait between two attempts, the wait ends at once, without
// grace.
func TestRequest_Grace_notBetweenAttempts(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		n := script(answer(503, "busy", "Retry-After", "60"))
		require.Equal(t, time.Second, elapsed(func() {
			requireFailure(t, newTransport(n).Do(ctx, graced()), context.Canceled)
		}))
		require.Len(t, n.requests(), 1)
	})
}

// When the context ends during the wait for a slot, the wait ends at once, without grace.
func TestRequest_Grace_notForSlot(t *testing.T) {
	virtual(t, func(t *testing.T) {
		pace := transport.NewPace(1)
		acquire(t, pace)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := script(success)
		require.Equal(t, time.Second, elapsed(func() {
			f := newTransport(n, limitedBy(pace)).Do(ctx, graced())
			requireFailure(t, f, context.DeadlineExceeded)
			require.False(t, f.Ambiguous)
			require.Zero(t, f.Attempts)
		}))
		require.Empty(t, n.requests())
	})
}

// lasting returns a function that sets Config.Lifetime to a context that ends with errClosed after d.
func lasting(t *testing.T, d time.Duration) func(*transport.Config) {
	t.Helper()
	ctx, end := context.WithCancelCause(t.Context())
	time.AfterFunc(d, func() { end(errClosed) })
	return func(cfg *transport.Config) { cfg.Lifetime = ctx }
}

var errClosed = errors.New("closed")

// The end of Config.Lifetime ends all waiting at once: for the turn, for a page slot, for the
// limiter, and between two attempts. Its cause is the error of the call.
func TestConfig_Lifetime_endsWaiting(t *testing.T) {
	full := func(t *testing.T) *transport.Pace {
		t.Helper()
		pace := transport.NewPace(1)
		acquire(t, pace)
		return pace
	}
	for name, test := range map[string]struct {
		reply    reply
		change   func(t *testing.T, r *transport.Request) transport.Limiter // returns the limiter
		attempts int
	}{
		"turn": {success, func(_ *testing.T, r *transport.Request) transport.Limiter {
			r.Turn.After = make(chan struct{})
			return transport.NewPace(1000)
		}, 0},
		"page slot": {success, func(t *testing.T, r *transport.Request) transport.Limiter {
			r.Page = true
			pace := transport.NewPace(1000)
			holder := newTransport(script(after(time.Hour, success)), limitedBy(pace))
			for range transport.PageReads {
				page := newRequest(transport.Read)
				page.Page = true
				go holder.Do(t.Context(), page)
			}
			synctest.Wait()
			return pace
		}, 0},
		"pace": {success, func(t *testing.T, _ *transport.Request) transport.Limiter { return full(t) }, 0},
		"pause": {success, func(*testing.T, *transport.Request) transport.Limiter {
			pace := transport.NewPace(1000)
			pace.Pause(time.Minute)
			return pace
		}, 0},
		"Retry-After": {answer(503, "busy", "Retry-After", "60"), func(*testing.T, *transport.Request) transport.Limiter {
			return &recordingLimiter{}
		}, 1},
	} {
		for _, grace := range []time.Duration{0, 5 * time.Second} {
			t.Run(fmt.Sprint(name, grace), func(t *testing.T) {
				virtual(t, func(t *testing.T) {
					r := newRequest(transport.Write)
					r.Grace = grace
					limiter := test.change(t, r)
					tr := newTransport(script(test.reply), limitedBy(limiter), lasting(t, time.Second/2))
					require.Equal(t, time.Second/2, elapsed(func() {
						f := tr.Do(t.Context(), r)
						requireFailure(t, f, errClosed)
						require.NotErrorIs(t, f.Err, context.Canceled)
						require.True(t, f.Ended)
						require.False(t, f.Ambiguous)
						require.Equal(t, test.attempts, f.Attempts)
					}))
				})
			})
		}
	}
}

// An attempt in progress continues after the end of Config.Lifetime. Its answer counts, and no
// attempt follows it. The end of the caller's context still ends it.
func TestConfig_Lifetime_attemptInProgress(t *testing.T) {
	for _, grace := range []time.Duration{0, 5 * time.Second} {
		virtual(t, func(t *testing.T) {
			r := newRequest(transport.Write)
			r.Grace = grace
			require.Equal(t, time.Hour, elapsed(func() {
				require.Nil(t, newTransport(script(after(time.Hour, success)), lasting(t, time.Second)).Do(t.Context(), r))
			}))

			n := script(after(time.Minute, answer(503, "busy", "Retry-After", "60")), success)
			require.Equal(t, time.Minute, elapsed(func() {
				f := newTransport(n, lasting(t, time.Second), limitedBy(&recordingLimiter{})).Do(t.Context(), r)
				requireFailure(t, f, errClosed)
				var last *answerError
				require.ErrorAs(t, f.Err, &last)
			}))
			require.Len(t, n.requests(), 1)

			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			require.Equal(t, 3*time.Second+grace, elapsed(func() {
				f := newTransport(script(after(time.Hour, success)), lasting(t, time.Second)).Do(ctx, r)
				requireFailure(t, f, context.DeadlineExceeded)
				require.True(t, f.Ambiguous)
			}))
		})
	}
}
