package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// savedLedger is the JSON form of a ledger: its facts, condensed.
type savedLedger struct {
	Rules    Rules           `json:"rules"`
	Facts    int             `json:"facts"`
	Halted   Reason          `json:"halted,omitzero"`
	HaltedAt time.Time       `json:"haltedAt,omitzero"`
	Learned  *batch.Limits   `json:"learned,omitzero"`
	Retried  string          `json:"retried,omitzero"`
	Undone   string          `json:"undone,omitzero"`
	Requests json.RawMessage `json:"requests"`
}

// MarshalJSON returns the JSON form of the ledger.
func (l *Ledger) MarshalJSON() ([]byte, error) {
	requests, err := json.Marshal(l.requests)
	if err != nil {
		return nil, err
	}
	return json.Marshal(savedLedger{l.rules, l.facts, l.halted, utc(l.haltedAt), l.learned, l.retried, l.undone, requests})
}

// maxNumbers is how many indices and exceptions a saved form may have. The JSON form of
// many numbers is short, so without a limit a damaged form could take all memory.
var maxNumbers = 1 << 26

// UnmarshalJSON restores a ledger. It returns an error if the ledger contradicts itself.
// Call [Ledger.Check] to compare the ledger with the tables of the operation.
func (l *Ledger) UnmarshalJSON(data []byte) error {
	var s savedLedger
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	var requests []savedRequest
	if err := json.Unmarshal(s.Requests, &requests); err != nil {
		return err
	}
	restored := Ledger{rules: s.Rules, facts: s.Facts, halted: s.Halted, haltedAt: s.HaltedAt, learned: s.Learned, retried: s.Retried, undone: s.Undone}
	left := maxNumbers
	for i, saved := range requests {
		if saved.ID != i {
			return fmt.Errorf("request %d is out of order", saved.ID)
		}
		if !saved.fits(&left) {
			return errors.New("there are too many pairs")
		}
		r, err := saved.restore()
		if err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		restored.add(r)
	}
	if err := restored.check(); err != nil {
		return err
	}
	*l = restored
	return nil
}

// maxFacts is more than the number of facts of any operation.
const maxFacts = 1 << 40

func validLimits(l batch.Limits) bool { return min(l.Assets, l.Users, l.Devices) >= 1 }

// fits subtracts the numbers of the request from left, and reports whether left was large
// enough.
func (s savedRequest) fits(left *int) bool {
	lists := []Runs{s.Assets, s.Users, s.Devices}
	for _, g := range s.Pairs {
		lists = append(lists, g.Pairs)
	}
	for _, list := range lists {
		for _, run := range list {
			if run[1] > *left {
				return false
			}
			*left -= max(0, run[1])
		}
	}
	return true
}

// check returns an error if the ledger holds what no ledger holds.
func (l *Ledger) check() error {
	switch {
	case l.rules.Stall <= 0 || l.rules.Lag < 0 || l.rules.Lag > longestAge || l.facts < 0 || l.facts > maxFacts:
		return errors.New("the stall time or the number of facts is out of range")
	case !validTimes(l.haltedAt):
		return errors.New("a time is out of range")
	case l.learned != nil && !validLimits(*l.learned):
		return errors.New("a learned limit is out of range")
	case (l.retried != "" || l.undone != "") && !l.AtEnd():
		return errors.New("its pairs are with another operation, but it is not at its end")
	}
	for _, r := range l.requests {
		if err := l.checkLinks(r); err != nil {
			return fmt.Errorf("request %d: %w", r.ID, err)
		}
	}
	return nil
}

// checkLinks returns an error if the origin or a doubt of the request is impossible.
func (l *Ledger) checkLinks(r *Request) error {
	if r.Origin < 0 || r.Origin > r.ID {
		return errors.New("its origin is out of range")
	}
	if len(r.Doubts) > maxResends {
		return errors.New("it was sent again too often")
	}
	next := 0
	for _, d := range r.Doubts {
		if d.Request < next || d.Request >= r.ID || l.requests[d.Request].Phase != Replaced || d.Age < 0 || d.Age > longestAge || d.Why == "" {
			return errors.New("a doubt is out of range")
		}
		next = d.Request + 1
	}
	return nil
}

// restore returns the request of a saved form.
func (s savedRequest) restore() (*Request, error) {
	part, err := restorePart(s.Assets, s.Users, s.Devices)
	if err != nil {
		return nil, err
	}
	r := &Request{
		Part: part, ID: s.ID, Phase: s.Phase, Event: s.Event, Doubts: s.Doubts, At: s.At.In(elsewhere), Due: s.Due, NotBefore: s.NotBefore,
		Age: s.Age, Asking: s.Asking, Failing: s.Failing, Missing: s.Missing, Unread: s.Unread, WasRead: s.WasRead, Unsure: s.Unsure, UnsureAge: s.UnsureAge, Open: s.Open, Tries: s.Tries,
		Splits: s.Splits, Origin: s.Origin, Trials: s.Trials, Verdict: Verdict{s.Outcome, s.Why},
	}
	for _, g := range s.Pairs {
		if err := g.Pairs.check(r.Len()); err != nil {
			return nil, err
		}
		for i := range g.Pairs.All() {
			if _, twice := r.Exceptions[int32(i)]; twice {
				return nil, errors.New("a pair has two outcomes")
			}
			if r.Exceptions == nil {
				r.Exceptions = map[int32]Verdict{}
			}
			r.Exceptions[int32(i)] = g.Verdict
		}
	}
	return r, r.check()
}

