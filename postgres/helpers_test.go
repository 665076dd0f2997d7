//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
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

// startWaiting saves an operation for ten devices, sends it, and waits for it in the
// background with one store. The channel done receives the result of the wait.
func startWaiting(t *testing.T, s *postgres.Store, pool *pgxpool.Pool, srv *appsandbookstest.Server, c *appsandbooks.Client) (done chan error) {
	t.Helper()
	id := savePlanned(t, s, pool, srv, c, 10)
	lease, err := s.Operations().Lease(t.Context(), id)
	require.NoError(t, err)
	op, err := lease.Resume(c)
	require.NoError(t, err)
	require.NoError(t, op.Step(t.Context()))
	require.Equal(t, 1, op.Progress().Accepted)
	done = make(chan error, 1)
	go func() {
		_, err := op.Wait(lease.Context())
		if err == nil {
			err = lease.Release(context.Background(), op, nil)
		}
		done <- err
	}()
	return done
}

// slowPollingClient returns a client whose first poll of an event comes only after a
// minute, when the test has ended.
func slowPollingClient(t *testing.T, srv *appsandbookstest.Server) *appsandbooks.Client {
	return newClient(t, srv, appsandbooks.WithPolling(time.Minute, time.Minute))
}

// successOfLastEvent returns a notification about the newest event of the stand-in: all
// ten pairs of the event succeeded.
func successOfLastEvent(srv *appsandbookstest.Server) *appsandbooks.Notification {
	events := srv.Unit().Events()
	m := &appsandbooks.AssetManagement{EventResult: appsandbooks.EventResult{
		EventID: events[len(events)-1].ID, Result: appsandbooks.NotificationSuccess, Type: appsandbooks.EventAssociate,
	}}
	for _, s := range serials(10) {
		m.Assignments = append(m.Assignments, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: "1", PricingParam: "STDQ", SerialNumber: s}})
	}
	return &appsandbooks.Notification{
		ID: fmt.Sprint("n-", m.EventID), Type: appsandbooks.NotificationAssetManagement, UID: srv.Unit().UID(), AssetManagement: m,
	}
}

// database is the PostgreSQL server of all tests; nil if the programs of PostgreSQL are
// not installed.
var database *postgrestest.Server

func TestMain(m *testing.M) {
	code := func() int {
		var err error
		database, err = postgrestest.Start()
		switch {
		case errors.Is(err, postgrestest.ErrNotInstalled):
			fmt.Fprintln(os.Stderr, "WARNING: the tests of this package are skipped:", err)
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

var schemaCount atomic.Int64

// newDatabase returns a connection pool, and the option that selects a schema of the
// test's own. currentSchema returns the name of this schema. newDatabase skips the test
// if PostgreSQL is not installed.
func newDatabase(t *testing.T) (*pgxpool.Pool, postgres.Option) {
	t.Helper()
	if database == nil {
		t.Skip(postgrestest.ErrNotInstalled)
	}
	pool, err := pgxpool.New(t.Context(), database.URL()+"&pool_max_conns=20")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	schemaCount.Add(1)
	return pool, postgres.WithSchema(currentSchema())
}

// currentSchema returns the name of the schema that newDatabase returned last. The name
// contains a space, to test that the store quotes names.
func currentSchema() string { return fmt.Sprintf("Test %d", schemaCount.Load()) }

// quotedSchema returns the name of currentSchema, quoted for use in an SQL statement.
func quotedSchema() string { return pgx.Identifier{currentSchema()}.Sanitize() }

// newStore returns a new store. A test uses one store for each process.
func newStore(t *testing.T, pool *pgxpool.Pool, opts ...postgres.Option) *postgres.Store {
	t.Helper()
	s, err := postgres.New(pool, opts...)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// runStore calls Run of a store until the test ends.
func runStore(t *testing.T, s *postgres.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// newServer returns a stand-in for Apple's service with two assets, and a client for it.
func newServer(t *testing.T, opts ...appsandbookstest.Option) (*appsandbookstest.Server, *appsandbooks.Client) {
	t.Helper()
	srv, err := appsandbookstest.NewServer(opts...)
	require.NoError(t, err)
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 1_000_000})
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1_000_000})
	t.Cleanup(srv.Close)
	return srv, newClient(t, srv)
}

// newClient returns a client that polls events after 0.1 s and then every 0.3 s.
func newClient(t *testing.T, srv *appsandbookstest.Server, opts ...appsandbooks.Option) *appsandbooks.Client {
	c, err := appsandbooks.NewClient(srv.Unit().Token(), append([]appsandbooks.Option{
		appsandbooks.WithHTTPClient(&http.Client{Transport: srv.Transport()}),
		appsandbooks.WithPolling(100*time.Millisecond, 300*time.Millisecond),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// serials returns n serial numbers.
func serials(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("C%06d", i)
	}
	return s
}

// savePlanned plans an operation for n devices and saves it. It returns the id of the
// operation.
func savePlanned(t *testing.T, s *postgres.Store, pool *pgxpool.Pool, srv *appsandbookstest.Server, c *appsandbooks.Client, n int) string {
	t.Helper()
	op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
		Assets: []appsandbooks.AssetID{{AdamID: "1"}}, SerialNumbers: serials(n),
	}, appsandbooks.WithPlanOnly())
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return s.Operations().Save(t.Context(), tx, op)
	}))
	return op.ID()
}

// statusOf returns the status of an operation.
func statusOf(t *testing.T, s *postgres.Store, id string) postgres.OperationStatus {
	t.Helper()
	for o, err := range s.Operations().All(t.Context(), postgres.OperationFilter{}) {
		require.NoError(t, err)
		if o.ID == id {
			return o
		}
	}
	t.Fatal("the operation is not listed")
	panic(0)
}

// violations returns the violations of a rule that the stand-in recorded.
func violations(srv *appsandbookstest.Server, rule appsandbookstest.Rule) (v []appsandbookstest.Violation) {
	for _, x := range srv.Violations() {
		if x.Rule == rule {
			v = append(v, x)
		}
	}
	return v
}
