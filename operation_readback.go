package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// settle reads back what is due: parts of unknown fate once their time has
// come, and finished events whose counts left pairs open.
func (op *Operation) settle(ctx context.Context) error {
	now := time.Now()
	var due []*part
	op.mu.Lock()
	for _, p := range op.parts {
		if (p.state == partUnknown || p.open()) && !p.nextLook.After(now) {
			due = append(due, p)
		}
	}
	op.mu.Unlock()
	err := op.readBack(ctx, due, func(v verdict) bool { return v.outcome == OutcomeUnconfirmed })
	switch {
	case err == nil:
		op.unreadable = time.Time{}
		return nil
	case ctx.Err() != nil || !op.client.passing(err) && !errors.Is(err, ErrDataChanged) && !errors.Is(err, ErrNoProgress):
		return err
	case op.unreadable.IsZero():
		op.unreadable = now
	case now.Sub(op.unreadable) >= op.client.opts.stallTime:
		return err
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	for _, p := range due {
		p.nextLook = time.Now().Add(op.client.opts.pollInterval)
	}
	return nil
}

// open tells whether a finished event left pairs to be read back.
func (p *part) open() bool {
	return p.state == partFinished && !p.checked && p.has(OutcomeUnconfirmed)
}

func (p *part) has(s OutcomeStatus) bool {
	if p.outcome == s && len(p.odd) < p.Len() {
		return true
	}
	for _, v := range p.odd {
		if v.outcome == s {
			return true
		}
	}
	return false
}

// Verify reads the data back (assignments, users or subscription assignments)
// and compares it with the outcomes: of what is unconfirmed, and of what an event
// confirmed. The service is known to accept serial numbers that do not exist
// and to say COMPLETE; the pairs that it does not list then are failed with
// [ErrNotVerified]. Somebody else's changes in the meantime show as well. A request
// that got lost may be carried out late: what it asked for is unconfirmed until six
// times the stall time (an hour; see [WithStallTime]) have passed, and failed then.
//
// Like Wait, it gives the report, with an error unless every pair succeeded.
func (op *Operation) Verify(ctx context.Context) (*Report, error) {
	if err := op.begin(ctx); err != nil {
		return op.outcome(err)
	}
	defer op.end()
	var all []*part
	for _, s := range []partState{partUnknown, partFinished} {
		all = append(all, op.inState(s)...)
	}
	return op.outcome(op.readBack(ctx, all, func(v verdict) bool {
		return v.outcome != OutcomeFailed || errors.Is(v.err, ErrNotVerified)
	}))
}

// readBack looks up the pairs of some parts whose verdict is of interest, and
// revises the verdicts by what it finds.
func (op *Operation) readBack(ctx context.Context, parts []*part, interest func(verdict) bool) error {
	want := map[batch.Pair]bool{} // false until it is found
	for _, p := range parts {
		for i := range p.Len() {
			if interest(p.pair(i)) {
				want[p.key(i)] = false
			}
		}
	}
	if len(want) == 0 {
		return nil
	}
	err := op.find(ctx, want)
	changed := errors.Is(err, ErrDataChanged)
	if err != nil {
		err = fmt.Errorf("reading back %s: %w", op.tables.kind, err)
		if !changed {
			return err
		}
	}
	// In data that changed only what was seen is certain.
	certain := func(k batch.Pair) bool { return want[k] || !changed }
	done := func(k batch.Pair) bool { return want[k] != op.tables.kind.removes() }
	for _, p := range parts {
		if err := op.revise(ctx, p, interest, certain, done); err != nil {
			return err
		}
	}
	return err
}

// removes tells the kinds that are done when the data does not show the pair.
func (k kind) removes() bool {
	switch k {
	case disassociateAssets, revokeAssets, retireUsers, disassociateSubscriptions:
		return true
	}
	return false
}

// revise applies what reading back found to one part.
func (op *Operation) revise(ctx context.Context, p *part, interest func(verdict) bool, certain, done func(batch.Pair) bool) error {
	unknown := p.state == partUnknown
	open := unknown && p.nextLook.After(time.Now()) // Verify does not wait
	verdicts := make(map[int]verdict, p.Len())
	refuted := map[error]error{} // one for each reason, to be shared
	var missing, found []batch.Pair
	for i := range p.Len() {
		v := p.pair(i)
		key := p.key(i)
		switch {
		case !interest(v):
			verdicts[i] = v
		case !certain(key):
			verdicts[i], open = v, true
			missing = append(missing, key)
		case done(key):
			found = append(found, key)
			verdicts[i] = verdict{outcome: OutcomeSucceeded}
		case v.outcome == OutcomeFailed: // not verified before, nor now
			verdicts[i] = v
		case unknown || op.mayStillCome(p, v.err) || op.tables.kind == revokeAssets || op.tables.deferred || p.doubt != nil && p.eventID == "":
			// It may still be carried out, also by an earlier request when the
			// one that repeated it was refused; or it is not ours to tell: books
			// stay with the user of a revocation, deferred seats until the period
			// ends. (Events finish in the order of their requests.)
			missing = append(missing, key)
			if v.err == nil { // its event said that it was done
				v.err = ErrNotVerified
			}
			verdicts[i] = verdict{OutcomeUnconfirmed, v.err}
		default:
			if refuted[v.err] == nil {
				refuted[v.err] = errors.Join(ErrNotVerified, v.err)
			}
			verdicts[i] = verdict{OutcomeFailed, refuted[v.err]}
		}
	}
	if unknown && open && len(missing) > 0 {
		return nil // it may be on its way, or there
	}
	resendable := op.tables.kind != revokeAssets && !op.tables.deferred
	if unknown && op.opts.resend && p.resent < maxResends && resendable && len(missing) > 0 {
		return op.resend(ctx, p, missing, found)
	}
	return op.update(ctx, p, func() {
		p.checked = !open
		v, rest := condense(verdicts)
		op.finish(p, v, rest)
	})
}

// mayStillCome tells whether a request may still be carried out: one whose event
// is PENDING at any time, one that got lost for much longer than events take.
func (op *Operation) mayStillCome(p *part, err error) bool {
	lost := errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrEventNotFound)
	return errors.Is(err, ErrStalled) || lost && time.Since(p.at) < 6*op.client.opts.stallTime
}

