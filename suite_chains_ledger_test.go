package appsandbooks_test

import (
	"fmt"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A ledger has an entry for each assignment, seat and active user of the unit.
type ledger map[string]bool

// assetEntry returns the ledger entry for an assignment of an asset.
func assetEntry(asset, user, device string) string { return asset + "/" + user + "/" + device }

// seatEntry returns the ledger entry for a seat, with its user.
func seatEntry(subscription, user string, renewing bool) string {
	return fmt.Sprintf("seat %s/%s/%t", subscription, user, renewing)
}

// ledger returns the assignments, seats and active users that the stand-in has now.
func (ch *chain) ledger() ledger {
	l := ledger{}
	for _, a := range ch.srv.Unit().Assignments() {
		l[assetEntry(a.AdamID, a.ClientUserID, a.SerialNumber)] = true
	}
	for _, a := range ch.srv.Unit().SubscriptionAssignments() {
		l[seatEntry(fmt.Sprint(a.AdamID), a.ClientUserID, a.Renewing)] = true
	}
	for _, u := range ch.srv.Unit().Users() {
		if u.Status != appsandbookstest.UserRetired {
			l["user "+u.ClientUserID] = true
		}
	}
	return l
}

// entries returns the ledger entries that belong to an outcome of an operation, and reports
// whether the operation removes them. The pair of the outcome is present if the ledger has any of
// these entries.
func (ch *chain) entries(k chainOperation, o appsandbooks.Outcome) (entries []string, removes bool) {
	switch kind := k.op.Kind(); kind {
	case "assets/associate", "assets/disassociate":
		return []string{assetEntry(o.AdamID, o.ClientUserID, o.SerialNumber)}, kind == "assets/disassociate"
	case "assets/revoke":
		for _, a := range ch.assets {
			if !ch.irrevocable[a.AdamID] { // An irrevocable asset stays with its user after a revocation.
				entries = append(entries, assetEntry(a.AdamID, o.ClientUserID, o.SerialNumber))
			}
		}
		return entries, true
	case "users/create", "users/retire":
		return []string{"user " + o.ClientUserID}, kind == "users/retire"
	case "subscriptions/associate":
		return []string{seatEntry(o.AdamID, o.ClientUserID, k.renewing)}, false
	case "subscriptions/disassociate":
		return []string{seatEntry(o.AdamID, o.ClientUserID, true), seatEntry(o.AdamID, o.ClientUserID, false)}, true
	default:
		require.Fail(ch.t, "unknown kind of operation", kind)
		return nil, false
	}
}

// compare compares a report with the ledger before and after the operation. A pair that succeeded
// must be in the state that the operation requested. A pair that failed or is unsent must not have
// changed to this state.
func (ch *chain) compare(k chainOperation, report *appsandbooks.Report, total int, before, after ledger) {
	t := ch.t
	seen, mayChange := map[appsandbooks.AssetPair]bool{}, ledger{}
	for o := range report.Outcomes() {
		require.False(t, seen[o.AssetPair], "%v has two outcomes", o.AssetPair)
		seen[o.AssetPair] = true
		assert.Equal(t, o.Status == appsandbooks.OutcomeSucceeded, o.Err == nil, "%v", o)
		entries, removes := ch.entries(k, o)
		if k.op.Kind() == "subscriptions/associate" { // The service removes the other kind of seat from the user.
			mayChange[seatEntry(o.AdamID, o.ClientUserID, !k.renewing)] = true
		}
		wasPresent, isPresent := false, false
		for _, entry := range entries {
			mayChange[entry] = true
			wasPresent, isPresent = wasPresent || before[entry], isPresent || after[entry]
		}
		switch o.Status {
		case appsandbooks.OutcomeSucceeded:
			assert.NotEqual(t, removes, isPresent, "%s of %v succeeded; present before %t, after %t", k.op.Kind(), entries, wasPresent, isPresent)
		case appsandbooks.OutcomeFailed, appsandbooks.OutcomeUnsent:
			assert.False(t, isPresent != wasPresent && isPresent != removes, "%s of %v %s (%v); present before %t, after %t", k.op.Kind(), entries, o.Status, o.Err, wasPresent, isPresent)
		}
	}
	assert.Len(t, seen, total)
	switch k.op.Kind() {
	case "users/create", "users/retire": // When a user is retired, the assignments of the user also change.
		return
	}
	for entry := range after {
		assert.True(t, before[entry] || mayChange[entry], "%s was added, but is not in the report", entry)
	}
	for entry := range before {
		assert.True(t, after[entry] || mayChange[entry], "%s was removed, but is not in the report", entry)
	}
}

// checkConduct fails the test if the client violated a rule of conduct, except where the faults
// make this unavoidable.
func (ch *chain) checkConduct() {
	for _, v := range ch.srv.Violations() {
		switch v.Rule {
		// A new operation, or a resend after an unknown result, violates this rule.
		case appsandbookstest.RuleRepeatedWrite:
		// A request that was sent before the answer with the pause arrived violates this rule.
		case appsandbookstest.RuleRetryAfter:
			assert.Contains(ch.t, v.Detail, "7s too soon")
		default:
			assert.Fail(ch.t, "violation of a rule of conduct", "%v", v)
		}
	}
}
