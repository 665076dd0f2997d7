//go:build unix

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// Steps, each by another process that knows nothing but the database.
func TestCarry(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	id := put(t, process(t, pool, schema), pool, srv, c, 2500)
	planned := statusOf(t, process(t, pool, schema), id)
	require.Equal(t, "planned", planned.State)
	require.Equal(t, 2500, planned.Pairs)
	require.False(t, planned.Due.IsZero())
	for steps := 0; ; steps++ {
		require.Less(t, steps, 20)
		s := process(t, pool, schema)
		claim, err := s.Claim(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, srv.Unit().UID(), claim.Unit)
		_, err = process(t, pool, schema).Claim(t.Context(), id)
		require.ErrorIs(t, err, postgres.ErrHeld)
		require.True(t, statusOf(t, s, id).Carried)
		op, err := claim.Resume(c)
		require.NoError(t, err)
		require.Equal(t, id, op.ID())
		next, err := op.Step(claim.Context())
		require.NoError(t, err)
		require.NoError(t, claim.Release(t.Context(), op, next, err))
		// What is left of the process can no longer write.
		_, err = op.Verify(t.Context())
		if !next.IsZero() {
			require.NotErrorIs(t, err, postgres.ErrLost) // nothing to write
		}
		if next.IsZero() {
			break
		}
		require.Equal(t, "submitted", statusOf(t, s, id).State)
		time.Sleep(time.Until(next))
	}
	s := process(t, pool, schema)
	done := statusOf(t, s, id)
	require.Equal(t, "done", done.State)
	require.Equal(t, 2500, done.Succeeded)
	require.False(t, done.Finished.IsZero())
	require.True(t, done.Due.IsZero())
	require.Len(t, srv.Unit().Assignments(), 2500)
	var awaited int
	require.NoError(t, pool.QueryRow(t.Context(), fmt.Sprintf(`SELECT count(*) FROM "Test %d".awaited`, schemas.Load())).Scan(&awaited))
	require.Zero(t, awaited)
	_, err := s.Claim(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrFinished)
	_, err = s.Claim(t.Context(), "nothing")
	require.ErrorIs(t, err, postgres.ErrUnknown)

	saved, err := s.Load(t.Context(), id)
	require.NoError(t, err)
	op, err := c.Resume(saved)
	require.NoError(t, err)
	require.Equal(t, 2500, op.Report().Succeeded)
	for _, secret := range []string{srv.Unit().Token()} {
		require.NotContains(t, string(saved), secret)
	}
	_, err = s.Load(t.Context(), "nothing")
	require.ErrorIs(t, err, postgres.ErrUnknown)
}
