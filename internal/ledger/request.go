package ledger

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// A Phase is where a request is between queued and settled.
type Phase string

// A request is in one of these phases.
const (
	Queued   Phase = "queued"   // Queued means that the request is not sent, or was sent and nothing began.
	Sending  Phase = "sending"  // Sending means that the request is being sent, and no answer has come yet.
	Pending  Phase = "pending"  // Pending means that the request was accepted. Its event is not finished.
	Lost     Phase = "lost"     // Lost means that the request was sent, and no usable answer came.
	Overdue  Phase = "overdue"  // Overdue means that the event was pending for longer than the stall time.
	Disputed Phase = "disputed" // Disputed means that the event has ended, and some outcomes are not clear.
	Settled  Phase = "settled"  // Settled means that each pair has its final outcome.
	Replaced Phase = "replaced" // Replaced means that other requests have the pairs.
)

// An Outcome is the result for one pair.
type Outcome string

// A pair has exactly one of these outcomes.
const (
	Succeeded   Outcome = "succeeded"   // Succeeded means that the change was made.
	Failed      Outcome = "failed"      // Failed means that the change was not made, and will not be made.
	Unconfirmed Outcome = "unconfirmed" // Unconfirmed means that nobody knows yet whether the change was made.
	Unsent      Outcome = "unsent"      // Unsent means that no request for the pair was accepted.
)

// A Reason is why a pair has its outcome, as JSON text. The ledger keeps it and does not
// read it. The empty Reason means none.
type Reason string

// MarshalJSON returns the text of the reason.
func (r Reason) MarshalJSON() ([]byte, error) {
	if r == "" {
		return []byte("null"), nil
	}
	return []byte(r), nil
}

// UnmarshalJSON keeps the text of the reason.
func (r *Reason) UnmarshalJSON(data []byte) error {
	*r = ""
	if string(data) != "null" {
		*r = Reason(data)
	}
	return nil
}

// A Verdict is the outcome of a pair and its reason.
type Verdict struct {
	Outcome Outcome `json:"outcome,omitzero"`
	Why     Reason  `json:"why,omitzero"`
}

// A Doubt is an earlier request for the pairs of a request. It may still be carried out:
// until its event ends, or, if no answer came, until it is older than six stall times.
type Doubt struct {
	Request int           `json:"request"`      // id of the earlier request
	Age     time.Duration `json:"age,omitzero"` // how long ago it got lost; not used if it has an event
}

// A Request is one POST of an operation, with the state of its pairs. A Request is never
// changed: a fact replaces it.
type Request struct {
	batch.Part
	ID     int
	Phase  Phase
	Event  string  // id of the event; "" if the service has not accepted the request
	Doubts []Doubt // earlier requests for the same pairs

	At        time.Time // time of the last result
	Due       time.Time // when the request needs something again
	NotBefore time.Time // earliest time of the next poll

	// Age is how long the event was seen pending, or, for a lost request, how long ago it
	// got lost.
	Age     time.Duration
	Failing time.Duration // how long the polls of the event have failed; 0 after an answer
	Gone    bool          // every failed poll since the last answer said that there is no such event
	Unread  time.Duration // how long reading back has failed; 0 after it succeeded
	WasRead bool          // the request was read back since the last fact that makes this necessary

	Open   bool // a replaced request whose event has not ended
	Tries  int  // how often the request was turned away
	Splits int  // how often the pairs were cut because of limits
	Origin int  // 1 + the id of the request that was bisected first; 0 without bisection
	Trials int  // number of pieces that bisection has added for this request and its pieces

	// Verdict is the verdict of all pairs that are not in Exceptions. It is set in the phases
	// lost, overdue, disputed and settled. In the phase queued, its Why is why the request was
	// turned away.
	Verdict
	Exceptions map[int32]Verdict // verdicts by position; never changed, only replaced
}

// origin returns the id of the request that was bisected first, or the request's own id.
func (r *Request) origin() int {
	if r.Origin > 0 {
		return r.Origin - 1
	}
	return r.ID
}

// Aged returns how much time has passed between the last result of the request and now, as
// far as the clocks can be trusted. If both times are readings of this process, the
// difference is exact. Otherwise the time of the last result comes from a saved form, and
// not more than the planned wait counts.
func (r *Request) Aged(now time.Time) time.Duration {
	passed := max(0, now.Sub(r.At))
	if isReading(r.At) && isReading(now) {
		return passed
	}
	return min(passed, r.planned())
}

// isReading reports whether t was read from the clock of this process, and so is not
// changed when the clock is set.
func isReading(t time.Time) bool { return t != t.Round(0) } //nolint:revive // compares whether the monotonic reading is present, not the time

// planned returns the wait that was planned after the last result.
func (r *Request) planned() time.Duration { return max(0, r.Due.Sub(r.At)) }

// hasVerdicts reports whether the request is in a phase in which its pairs have verdicts.
func (r *Request) hasVerdicts() bool {
	return r.Phase == Lost || r.Phase == Overdue || r.Phase == Disputed || r.Phase == Settled
}

// IsUnclear reports whether the lists have to show what became of the request.
func (r *Request) IsUnclear() bool {
	return r.Phase == Lost || r.Phase == Overdue || r.Phase == Disputed
}

// Outcome returns the outcome of the pair at a position.
func (r *Request) Outcome(i int) Outcome { return r.VerdictOf(i).Outcome }

