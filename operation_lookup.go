package appsandbooks

import (
	"context"
	"errors"
	"iter"
	"strconv"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// maxFilteredLists is the largest number of filtered lists that are read, one for
// each asset or target. If more would be needed, one list without a filter is read.
const maxFilteredLists = 200

// maxPairLists is the largest number of pairs for which one list for each pair is read.
const maxPairLists = 1000

// findPairs sets present[pair] to true for each pair that the service lists; all values
// are false at first. If the error is nil, a pair that stays false is not listed. If the
// error is [ErrDataChanged], the pair may still be listed. If a list changes while it is
// read, findPairs tries again for the pairs that are still false, up to four times in all.
// From the second try on, it reads one list for each pair, if there are at most
// maxPairLists pairs.
func (op *Operation) findPairs(ctx context.Context, present map[batch.Pair]bool) error {
	const maxTries = 4
	for try := 1; ; try++ {
		remaining := make([]batch.Pair, 0, len(present))
		for k, isPresent := range present {
			if !isPresent {
				remaining = append(remaining, k)
			}
		}
		if len(remaining) == 0 {
			return nil
		}
		markPresent := func(k batch.Pair) {
			if _, ok := present[k]; ok {
				present[k] = true
			}
		}
		err := op.readLists(ctx, remaining, try > 1 && len(remaining) <= maxPairLists, markPresent)
		if try == maxTries || !errors.Is(err, ErrDataChanged) {
			return err
		}
	}
}

// readLists reads the lists that can show the given pairs, and calls markPresent for each
// pair that a list shows; it may call it for other pairs of the operation too. With
// onePairPerList it reads one list for each pair (not for changes of users and for
// Revoke). Otherwise it reads as few lists as possible. The error is [ErrDataChanged] if
// all lists were read, but one of them changed while it was read.
func (op *Operation) readLists(ctx context.Context, pairs []batch.Pair, onePairPerList bool, markPresent func(batch.Pair)) error {
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
	// A list that changed does not end the reading: the next list can show more pairs.
	endsReading := func(err error) bool {
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
				retired := user.Status == UserRetired || user.Status == UserDeleted
				if ok && !retired && (t.kind == retireUsers || showsUpdate(user, t.requests[u])) {
					markPresent(batch.UserPair(0, u))
				}
			})
			if endsReading(err) {
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
		case onePairPerList:
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
					markPresent(batch.UserPair(a, u))
				}
			})
			if endsReading(err) {
				return err
			}
		}

	default:
		var filters []AssignmentFilter
		revoke := t.kind == revokeAssets
		switch {
		case onePairPerList && !revoke:
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
			// A book stays assigned to a retired user, and a new user can have the
			// same clientUserId. The user's status distinguishes them.
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
				retired := f.IncludeUserState && (s.UserStatus == UserRetired || s.UserStatus == UserDeleted)
				if u, ok := t.userIndex[s.ClientUserID]; ok && s.ClientUserID != "" && !retired {
					markPresent(batch.UserPair(a, u))
				}
				if d, ok := t.deviceIndex[s.SerialNumber]; ok && s.SerialNumber != "" {
					markPresent(batch.DevicePair(a, d))
				}
			})
			if endsReading(err) {
				return err
			}
		}
	}
	return changed
}

// eachRecord calls f for each record of a list. It returns [ErrDataChanged] if records
// can be missing because the list changed while it was read, and [ErrOtherUnit] if a
// page comes from another organizational unit.
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

// showsUpdate reports whether the user u has the values that the request r sets, as far as
// the list shows them. The list does not show the Managed Apple Account, only whether the
// user is associated with an account.
func showsUpdate(u User, r UserRequest) bool {
	return (r.Email == "" || u.Email == r.Email) && (r.ManagedAppleID == "" || u.Status == UserAssociated)
}
