package appsandbooks

import (
	"context"
	"errors"
	"iter"
	"strconv"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// manyWalks is when reading everything once beats a filtered walk for each item.
const maxFilteredLists = 200

// manyPairs is when reading one list for each pair takes too long.
const maxPairLists = 1000

// find marks the wanted pairs that the data shows. That one stays unmarked means
// that it is not there, unless the error is ErrDataChanged: what was not found in
// a list that changed while it was read is looked for again, and then one by one
// if there are not too many.
func (op *Operation) findPairs(ctx context.Context, want map[batch.Pair]bool) error {
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
		err := op.readLists(ctx, left, try > 1 && len(left) <= maxPairLists, mark)
		if try == tries || !errors.Is(err, ErrDataChanged) {
			return err
		}
	}
}

// walk reads the lists that show some pairs: with narrow, one list for each pair,
// else as few as possible. Its error is ErrDataChanged when all was read, but
// not in one state.
func (op *Operation) readLists(ctx context.Context, pairs []batch.Pair, narrow bool, mark func(batch.Pair)) error {
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
		if targets <= maxFilteredLists {
			filters = filters[:0]
			for u := range users {
				filters = append(filters, UserFilter{ActiveOnly: true, ClientUserID: t.users[u]})
			}
		}
		for _, f := range filters {
			err := eachRecord(op, c.Users.Pages(ctx, f), false, func(user User) {
				u, ok := t.userIndex[user.ClientUserID]
				gone := user.Status == UserRetired || user.Status == UserDeleted
				if ok && !gone && (t.kind == retireUsers || showsUpdate(user, t.requests[u])) {
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
		case min(len(assets), targets) > maxFilteredLists:
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
			pages := c.SubscriptionAssignments.Pages(ctx, f)
			err := eachRecord(op, pages, true, func(s SubscriptionAssignment) {
				a, ok := t.assetIndex[AssetID{formatAdamID(s.AdamID), PricingSTDQ}]
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
		case revoke && targets > maxFilteredLists || !revoke && min(len(assets), targets) > maxFilteredLists:
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
			err := eachRecord(op, c.Assignments.Pages(ctx, f), false, func(s Assignment) {
				var a int32
				if !revoke {
					pricing := s.PricingParam
					if pricing == "" {
						pricing = PricingSTDQ
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
func eachRecord[T any](op *Operation, pages iter.Seq2[*Page[T], error], byCursor bool, f func(T)) error {
	changed, index := false, 0
	for page, err := range pages {
		if err == nil {
			err = op.checkUnit(page.UID)
		}
		if err != nil {
			return err
		}
		for _, record := range page.Items {
			f(record)
		}
		next, complete := page.completeAt(index, byCursor)
		changed, index = changed || !complete, next
	}
	if changed {
		return ErrDataChanged
	}
	return nil
}

// shows tells whether the data has what an update asked for, as far as it can be seen.
func showsUpdate(u User, r UserRequest) bool {
	return (r.Email == "" || u.Email == r.Email) && (r.ManagedAppleID == "" || u.Status == UserAssociated)
}
