//go:build unix

package postgres_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

func TestMigrate(t *testing.T) {
	pool, schema := fresh(t)
	s, err := postgres.New(pool, schema)
	require.NoError(t, err)
	errs := make(chan error)
	for range 8 {
		go func() { errs <- s.Migrate(t.Context()) }()
	}
	for range 8 {
		require.NoError(t, <-errs)
	}
	name := fmt.Sprintf("Test %d", schemas.Load())
	_, err = pool.Exec(t.Context(), `INSERT INTO `+pgx.Identifier{name}.Sanitize()+`.migrations (version) VALUES (99)`)
	require.NoError(t, err)
	require.ErrorContains(t, s.Migrate(t.Context()), "version 99")

	_, err = postgres.New(pool, postgres.WithSchema(""))
	require.Error(t, err)
	_, err = postgres.New(nil)
	require.Error(t, err)
}
