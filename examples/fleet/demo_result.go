//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// demoResult contains the counts and the errors that the audit of a demo found.
type demoResult struct {
	took                                  time.Duration
	operations                            int
	pairs, succeeded, failed, unconfirmed int
	unsent                                int // pairs
	requests, faults, polls               int
	delivered, handled                    int // numbers of acknowledged deliveries and of handled notifications
	kills                                 int
	shortestInterval                      time.Duration // shortest time between two polls of one event
	commits                               int64         // transactions since the last start of the database
	wal                                   int64         // bytes of write-ahead log

	// Each of these lists contains errors of one kind, and is empty if the fleet works.
	wrongPairs     []string
	earlyPolls     []string
	fastSeconds    []string
	handledTwice   []string
	notHandled     []string
	unfinished     []string
	printedSecrets []string

	otherViolations map[appsandbookstest.Rule]int
	details         []string // of otherViolations
}

// check returns an error if the audit of the demo found errors.
func (r *demoResult) check() error {
	var errs []error
	for _, list := range []struct {
		name    string
		entries []string
	}{
		{"pairs differ from the ledger of the service", r.wrongPairs},
		{"polls were sooner than the interval", r.earlyPolls},
		{"times a unit sent more requests in a second than allowed", r.fastSeconds},
		{"notifications were handled twice", r.handledTwice},
		{"notifications were acknowledged but not handled", r.notHandled},
		{"jobs or operations are not finished", r.unfinished},
		{"secrets were printed", r.printedSecrets},
	} {
		if n := len(list.entries); n > 0 {
			errs = append(errs, fmt.Errorf("%d %s: %s", n, list.name, strings.Join(list.entries[:min(3, n)], "; ")))
		}
	}
	return errors.Join(errs...)
}

func (r *demoResult) String() string {
	return fmt.Sprintf(`%d operations with %d pairs finished in %s: %d succeeded, %d failed, %d unconfirmed, %d unsent
%d requests, %d of them with an injected fault; %d polls, at least %s between two polls of an event
%d deliveries acknowledged, %d notifications handled; workers killed %d times
%d commits (since the last start of the database), %d MB of write-ahead log
violations of other rules of conduct: %v`,
		r.operations, r.pairs, r.took.Round(time.Second), r.succeeded, r.failed, r.unconfirmed, r.unsent,
		r.requests, r.faults, r.polls, r.shortestInterval.Round(time.Millisecond),
		r.delivered, r.handled, r.kills, r.commits, r.wal>>20, r.otherViolations)
}

// statistics contains two counters of the PostgreSQL server.
type statistics struct {
	commits int64
	wal     int64 // position in the write-ahead log, in bytes
}

func readStatistics(ctx context.Context, pool *pgxpool.Pool) (s statistics, err error) {
	err = pool.QueryRow(ctx, `
		SELECT xact_commit, (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint
		FROM pg_stat_database WHERE datname = current_database()`).Scan(&s.commits, &s.wal)
	return s, err
}
