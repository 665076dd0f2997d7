package appsandbooks

import (
	"slices"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// A verdict is the outcome of a pair, or of all pairs of a request, before it is recorded.
type verdict struct {
	outcome OutcomeStatus
	err     error
}

// namedItems returns the assets, users and devices of the request p that the ErrorInfo of
// the error e names, and nil for each list that it does not name. An asset without a
// pricingParam names both STDQ and PLUS. [ErrAssetNotDeviceAssignable] without targets
// names all devices.
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
		devices = p.Devices // the pairs with devices fail: the asset can still be assigned to users
	}
	return assets, users, devices
}

// indexesOf returns the table indexes of the names, each once, if they are in set.
func indexesOf(set []int32, idx index[string], names []string) []int32 {
	if len(names) == 0 {
		return nil
	}
	remaining := make(map[int32]bool, len(set))
	for _, i := range set {
		remaining[i] = true
	}
	var found []int32
	for _, name := range names {
		if i, ok := idx[name]; ok && remaining[i] {
			found = append(found, i)
			remaining[i] = false
		}
	}
	return found
}

// namedPairs divides a request into the pairs that an error names and the rest. If the
// error names no asset, it is about all assets. If it names neither users nor devices, it
// is about all targets. If it names nothing of the request, both results are empty.
func (t *tables) namedPairs(p batch.Part, e *Error) (named batch.Part, rest []batch.Part) {
	assets, users, devices := t.namedItems(p, e)
	if assets == nil && users == nil && devices == nil {
		return named, nil
	}
	if assets == nil {
		assets = p.Assets
	}
	if users == nil && devices == nil {
		users, devices = p.Users, p.Devices
	}
	named = batch.Part{Assets: assets, Users: users, Devices: devices}
	if named.Len() == 0 {
		return named, nil
	}
	others := batch.Part{Assets: subtract(p.Assets, assets), Users: p.Users, Devices: p.Devices}
	same := batch.Part{Assets: assets, Users: subtract(p.Users, users), Devices: subtract(p.Devices, devices)}
	for _, r := range []batch.Part{others, same} {
		if r.Len() > 0 {
			rest = append(rest, r)
		}
	}
	return named, rest
}

// subtract returns the elements of the list all that are not in the list some.
func subtract(all, some []int32) []int32 {
	drop := make(map[int32]bool, len(some))
	for _, i := range some {
		drop[i] = true
	}
	var rest []int32
	for _, i := range all {
		if !drop[i] {
			rest = append(rest, i)
		}
	}
	return rest
}

// eachPosition calls f with the position in the request p of each pair of the request
// subset. All pairs of subset must be pairs of p.
func eachPosition(p, subset batch.Part, f func(i int)) {
	n := len(p.Users) + len(p.Devices)
	positions := func(all, some []int32) []int {
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
	users, devices := positions(p.Users, subset.Users), positions(p.Devices, subset.Devices)
	for _, a := range positions(p.Assets, subset.Assets) {
		for _, u := range users {
			f(a*n + u)
		}
		for _, d := range devices {
			f(a*n + len(p.Users) + d)
		}
	}
}

// judge returns the outcomes of the pairs of a request from the status of its finished
// event: the verdict of most pairs, and the exceptions by position. Failures name
// items, not pairs. So the counts of the status decide whether all pairs that the
// failures name have failed, or only some of them.
//
// With n = pairs of the request, missing = numRequested - numCompleted, and named = number
// of pairs that the failures name, the first row that applies decides:
//
//	condition                                            named pairs    other pairs
//	any kind:
//	  the type of the event is known, and another kind's  unconfirmed    unconfirmed
//	Revoke (Apple does not document what the numbers count):
//	  no failures, COMPLETE, missing <= 0                 -              succeeded
//	  a failure names no pair, or no pair is named,
//	    or FAILED and numCompleted <= 0                   failed         unconfirmed
//	  otherwise                                           failed         succeeded
//	all other kinds:
//	  numRequested != n, or missing < 0                   unconfirmed    unconfirmed
//	  missing == n, FAILED                                failed         failed
//	  every failure names pairs, missing == named,
//	    and missing > 0 or COMPLETE                       failed         succeeded
//	  every failure names pairs, missing < named          unconfirmed    succeeded
//	  otherwise                                           unconfirmed    unconfirmed
//
// A failed pair that a failure names has that failure as its error. If all pairs failed,
// the other pairs have the only failure as their error if it names no pair, and an
// [*EventError] otherwise. Unconfirmed pairs that no failure names have an [*EventError].
func (t *tables) judge(p batch.Part, s *EventStatus) (verdict, map[int]verdict) {
	n := p.Len()
	event := &EventError{Status: s}
	named := map[int]verdict{}
	unnamed := 0 // number of failures that name no pair of the request
	for _, f := range s.Failures {
		if f == nil {
			continue
		}
		pairs, _ := t.namedPairs(p, f)
		if pairs.Len() == 0 {
			unnamed++
		}
		eachPosition(p, pairs, func(i int) { named[i] = verdict{OutcomeFailed, f} })
	}
	unconfirmed := verdict{OutcomeUnconfirmed, event}
	if !t.isOwnEvent(s.Type) {
		return unconfirmed, asUnconfirmed(named)
	}
	if t.info.uncountable {
		switch {
		case s.State == EventFailed && s.NumCompleted <= 0:
			return unconfirmed, named
		case len(s.Failures) == 0 && s.State == EventComplete && s.NumCompleted >= s.NumRequested:
			return verdict{outcome: OutcomeSucceeded}, nil
		case unnamed > 0 || len(named) == 0:
			return unconfirmed, named
		}
		return verdict{outcome: OutcomeSucceeded}, named
	}
	missing := s.NumRequested - s.NumCompleted
	switch {
	case s.NumRequested != n, missing < 0: // the counts of the event's status do not match this request
	case missing == n && s.State == EventFailed:
		var why error = event
		if unnamed == 1 && len(s.Failures) == 1 {
			why = s.Failures[0]
		}
		return verdict{OutcomeFailed, why}, named
	case unnamed == 0 && missing == len(named) && (missing > 0 || s.State == EventComplete):
		return verdict{outcome: OutcomeSucceeded}, named
	case unnamed == 0 && missing < len(named):
		// Some of the named pairs failed, but the status does not show which.
		return verdict{outcome: OutcomeSucceeded}, asUnconfirmed(named)
	}
	return unconfirmed, asUnconfirmed(named)
}

// isOwnEvent reports whether an event of a type can be one of the operation's: it is not the type
// of another kind of change. A type that the SDK does not know can be.
func (t *tables) isOwnEvent(e EventType) bool {
	return e == t.info.event || !slices.Contains(knownEventTypes, e)
}

// asUnconfirmed makes all verdicts unconfirmed, in place, and returns the map.
func asUnconfirmed(verdicts map[int]verdict) map[int]verdict {
	for i, v := range verdicts {
		verdicts[i] = verdict{OutcomeUnconfirmed, v.err}
	}
	return verdicts
}
