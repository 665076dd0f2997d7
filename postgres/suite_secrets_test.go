//go:build unix

package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// No table contains a content token, even if the service repeats it in an error.
func TestStore_noSecretsInTables(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema)
	runStore(t, s)
	id := savePlanned(t, s, pool, srv, c, 10)
	lease, err := s.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, Body: `{"errorNumber":9625,"errorMessage":"bad ` + srv.Unit().Token() + `"}`, Times: 1})
	op, err := lease.Resume(c)
	require.NoError(t, err)
	err = op.Step(lease.Context())
	require.Error(t, err)
	require.NoError(t, lease.Release(t.Context(), op, err))
	require.NotEmpty(t, statusOf(t, s, id).LastError)

	rows, err := pool.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname = $1`, currentSchema())
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, tables, 8)
	for _, table := range tables {
		rows, err := pool.Query(t.Context(), `SELECT x::text FROM `+quotedSchema()+`.`+table+` x`)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotContains(t, strings.Join(lines, "\n"), srv.Unit().Token())
	}
}
