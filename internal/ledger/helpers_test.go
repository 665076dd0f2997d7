package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// clone returns a copy of the ledger. Facts about one do not change the other.
func (l *Ledger) clone() *Ledger {
	c := *l
	c.requests = slices.Clone(l.requests)
	return &c
}

// countAll counts the requests and pairs one by one.
func countAll(l *Ledger) (c Counts) {
	for _, r := range l.Requests() {
		if r.Phase == Replaced {
			continue
		}
		c.Requests++
		c.Pairs += r.Len()
		if r.Event != "" {
			c.Accepted++
		}
		if r.Phase == Settled {
			c.Settled++
		}
		for i := range r.Len() {
			switch r.Outcome(i) {
			case Succeeded:
				c.Succeeded++
			case Failed:
				c.Failed++
			case Unconfirmed:
				c.Unconfirmed++
			case Unsent:
				c.Unsent++
			}
		}
	}
	return c
}

// part returns a request with some assets, users and devices, numbered from 0.
func part(assets, users, devices int) batch.Part {
	return batch.Product(assets, users, devices, batch.Limits{Assets: assets, Users: max(1, users), Devices: max(1, devices)})[0]
}

// stall is the stall time of the tests.
const stall = 10 * time.Minute

// bothRules allow to send again whatever can be sent again.
var bothRules = Rules{Stall: stall, ResendOverdue: true, ResendLost: true}

// all returns the group of all pairs of a request, with one verdict.
func all(r *Request, v Verdict) []Group { return []Group{{Runs{{0, r.Len()}}, v}} }

var (
	success = Verdict{Succeeded, ""}
	failure = Verdict{Failed, why}
	unclear = Verdict{Unconfirmed, why}
)

// wayTo has facts that lead request 0 of a ledger with bothRules to each phase.
var wayTo = map[Phase][]Fact{
	Queued:   nil,
	Sending:  {{What: Begun}},
	Pending:  {{What: Begun}, {What: Accepted, Event: "event"}},
	Lost:     {{What: Begun}, {What: GotLost, Why: why}},
	Overdue:  {{What: Begun}, {What: Accepted, Event: "event"}, {What: TooLong, Why: why}},
	Disputed: {{What: Begun}, {What: Accepted, Event: "event"}, {What: Ended, Rest: unclear}},
	Settled:  {{What: Begun}, {What: Accepted, Event: "event"}, {What: Ended, Rest: failure}},
	Replaced: {{What: Begun}, {What: Accepted, Event: "event"}, {What: TooLong, Why: why}, {What: Resent, Pieces: []Piece{{Part: part(1, 2, 0)}}}},
}

// inPhase returns a ledger with one request of two pairs, which is in a phase. A replaced
// request is an open doubt of request 1.
func inPhase(t testing.TB, p Phase) *Ledger {
	t.Helper()
	l := New(bothRules, []batch.Part{part(1, 2, 0)}, origin)
	apply(t, l, wayTo[p]...)
	require.Equal(t, p, l.Request(0).Phase)
	return l
}

// apply applies facts. A fact without a time happens at origin.
func apply(t testing.TB, l *Ledger, facts ...Fact) {
	t.Helper()
	for _, f := range facts {
		if f.At.IsZero() {
			f.At, f.Due = origin, origin
		}
		require.NoError(t, l.Apply(f))
		require.Equal(t, countAll(l), l.Counts(), "after %s", f.What)
	}
}

// example returns a legal form of each fact about request 0, for a ledger of inPhase.
func example(w What) Fact {
	f := Fact{What: w, At: origin, Due: origin.Add(time.Minute)}
	switch w {
	case Accepted:
		f.Event = "event"
	case Refused, GotLost, TooLong, Resumed, Halted:
		f.Why = why
	case Strayed:
		f.Event, f.Why = "foreign", why
	case Cut, Resent:
		f.Pieces = []Piece{{Part: batch.Part{Assets: []int32{0}, Users: []int32{0}}}, {Part: batch.Part{Assets: []int32{0}, Users: []int32{1}}}}
	case Ended, Named:
		f.Rest = success
	case ReadBack, Verified:
		f.Pairs = []Group{{Runs{{0, 2}}, success}}
	case Retried, Undone:
		f.To = "other"
	}
	return f
}
