//go:build unix

package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// Migrate works when several processes call it at once, and refuses a newer schema.
func TestStore_Migrate_parallelAndNewer(t *testing.T) {
	pool, schema := newDatabase(t)
	s, err := postgres.New(pool, schema)
	require.NoError(t, err)
	errs := make(chan error)
	for range 8 {
		go func() { errs <- s.Migrate(t.Context()) }()
	}
	for range 8 {
		require.NoError(t, <-errs)
	}
	_, err = pool.Exec(t.Context(), `INSERT INTO `+quotedSchema()+`.migrations (version) VALUES (99)`)
	require.NoError(t, err)
	require.ErrorContains(t, s.Migrate(t.Context()), "version 99")
}
