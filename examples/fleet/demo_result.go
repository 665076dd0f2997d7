//go:build unix

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// result is what came out.
type result struct {
	took                                    time.Duration
	operations                              int
	pairs, succeeded, failed, unconfirmed   int
	requests, faults, looks, notifications  int
	delivered, kills                        int
	commits, wal                            int64         // commits only while the database lived
	closest                                 time.Duration // of two looks at an event
	wrong, tooSoon, tooFast, twice, missing []string
	stuck, told, details                    []string
	others                                  map[appsandbookstest.Rule]int
}

func (r *result) check() error {
	var errs []error
	for what, list := range map[string][]string{
		"pairs differ from the ledger":                        r.wrong,
		"looks came too soon":                                 r.tooSoon,
		"seconds had too many requests":                       r.tooFast,
		"notifications were handled twice":                    r.twice,
		"notifications were acknowledged and are not handled": r.missing,
		"jobs or operations are stuck":                        r.stuck,
		"secrets were printed":                                r.told,
	} {
		if len(list) > 0 {
			errs = append(errs, fmt.Errorf("%d %s: %s", len(list), what, strings.Join(list[:min(3, len(list))], "; ")))
		}
	}
	return errors.Join(errs...)
}

func (r *result) String() string {
	return fmt.Sprintf(`%d operations of %d pairs in %s: %d succeeded, %d failed, %d unconfirmed
%d requests, of which %d were broken; %d looks at events, the closest two of one event %s apart
%d notifications delivered, %d handled; %d kills
%d commits (since the database was started last), %d MB of write-ahead log
violations of other rules: %v`,
		r.operations, r.pairs, r.took.Round(time.Second), r.succeeded, r.failed, r.unconfirmed,
		r.requests, r.faults, r.looks, r.closest.Round(time.Millisecond),
		r.delivered, r.notifications, r.kills, r.commits, r.wal>>20, r.others)
}
