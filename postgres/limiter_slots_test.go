//go:build unix

package postgres_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// arrivals records the times at which requests arrive.
type arrivals struct {
	mu    sync.Mutex
	times []time.Time
}

func (a *arrivals) add() {
	a.mu.Lock()
	a.times = append(a.times, time.Now())
	a.mu.Unlock()
}

// maxPerSecond returns the largest number of arrivals in any one second.
func (a *arrivals) maxPerSecond() (most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := 0
	for i, t := range a.times {
		for t.Sub(a.times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// sendAll simulates requests, as many as the limiter allows, until the context ends. It
// returns their number.
func sendAll(ctx context.Context, l appsandbooks.Limiter, workers int, a *arrivals) (sent int64) {
	var n atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				release, err := l.Acquire(ctx, time.Minute)
				if err != nil {
					return
				}
				a.add()
				n.Add(1)
				time.Sleep(rand.N(20 * time.Millisecond)) // until the answer
				release()
			}
		})
	}
	wg.Wait()
	return n.Load()
}

// Processes together send no more requests than the rate in any second, use most of the
// rate, and get similar shares.
func TestLimiter_Acquire_severalProcesses(t *testing.T) {
	pool, schema := newDatabase(t)
	const rate, processes, length = 40, 3, 8 * time.Second
	var a arrivals
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	sent := make([]int64, processes)
	var wg sync.WaitGroup
	exchanges := func() (n int64) {
		_ = pool.QueryRow(t.Context(), `SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE schemaname = $1`,
			currentSchema()).Scan(&n)
		return n
	}
	for i := range processes {
		l := newStore(t, pool, schema).Limiter("u")
		l.SetRate(rate)
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second) // a process that starts later finds no free slots
			sent[i] = sendAll(ctx, l, 30, &a)
		})
	}
	wg.Wait()
	total := sent[0] + sent[1] + sent[2]
	t.Logf("sent %v of at most %d in %s, at most %d in a second of %d; %d exchanges",
		sent, int(length.Seconds())*rate, length, a.maxPerSecond(), rate, exchanges())
	require.LessOrEqual(t, a.maxPerSecond(), rate)
	require.Greater(t, float64(total), 0.75*rate*length.Seconds())
	for i, n := range sent {
		require.Greater(t, n, total/int64(3*processes), "process %d", i)
	}
}

// Fifteen requests one after another take less than a second, and the process returns its
// slots afterward.
func TestLimiter_Acquire_fewRequests(t *testing.T) {
	pool, schema := newDatabase(t)
	l := newStore(t, pool, schema).Limiter("u")
	began := time.Now()
	for range 15 {
		release, err := l.Acquire(t.Context(), time.Minute)
		require.NoError(t, err)
		release()
	}
	require.Less(t, time.Since(began), time.Second)
	name := quotedSchema()
	require.Eventually(t, func() bool { // the slots are returned
		var n int
		return pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.slots`).Scan(&n) == nil && n == 0
	}, 5*time.Second, 20*time.Millisecond)
}

// With more processes than slots, each process can send requests.
func TestLimiter_Acquire_moreProcessesThanSlots(t *testing.T) {
	pool, schema := newDatabase(t)
	var a arrivals
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	sent := make([]int64, 5)
	for i := range sent {
		l := newStore(t, pool, schema).Limiter("u")
		l.SetRate(2)
		wg.Go(func() { sent[i] = sendAll(ctx, l, 2, &a) })
	}
	wg.Wait()
	t.Log(sent)
	require.LessOrEqual(t, a.maxPerSecond(), 2)
	for i, n := range sent {
		require.NotZero(t, n, "process %d", i)
	}
}

// The slots of a dead process are free after their lease.
func TestLimiter_Acquire_slotsOfDeadProcess(t *testing.T) {
	pool, schema := newDatabase(t)
	own, err := pgxpool.New(t.Context(), database.URL())
	require.NoError(t, err)
	dead := newStore(t, own, schema).Limiter("u")
	for range 15 {
		_, err := dead.Acquire(t.Context(), time.Minute)
		require.NoError(t, err)
	}
	own.Close() // without its pool, the process can no longer return its slots
	l := newStore(t, pool, schema).Limiter("u")
	began := time.Now()
	release, err := l.Acquire(t.Context(), time.Minute)
	require.NoError(t, err)
	release()
	require.Greater(t, time.Since(began), time.Second)
	require.Less(t, time.Since(began), 9*time.Second)
}
