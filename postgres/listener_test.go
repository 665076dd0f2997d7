//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// When the LISTEN connection breaks, notifications still arrive.
func TestStore_Run_connectionBreaks(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, _ := newServer(t)
	c := slowPollingClient(t, srv)
	a, b := newStore(t, pool, schema), newStore(t, pool, schema)
	runStore(t, a)
	runStore(t, b)
	for range 3 {
		done := startWaiting(t, a, pool, srv, c)
		time.Sleep(60 * time.Millisecond)
		_, err := pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'appsandbooks listen'`)
		require.NoError(t, err)
		b.Wakeups().Notify(successOfLastEvent(srv))
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("the operation did not wake")
		}
	}
}
