//go:build unix

package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
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

	require.ErrorIs(t, old.Step(t.Context()), postgres.ErrLeaseLost)
	require.Empty(t, srv.Unit().Assignments())
	require.ErrorIs(t, stale.Release(t.Context(), old, nil), postgres.ErrLeaseLost)

	// The renewal keeps the second lease for longer than its lease time.
	time.Sleep(4 * time.Second)
	_, err = s.Operations().Lease(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrLeaseHeld)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	report, err := op.Wait(lease.Context())
	require.NoError(t, err)
	require.Equal(t, 10, report.Succeeded)
	require.NoError(t, lease.Release(t.Context(), op, nil))
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
	step := func() (next time.Time, more bool) {
		lease, err := s.Operations().Lease(t.Context(), id)
		require.NoError(t, err)
		op, err := lease.Resume(c)
		require.NoError(t, err)
		require.NoError(t, lease.Release(t.Context(), op, op.Step(lease.Context())))
		return op.Next()
	}
	srv.HoldEvents(true)
	next, _ := step()
	before := entries()
	require.Greater(t, before, 1)
	_, err := pool.Exec(t.Context(), `UPDATE `+schemaName+`.operations SET appended_bytes = 1000000`)
	require.NoError(t, err)
	time.Sleep(time.Until(next))
	next, more := step()
	require.Equal(t, 1, entries())
	srv.HoldEvents(false)
	for more {
		time.Sleep(time.Until(next))
		next, more = step()
	}
	require.Equal(t, 1000, statusOf(t, s, id).Succeeded)
}

// An operation whose pairs failed is finished. That is not an error of its last step.
func TestLease_Release_pairsFailed(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema)
	id := savePlanned(t, s, pool, srv, c, 10)
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9602, Times: 1})
	lease, err := s.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	err = op.Step(lease.Context())
	var ended *appsandbooks.OperationError
	require.ErrorAs(t, err, &ended)
	require.NoError(t, ended.Cause)
	require.NoError(t, lease.Release(t.Context(), op, err))
	status := statusOf(t, s, id)
	require.Equal(t, postgres.OperationFinished, status.State)
	require.Equal(t, 10, status.Failed)
	require.Empty(t, status.LastError)
}

// If the operation stopped, the reason is stored, and the pairs are unsent.
func TestLease_Release_stopped(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema)
	id := savePlanned(t, s, pool, srv, c, 10)
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, Times: 1})
	lease, err := s.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	err = op.Step(lease.Context())
	require.True(t, appsandbooks.IsAuth(err))
	require.NoError(t, lease.Release(t.Context(), op, err))
	status := statusOf(t, s, id)
	require.Equal(t, postgres.OperationPlanned, status.State)
	require.Equal(t, 10, status.Unsent)
	require.Contains(t, status.LastError, "9625")
	require.False(t, status.Due.IsZero())
}

// When the journal could not be written and the lease could not be released, the same process
// continues the operation from the journal.
func TestLease_Resume_afterJournalFailed(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema, postgres.WithLeaseTime(time.Second))
	id := savePlanned(t, s, pool, srv, c, 10)
	ctx, stop := context.WithCancel(t.Context())
	lease, err := s.Operations().Lease(ctx, id)
	require.NoError(t, err)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	table := quotedSchema() + ".journal"
	_, err = pool.Exec(t.Context(), `ALTER TABLE `+table+` ADD CONSTRAINT refuse CHECK (line NOT LIKE '%accepted%')`)
	require.NoError(t, err)
	require.ErrorContains(t, op.Step(lease.Context()), "journal")
	_, err = pool.Exec(t.Context(), `ALTER TABLE `+table+` DROP CONSTRAINT refuse`)
	require.NoError(t, err)
	stop() // as if the process could not reach the database to release the lease

	require.Eventually(t, func() bool {
		lease, err = s.Operations().Lease(t.Context(), id)
		return err == nil
	}, 15*time.Second, 50*time.Millisecond)
	op, err = lease.Resume(c)
	require.NoError(t, err)
	report, err := op.Wait(lease.Context())
	require.NoError(t, err)
	require.Equal(t, 10, report.Succeeded)
	require.NoError(t, lease.Release(t.Context(), op, nil))
	require.Equal(t, postgres.OperationFinished, statusOf(t, s, id).State)
}

// The journal of an operation must be of the unit that its row names.
func TestLease_Resume_otherUnit(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema)
	id := savePlanned(t, s, pool, srv, c, 10)
	_, err := pool.Exec(t.Context(), `UPDATE `+quotedSchema()+`.operations SET unit = 'other'`)
	require.NoError(t, err)
	lease, err := s.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	_, err = lease.Resume(c)
	require.ErrorIs(t, err, appsandbooks.ErrOtherUnit)
	require.ErrorContains(t, err, `"other"`)
	require.NoError(t, lease.Release(t.Context(), nil, err))
	require.Contains(t, statusOf(t, s, id).LastError, `"other"`)
}
