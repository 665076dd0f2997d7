//go:build unix

package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

func TestNothingSecretIsStored(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema)
	run(t, s)
	id := put(t, s, pool, srv, c, 10)
	claim, err := s.Claim(t.Context(), id)
	require.NoError(t, err)
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, Body: `{"errorNumber":9625,"errorMessage":"bad ` + srv.Unit().Token() + `"}`, Times: 1})
	op, err := claim.Resume(c)
	require.NoError(t, err)
	next, err := op.Step(claim.Context())
	require.Error(t, err)
	require.NoError(t, claim.Release(t.Context(), op, next, err))
	require.NotEmpty(t, statusOf(t, s, id).Problem)

	rows, err := pool.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname = $1`, fmt.Sprintf("Test %d", schemas.Load()))
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, tables, 8)
	for _, table := range tables {
		rows, err := pool.Query(t.Context(), fmt.Sprintf(`SELECT x::text FROM "Test %d".%s x`, schemas.Load(), table))
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotContains(t, strings.Join(lines, "\n"), srv.Unit().Token())
	}
}
