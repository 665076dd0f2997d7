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

func TestWakeAcrossMachines(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	run(t, b)
	time.Sleep(200 * time.Millisecond) // they listen
	var took []time.Duration
	for range 20 {
		done := waiting(t, a, pool, srv, c)
		time.Sleep(60 * time.Millisecond) // the event is carried out
		n := success(srv)
		began := time.Now()
		b.Notify(n)
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("nobody woke")
		}
		took = append(took, time.Since(began))
	}
	t.Log(took)
	slices.Sort(took)
	t.Logf("waiter on A done after the notification reached B: median %s, worst %s", took[len(took)/2], took[len(took)-1])
	require.Less(t, took[len(took)/2], 100*time.Millisecond)
}

// More than fits into one NOTIFY, and content of all sizes.
func TestWakeManyAtOnce(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	time.Sleep(200 * time.Millisecond)
	stop := a.Watch("u", c)
	defer stop()
	_ = srv
	for i := range 1000 { // before anybody spreads them
		m := &appsandbooks.AssetManagement{EventResult: appsandbooks.EventResult{EventID: fmt.Sprint("e", i)}}
		for range i % 100 {
			m.Assignments = append(m.Assignments, appsandbooks.Assignment{AdamID: "1", SerialNumber: "C02XXXXXXXXX"})
		}
		b.Notify(&appsandbooks.Notification{ID: fmt.Sprint(i), Type: appsandbooks.NotificationAssetManagement, UID: "u", AssetManagement: m})
	}
	run(t, b)
	name := fmt.Sprintf(`"Test %d"`, schemas.Load())
	require.Eventually(t, func() bool {
		var n int
		_ = pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.hints`).Scan(&n)
		return n == 1000
	}, 10*time.Second, 20*time.Millisecond)
}

// An operation that nobody carries is reported when all it waits for was named.
func TestWakeOfAJobEngine(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	woken := make(chan string, 10)
	a := process(t, pool, schema)
	b := process(t, pool, schema, postgres.WithWake(func(_ context.Context, ids []string) {
		for _, id := range ids {
			woken <- id
		}
	}))
	run(t, b)
	id := put(t, a, pool, srv, c, 10)
	claim, err := a.Claim(t.Context(), id)
	require.NoError(t, err)
	op, err := claim.Resume(c)
	require.NoError(t, err)
	next, err := op.Step(claim.Context())
	require.NoError(t, err)
	require.NoError(t, claim.Release(t.Context(), op, next, nil))
	require.Greater(t, time.Until(next), 30*time.Second)

	whole := success(srv)
	part := *whole
	m := *whole.AssetManagement
	m.Assignments = m.Assignments[:4]
	part.ID, part.Raw, part.AssetManagement = "part", nil, &m
	b.Notify(&part)
	b.Notify(&part)
	select {
	case <-woken:
		t.Fatal("too early")
	case <-time.After(300 * time.Millisecond):
	}
	rest := *whole
	m2 := *whole.AssetManagement
	m2.Assignments = m2.Assignments[4:]
	rest.ID, rest.Raw, rest.AssetManagement = "rest", nil, &m2
	b.Notify(&rest)
	select {
	case got := <-woken:
		require.Equal(t, id, got)
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was woken")
	}
	claim, err = a.Claim(t.Context(), id)
	require.NoError(t, err)
	op, err = claim.Resume(slow(t, srv))
	require.NoError(t, err)
	next, err = op.Step(claim.Context())
	require.NoError(t, err)
	require.True(t, next.IsZero())
	require.NoError(t, claim.Release(t.Context(), op, next, nil))
	require.Equal(t, 10, statusOf(t, a, id).Succeeded)
}
