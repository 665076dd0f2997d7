//go:build unix

package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// A process whose lease expired can neither write the journal nor send requests.
func TestLease_Release_afterLeaseExpired(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema, postgres.WithLeaseTime(3*time.Second))
	id := savePlanned(t, s, pool, srv, c, 10)

	ctx, stop := context.WithCancel(t.Context())
	stale, err := s.Operations().Lease(ctx, id)
	require.NoError(t, err)
	old, err := stale.Resume(c)
	require.NoError(t, err)
	stop() // ends the renewal of the lease
	var lease *postgres.Lease
	require.Eventually(t, func() bool {
		lease, err = s.Operations().Lease(t.Context(), id)
		return err == nil
	}, 15*time.Second, 50*time.Millisecond)

	_, err = old.Step(t.Context())
	require.ErrorIs(t, err, postgres.ErrLeaseLost)
	require.Empty(t, srv.Unit().Assignments())
	require.ErrorIs(t, stale.Release(t.Context(), old, time.Time{}, nil), postgres.ErrLeaseLost)

	// The renewal keeps the second lease for longer than its lease time.
	time.Sleep(4 * time.Second)
	_, err = s.Operations().Lease(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrLeaseHeld)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	report, err := op.Wait(lease.Context())
	require.NoError(t, err)
	require.Equal(t, 10, report.Succeeded)
	require.NoError(t, lease.Release(t.Context(), op, time.Time{}, nil))
	require.Empty(t, violations(srv, appsandbookstest.RuleRepeatedWrite))
}

// The context of a lease ends when another process takes the lease.
func TestLease_Context_leaseLost(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema, postgres.WithLeaseTime(time.Second))
	id := savePlanned(t, s, pool, srv, c, 10)
	lease, err := s.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `UPDATE `+quotedSchema()+`.operations SET fence = fence + 1`)
	require.NoError(t, err)
	select {
	case <-lease.Context().Done():
		require.ErrorIs(t, context.Cause(lease.Context()), postgres.ErrLeaseLost)
	case <-time.After(5 * time.Second):
		t.Fatal("the context does not end")
	}
}

// When the journal has become large, Release replaces it with one entry. The operation
// continues from that entry.
func TestLease_Release_compactsJournal(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema)
	id := savePlanned(t, s, pool, srv, c, 1000)
	schemaName := quotedSchema()
	entries := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+schemaName+`.journal WHERE operation = $1`, id).Scan(&n))
		return n
	}
	step := func() time.Time {
		lease, err := s.Operations().Lease(t.Context(), id)
		require.NoError(t, err)
		op, err := lease.Resume(c)
		require.NoError(t, err)
		next, err := op.Step(lease.Context())
		require.NoError(t, lease.Release(t.Context(), op, next, err))
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
