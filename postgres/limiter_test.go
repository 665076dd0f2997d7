//go:build unix

package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// A pause delays the requests of the unit in all processes, and of no other unit.
func TestLimiter_Pause_severalProcesses(t *testing.T) {
	pool, schema := newDatabase(t)
	a, b := newStore(t, pool, schema), newStore(t, pool, schema)
	runStore(t, a)
	runStore(t, b)
	time.Sleep(200 * time.Millisecond)
	// Both processes use the unit.
	for _, s := range []*postgres.Store{a, b} {
		release, err := s.Limiter("u").Acquire(t.Context(), 0)
		require.NoError(t, err)
		defer release()
	}
	a.Limiter("u").Pause(2 * time.Second)
	time.Sleep(100 * time.Millisecond)
	for _, s := range []*postgres.Store{a, b, newStore(t, pool, schema)} {
		_, err := s.Limiter("u").Acquire(t.Context(), time.Second)
		var paused interface{ RetryAfter() time.Duration }
		require.ErrorAs(t, err, &paused)
		require.InDelta(t, 1.9, paused.RetryAfter().Seconds(), 0.4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = s.Limiter("u").Acquire(ctx, time.Minute)
		cancel()
		require.Error(t, err)
	}
	a.Limiter("u").Pause(time.Millisecond) // does not shorten the pause
	release, err := b.Limiter("u").Acquire(t.Context(), time.Minute)
	require.NoError(t, err)
	release()
	began := time.Now()
	release, err = b.Limiter("v").Acquire(t.Context(), 0)
	require.NoError(t, err)
	release()
	require.Less(t, time.Since(began), time.Second)
}

// A pause lasts 24 hours at most, as with the limiter in memory: a Retry-After of years
// must not stop a unit for years.
func TestLimiter_Pause_atMostADay(t *testing.T) {
	pool, schema := newDatabase(t)
	l := newStore(t, pool, schema).Limiter("u")
	l.Pause(100 * 365 * 24 * time.Hour)
	_, err := l.Acquire(t.Context(), time.Second)
	var paused interface{ RetryAfter() time.Duration }
	require.ErrorAs(t, err, &paused)
	require.Greater(t, paused.RetryAfter(), 23*time.Hour)
	require.LessOrEqual(t, paused.RetryAfter(), 24*time.Hour)
}