// condense makes the verdict of the first pair the part's own.
func condense(all map[int]verdict) (verdict, map[int]verdict) {
	first := all[0]
	for i, v := range all {
		if v.outcome == first.outcome && v.err == first.err { //nolint:errorlint // one error is shared by its pairs
			delete(all, i)
		}
	}
	return first, all
}

// resend replaces a part of unknown fate by what was found, which is done, and
// by what was not, to be sent again.
func (op *Operation) resend(ctx context.Context, p *part, missing, found []batch.Pair) error {
	limits, err := op.client.Config.limits(ctx)
	if err != nil {
		return err
	}
	l := op.tables.kind.limits(limits)
	again, there := batch.Pairs(missing, l), batch.Pairs(found, l)
	return op.update(ctx, p, func() {
		p.doubt = p.err
		op.replace(p, append(again, there...))
		pieces := op.parts[len(op.parts)-len(again)-len(there):]
		for _, q := range pieces[:len(again)] {
			q.resent = p.resent + 1
		}
		for _, q := range pieces[len(again):] {
			op.finish(q, verdict{outcome: OutcomeSucceeded}, nil)
		}
	})
}

// manyWalks is when reading everything once beats a filtered walk for each item.
const manyWalks = 200

// manyPairs is when reading one list for each pair takes too long.
const manyPairs = 1000

// find marks the wanted pairs that the data shows. That one stays unmarked means
// that it is not there, unless the error is ErrDataChanged: what was not found in
// a list that changed while it was read is looked for again, and then one by one
// if there are not too many.
func (op *Operation) find(ctx context.Context, want map[batch.Pair]bool) error {
	const tries = 4
	for try := 1; ; try++ {
		left := make([]batch.Pair, 0, len(want))
		for k, found := range want {
			if !found {
				left = append(left, k)
			}
		}
		if len(left) == 0 {
			return nil
		}
		mark := func(k batch.Pair) {
			if _, ok := want[k]; ok {
				want[k] = true
			}
		}
		err := op.walk(ctx, left, try > 1 && len(left) <= manyPairs, mark)
		if try == tries || !errors.Is(err, ErrDataChanged) {
			return err
		}
	}
}

