//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Without its connection, the listener looks by itself, and listens again.
func TestWakeSurvivesItsConnection(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	run(t, b)
	for range 3 {
		done := waiting(t, a, pool, srv, c)
		time.Sleep(60 * time.Millisecond)
		_, err := pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'appsandbooks listen'`)
		require.NoError(t, err)
		b.Notify(success(srv))
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("nobody woke")
		}
	}
}
