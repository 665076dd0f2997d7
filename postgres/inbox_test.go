//go:build unix

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// Deliveries of one notification to several machines: one of them handles it.
func TestInboxOneMachine(t *testing.T) {
	pool, schema := fresh(t)
	var handled atomic.Int32
	fails := atomic.Int32{}
	fails.Store(2)
	var machines []*httptest.Server
	for range 3 {
		h, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
			Deduper: process(t, pool, schema),
			Any: func(context.Context, *appsandbooks.Notification) error {
				time.Sleep(10 * time.Millisecond)
				if fails.Add(-1) >= 0 {
					return fmt.Errorf("not now")
				}
				handled.Add(1)
				return nil
			},
		}, "secret")
		require.NoError(t, err)
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		machines = append(machines, srv)
	}
	deliver := func(url string) int {
		r, _ := http.NewRequest("POST", url, bytes.NewReader([]byte(
			`{"notificationId":"n","notificationType":"ASSET_COUNT","uId":"u","notification":{"adamId":"1","countDelta":1}}`)))
		r.Header.Set("Authorization", "Bearer secret")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() { deliver(machines[i%3].URL) })
		}
		wg.Wait()
		require.EqualValues(t, 1, handled.Load(), "round %d", round)
	}
	require.Equal(t, 200, deliver(machines[0].URL))
}

// The claim of a machine that died is over after the lease; what it still
// tries to do is refused.
func TestInboxTakeover(t *testing.T) {
	pool, schema := fresh(t)
	dead := process(t, pool, schema, postgres.WithLease(time.Second))
	alive := process(t, pool, schema, postgres.WithLease(time.Second))
	n := &appsandbooks.Notification{ID: "n", UID: "u"}
	first, err := dead.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.True(t, first)

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = alive.Begin(short, n.Key())
	require.ErrorIs(t, err, context.DeadlineExceeded)

	began := time.Now()
	first, err = alive.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.True(t, first)
	require.Less(t, time.Since(began), 3*time.Second)

	commit := func(s *postgres.Store) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return s.Done(t.Context(), tx, n) })
	}
	require.ErrorIs(t, commit(dead), postgres.ErrLost)
	require.NoError(t, commit(alive))
	require.ErrorIs(t, commit(alive), postgres.ErrLost) // once
	require.NoError(t, dead.End(t.Context(), n.Key(), false))
	require.NoError(t, alive.End(t.Context(), n.Key(), true))
	first, err = dead.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.False(t, first)

	// Done was committed, whatever the hook says afterwards.
	n = &appsandbooks.Notification{ID: "m", UID: "u"}
	_, err = alive.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.NoError(t, commit(alive))
	require.NoError(t, alive.End(t.Context(), n.Key(), false))
	first, err = dead.Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.False(t, first)

	// A claim without Done that was lost is told.
	_, err = dead.Begin(t.Context(), "x")
	require.NoError(t, err)
	time.Sleep(1100 * time.Millisecond)
	_, err = alive.Begin(t.Context(), "x")
	require.NoError(t, err)
	require.ErrorIs(t, dead.End(t.Context(), "x", true), postgres.ErrLost)
	require.ErrorIs(t, dead.End(t.Context(), "never", true), postgres.ErrLost)
}
