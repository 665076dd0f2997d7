//go:build unix

package postgres_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

func TestNew_nilPool(t *testing.T) {
	_, err := postgres.New(nil)
	require.ErrorContains(t, err, "the pool is nil")
}

// Each method of a store that returns a part of it, such as Operations, returns the same
// value at each call.
func TestStore_parts(t *testing.T) {
	pool, schema := newDatabase(t)
	s := newStore(t, pool, schema)
	operations, inbox, wakeups, limiter := s.Operations(), s.Inbox(), s.Wakeups(), s.Limiter("u")
	require.Same(t, operations, s.Operations())
	require.Same(t, inbox, s.Inbox())
	require.Same(t, wakeups, s.Wakeups())
	require.Same(t, limiter, s.Limiter("u"))
	require.NotSame(t, s.Limiter("u"), s.Limiter("v"))
}

// Run returns nil when its context ends.
func TestStore_Run_contextEnds(t *testing.T) {
	pool, schema := newDatabase(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, newStore(t, pool, schema).Run(ctx))
}
