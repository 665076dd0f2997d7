//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// Each step of an operation runs in another process, which has only the database.
func TestOperations_Lease_newProcessForEachStep(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	id := savePlanned(t, newStore(t, pool, schema), pool, srv, c, 2500)
	planned := statusOf(t, newStore(t, pool, schema), id)
	require.Equal(t, postgres.OperationPlanned, planned.State)
	require.Equal(t, 2500, planned.Pairs)
	require.Equal(t, 2500, planned.Unsent)
	require.False(t, planned.Due.IsZero())
	for steps := 0; ; steps++ {
		require.Less(t, steps, 20)
		s := newStore(t, pool, schema)
		lease, err := s.Operations().Lease(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, srv.Unit().UID(), lease.Unit)
		_, err = newStore(t, pool, schema).Operations().Lease(t.Context(), id)
		require.ErrorIs(t, err, postgres.ErrLeaseHeld)
		require.True(t, statusOf(t, s, id).Leased)
		op, err := lease.Resume(c)
		require.NoError(t, err)
		require.Equal(t, id, op.ID())
		require.NoError(t, op.Step(lease.Context()))
		require.NoError(t, lease.Release(t.Context(), op, nil))
		// Operation.Verify also works after the release of the lease.
		_, err = op.Verify(t.Context())
		require.NotErrorIs(t, err, postgres.ErrLeaseLost)
		next, more := op.Next()
		if !more {
			break
		}
		require.Equal(t, postgres.OperationSent, statusOf(t, s, id).State)
		time.Sleep(time.Until(next))
	}
	s := newStore(t, pool, schema)
	done := statusOf(t, s, id)
	require.Equal(t, postgres.OperationFinished, done.State)
	require.Equal(t, 2500, done.Succeeded)
	require.Zero(t, done.Unsent)
	require.False(t, done.Finished.IsZero())
	require.True(t, done.Due.IsZero())
	require.Len(t, srv.Unit().Assignments(), 2500)
	var awaited int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+quotedSchema()+`.awaited_events`).Scan(&awaited))
	require.Zero(t, awaited)
	_, err := s.Operations().Lease(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrFinished)
	_, err = s.Operations().Lease(t.Context(), "nothing")
	require.ErrorIs(t, err, postgres.ErrNotFound)

	saved, err := s.Operations().Load(t.Context(), id)
	require.NoError(t, err)
	op, err := c.Resume(saved)
	require.NoError(t, err)
	require.Equal(t, 2500, op.Report().Succeeded)
	require.NotContains(t, string(saved), srv.Unit().Token())
	_, err = s.Operations().Load(t.Context(), "nothing")
	require.ErrorIs(t, err, postgres.ErrNotFound)
}
