package transport_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// A request whose context has ended takes no slot and sends nothing.
func TestTransport_Do_contextHasEnded(t *testing.T) {
	reason := errors.New("shutdown")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	n, limiter := script(success), &recordingLimiter{}
	f := newTransport(n, limitedBy(limiter)).Do(ctx, newRequest(transport.Write))
	requireFailure(t, f, context.Canceled)
	requireFailure(t, f, reason)
	require.True(t, f.Ended)
	require.False(t, f.Ambiguous)
	require.Empty(t, n.requests())
	require.Empty(t, limiter.recorded())
}

// A request waits until Turn.After is closed, and calls Turn.Taken before it is sent.
func TestTurn_order(t *testing.T) {
	virtual(t, func(t *testing.T) {
		previous := make(chan struct{})
		taken := 0
		n := script(busy, success)
		r := newRequest(transport.Read)
		r.Turn = transport.Turn{After: previous, Taken: func() {
			require.Len(t, n.requests(), taken, "before the attempt is sent")
			taken++
		}}
		time.AfterFunc(time.Minute, func() { close(previous) })
		require.Equal(t, time.Minute, elapsed(func() {
			require.Nil(t, newTransport(n).Do(t.Context(), r))
		}))
		require.Equal(t, 2, taken, "once for each attempt")
	})
}

// When the context ends while a request waits for its turn, the request ends.
func TestTurn_contextEnds(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := newRequest(transport.Read)
		r.Turn = transport.Turn{After: make(chan struct{}), Taken: func() { t.Error("the turn was taken") }}
		n := script(success)
		require.Equal(t, time.Second, elapsed(func() {
			requireFailure(t, newTransport(n).Do(ctx, r), context.DeadlineExceeded)
		}))
		require.Empty(t, n.requests())
	})
}

// readPages sends count requests that read a page and take a second each, alternately with each
// of the transports. It returns how many requests ran at once.
func readPages(t *testing.T, count int, transports func(n *network) []*transport.Transport) (most int) {
	t.Helper()
	var mu sync.Mutex
	running := 0
	n := script(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			running--
		}()
		return after(time.Second, success)(r)
	})
	all := transports(n)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			r := newRequest(transport.Read)
			r.Page = true
			assert.Nil(t, all[i%len(all)].Do(t.Context(), r))
		})
	}
	wg.Wait()
	return most
}

// No more than PageReads requests for pages run at once. Transports that share a Pace share the
// page slots; with another Limiter each transport has its own page slots.
func TestPageReads(t *testing.T) {
	newPace := func() transport.Limiter { return transport.NewPace(1000) }
	for name, test := range map[string]struct {
		limiters func() [2]transport.Limiter
		most     int
	}{
		"a shared Pace": {func() [2]transport.Limiter { p := newPace(); return [2]transport.Limiter{p, p} }, 5},
		"a Pace each":   {func() [2]transport.Limiter { return [2]transport.Limiter{newPace(), newPace()} }, 10},
		"another Limiter": {func() [2]transport.Limiter {
			l := &recordingLimiter{}
			return [2]transport.Limiter{l, l}
		}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				require.Equal(t, test.most, readPages(t, 40, func(n *network) (all []*transport.Transport) {
					for _, l := range test.limiters() {
						all = append(all, newTransport(n, limitedBy(l)))
					}
					return all
				}))
			})
		})
	}
}

// Requests that do not read pages are not limited by the page slots.
func TestPageReads_otherRequests(t *testing.T) {
	virtual(t, func(t *testing.T) {
		tr := newTransport(script(after(time.Second, success)))
		require.Equal(t, time.Second, elapsed(func() {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { assert.Nil(t, tr.Do(t.Context(), newRequest(transport.Read))) })
			}
			wg.Wait()
		}))
	})
}

// A request for a page that gets no slot of the limiter returns its page slot.
func TestPageReads_limiterFails(t *testing.T) {
	virtual(t, func(t *testing.T) {
		errLimiter := errors.New("the limiter is closed")
		limiter := &recordingLimiter{err: errLimiter}
		n := script(success)
		tr := newTransport(n, limitedBy(limiter))
		r := newRequest(transport.Read)
		r.Page = true
		for range 2 * transport.PageReads {
			requireFailure(t, tr.Do(t.Context(), r), errLimiter)
		}
		require.Empty(t, n.requests())
	})
}

