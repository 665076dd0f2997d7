//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// New refuses invalid values of options. It needs no connection for that.
func TestNew_invalidOptions(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/none")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	for want, opt := range map[string]postgres.Option{
		"an option is nil":    nil,
		"WithSchema":          postgres.WithSchema(""),
		"1 to 50 bytes":       postgres.WithSchema("a name of a schema that has more than fifty characters"),
		"WithLeaseTime":       postgres.WithLeaseTime(time.Millisecond),
		"WithRetention":       postgres.WithRetention(-1),
		"the function is nil": postgres.WithReadyFunc(nil),
		"the logger is nil":   postgres.WithLogger(nil),
	} {
		_, err := postgres.New(pool, opt)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "postgres: ")
	}
	_, err = postgres.New(pool, postgres.WithSchema("s"), postgres.WithLeaseTime(time.Second), postgres.WithRetention(0))
	require.NoError(t, err)
}
