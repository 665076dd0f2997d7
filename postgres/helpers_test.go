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

// waiting starts an operation that somebody waits for with one store.
func waiting(t *testing.T, s *postgres.Store, pool *pgxpool.Pool, srv *appsandbookstest.Server, c *appsandbooks.Client) (done chan error) {
	t.Helper()
	id := put(t, s, pool, srv, c, 10)
	claim, err := s.Claim(t.Context(), id)
	require.NoError(t, err)
	op, err := claim.Resume(c)
	require.NoError(t, err)
	require.NoError(t, op.Submit(t.Context()))
	done = make(chan error, 1)
	go func() {
		_, err := op.Wait(claim.Context())
		if err == nil {
			err = claim.Release(context.Background(), op, time.Time{}, nil)
		}
		done <- err
	}()
	return done
}

// slow never asks by itself during a test.
func slow(t *testing.T, srv *appsandbookstest.Server) *appsandbooks.Client {
	return clientOf(t, srv, appsandbooks.WithPolling(time.Minute, time.Minute))
}

// success is the notification that all of waiting's pairs are done.
func success(srv *appsandbookstest.Server) *appsandbooks.Notification {
	events := srv.Unit().Events()
	m := &appsandbooks.AssetManagement{EventResult: appsandbooks.EventResult{
		EventID: events[len(events)-1].ID, Result: appsandbooks.ResultSuccess, Type: appsandbooks.EventAssociate,
	}}
	for _, s := range serials(10) {
		m.Assignments = append(m.Assignments, appsandbooks.Assignment{AdamID: "1", PricingParam: "STDQ", SerialNumber: s})
	}
	return &appsandbooks.Notification{
		ID: fmt.Sprint("n-", m.EventID), Type: appsandbooks.NotificationAssetManagement, UID: srv.Unit().UID(), AssetManagement: m,
	}
}

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
	srv := appsandbookstest.NewServer(opts...)
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
	}, appsandbooks.PlanOnly())
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

func violations(srv *appsandbookstest.Server, rule appsandbookstest.Rule) (v []appsandbookstest.Violation) {
	for _, x := range srv.Violations() {
		if x.Rule == rule {
			v = append(v, x)
		}
	}
	return v
}