// validOutcomes are the outcomes that the pairs of a request can have in each phase. In a
// phase without outcomes, the request has no verdicts.
var validOutcomes = map[Phase][]Outcome{
	Queued: nil, Sending: nil, Pending: nil, Replaced: nil,
	Lost: {Succeeded, Unconfirmed}, Overdue: {Succeeded, Unconfirmed},
	Disputed: {Succeeded, Failed, Unconfirmed}, Settled: {Succeeded, Failed, Unconfirmed},
}

// check returns an error if the request holds what its phase does not hold.
func (r *Request) check() error {
	_, ok := validOutcomes[r.Phase]
	ages, numbers := []time.Duration{r.Age, r.Failing, r.Missing, r.Unread, r.UnsureAge}, []int{r.Tries, r.Splits, r.Trials}
	switch {
	case !ok:
		return fmt.Errorf("unknown phase %q", r.Phase)
	case (r.Phase == Pending || r.Phase == Overdue || r.Open) && r.Event == "":
		return errors.New("it has no event")
	case r.Asking && r.Event == "":
		return errors.New("its status was requested, but it has no event")
	case r.Open && r.Phase != Replaced:
		return errors.New("it is open, but not replaced")
	case slices.Min(ages) < 0 || slices.Max(ages) > longestAge || slices.Min(numbers) < 0 || slices.Max(numbers) > maxFacts:
		return errors.New("a number is out of range")
	case !validTimes(r.At, r.Due, r.NotBefore):
		return errors.New("a time is out of range")
	}
	return r.checkVerdicts()
}

// validTimes reports whether the times have a JSON form.
func validTimes(times ...time.Time) bool {
	for _, t := range times {
		if year := utc(t).Year(); year < 1 || year > 9999 {
			return false
		}
	}
	return true
}

// checkVerdicts returns an error if the verdicts do not match the phase.
func (r *Request) checkVerdicts() error {
	if !r.hasVerdicts() {
		if r.Verdict.Outcome != "" || r.Exceptions != nil {
			return fmt.Errorf("it is %s, but has a verdict", r.Phase)
		}
		return nil
	}
	if r.IsUnclear() && !r.Has(Unconfirmed) {
		return fmt.Errorf("it is %s, but the outcome of each pair is clear", r.Phase)
	}
	for _, v := range append(slices.Collect(maps.Values(r.Exceptions)), r.Verdict) {
		if !v.valid() || !slices.Contains(validOutcomes[r.Phase], v.Outcome) {
			return fmt.Errorf("the outcome %q is not possible, or does not match its reason", v.Outcome)
		}
	}
	return nil
}

// restorePart returns the part with these indices. More pairs than the service allows are an
// error, which bounds the memory for a damaged form.
func restorePart(assets, users, devices Runs) (batch.Part, error) {
	const most = 1 << 24
	size := 0
	for _, r := range []Runs{assets, users, devices} {
		for _, run := range r {
			if run[0] < 0 || run[0] >= 1<<31-most || run[1] < 1 || run[1] > most || size > most {
				return batch.Part{}, errors.New("a number is out of range")
			}
			size += run[1]
		}
	}
	p := batch.Part{Assets: assets.indices(), Users: users.indices(), Devices: devices.indices()}
	if n := p.Len(); n == 0 || n > most {
		return batch.Part{}, fmt.Errorf("it has %d pairs", n)
	}
	return p, nil
}

// Check returns an error if a request has an asset, a user or a device that is not below
// these numbers, or if two requests have the same pair.
func (l *Ledger) Check(assets, users, devices int) error {
	byAsset := make([][]*Request, assets)
	for _, r := range l.requests {
		for _, list := range []struct {
			indices []int32
			limit   int
		}{{r.Assets, assets}, {r.Users, users}, {r.Devices, devices}} {
			for _, i := range list.indices {
				if int(i) >= list.limit {
					return fmt.Errorf("request %d: a number is out of range", r.ID)
				}
			}
		}
		if r.Phase == Replaced {
			continue
		}
		for _, a := range r.Assets {
			byAsset[a] = append(byAsset[a], r)
		}
	}
	// seen holds, for each target, the last asset seen with it, plus 1; 0 if none.
	seen := make([]int, users+devices)
	for i, requests := range byAsset {
		for _, r := range requests {
			for n, targets := range [][]int32{r.Users, r.Devices} {
				for _, target := range targets {
					at := int(target) + n*users
					if seen[at] == i+1 {
						return errors.New("two requests have the same pair")
					}
					seen[at] = i + 1
				}
			}
		}
	}
	return nil
}
