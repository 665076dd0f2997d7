package transport_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

const noLimit = time.Duration(math.MaxInt64)

// acquire takes a slot of p. It accepts a pause of any length.
func acquire(t *testing.T, p *transport.Pace) (release func()) {
	t.Helper()
	release, err := p.Acquire(t.Context(), noLimit)
	require.NoError(t, err)
	return release
}

// requirePaused fails the test unless err is a *PausedError whose rest of the pause is rest.
func requirePaused(t *testing.T, err error, rest time.Duration) {
	t.Helper()
	var paused *transport.PausedError
	require.ErrorAs(t, err, &paused)
	require.Equal(t, rest, paused.For)
	require.Equal(t, rest, paused.RetryAfter())
}

// NewPace treats a rate below one as one, so that an invalid rate does not stop all requests.
func TestNewPace_rateBelowOne(t *testing.T) {
	for _, rate := range []int{-1, 0, 1} {
		virtual(t, func(t *testing.T) {
			p := transport.NewPace(rate)
			acquire(t, p)()
			require.Equal(t, time.Second, elapsed(func() { acquire(t, p)() }), "rate %d", rate)
		})
	}
}

// When the answers come immediately, a Pace allows its number of requests once every second.
func TestPace_Acquire_rateInEachSecond(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(3)
		began := time.Now()
		var at []time.Duration
		for range 7 {
			acquire(t, p)()
			at = append(at, time.Since(began))
		}
		require.Equal(t, []time.Duration{0, 0, 0, time.Second, time.Second, time.Second, 2 * time.Second}, at)
	})
}

// A slot of a Pace is free again one second after the answer, however long the answer took.
func TestPace_Acquire_slotIsFreeAfterAnswer(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		time.AfterFunc(5*time.Second, acquire(t, p))
		require.Equal(t, 6*time.Second, elapsed(func() { acquire(t, p) }))
	})
}

// A slot of a Pace becomes free when the oldest answer, not the newest, is one second old.
func TestPace_Acquire_oldestAnswerCounts(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(2)
		first, second := acquire(t, p), acquire(t, p)
		first()
		time.Sleep(400 * time.Millisecond)
		second()
		require.Equal(t, 600*time.Millisecond, elapsed(func() { acquire(t, p) }))
		require.Equal(t, 400*time.Millisecond, elapsed(func() { acquire(t, p) }))
	})
}

// A request can arrive at the service at any time between its slot and its answer. In no second
// do more requests arrive than the rate allows, for any delays of the network.
func TestPace_Acquire_arrivalsNeverExceedRate(t *testing.T) {
	for seed := range uint64(20) {
		virtual(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			rate := 1 + r.IntN(6)
			p := transport.NewPace(rate)
			var (
				mu       sync.Mutex
				arrivals []time.Time
				wg       sync.WaitGroup
			)
			for range 60 {
				there, back := time.Duration(r.Int64N(3e9)), time.Duration(r.Int64N(2e9))
				time.Sleep(time.Duration(r.Int64N(1e8)))
				wg.Go(func() {
					release, err := p.Acquire(t.Context(), noLimit)
					if !assert.NoError(t, err) {
						return
					}
					time.Sleep(there)
					mu.Lock()
					arrivals = append(arrivals, time.Now())
					mu.Unlock()
					time.Sleep(back)
					release()
				})
			}
			wg.Wait()
			require.Len(t, arrivals, 60)
			for i := rate; i < len(arrivals); i++ {
				require.GreaterOrEqual(t, arrivals[i].Sub(arrivals[i-rate]), time.Second, "seed %d", seed)
			}
		})
	}
}

// Requests get their slots in the order of their calls.
func TestPace_Acquire_firstComeFirstServed(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		var (
			mu     sync.Mutex
			served []int
			wg     sync.WaitGroup
		)
		for i := range 10 {
			wg.Go(func() {
				release := acquire(t, p)
				mu.Lock()
				served = append(served, i)
				mu.Unlock()
				release()
			})
			synctest.Wait()
		}
		wg.Wait()
		require.True(t, slices.IsSorted(served), "%v", served)
	})
}

// When a context ends, the wait for a slot ends at once, at the head of the queue and behind the
// head. The ended wait takes no slot.
func TestPace_Acquire_contextEnds(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		release := acquire(t, p)
		reason := errors.New("shutdown")
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error)
		for range 2 { // at the head, and behind it
			go func() {
				_, err := p.Acquire(ctx, noLimit)
				failed <- err
			}()
		}
		synctest.Wait()
		cancel(reason)
		synctest.Wait()
		require.ErrorIs(t, <-failed, context.Canceled)
		require.ErrorIs(t, <-failed, context.Canceled)
		_, err := p.Acquire(ctx, noLimit)
		require.ErrorIs(t, err, context.Canceled, "an ended context gets no slot")
		release()
		require.Equal(t, time.Second, elapsed(func() { acquire(t, p) }))
	})
}

// Acquire with a context that has ended gets no slot, also while slots are free.
func TestPace_Acquire_contextHasEnded(t *testing.T) {
	for range 50 { // repeated, because a select with two ready cases would choose one at random
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := transport.NewPace(9).Acquire(ctx, noLimit)
		require.ErrorIs(t, err, context.Canceled)
	}
}

