package ledger

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// A Phase is where a request is between queued and settled.
type Phase string

// A request is in one of these phases.
const (
	Queued   Phase = "queued"   // Queued means that the request itself has not been sent, or that the service began nothing.
	Sending  Phase = "sending"  // Sending means that the request is being sent, and no answer has come yet.
	Pending  Phase = "pending"  // Pending means that the request was accepted. Its event is not finished.
	Lost     Phase = "lost"     // Lost means that the request was sent, and no usable answer came.
	Overdue  Phase = "overdue"  // Overdue means that the event was pending, or its polls failed, for the stall time.
	Disputed Phase = "disputed" // Disputed means that some outcomes are not clear, and that only the lists can still show them.
	Settled  Phase = "settled"  // Settled means that nothing more is done for it: each pair succeeded, failed, or stays unconfirmed because the lists cannot show it.
	Replaced Phase = "replaced" // Replaced means that other requests have the pairs.
)

// An Outcome is the result for one pair.
type Outcome string

// A pair has exactly one of these outcomes.
const (
	Succeeded   Outcome = "succeeded"   // Succeeded means that the change was made.
	Failed      Outcome = "failed"      // Failed means that the change was not made, and will not be made.
	Unconfirmed Outcome = "unconfirmed" // Unconfirmed means that nobody knows yet whether the change was made.
	Unsent      Outcome = "unsent"      // Unsent means that no request for the pair was sent, or that the service certainly did nothing.
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

// valid reports whether the verdict has an outcome that a request can have been given, and a
// reason if and only if the pair has not succeeded.
func (v Verdict) valid() bool {
	return slices.Contains([]Outcome{Succeeded, Failed, Unconfirmed}, v.Outcome) && (v.Outcome == Succeeded) == (v.Why == "")
}

// A Doubt is an earlier request for the pairs of a request. It may still be carried out:
// until its event ends, or, if no answer came, until it is older than six stall times.
type Doubt struct {
	Request int           `json:"request"`      // id of the earlier request
	Age     time.Duration `json:"age,omitzero"` // how long ago it got lost; not used if it has an event
	Why     Reason        `json:"why"`          // why its outcome was not clear
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
	Asking  bool          // the status was requested, and no result is recorded
	Failing time.Duration // how long the polls of the event have failed; 0 after an answer
	Missing time.Duration // part of Failing: how long the service has not found the event
	Unread  time.Duration // how long reading back has failed; 0 after it succeeded
	WasRead bool          // the request was read back since the last fact that makes this necessary

	// Unsure means that an earlier attempt of the request may have begun, although the service
	// denied it. UnsureAge is how long ago that was. It is a doubt about the request itself.
	Unsure    bool
	UnsureAge time.Duration
	Open      bool // a replaced request whose event has not ended
	Tries     int  // how often the request was turned away
	Splits    int  // how often the pairs were cut because of limits
	Origin    int  // 1 + the id of the request that was bisected first; 0 without bisection
	Trials    int  // number of pieces that bisection has added for this request and its pieces

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
// difference is exact. Otherwise the time of the last result comes from a saved form. Then not
// more than the planned wait counts, and nothing if much more time than that seems to have
// passed: either nobody was there, or a clock was set.
func (r *Request) Aged(now time.Time) time.Duration {
	passed := max(0, now.Sub(r.At))
	if isReading(r.At) && isReading(now) {
		return passed
	}
	planned := r.planned()
	if passed > planned+max(planned/2, believable) {
		return 0
	}
	return min(passed, planned)
}

// believable is how much later than planned a process may continue what another one has saved,
// without a doubt about their clocks.
const believable = 5 * time.Minute

// isReading reports whether t was read from the clock of this process, and so is not
// changed when the clock is set.
func isReading(t time.Time) bool { return t.Location() != elsewhere }

// elsewhere is the location of times that come from a saved form.
var elsewhere = time.FixedZone("elsewhere", 0)

// planned returns the wait that was planned after the last result. It ignores monotonic
// readings, as earlier does.
func (r *Request) planned() time.Duration { return max(0, r.Due.Round(0).Sub(r.At.Round(0))) }

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
	case r.Phase == Queued && !r.isDoubted():
		return Verdict{Unsent, r.Why}
	}
	return Verdict{Unconfirmed, r.Why}
}

// firstUnconfirmedReason returns the reason of the first pair that is unconfirmed.
func (r *Request) firstUnconfirmedReason() Reason {
	for i := range r.Len() {
		if v := r.VerdictOf(i); v.Outcome == Unconfirmed {
			return v.Why
		}
	}
	return r.Why
}

// isDoubted reports whether an earlier request for the pairs, or an earlier attempt of this
// one, may have made the change.
func (r *Request) isDoubted() bool { return r.Unsure || len(r.Doubts) > 0 }

// Tally calls f with the number of pairs of each outcome; it may call f several times for
// one outcome.
func (r *Request) Tally(f func(Outcome, int)) {
	f(r.common().Outcome, r.Len()-len(r.Exceptions))
	for _, v := range r.Exceptions {
		f(v.Outcome, 1)
	}
}

// TallyVerdicts calls f with each verdict and the number of its pairs, in a fixed order.
func (r *Request) TallyVerdicts(f func(Verdict, int)) {
	f(r.common(), r.Len()-len(r.Exceptions))
	for _, g := range r.groups() {
		f(g.Verdict, g.Pairs.Len())
	}
}

// Has reports whether at least one pair of the request has an outcome.
func (r *Request) Has(o Outcome) (has bool) {
	r.Tally(func(found Outcome, n int) { has = has || found == o && n > 0 })
	return has
}

// With returns a copy of the request in which some pairs have other verdicts.
func (r *Request) With(groups []Group) *Request {
	c := *r
	c.setVerdicts(nil, groups)
	return &c
}

// judge gives the pairs in groups their verdicts, and the other pairs the verdict rest. If rest
// is nil, the other pairs keep their verdicts.
func (r *Request) setVerdicts(rest *Verdict, groups []Group) {
	exceptions := make(map[int32]Verdict, len(r.Exceptions))
	if rest != nil {
		r.Verdict = *rest
	} else {
		maps.Copy(exceptions, r.Exceptions)
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
	Asking    bool          `json:"asking,omitzero"`
	Failing   time.Duration `json:"failing,omitzero"`
	Missing   time.Duration `json:"missing,omitzero"`
	Unread    time.Duration `json:"unread,omitzero"`
	WasRead   bool          `json:"wasRead,omitzero"`
	Unsure    bool          `json:"unsure,omitzero"`
	UnsureAge time.Duration `json:"unsureAge,omitzero"`
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
		Age: r.Age, Asking: r.Asking, Failing: r.Failing, Missing: r.Missing, Unread: r.Unread, WasRead: r.WasRead, Unsure: r.Unsure, UnsureAge: r.UnsureAge, Open: r.Open, Tries: r.Tries,
		Splits: r.Splits, Origin: r.Origin, Trials: r.Trials, Outcome: r.Verdict.Outcome, Why: r.Why, Pairs: r.groups(),
	})
}

// utc returns the time without its time zone and its monotonic reading.
func utc(t time.Time) time.Time { return t.UTC().Round(0) }
