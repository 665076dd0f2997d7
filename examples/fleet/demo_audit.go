//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// audit compares the books.
func audit(ctx context.Context, c proof, srv *appsandbookstest.Server, units []*appsandbookstest.Unit,
	pool *pgxpool.Pool, store *postgres.Store, all *clients, planned map[string]int,
) (*result, error) {
	r := &result{others: map[appsandbookstest.Rule]int{}, operations: len(planned), closest: time.Hour}
	for o, err := range store.Operations().All(ctx, postgres.OperationFilter{}) {
		if err != nil {
			return nil, err
		}
		if o.State != postgres.OperationFinished {
			r.stuck = append(r.stuck, fmt.Sprintf("operation %s of unit %s is %s: %s", o.ID, o.Unit, o.State, o.LastError))
		}
	}
	for id, i := range planned {
		u := units[i]
		client, err := all.of(u.UID())
		if err != nil {
			return nil, err
		}
		saved, err := store.Operations().Load(ctx, id)
		if err != nil {
			return nil, err
		}
		op, err := client.Resume(saved)
		if err != nil {
			return nil, err
		}
		report := op.Report()
		r.pairs += report.Total
		r.succeeded += report.Succeeded
		r.failed += report.Failed
		r.unconfirmed += report.Unconfirmed
		for o := range report.Outcomes() {
			there := u.HasAssignment(appsandbookstest.Assignment{
				AdamID: o.AdamID, PricingParam: string(o.PricingParam), SerialNumber: o.SerialNumber,
			})
			if o.Status == appsandbooks.OutcomeUnconfirmed || there != (o.Status == appsandbooks.OutcomeSucceeded) {
				r.wrong = append(r.wrong, fmt.Sprintf("%s %s of operation %s is %s (%v), in the ledger: %v", o.AdamID, o.SerialNumber, id, o.Status, o.Err, there))
			}
		}
	}
	if r.pairs != c.pairs {
		r.wrong = append(r.wrong, fmt.Sprintf("%d pairs were ordered, and %d are accounted for", c.pairs, r.pairs))
	}

	asked := map[string]time.Time{} // of the last look, whether or not its answer arrived
	for _, q := range srv.Requests() {
		r.requests++
		if q.Fault != "" {
			r.faults++
		}
		if q.Path != "status" {
			continue
		}
		r.looks++
		event := q.Query.Get("eventId")
		if last, ok := asked[event]; ok {
			apart := q.Time.Sub(last)
			r.closest = min(r.closest, apart)
			if apart < c.poll {
				r.tooSoon = append(r.tooSoon, fmt.Sprintf("event %s after %s", event, apart))
			}
		}
		asked[event] = q.Time
	}
	for _, violation := range srv.Violations() {
		switch violation.Rule {
		case appsandbookstest.RuleRequestRate:
			r.tooFast = append(r.tooFast, violation.Detail)
		case appsandbookstest.RulePollInterval: // has 30 s; ours is above
		default:
			r.others[violation.Rule]++
			r.details = append(r.details, violation.String())
		}
	}

	rows, err := pool.Query(ctx, `SELECT key, count(*) FROM fleet_notifications GROUP BY key`)
	if err != nil {
		return nil, err
	}
	handled := map[string]bool{}
	var key string
	var times int
	if _, err := pgx.ForEachRow(rows, []any{&key, &times}, func() error {
		handled[key] = true
		r.notifications++
		if times > 1 {
			r.twice = append(r.twice, key)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, d := range srv.Deliveries() {
		if d.Status/100 != 2 || d.NotificationType == appsandbookstest.NotificationTest {
			continue
		}
		r.delivered++
		if !handled[d.Unit+"/"+d.NotificationID] {
			r.missing = append(r.missing, d.NotificationID)
		}
	}

	rows, err = pool.Query(ctx, `SELECT state || ' ' || args::text FROM river_job WHERE state <> 'completed'`)
	if err != nil {
		return nil, err
	}
	stuck, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	r.stuck = append(r.stuck, stuck...)
	return r, nil
}

// told looks for secrets in what the workers printed. Half a token is too much.
func (m *machines) told(v *vendor) (found []string, err error) {
	for _, x := range m.all {
		text, err := os.ReadFile(filepath.Join(m.logs, x.name+".log"))
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(text, []byte("msg=ready")) {
			return nil, fmt.Errorf("%s printed nothing", x.name)
		}
		for uid, token := range v.Tokens {
			if bytes.Contains(text, []byte(token[:len(token)/2])) {
				found = append(found, fmt.Sprintf("the token of unit %s, of %s", uid, x.name))
			}
		}
		if bytes.Contains(text, []byte(v.Secret)) {
			found = append(found, "the notification secret, of "+x.name)
		}
	}
	return found, nil
}
