package ledger

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// savedLedger is the JSON form of a ledger: its facts, condensed.
type savedLedger struct {
	Rules    Rules           `json:"rules"`
	Facts    int             `json:"facts"`
	Halted   Reason          `json:"halted,omitzero"`
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
	return json.Marshal(savedLedger{l.rules, l.facts, l.halted, l.learned, l.retried, l.undone, requests})
}

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
	if s.Rules.Stall <= 0 || s.Facts < 0 {
		return errors.New("the stall time or the number of facts is out of range")
	}
	if s.Learned != nil && min(s.Learned.Assets, s.Learned.Users, s.Learned.Devices) < 1 {
		return errors.New("a learned limit is out of range")
	}
	*l = Ledger{rules: s.Rules, facts: s.Facts, halted: s.Halted, learned: s.Learned, retried: s.Retried, undone: s.Undone}
	for i, saved := range requests {
		if saved.ID != i {
			return fmt.Errorf("request %d is out of order", saved.ID)
		}
		r, err := saved.restore()
		if err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		l.add(r)
	}
	for _, r := range l.requests {
		if r.Origin < 0 || r.Origin > r.ID {
			return fmt.Errorf("request %d: its origin is out of range", r.ID)
		}
		for _, d := range r.Doubts {
			if d.Request < 0 || d.Request >= r.ID || l.requests[d.Request].Phase != Replaced || d.Age < 0 {
				return fmt.Errorf("request %d: a doubt is out of range", r.ID)
			}
		}
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
		Part: part, ID: s.ID, Phase: s.Phase, Event: s.Event, Doubts: s.Doubts, At: s.At, Due: s.Due, NotBefore: s.NotBefore,
		Age: s.Age, Failing: s.Failing, Gone: s.Gone, Unread: s.Unread, WasRead: s.WasRead, Open: s.Open, Tries: s.Tries,
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

// check returns an error if the request holds what its phase does not hold.
func (r *Request) check() error {
	valid := map[Phase][]Outcome{
		Queued: nil, Sending: nil, Pending: nil, Replaced: nil,
		Lost: {Succeeded, Unconfirmed}, Overdue: {Succeeded, Unconfirmed},
		Disputed: {Succeeded, Failed, Unconfirmed}, Settled: {Succeeded, Failed, Unconfirmed},
	}
	outcomes, ok := valid[r.Phase]
	switch {
	case !ok:
		return fmt.Errorf("unknown phase %q", r.Phase)
	case (r.Phase == Pending || r.Phase == Overdue || r.Open) && r.Event == "":
		return errors.New("it has no event")
	case r.Open && r.Phase != Replaced:
		return errors.New("it is open, but not replaced")
	case min(r.Age, r.Failing, r.Unread) < 0, min(r.Tries, r.Splits, r.Trials) < 0:
		return errors.New("a number is out of range")
	case !r.hasVerdicts() && (r.Verdict.Outcome != "" || r.Exceptions != nil):
		return fmt.Errorf("it is %s, but has a verdict", r.Phase)
	}
	if !r.hasVerdicts() {
		return nil
	}
	verdicts := []Verdict{r.Verdict}
	for _, v := range r.Exceptions {
		verdicts = append(verdicts, v)
	}
	for _, v := range verdicts {
		known := false
		for _, o := range outcomes {
			known = known || v.Outcome == o
		}
		if !known || (v.Outcome == Succeeded) != (v.Why == "") {
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
