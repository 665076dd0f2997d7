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

// If several processes receive a notification, the hook succeeds in one of them only.
func TestInbox_Begin_deliveriesToSeveralProcesses(t *testing.T) {
	pool, schema := newDatabase(t)
	var handled atomic.Int32
	var failuresLeft atomic.Int32
	failuresLeft.Store(2)
	var processes []*httptest.Server
	for range 3 {
		h, err := appsandbooks.NewNotificationHandler(func(context.Context, *appsandbooks.Notification) error {
			time.Sleep(10 * time.Millisecond)
			if failuresLeft.Add(-1) >= 0 {
				return fmt.Errorf("the hook fails")
			}
			handled.Add(1)
			return nil
		},
			appsandbooks.WithDeduper(newStore(t, pool, schema).Inbox()),
			appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret("secret")))
		require.NoError(t, err)
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		processes = append(processes, srv)
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
			wg.Go(func() { deliver(processes[i%3].URL) })
		}
		wg.Wait()
		require.EqualValues(t, 1, handled.Load(), "round %d", round)
	}
	require.Equal(t, 200, deliver(processes[0].URL))
}

// When a process has died, another process handles the notification after the lease time,
// and the database refuses later writes of the first process.
func TestInbox_MarkHandled_afterLeaseExpired(t *testing.T) {
	pool, schema := newDatabase(t)
	dead := newStore(t, pool, schema, postgres.WithLeaseTime(time.Second))
	alive := newStore(t, pool, schema, postgres.WithLeaseTime(time.Second))
	n := &appsandbooks.Notification{ID: "n", UID: "u"}
	first, err := dead.Inbox().Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.True(t, first)

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = alive.Inbox().Begin(short, n.Key())
	require.ErrorIs(t, err, context.DeadlineExceeded)

	began := time.Now()
	first, err = alive.Inbox().Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.True(t, first)
	require.Less(t, time.Since(began), 3*time.Second)

	commit := func(s *postgres.Store) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return s.Inbox().MarkHandled(t.Context(), tx, n) })
	}
	require.ErrorIs(t, commit(dead), postgres.ErrLeaseLost)
	require.NoError(t, commit(alive))
	require.ErrorIs(t, commit(alive), postgres.ErrLeaseLost) // already handled
	require.NoError(t, dead.Inbox().End(t.Context(), n.Key(), false))
	require.NoError(t, alive.Inbox().End(t.Context(), n.Key(), true))
	first, err = dead.Inbox().Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.False(t, first)

	// The notification stays handled if the hook fails after MarkHandled was committed.
	n = &appsandbooks.Notification{ID: "m", UID: "u"}
	_, err = alive.Inbox().Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.NoError(t, commit(alive))
	require.NoError(t, alive.Inbox().End(t.Context(), n.Key(), false))
	first, err = dead.Inbox().Begin(t.Context(), n.Key())
	require.NoError(t, err)
	require.False(t, first)

	// If the hook did not call MarkHandled, Inbox.End reports that the lease was lost.
	_, err = dead.Inbox().Begin(t.Context(), "x")
	require.NoError(t, err)
	time.Sleep(1100 * time.Millisecond)
	_, err = alive.Inbox().Begin(t.Context(), "x")
	require.NoError(t, err)
	require.ErrorIs(t, dead.Inbox().End(t.Context(), "x", true), postgres.ErrLeaseLost)
	require.ErrorIs(t, dead.Inbox().End(t.Context(), "never", true), postgres.ErrLeaseLost)
}
