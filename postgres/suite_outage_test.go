//go:build unix

package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The database is killed and comes back, while an operation is waited for.
func TestDatabaseRestart(t *testing.T) {
	pool, schema := fresh(t)
	srv, _ := apple(t)
	c := slow(t, srv)
	a, b := process(t, pool, schema), process(t, pool, schema)
	run(t, a)
	run(t, b)
	done := waiting(t, a, pool, srv, c)
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, database.Kill())
	b.Notify(success(srv)) // is kept until it can be spread
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
	require.NoError(t, database.Resume())
	for _, ch := range []chan error{done, acquired} {
		select {
		case err := <-ch:
			require.NoError(t, err)
		case <-time.After(20 * time.Second):
			t.Fatal("it hangs")
		}
	}
}
