//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// A process that was thought dead cannot write, and sends nothing any more.
func TestFence(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema, postgres.WithLease(3*time.Second))
	id := put(t, s, pool, srv, c, 10)

	ctx, stop := context.WithCancel(t.Context())
	stale, err := s.Claim(ctx, id)
	require.NoError(t, err)
	old, err := stale.Resume(c)
	require.NoError(t, err)
	stop() // it no longer renews
	var claim *postgres.Claim
	require.Eventually(t, func() bool {
		claim, err = s.Claim(t.Context(), id)
		return err == nil
	}, 15*time.Second, 50*time.Millisecond)

	_, err = old.Step(t.Context())
	require.ErrorIs(t, err, postgres.ErrLost)
	require.Empty(t, srv.Unit().Assignments())
	require.ErrorIs(t, stale.Release(t.Context(), old, time.Time{}, nil), postgres.ErrLost)

	// The lease of the living is renewed.
	time.Sleep(4 * time.Second)
	_, err = s.Claim(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrHeld)
	op, err := claim.Resume(c)
	require.NoError(t, err)
	report, err := op.Wait(claim.Context())
	require.NoError(t, err)
	require.Equal(t, 10, report.Succeeded)
	require.NoError(t, claim.Release(t.Context(), op, time.Time{}, nil))
	require.Empty(t, violations(srv, appsandbookstest.RuleRepeatedWrite))
}

// A lease that went to somebody else ends the context of who had it.
func TestLostClaimEndsItsContext(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema, postgres.WithLease(time.Second))
	id := put(t, s, pool, srv, c, 10)
	claim, err := s.Claim(t.Context(), id)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), fmt.Sprintf(`UPDATE "Test %d".operations SET fence = fence + 1`, schemas.Load()))
	require.NoError(t, err)
	select {
	case <-claim.Context().Done():
		require.ErrorIs(t, context.Cause(claim.Context()), postgres.ErrLost)
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

// Compaction leaves one entry, which is the operation as it was.
func TestCompaction(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema)
	id := put(t, s, pool, srv, c, 1000)
	schemaName := fmt.Sprintf(`"Test %d"`, schemas.Load())
	entries := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+schemaName+`.journal WHERE operation = $1`, id).Scan(&n))
		return n
	}
	step := func() time.Time {
		claim, err := s.Claim(t.Context(), id)
		require.NoError(t, err)
		op, err := claim.Resume(c)
		require.NoError(t, err)
		next, err := op.Step(claim.Context())
		require.NoError(t, claim.Release(t.Context(), op, next, err))
		return next
	}
	srv.HoldEvents(true)
	next := step()
	before := entries()
	require.Greater(t, before, 1)
	_, err := pool.Exec(t.Context(), `UPDATE `+schemaName+`.operations SET appended_bytes = 1000000`)
	require.NoError(t, err)
	time.Sleep(time.Until(next))
	next = step()
	require.Equal(t, 1, entries())
	srv.HoldEvents(false)
	for !next.IsZero() {
		time.Sleep(time.Until(next))
		next = step()
	}
	require.Equal(t, 1000, statusOf(t, s, id).Succeeded)
}
