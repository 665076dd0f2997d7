package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// Between two readings of one process, the difference counts. Otherwise the planned wait
// counts at most: a clock may have been set.
func TestRequest_Aged(t *testing.T) {
	saved := func(t time.Time) time.Time { return t.In(elsewhere) }
	for _, test := range []struct {
		name    string
		at, now time.Time
		want    time.Duration
	}{
		{"readings", origin, at(time.Hour), time.Hour},
		{"readings, out of order", at(time.Hour), origin, 0},
		{"saved, and early", saved(origin), at(time.Second), time.Second},
		{"saved, and a little late", saved(origin), at(5 * time.Minute), time.Minute},
		{"saved, and much too late to be believed", saved(origin), at(time.Hour), 0},
		{"saved in the future", saved(at(time.Hour)), origin, 0},
		{"now is not a reading", origin, saved(at(2 * time.Minute)), time.Minute},
	} {
		r := &Request{At: test.at, Due: test.at.Add(time.Minute)}
		assert.Equal(t, test.want, r.Aged(test.now), test.name)
		r.Due = test.at.Add(-time.Hour)
		if !isReading(test.at) {
			assert.Zero(t, r.Aged(test.now), "%s: no wait was planned", test.name)
		}
	}
}

// A clock that was wrong makes nothing overdue or final by itself.
func TestRequest_Aged_wrongClocks(t *testing.T) {
	year := 365 * 24 * time.Hour
	for _, wrong := range []time.Duration{-year, -stall, stall, year} {
		l := inPhase(t, Pending)
		apply(t, l, Fact{What: Polled, At: at(wrong), Due: at(wrong + time.Minute), NotBefore: at(wrong + time.Minute)})
		for range 3 {
			l = restore(t, l)
			apply(t, l, Fact{What: Resumed, At: origin, Due: at(time.Minute), NotBefore: at(stall), Why: why},
				Fact{What: Noticed, At: origin, Due: origin})
			_, next := l.Next(origin, false)
			assert.False(t, next.After(at(stall)))
			apply(t, l, Fact{What: Polled, Aged: l.Request(0).Aged(origin), At: origin, Due: at(time.Minute)})
		}
		assert.LessOrEqual(t, l.Request(0).Age, time.Minute, wrong)
		_, follows := l.Follow(0, origin, why)
		assert.False(t, follows)
	}
}

// The outcome of a pair comes from the phase, and from the verdicts in the phases that have
// some.
func TestRequest_Outcome(t *testing.T) {
	for phase, want := range map[Phase]Outcome{
		Queued: Unsent, Sending: Unconfirmed, Pending: Unconfirmed, Lost: Unconfirmed,
		Overdue: Unconfirmed, Disputed: Unconfirmed, Settled: Failed,
	} {
		r := inPhase(t, phase).Request(0)
		assert.Equal(t, want, r.Outcome(1), phase)
		assert.True(t, r.Has(want))
		assert.False(t, r.Has(Succeeded))
	}
	l := inPhase(t, Replaced)
	assert.Equal(t, Unconfirmed, l.Request(1).Outcome(0), "queued, with a doubt")
	l = inPhase(t, Sending)
	apply(t, l, Fact{What: TurnedAway, Why: why})
	assert.Equal(t, Verdict{Unsent, why}, l.Request(0).VerdictOf(0))
	assert.Equal(t, 1, l.Request(0).Tries)
}

// Equal verdicts have equal forms, whichever of them is the common one.
func TestRequest_judge(t *testing.T) {
	want := ""
	for _, groups := range [][]Group{
		{{Runs{{0, 1}}, success}, {Runs{{1, 2}}, failure}},
		{{Runs{{1, 2}}, failure}, {Runs{{0, 1}}, success}},
		{{Runs{{0, 3}}, failure}, {Runs{{0, 1}}, success}},
	} {
		r := &Request{Part: part(1, 3, 0), Phase: Settled}
		r.setVerdicts(&unclear, groups)
		require.Equal(t, []Verdict{success, failure, failure}, []Verdict{r.VerdictOf(0), r.VerdictOf(1), r.VerdictOf(2)})
		if want == "" {
			want = toJSON(r)
		}
		assert.Equal(t, want, toJSON(r))
	}
	r := &Request{Part: part(1, 3, 0), Phase: Settled}
	r.setVerdicts(&success, []Group{{Runs{{0, 3}}, failure}})
	assert.Nil(t, r.Exceptions)
	assert.Equal(t, failure, r.Verdict)
	r.setVerdicts(nil, []Group{{Runs{{1, 1}}, success}})
	require.Len(t, r.Exceptions, 1)
	r.setVerdicts(&unclear, nil)
	assert.Nil(t, r.Exceptions, "new verdicts for all pairs")
}

// A reason is JSON text that the ledger does not read.
func TestReason(t *testing.T) {
	var r Reason
	require.NoError(t, r.UnmarshalJSON([]byte(`{"a":1}`)))
	assert.Equal(t, `{"a":1}`, toJSON(r))
	require.NoError(t, r.UnmarshalJSON([]byte(`null`)))
	assert.Empty(t, r)
	assert.Equal(t, `null`, toJSON(r))
}

// The pairs of a request are numbered by asset, then users, then devices.
func TestRequest_Exceptions(t *testing.T) {
	l := New(bothRules, []batch.Part{part(2, 1, 2)}, origin)
	apply(t, l, Fact{What: Begun}, Fact{What: Accepted, Event: "event"}, Fact{What: Ended, Rest: success, Pairs: []Group{{Runs{{2, 1}, {4, 2}}, failure}}})
	assert.Equal(t, Counts{Requests: 1, Accepted: 1, Settled: 1, Pairs: 6, Succeeded: 3, Failed: 3}, l.Counts())
	assert.Equal(t, []Group{{Runs{{2, 1}, {4, 2}}, failure}}, l.Request(0).groups())
}
