package appsandbooks

import (
	"slices"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// selection is what an ErrorInfo names of a part: nil for a side it is silent about.
func (t *tables) namedItems(p batch.Part, e *Error) (assets, users, devices []int32) {
	if e.Info == nil {
		return nil, nil, nil
	}
	for _, a := range e.Info.Assets {
		for _, pricing := range []PricingParam{a.PricingParam, PricingSTDQ, PricingPLUS} {
			if pricing == "" || a.PricingParam != "" && pricing != a.PricingParam {
				continue
			}
			if i, ok := t.assetIndex[AssetID{a.AdamID, pricing}]; ok && slices.Contains(p.Assets, i) && !slices.Contains(assets, i) {
				assets = append(assets, i)
			}
		}
	}
	users = indexesOf(p.Users, t.userIndex, e.Info.ClientUserIDs)
	devices = indexesOf(p.Devices, t.deviceIndex, e.Info.SerialNumbers)
	if e.Number == ErrAssetNotDeviceAssignable && users == nil && devices == nil {
		devices = p.Devices // such an asset is no trouble for the users
	}
	return assets, users, devices
}

// among are the indices of names, as far as they are in the set.
func indexesOf(set []int32, idx index[string], names []string) []int32 {
	if len(names) == 0 {
		return nil
	}
	in := make(map[int32]bool, len(set))
	for _, i := range set {
		in[i] = true
	}
	var found []int32
	for _, name := range names {
		if i, ok := idx[name]; ok && in[i] {
			found = append(found, i)
			in[i] = false // once
		}
	}
	return found
}

// named divides a part into the pairs that a refusal names and the rest. A
// side that the refusal is silent about is named whole.
func (t *tables) namedPairs(p batch.Part, e *Error) (bad batch.Part, rest []batch.Part) {
	assets, users, devices := t.namedItems(p, e)
	if assets == nil && users == nil && devices == nil {
		return bad, nil
	}
	if assets == nil {
		assets = p.Assets
	}
	if users == nil && devices == nil {
		users, devices = p.Users, p.Devices
	}
	bad = batch.Part{Assets: assets, Users: users, Devices: devices}
	if bad.Len() == 0 {
		return bad, nil
	}
	others := batch.Part{Assets: without(p.Assets, assets), Users: p.Users, Devices: p.Devices}
	same := batch.Part{Assets: assets, Users: without(p.Users, users), Devices: without(p.Devices, devices)}
	for _, r := range []batch.Part{others, same} {
		if r.Len() > 0 {
			rest = append(rest, r)
		}
	}
	return bad, rest
}

func without(all, some []int32) []int32 {
	drop := make(map[int32]bool, len(some))
	for _, i := range some {
		drop[i] = true
	}
	var left []int32
	for _, i := range all {
		if !drop[i] {
			left = append(left, i)
		}
	}
	return left
}

// places calls f for each pair of bad, with its place in p, of which bad is a part.
func eachPosition(p, bad batch.Part, f func(i int)) {
	n := len(p.Users) + len(p.Devices)
	at := func(all, some []int32) []int {
		idx := make(map[int32]int, len(all))
		for i, v := range all {
			idx[v] = i
		}
		out := make([]int, len(some))
		for i, v := range some {
			out[i] = idx[v]
		}
		return out
	}
	users, devices := at(p.Users, bad.Users), at(p.Devices, bad.Devices)
	for _, a := range at(p.Assets, bad.Assets) {
		for _, u := range users {
			f(a*n + u)
		}
		for _, d := range devices {
			f(a*n + len(p.Users) + d)
		}
	}
}

// judge gives the pairs of a part their outcomes from the status of its
// finished event. The failures name items, not pairs; the counts say whether the
// names can be taken at their word.
func (t *tables) judge(p batch.Part, s *EventStatus) (verdict, map[int]verdict) {
	n := p.Len()
	event := &EventError{Status: s}
	suspects := map[int]verdict{}
	unnamed := 0
	for _, f := range s.Failures {
		if f == nil {
			continue
		}
		bad, _ := t.namedPairs(p, f)
		if bad.Len() == 0 {
			unnamed++
		}
		eachPosition(p, bad, func(i int) { suspects[i] = verdict{OutcomeFailed, f} })
	}
	open := func(err error) verdict { return verdict{OutcomeUnconfirmed, err} }
	if other := s.Type; other != t.kind.eventType() && slices.Contains(knownEventTypes, other) { // the status of something else
		return open(event), asUnconfirmed(suspects)
	}
	if t.kind == revokeAssets {
		// The unit of the counts is not documented: only names can be used.
		switch {
		case len(s.Failures) == 0 && s.State == EventComplete && s.NumCompleted >= s.NumRequested:
			return verdict{outcome: OutcomeSucceeded}, nil
		case unnamed > 0 || len(suspects) == 0:
			return open(event), suspects
		}
		return verdict{outcome: OutcomeSucceeded}, suspects
	}
	missing := s.NumRequested - s.NumCompleted
	switch {
	case s.NumRequested != n, missing < 0: // not the event we think it is, or not counted as we do
	case missing == n && s.State == EventFailed:
		var why error = event
		if unnamed == 1 && len(s.Failures) == 1 {
			why = s.Failures[0]
		}
		return verdict{OutcomeFailed, why}, suspects
	case unnamed == 0 && missing == len(suspects) && (missing > 0 || s.State == EventComplete):
		return verdict{outcome: OutcomeSucceeded}, suspects
	case unnamed == 0 && missing < len(suspects):
		// Some of those named, in any combination; the others are done.
		return verdict{outcome: OutcomeSucceeded}, asUnconfirmed(suspects)
	}
	return open(event), asUnconfirmed(suspects)
}

// opened makes failures that are not certain unconfirmed.
func asUnconfirmed(suspects map[int]verdict) map[int]verdict {
	for i, v := range suspects {
		suspects[i] = verdict{OutcomeUnconfirmed, v.err}
	}
	return suspects
}