// VerdictOf returns the outcome of the pair at a position, and its reason.
func (r *Request) VerdictOf(i int) Verdict {
	if !r.hasVerdicts() {
		return r.common()
	}
	if v, ok := r.Exceptions[int32(i)]; ok {
		return v
	}
	return r.Verdict
}

// common returns the verdict of the pairs that are not exceptions.
func (r *Request) common() Verdict {
	switch {
	case r.hasVerdicts():
		return r.Verdict
	case r.Phase == Queued && len(r.Doubts) == 0:
		return Verdict{Unsent, r.Why}
	}
	return Verdict{Unconfirmed, r.Why}
}

// tally calls f with the number of pairs of each outcome; it may call f several times for
// one outcome.
func (r *Request) tally(f func(Outcome, int)) {
	f(r.common().Outcome, r.Len()-len(r.Exceptions))
	for _, v := range r.Exceptions {
		f(v.Outcome, 1)
	}
}

// Has reports whether at least one pair of the request has an outcome.
func (r *Request) Has(o Outcome) (has bool) {
	r.tally(func(found Outcome, n int) { has = has || found == o && n > 0 })
	return has
}

// judge returns the request with the verdicts of some of its pairs: the pairs in groups, and
// rest for the others. If rest is nil, the others keep their verdicts.
func (r *Request) judge(rest *Verdict, groups []Group) {
	exceptions := make(map[int32]Verdict, len(r.Exceptions))
	if rest != nil {
		r.Verdict = *rest
	} else {
		for i, v := range r.Exceptions {
			exceptions[i] = v
		}
	}
	for _, g := range groups {
		for i := range g.Pairs.All() {
			if g.Verdict == r.Verdict {
				delete(exceptions, int32(i))
			} else {
				exceptions[int32(i)] = g.Verdict
			}
		}
	}
	r.Exceptions = nil
	if len(exceptions) > 0 {
		r.Exceptions = exceptions
	}
	r.normalize()
}

// normalize makes the verdict of the pair at position 0 the common one if no pair has the
// common one, so that equal states have equal forms.
func (r *Request) normalize() {
	if len(r.Exceptions) < r.Len() {
		return
	}
	r.Verdict = r.Exceptions[0]
	exceptions := map[int32]Verdict{}
	for i, v := range r.Exceptions {
		if v != r.Verdict {
			exceptions[i] = v
		}
	}
	r.Exceptions = nil
	if len(exceptions) > 0 {
		r.Exceptions = exceptions
	}
}

// A Group is some pairs of a request, by position, with one verdict.
type Group struct {
	Pairs Runs `json:"pairs"`
	Verdict
}

// groups returns the exceptions as groups, in a fixed order.
func (r *Request) groups() []Group {
	byVerdict := map[Verdict][]int32{}
	for i, v := range r.Exceptions {
		byVerdict[v] = append(byVerdict[v], i)
	}
	var groups []Group
	for v, pairs := range byVerdict {
		slices.Sort(pairs)
		groups = append(groups, Group{ToRuns(pairs), v})
	}
	slices.SortFunc(groups, func(a, b Group) int { return a.Pairs[0][0] - b.Pairs[0][0] })
	return groups
}

// savedRequest is the JSON form of a request.
type savedRequest struct {
	ID        int           `json:"id"`
	Assets    Runs          `json:"assets,omitzero"`
	Users     Runs          `json:"users,omitzero"`
	Devices   Runs          `json:"devices,omitzero"`
	Phase     Phase         `json:"phase"`
	Event     string        `json:"event,omitzero"`
	Doubts    []Doubt       `json:"doubts,omitzero"`
	At        time.Time     `json:"at,omitzero"`
	Due       time.Time     `json:"due,omitzero"`
	NotBefore time.Time     `json:"notBefore,omitzero"`
	Age       time.Duration `json:"age,omitzero"`
	Failing   time.Duration `json:"failing,omitzero"`
	Gone      bool          `json:"gone,omitzero"`
	Unread    time.Duration `json:"unread,omitzero"`
	WasRead   bool          `json:"wasRead,omitzero"`
	Open      bool          `json:"open,omitzero"`
	Tries     int           `json:"tries,omitzero"`
	Splits    int           `json:"splits,omitzero"`
	Origin    int           `json:"origin,omitzero"`
	Trials    int           `json:"trials,omitzero"`
	Outcome   Outcome       `json:"outcome,omitzero"`
	Why       Reason        `json:"why,omitzero"`
	Pairs     []Group       `json:"pairs,omitzero"`
}

// MarshalJSON returns the JSON form of the request.
func (r *Request) MarshalJSON() ([]byte, error) {
	return json.Marshal(savedRequest{
		ID: r.ID, Assets: ToRuns(r.Assets), Users: ToRuns(r.Users), Devices: ToRuns(r.Devices),
		Phase: r.Phase, Event: r.Event, Doubts: r.Doubts, At: utc(r.At), Due: utc(r.Due), NotBefore: utc(r.NotBefore),
		Age: r.Age, Failing: r.Failing, Gone: r.Gone, Unread: r.Unread, WasRead: r.WasRead, Open: r.Open, Tries: r.Tries,
		Splits: r.Splits, Origin: r.Origin, Trials: r.Trials, Outcome: r.Verdict.Outcome, Why: r.Why, Pairs: r.groups(),
	})
}

// utc returns the time without its time zone and its monotonic reading.
func utc(t time.Time) time.Time { return t.UTC().Round(0) }
