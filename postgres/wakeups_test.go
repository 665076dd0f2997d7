//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// A notification that reaches one process wakes an operation in another process soon.
func TestWakeups_Notify_otherProcess(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, _ := newServer(t)
	c := slowPollingClient(t, srv)
	a, b := newStore(t, pool, schema), newStore(t, pool, schema)
	runStore(t, a)
	runStore(t, b)
	time.Sleep(200 * time.Millisecond) // both processes listen now
	var took []time.Duration
	for range 20 {
		done := startWaiting(t, a, pool, srv, c)
		time.Sleep(60 * time.Millisecond) // the event is finished now
		n := successOfLastEvent(srv)
		began := time.Now()
		b.Wakeups().Notify(n)
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("the operation did not wake")
		}
		took = append(took, time.Since(began))
	}
	t.Log(took)
	slices.Sort(took)
	t.Logf("time from Notify in process B to the end of Wait in process A: median %s, longest %s", took[len(took)/2], took[len(took)-1])
	require.Less(t, took[len(took)/2], 100*time.Millisecond)
}

// Many notifications of different sizes, too many for one NOTIFY, are all stored.
func TestWakeups_Notify_manyAtOnce(t *testing.T) {
	pool, schema := newDatabase(t)
	_, c := newServer(t)
	a, b := newStore(t, pool, schema), newStore(t, pool, schema)
	runStore(t, a)
	time.Sleep(200 * time.Millisecond)
	remove := a.Wakeups().AddClient("u", c)
	defer remove()
	for i := range 1000 { // store b stores these notifications after the call of runStore
		m := &appsandbooks.AssetManagement{EventResult: appsandbooks.EventResult{EventID: fmt.Sprint("e", i)}}
		for range i % 100 {
			m.Assignments = append(m.Assignments, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: "1", SerialNumber: "C02XXXXXXXXX"}})
		}
		b.Wakeups().Notify(&appsandbooks.Notification{ID: fmt.Sprint(i), Type: appsandbooks.NotificationAssetManagement, UID: "u", AssetManagement: m})
	}
	runStore(t, b)
	name := quotedSchema()
	require.Eventually(t, func() bool {
		var n int
		_ = pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.wakeups`).Scan(&n)
		return n == 1000
	}, 10*time.Second, 20*time.Millisecond)
}

// The ready function is called when notifications have named all pairs that an operation
// without a lease waits for.
func TestWithReadyFunc_allPairsNamed(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, _ := newServer(t)
	c := slowPollingClient(t, srv)
	ready := make(chan string, 10)
	a := newStore(t, pool, schema)
	b := newStore(t, pool, schema, postgres.WithReadyFunc(func(_ context.Context, ids []string) {
		for _, id := range ids {
			ready <- id
		}
	}))
	runStore(t, b)
	id := savePlanned(t, a, pool, srv, c, 10)
	lease, err := a.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	require.NoError(t, op.Step(lease.Context()))
	require.NoError(t, lease.Release(t.Context(), op, nil))
	next, _ := op.Next()
	require.Greater(t, time.Until(next), 30*time.Second)

	whole := successOfLastEvent(srv)
	part := *whole
	m := *whole.AssetManagement
	m.Assignments = m.Assignments[:4]
	part.ID, part.Raw, part.AssetManagement = "part", nil, &m
	b.Wakeups().Notify(&part)
	b.Wakeups().Notify(&part)
	select {
	case <-ready:
		t.Fatal("called before all pairs were named")
	case <-time.After(300 * time.Millisecond):
	}
	rest := *whole
	others := *whole.AssetManagement
	others.Assignments = others.Assignments[4:]
	rest.ID, rest.Raw, rest.AssetManagement = "rest", nil, &others
	b.Wakeups().Notify(&rest)
	select {
	case got := <-ready:
		require.Equal(t, id, got)
	case <-time.After(5 * time.Second):
		t.Fatal("the ready function was not called")
	}
	lease, err = a.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	op, err = lease.Resume(slowPollingClient(t, srv))
	require.NoError(t, err)
	require.NoError(t, op.Step(lease.Context()))
	_, more := op.Next()
	require.False(t, more)
	require.NoError(t, lease.Release(t.Context(), op, nil))
	require.Equal(t, 10, statusOf(t, a, id).Succeeded)
}
