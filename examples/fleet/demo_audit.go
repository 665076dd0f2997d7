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

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/postgres"
)

// audit compares the reports of the operations, the requests to the service, the
// notifications that the hooks stored, and the logs of the workers.
func (d *demo) audit(ctx context.Context) (*demoResult, error) {
	r := &demoResult{
		operations: len(d.planned), shortestInterval: time.Hour,
		otherViolations: map[appsandbookstest.Rule]int{},
	}
	if err := d.auditUnfinished(ctx, r); err != nil {
		return nil, err
	}
	for id, unit := range d.planned {
		if err := d.auditOperation(ctx, r, id, unit); err != nil {
			return nil, err
		}
	}
	if r.pairs != d.pairs {
		r.wrongPairs = append(r.wrongPairs, fmt.Sprintf("%d pairs were ordered, but the reports contain %d", d.pairs, r.pairs))
	}
	d.auditRequests(r)
	d.auditViolations(r)
	if err := d.auditNotifications(ctx, r); err != nil {
		return nil, err
	}
	return r, d.auditLogs(r)
}

// auditUnfinished adds the operations and jobs that are not finished to the result of the
// audit.
func (d *demo) auditUnfinished(ctx context.Context, r *demoResult) error {
	for o, err := range d.store.Operations().All(ctx, postgres.OperationFilter{}) {
		if err != nil {
			return err
		}
		if o.State != postgres.OperationFinished {
			r.unfinished = append(r.unfinished, fmt.Sprintf("operation %s of unit %s is %s: %s", o.ID, o.Unit, o.State, o.LastError))
		}
	}
	rows, err := d.pool.Query(ctx, `SELECT 'job ' || args::text || ' is ' || state FROM river_job WHERE state <> 'completed'`)
	if err != nil {
		return err
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	r.unfinished = append(r.unfinished, jobs...)
	return err
}

// auditOperation compares the outcomes of an operation with the ledger of the service.
func (d *demo) auditOperation(ctx context.Context, r *demoResult, id string, unit *appsandbookstest.Unit) error {
	client, err := d.clients.get(unit.UID())
	if err != nil {
		return err
	}
	saved, err := d.store.Operations().Load(ctx, id)
	if err != nil {
		return err
	}
	op, err := client.Resume(saved)
	if err != nil {
		return err
	}
	report := op.Report()
	r.pairs += report.Total
	r.succeeded += report.Succeeded
	r.failed += report.Failed
	r.unconfirmed += report.Unconfirmed
	r.unsent += report.Unsent
	for o := range report.Outcomes() {
		assigned := unit.HasAssignment(appsandbookstest.Assignment{
			AdamID: o.AdamID, PricingParam: string(o.PricingParam), SerialNumber: o.SerialNumber,
		})
		final := o.Status == appsandbooks.OutcomeSucceeded || o.Status == appsandbooks.OutcomeFailed
		if !final || assigned != (o.Status == appsandbooks.OutcomeSucceeded) {
			r.wrongPairs = append(r.wrongPairs, fmt.Sprintf("asset %s and device %s of operation %s: the outcome is %s (%v), and assigned in the ledger is %t",
				o.AdamID, o.SerialNumber, id, o.Status, o.Err, assigned))
		}
	}
	return nil
}

// auditRequests counts the requests to the stand-in and finds polls that came too early.
// The interval between polls counts from the arrival of a poll, even if its answer was
// lost.
func (d *demo) auditRequests(r *demoResult) {
	polled := map[string]time.Time{} // the time of the last poll of an event
	for _, q := range d.service.Requests() {
		r.requests++
		if q.Fault != "" {
			r.faults++
		}
		if q.Path != "status" {
			continue
		}
		r.polls++
		event := q.Query.Get("eventId")
		if last, ok := polled[event]; ok {
			interval := q.Time.Sub(last)
			r.shortestInterval = min(r.shortestInterval, interval)
			if interval < d.poll {
				r.earlyPolls = append(r.earlyPolls, fmt.Sprintf("event %s after %s", event, interval))
			}
		}
		polled[event] = q.Time
	}
}

// auditViolations assigns each violation that the stand-in recorded to a list of the
// result.
func (d *demo) auditViolations(r *demoResult) {
	for _, v := range d.service.Violations() {
		switch v.Rule {
		case appsandbookstest.RuleRequestRate:
			r.fastSeconds = append(r.fastSeconds, v.Detail)
		case appsandbookstest.RulePollInterval: // the rule assumes 30 s between polls; auditRequests uses -poll
		default:
			r.otherViolations[v.Rule]++
			r.details = append(r.details, v.String())
		}
	}
}

// auditNotifications compares the notifications that the hooks stored with the
// notifications that the workers acknowledged.
func (d *demo) auditNotifications(ctx context.Context, r *demoResult) error {
	rows, err := d.pool.Query(ctx, `SELECT key, count(*) FROM fleet_notifications GROUP BY key`)
	if err != nil {
		return err
	}
	handled := map[string]bool{}
	var key string
	var times int
	if _, err := pgx.ForEachRow(rows, []any{&key, &times}, func() error {
		handled[key] = true
		if times > 1 {
			r.handledTwice = append(r.handledTwice, key)
		}
		return nil
	}); err != nil {
		return err
	}
	r.handled = len(handled)
	for _, delivery := range d.service.Deliveries() {
		if delivery.Status/100 != 2 || delivery.NotificationType == appsandbookstest.NotificationTest {
			continue
		}
		r.delivered++
		if !handled[delivery.Unit+"/"+delivery.NotificationID] {
			r.notHandled = append(r.notHandled, delivery.NotificationID)
		}
	}
	return nil
}

// auditLogs finds secrets in the logs of the workers. Half of a content token counts as a
// secret.
func (d *demo) auditLogs(r *demoResult) error {
	for _, x := range d.fleet.all {
		text, err := os.ReadFile(filepath.Join(d.logs, x.name+".log"))
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte("msg=ready")) {
			return fmt.Errorf("the log of %s does not contain msg=ready", x.name)
		}
		for uid, token := range d.vendor.Tokens {
			if bytes.Contains(text, []byte(token[:len(token)/2])) {
				r.printedSecrets = append(r.printedSecrets, fmt.Sprintf("the token of unit %s, in the log of %s", uid, x.name))
			}
		}
		if bytes.Contains(text, []byte(d.vendor.Secret)) {
			r.printedSecrets = append(r.printedSecrets, "the notification secret, in the log of "+x.name)
		}
	}
	return nil
}
