package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A machine clock that differs from the database's clock by more than five seconds, in
// either direction, is an error.
func TestCheckClock(t *testing.T) {
	now := time.Now()
	after := now.Add(time.Second) // of a slow query
	for _, d := range []time.Duration{-4 * time.Second, 0, time.Second, 5 * time.Second} {
		require.NoError(t, checkClock(now, now.Add(d), after))
	}
	for _, d := range []time.Duration{-6 * time.Second, 7 * time.Second} {
		require.ErrorIs(t, checkClock(now, now.Add(d), after), ErrClockSkew)
	}
}

func TestInterval(t *testing.T) {
	require.Equal(t, "1.500000 seconds", interval(1500*time.Millisecond))
}
