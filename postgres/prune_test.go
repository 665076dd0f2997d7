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

func TestPrune(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema, postgres.WithRetention(time.Hour))
	run(t, s)
	name := fmt.Sprintf(`"Test %d"`, schemas.Load())
	old, young := put(t, s, pool, srv, c, 1), put(t, s, pool, srv, c, 2)
	for _, q := range []string{
		`INSERT INTO %s.inbox SELECT 'k' || i, clock_timestamp() - i * interval '1 minute', 1, clock_timestamp() FROM generate_series(1, 4000) i`,
		`INSERT INTO %s.hints (at, key, uid, event, elements, body)
			SELECT clock_timestamp() - i * interval '1 second', 'k' || i, 'u', '', 0, '' FROM generate_series(1, 6000) i`,
		`INSERT INTO %s.paces SELECT 'u' || i, 15, null, clock_timestamp() - i * interval '1 minute' FROM generate_series(1, 2000) i`,
		`UPDATE %s.operations SET finished_at = clock_timestamp() - interval '2 hours' WHERE id = '` + old + `'`,
		`UPDATE %s.operations SET finished_at = clock_timestamp() WHERE id = '` + young + `'`,
	} {
		_, err := pool.Exec(t.Context(), fmt.Sprintf(q, name))
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	for range 3 { // side by side
		wg.Go(func() {
			if err := s.Prune(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for table, want := range map[string]int{"inbox": 24*60 - 1, "hints": 3599, "paces": 24*60 - 1, "operations": 1, "journal": 1} {
		var n int
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+name+`.`+table).Scan(&n))
		require.InDelta(t, want, n, 2, table)
	}
}
