//go:build unix

package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// When the database is killed and started again, the waiting operations and requests
// continue.
func TestStore_Run_databaseKilled(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, _ := newServer(t)
	c := slowPollingClient(t, srv)
	a, b := newStore(t, pool, schema), newStore(t, pool, schema)
	runStore(t, a)
	runStore(t, b)
	done := startWaiting(t, a, pool, srv, c)
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, database.Kill())
	b.Wakeups().Notify(successOfLastEvent(srv)) // b stores the notification when the database works again
	l := b.Limiter("u")
	acquired := make(chan error, 1)
	go func() {
		release, err := l.Acquire(context.Background(), time.Minute)
		if err == nil {
			release()
		}
		acquired <- err
	}()
	time.Sleep(time.Second)
	require.NoError(t, database.Restart())
	for _, ch := range []chan error{done, acquired} {
		select {
		case err := <-ch:
			require.NoError(t, err)
		case <-time.After(20 * time.Second):
			t.Fatal("the operation or the request still waits")
		}
	}
}
