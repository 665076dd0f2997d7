//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

var database *postgrestest.Server

func TestMain(m *testing.M) {
	code := func() int {
		var err error
		database, err = postgrestest.Start()
		switch {
		case errors.Is(err, postgrestest.ErrNotInstalled):
			fmt.Fprintln(os.Stderr, "THE TESTS OF THIS PACKAGE DO NOT RUN:", err)
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 1
		default:
			defer func() { _ = database.Stop() }()
		}
		return m.Run()
	}()
	os.Exit(code)
}

var schemas atomic.Int64

// fresh is a pool and the name of a schema that nobody else uses.
func fresh(t *testing.T) (*pgxpool.Pool, postgres.Option) {
	t.Helper()
	if database == nil {
		t.Skip("not run:", postgrestest.ErrNotInstalled)
	}
	pool, err := pgxpool.New(t.Context(), database.URL()+"&pool_max_conns=20")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool, postgres.WithSchema(fmt.Sprintf("Test %d", schemas.Add(1)))
}

// process is a store as one process has it.
func process(t *testing.T, pool *pgxpool.Pool, opts ...postgres.Option) *postgres.Store {
	t.Helper()
	s, err := postgres.New(pool, opts...)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// run runs a store until the test ends.
func run(t *testing.T, s *postgres.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// apple is a stand-in with one asset, and a client of it.
func apple(t *testing.T, opts ...appsandbookstest.Option) (*appsandbookstest.Server, *appsandbooks.Client) {
	t.Helper()
	srv, err := appsandbookstest.NewServer(opts...)
	require.NoError(t, err)
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 1_000_000})
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1_000_000})
	t.Cleanup(srv.Close)
	return srv, clientOf(t, srv)
}

func clientOf(t *testing.T, srv *appsandbookstest.Server, opts ...appsandbooks.Option) *appsandbooks.Client {
	c, err := appsandbooks.NewClient(srv.Unit().Token(), append([]appsandbooks.Option{
		appsandbooks.WithHTTPClient(&http.Client{Transport: srv.Transport()}),
		appsandbooks.WithPolling(100*time.Millisecond, 300*time.Millisecond),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func serials(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("C%06d", i)
	}
	return s
}

// put plans an operation and keeps it.
func put(t *testing.T, s *postgres.Store, pool *pgxpool.Pool, srv *appsandbookstest.Server, c *appsandbooks.Client, n int) string {
	t.Helper()
	op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
		Assets: []appsandbooks.AssetID{{AdamID: "1"}}, SerialNumbers: serials(n),
	}, appsandbooks.WithPlanOnly())
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return s.Put(t.Context(), tx, srv.Unit().UID(), op)
	}))
	return op.ID()
}

func statusOf(t *testing.T, s *postgres.Store, id string) postgres.OperationStatus {
	t.Helper()
	for o, err := range s.Operations(t.Context(), "", false) {
		require.NoError(t, err)
		if o.ID == id {
			return o
		}
	}
	t.Fatal("no such operation")
	panic(0)
}

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

// Steps, each by another process that knows nothing but the database.
func TestCarry(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	id := put(t, process(t, pool, schema), pool, srv, c, 2500)
	planned := statusOf(t, process(t, pool, schema), id)
	require.Equal(t, "planned", planned.State)
	require.Equal(t, 2500, planned.Pairs)
	require.False(t, planned.Due.IsZero())
	for steps := 0; ; steps++ {
		require.Less(t, steps, 20)
		s := process(t, pool, schema)
		claim, err := s.Claim(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, srv.Unit().UID(), claim.Unit)
		_, err = process(t, pool, schema).Claim(t.Context(), id)
		require.ErrorIs(t, err, postgres.ErrHeld)
		require.True(t, statusOf(t, s, id).Carried)
		op, err := claim.Resume(c)
		require.NoError(t, err)
		require.Equal(t, id, op.ID())
		next, err := op.Step(claim.Context())
		require.NoError(t, err)
		require.NoError(t, claim.Release(t.Context(), op, next, err))
		// What is left of the process can no longer write.
		_, err = op.Verify(t.Context())
		if !next.IsZero() {
			require.NotErrorIs(t, err, postgres.ErrLost) // nothing to write
		}
		if next.IsZero() {
			break
		}
		require.Equal(t, "submitted", statusOf(t, s, id).State)
		time.Sleep(time.Until(next))
	}
	s := process(t, pool, schema)
	done := statusOf(t, s, id)
	require.Equal(t, "done", done.State)
	require.Equal(t, 2500, done.Succeeded)
	require.False(t, done.Finished.IsZero())
	require.True(t, done.Due.IsZero())
	require.Len(t, srv.Unit().Assignments(), 2500)
	var awaited int
	require.NoError(t, pool.QueryRow(t.Context(), fmt.Sprintf(`SELECT count(*) FROM "Test %d".awaited`, schemas.Load())).Scan(&awaited))
	require.Zero(t, awaited)
	_, err := s.Claim(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrFinished)
	_, err = s.Claim(t.Context(), "nothing")
	require.ErrorIs(t, err, postgres.ErrUnknown)

	saved, err := s.Load(t.Context(), id)
	require.NoError(t, err)
	op, err := c.Resume(saved)
	require.NoError(t, err)
	require.Equal(t, 2500, op.Report().Succeeded)
	for _, secret := range []string{srv.Unit().Token()} {
		require.NotContains(t, string(saved), secret)
	}
	_, err = s.Load(t.Context(), "nothing")
	require.ErrorIs(t, err, postgres.ErrUnknown)
}