// A second call of the function release does not free a second slot.
func TestPace_Acquire_releaseTwice(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		release := acquire(t, p)
		release()
		release()
		time.Sleep(time.Second)
		held := acquire(t, p)
		time.AfterFunc(9*time.Second, held)
		require.Equal(t, 10*time.Second, elapsed(func() { acquire(t, p) }))
	})
}

// Pace.Pause delays every request until the pause ends.
func TestPace_Pause_delaysRequests(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(10)
		p.Pause(time.Minute)
		require.Equal(t, time.Minute, elapsed(func() { acquire(t, p) }))
		require.Zero(t, elapsed(func() { acquire(t, p) }), "the pause is over")
	})
}

// A call of Pause with a shorter, zero or negative duration does not shorten the current pause.
func TestPace_Pause_neverShrinks(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(10)
		for _, d := range []time.Duration{time.Minute, time.Second, 0, -time.Hour} {
			p.Pause(d)
		}
		require.Equal(t, time.Minute, elapsed(func() { acquire(t, p) }))
	})
}

// A longer pause also delays the requests that already wait for a shorter one.
func TestPace_Pause_growsWhileWaiting(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(10)
		p.Pause(time.Minute)
		time.AfterFunc(30*time.Second, func() { p.Pause(2 * time.Minute) })
		require.Equal(t, 150*time.Second, elapsed(func() {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { acquire(t, p) })
			}
			wg.Wait()
		}))
	})
}

// A pause of more than a day counts as one day, also a pause of the longest duration.
func TestPace_Pause_atMostOneDay(t *testing.T) {
	for _, d := range []time.Duration{25 * time.Hour, noLimit} {
		virtual(t, func(t *testing.T) {
			p := transport.NewPace(1)
			p.Pause(d)
			require.Equal(t, 24*time.Hour, elapsed(func() { acquire(t, p) }))
		})
	}
}

// Acquire fails at once when the pause is longer than maxPause. The error has the rest of the
// pause.
func TestPace_Acquire_pauseLongerThanMaxPause(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		p.Pause(time.Minute)
		time.Sleep(10 * time.Second)
		require.Zero(t, elapsed(func() {
			_, err := p.Acquire(t.Context(), 50*time.Second-1)
			requirePaused(t, err, 50*time.Second)
		}))
		require.Equal(t, 50*time.Second, elapsed(func() {
			_, err := p.Acquire(t.Context(), 50*time.Second)
			require.NoError(t, err, "a pause of exactly maxPause is waited for")
		}))
	})
}

// Acquire fails at once when the pause ends after the caller's deadline, because the wait could
// not succeed.
func TestPace_Acquire_pauseBeyondDeadline(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		p.Pause(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		require.Zero(t, elapsed(func() {
			_, err := p.Acquire(ctx, noLimit)
			requirePaused(t, err, time.Minute)
		}))
		late, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		_, err := p.Acquire(late, noLimit)
		require.NoError(t, err)
	})
}

// When a pause begins while requests wait, the requests whose caller does not accept the pause
// fail at once, also behind requests that wait for its end.
func TestPace_Acquire_pauseBeginsDuringWait(t *testing.T) {
	for _, ahead := range []int{0, 1, 3} {
		virtual(t, func(t *testing.T) {
			p := transport.NewPace(1)
			release := acquire(t, p)
			var patient sync.WaitGroup
			for range ahead {
				patient.Go(func() { acquire(t, p)() })
				synctest.Wait()
			}
			time.AfterFunc(2*time.Second, func() {
				p.Pause(time.Minute)
				release()
			})
			require.Equal(t, 2*time.Second, elapsed(func() {
				_, err := p.Acquire(t.Context(), 59*time.Second)
				requirePaused(t, err, time.Minute)
			}), "%d ahead", ahead)
			patient.Wait()
		})
	}
}

// When a context ends during a pause, Acquire returns the error of the context, not a
// PausedError.
func TestPace_Acquire_contextEndsDuringPause(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		p.Pause(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		for _, took := range []time.Duration{time.Second, 0} {
			require.Equal(t, took, elapsed(func() {
				_, err := p.Acquire(ctx, noLimit)
				require.ErrorIs(t, err, context.Canceled)
			}))
		}
	})
}

// After SetRate with a higher rate, a waiting request gets its slot at once. SetRate with a rate
// below one changes nothing.
func TestPace_SetRate(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(1)
		acquire(t, p) // never answered
		time.AfterFunc(time.Second, func() { p.SetRate(0) })
		time.AfterFunc(2*time.Second, func() { p.SetRate(-5) })
		time.AfterFunc(3*time.Second, func() { p.SetRate(2) })
		require.Equal(t, 3*time.Second, elapsed(func() { acquire(t, p)() }))
		p.SetRate(0)
		require.Equal(t, time.Second, elapsed(func() { acquire(t, p) }), "the rate is still 2")
	})
}

// After SetRate with a lower rate, the lower rate applies from the next request on.
func TestPace_SetRate_lower(t *testing.T) {
	virtual(t, func(t *testing.T) {
		p := transport.NewPace(4)
		acquire(t, p)()
		acquire(t, p)()
		p.SetRate(2)
		require.Equal(t, time.Second, elapsed(func() { acquire(t, p) }))
	})
}

// The text of a PausedError names the cause and the rest of the pause.
func TestPausedError_Error(t *testing.T) {
	err := &transport.PausedError{For: 90*time.Second + 300*time.Millisecond}
	require.EqualError(t, err, "the pause that the service requested (Retry-After) lasts another 1m30s")
	require.Equal(t, err.For, err.RetryAfter())
}