// walk reads the lists that show some pairs: with narrow, one list for each pair,
// else as few as possible. Its error is ErrDataChanged when all was read, but
// not in one state.
func (op *Operation) walk(ctx context.Context, pairs []batch.Pair, narrow bool, mark func(batch.Pair)) error {
	t, c := &op.tables, op.client
	assets, users, devices := map[int32]bool{}, map[int32]bool{}, map[int32]bool{}
	for _, k := range pairs {
		assets[k.Asset()] = true
		if u, ok := k.User(); ok {
			users[u] = true
		} else {
			devices[k.Device()] = true
		}
	}
	targets := len(users) + len(devices)
	var changed error
	final := func(err error) bool { // a list that changed is no reason to stop: the next may show more
		if errors.Is(err, ErrDataChanged) {
			changed, err = err, nil
		}
		return err != nil
	}

	switch t.kind {
	case createUsers, updateUsers, retireUsers:
		filters := []UserFilter{{ActiveOnly: true}}
		if targets <= manyWalks {
			filters = filters[:0]
			for u := range users {
				filters = append(filters, UserFilter{ActiveOnly: true, ClientUserID: t.users[u]})
			}
		}
		for _, f := range filters {
			err := each(op, c.Users.Pages(ctx, f), func(p *UserPage) []User { return p.Users }, func(user User) {
				u, ok := t.userIndex[user.ClientUserID]
				gone := user.Status == UserRetired || user.Status == UserDeleted
				if ok && !gone && (t.kind == retireUsers || shows(user, t.requests[u])) {
					mark(batch.UserPair(0, u))
				}
			})
			if final(err) {
				return err
			}
		}

	case associateSubscriptions, disassociateSubscriptions:
		var filters []SubscriptionAssignmentFilter
		id := func(a int32) []int64 {
			id, _ := strconv.ParseInt(t.assets[a].AdamID, 10, 64)
			return []int64{id}
		}
		switch {
		case narrow:
			for _, k := range pairs {
				u, _ := k.User()
				filters = append(filters, SubscriptionAssignmentFilter{AdamIDs: id(k.Asset()), ClientUserIDs: []string{t.users[u]}})
			}
		case min(len(assets), targets) > manyWalks:
			filters = append(filters, SubscriptionAssignmentFilter{})
		case len(assets) <= targets:
			for a := range assets {
				filters = append(filters, SubscriptionAssignmentFilter{AdamIDs: id(a)})
			}
		default:
			for u := range users {
				filters = append(filters, SubscriptionAssignmentFilter{ClientUserIDs: []string{t.users[u]}})
			}
		}
		for _, f := range filters {
			pages := c.Subscriptions.AssignmentPages(ctx, f)
			err := each(op, pages, func(p *SubscriptionAssignmentPage) []SubscriptionAssignment { return p.Assignments }, func(s SubscriptionAssignment) {
				a, ok := t.assetIndex[AssetID{formatAdamID(s.AdamID), STDQ}]
				u, known := t.userIndex[s.ClientUserID]
				if ok && known && (t.kind != associateSubscriptions || s.Renewing == t.renewing) {
					mark(batch.UserPair(a, u))
				}
			})
			if final(err) {
				return err
			}
		}

	default:
		var filters []AssignmentFilter
		revoke := t.kind == revokeAssets
		switch {
		case narrow && !revoke:
			for _, k := range pairs {
				f := AssignmentFilter{AdamID: t.assets[k.Asset()].AdamID, PricingParam: t.assets[k.Asset()].PricingParam}
				if u, ok := k.User(); ok {
					f.ClientUserID = t.users[u]
				} else {
					f.SerialNumber = t.devices[k.Device()]
				}
				filters = append(filters, f)
			}
		case revoke && targets > manyWalks || !revoke && min(len(assets), targets) > manyWalks:
			filters = append(filters, AssignmentFilter{})
		case !revoke && len(assets) <= targets:
			for a := range assets {
				filters = append(filters, AssignmentFilter{AdamID: t.assets[a].AdamID, PricingParam: t.assets[a].PricingParam})
			}
		default:
			for u := range users {
				filters = append(filters, AssignmentFilter{ClientUserID: t.users[u]})
			}
			for d := range devices {
				filters = append(filters, AssignmentFilter{SerialNumber: t.devices[d]})
			}
		}
		for _, f := range filters {
			// A book stays with a retired user, whose id another may have now.
			f.IncludeUserState = t.kind == associateAssets && len(users) > 0
			err := each(op, c.Assignments.Pages(ctx, f), func(p *AssignmentPage) []Assignment { return p.Assignments }, func(s Assignment) {
				var a int32
				if !revoke {
					pricing := s.PricingParam
					if pricing == "" {
						pricing = STDQ
					}
					i, ok := t.assetIndex[AssetID{s.AdamID, pricing}]
					if !ok {
						return
					}
					a = i
				}
				gone := f.IncludeUserState && (s.UserStatus == UserRetired || s.UserStatus == UserDeleted)
				if u, ok := t.userIndex[s.ClientUserID]; ok && s.ClientUserID != "" && !gone {
					mark(batch.UserPair(a, u))
				}
				if d, ok := t.deviceIndex[s.SerialNumber]; ok && s.SerialNumber != "" {
					mark(batch.DevicePair(a, d))
				}
			})
			if final(err) {
				return err
			}
		}
	}
	return changed
}

// each calls f for the records of a list. Its error is ErrDataChanged when they
// may not be all.
func each[P interface {
	meta() *Meta
	certain(index int) (next int, ok bool)
}, T any](op *Operation, pages iter.Seq2[P, error], of func(P) []T, f func(T)) error {
	changed, index := false, 0
	for page, err := range pages {
		if err == nil {
			err = op.ofUnit(page.meta().UID)
		}
		if err != nil {
			return err
		}
		for _, record := range of(page) {
			f(record)
		}
		next, ok := page.certain(index)
		changed, index = changed || !ok, next
	}
	if changed {
		return ErrDataChanged
	}
	return nil
}

// shows tells whether the data has what an update asked for, as far as it can be seen.
func shows(u User, r UserRequest) bool {
	return (r.Email == "" || u.Email == r.Email) && (r.ManagedAppleID == "" || u.Status == UserAssociated)
}
