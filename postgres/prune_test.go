//go:build unix

package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/postgres"
)

// Prune deletes old rows of each table and no others, also in parallel calls.
func TestStore_Prune_oldRows(t *testing.T) {
	pool, schema := newDatabase(t)
	srv, c := newServer(t)
	s := newStore(t, pool, schema, postgres.WithRetention(time.Hour))
	runStore(t, s)
	name := quotedSchema()
	old, young := savePlanned(t, s, pool, srv, c, 1), savePlanned(t, s, pool, srv, c, 2)
	for _, q := range []string{
		`INSERT INTO %s.inbox SELECT 'k' || i, clock_timestamp() - i * interval '1 minute', 1, clock_timestamp() FROM generate_series(1, 4000) i`,
		`INSERT INTO %s.wakeups (created_at, key, unit, event, items, body)
			SELECT clock_timestamp() - i * interval '1 second', 'k' || i, 'u', '', 0, '' FROM generate_series(1, 6000) i`,
		`INSERT INTO %s.paces SELECT 'u' || i, 15, null, clock_timestamp() - i * interval '1 minute' FROM generate_series(1, 2000) i`,
		`UPDATE %s.operations SET finished_at = clock_timestamp() - interval '2 hours' WHERE id = '` + old + `'`,
		`UPDATE %s.operations SET finished_at = clock_timestamp() WHERE id = '` + young + `'`,
	} {
		_, err := pool.Exec(t.Context(), fmt.Sprintf(q, name))
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Prune(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for table, want := range map[string]int{"inbox": 24*60 - 1, "wakeups": 3599, "paces": 24*60 - 1, "operations": 1, "journal": 1} {
		var n int
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.`+table).Scan(&n))
		require.InDelta(t, want, n, 2, table)
	}
}