// When the context ends while a request waits for a page slot, the request ends, with any
// Limiter.
func TestPageReads_contextEnds(t *testing.T) {
	for _, limiter := range []func() transport.Limiter{
		func() transport.Limiter { return transport.NewPace(1000) },
		func() transport.Limiter { return &recordingLimiter{} },
	} {
		virtual(t, func(t *testing.T) {
			tr := newTransport(script(after(time.Minute, success)), limitedBy(limiter()))
			page := newRequest(transport.Read)
			page.Page = true
			var wg sync.WaitGroup
			for range transport.PageReads {
				wg.Go(func() { assert.Nil(t, tr.Do(t.Context(), page)) })
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.Equal(t, time.Second, elapsed(func() {
				requireFailure(t, tr.Do(ctx, page), context.DeadlineExceeded)
			}))
			wg.Wait()
		})
	}
}

// When a pause begins that is too long for a request that waits for a page slot, this request
// fails at once, although the requests ahead of it continue.
func TestPageReads_pauseBeginsDuringWait(t *testing.T) {
	virtual(t, func(t *testing.T) {
		pace := transport.NewPace(1000)
		tr := newTransport(script(after(time.Minute, success)), limitedBy(pace))
		page := newRequest(transport.Read)
		page.Page = true
		var wg sync.WaitGroup
		for range transport.PageReads {
			wg.Go(func() { assert.Nil(t, tr.Do(t.Context(), page)) })
		}
		synctest.Wait()
		time.AfterFunc(2*time.Second, func() { pace.Pause(200 * time.Second) })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		require.Equal(t, 2*time.Second, elapsed(func() {
			f := tr.Do(ctx, page)
			require.NotNil(t, f)
			requirePaused(t, f.Err, 200*time.Second)
			require.Equal(t, 200*time.Second, f.RetryAfter)
			require.Zero(t, f.Attempts)
		}))
		wg.Wait()
	})
}

// The Retry-After of an answer pauses the limiter before the slot of the request is free, so that
// the next request in the queue waits for the end of the pause.
func TestTransport_Do_pausesBeforeRelease(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limiter := &recordingLimiter{}
		n := script(answer(http.StatusServiceUnavailable, "busy", "Retry-After", "60"), success)
		require.Nil(t, newTransport(n, limitedBy(limiter)).Do(t.Context(), newRequest(transport.Read)))
		require.Equal(t, []string{"acquire", "pause 1m0s", "release", "acquire", "release"}, limiter.recorded())
	})
}

// The slot of a successful request is free before the body of its answer is decoded.
func TestTransport_Do_releasesBeforeDecode(t *testing.T) {
	limiter := &recordingLimiter{}
	r := newRequest(transport.Read)
	r.Decode = func([]byte) error {
		limiter.record("decode")
		return nil
	}
	require.Nil(t, newTransport(script(success), limitedBy(limiter)).Do(t.Context(), r))
	require.Equal(t, []string{"acquire", "release", "decode"}, limiter.recorded())
}

// When Config.Inspect panics, the slots of the request become free.
func TestTransport_Do_panicReleases(t *testing.T) {
	limiter := &recordingLimiter{}
	tr := newTransport(script(success), limitedBy(limiter), func(cfg *transport.Config) {
		cfg.Inspect = func(int, []byte, func(string) string) transport.Verdict { panic("inspect") }
	})
	require.Panics(t, func() { _ = tr.Do(t.Context(), newRequest(transport.Read)) })
	require.Equal(t, []string{"acquire", "release"}, limiter.recorded())
}

// A request holds no slot during the wait between two attempts.
func TestTransport_Do_noSlotDuringWait(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limiter := &recordingLimiter{}
		n := script(lost, success)
		tr := newTransport(n, limitedBy(limiter), func(cfg *transport.Config) {
			cfg.MinBackoff, cfg.MaxBackoff = time.Hour, time.Hour
		})
		done := make(chan *transport.Failure)
		go func() { done <- tr.Do(t.Context(), newRequest(transport.Read)) }()
		synctest.Wait()
		require.Equal(t, []string{"acquire", "release"}, limiter.recorded())
		require.Nil(t, <-done)
		require.Equal(t, []string{"acquire", "release", "acquire", "release"}, limiter.recorded())
	})
}