// A process that was thought dead cannot write, and sends nothing any more.
func TestFence(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema, postgres.WithLease(3*time.Second))
	id := put(t, s, pool, srv, c, 10)

	ctx, stop := context.WithCancel(t.Context())
	stale, err := s.Claim(ctx, id)
	require.NoError(t, err)
	old, err := stale.Resume(c)
	require.NoError(t, err)
	stop() // it no longer renews
	var claim *postgres.Claim
	require.Eventually(t, func() bool {
		claim, err = s.Claim(t.Context(), id)
		return err == nil
	}, 15*time.Second, 50*time.Millisecond)

	_, err = old.Step(t.Context())
	require.ErrorIs(t, err, postgres.ErrLost)
	require.Empty(t, srv.Unit().Assignments())
	require.ErrorIs(t, stale.Release(t.Context(), old, time.Time{}, nil), postgres.ErrLost)

	// The lease of the living is renewed.
	time.Sleep(4 * time.Second)
	_, err = s.Claim(t.Context(), id)
	require.ErrorIs(t, err, postgres.ErrHeld)
	op, err := claim.Resume(c)
	require.NoError(t, err)
	report, err := op.Wait(claim.Context())
	require.NoError(t, err)
	require.Equal(t, 10, report.Succeeded)
	require.NoError(t, claim.Release(t.Context(), op, time.Time{}, nil))
	require.Empty(t, violations(srv, appsandbookstest.RuleRepeatedWrite))
}

func violations(srv *appsandbookstest.Server, rule appsandbookstest.Rule) (v []appsandbookstest.Violation) {
	for _, x := range srv.Violations() {
		if x.Rule == rule {
			v = append(v, x)
		}
	}
	return v
}

// A lease that went to somebody else ends the context of who had it.
func TestLostClaimEndsItsContext(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema, postgres.WithLease(time.Second))
	id := put(t, s, pool, srv, c, 10)
	claim, err := s.Claim(t.Context(), id)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), fmt.Sprintf(`UPDATE "Test %d".operations SET fence = fence + 1`, schemas.Load()))
	require.NoError(t, err)
	select {
	case <-claim.Context().Done():
		require.ErrorIs(t, context.Cause(claim.Context()), postgres.ErrLost)
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

// Compaction leaves one entry, which is the operation as it was.
func TestCompaction(t *testing.T) {
	pool, schema := fresh(t)
	srv, c := apple(t)
	s := process(t, pool, schema)
	id := put(t, s, pool, srv, c, 1000)
	schemaName := fmt.Sprintf(`"Test %d"`, schemas.Load())
	entries := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+schemaName+`.journal WHERE operation = $1`, id).Scan(&n))
		return n
	}
	step := func() time.Time {
		claim, err := s.Claim(t.Context(), id)
		require.NoError(t, err)
		op, err := claim.Resume(c)
		require.NoError(t, err)
		next, err := op.Step(claim.Context())
		require.NoError(t, claim.Release(t.Context(), op, next, err))
		return next
	}
	srv.HoldEvents(true)
	next := step()
	before := entries()
	require.Greater(t, before, 1)
	_, err := pool.Exec(t.Context(), `UPDATE `+schemaName+`.operations SET appended_bytes = 1000000`)
	require.NoError(t, err)
	time.Sleep(time.Until(next))
	next = step()
	require.Equal(t, 1, entries())
	srv.HoldEvents(false)
	for !next.IsZero() {
		time.Sleep(time.Until(next))
		next = step()
	}
	require.Equal(t, 1000, statusOf(t, s, id).Succeeded)
}

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
