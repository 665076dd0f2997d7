//go:build unix

package postgrestest_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

// Committed rows still exist after Kill and Restart of the PostgreSQL server.
func TestServer_Restart_afterKill(t *testing.T) {
	s, err := postgrestest.Start()
	if errors.Is(err, postgrestest.ErrNotInstalled) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), s.URL())
		require.NoError(t, err)
		return conn
	}
	_, err = connect().Exec(t.Context(), `CREATE TABLE numbers AS SELECT 7 AS n`)
	require.NoError(t, err)
	require.NoError(t, s.Kill())
	require.NoError(t, s.Restart())
	conn := connect()
	defer func() { _ = conn.Close(t.Context()) }()
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT n FROM numbers`).Scan(&n))
	require.Equal(t, 7, n)
	require.Contains(t, s.Log(), "recovery")
}
