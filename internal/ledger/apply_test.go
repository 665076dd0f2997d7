package ledger

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// at returns a reading of the clock some time after origin.
func at(d time.Duration) time.Time { return origin.Add(d) }

// A request that the caller holds is never changed by a later fact.
func TestLedger_Apply_neverChangesASharedRequest(t *testing.T) {
	for what, phases := range table {
		for phase := range phases {
			l := inPhase(t, phase)
			held := l.Request(0)
			before := *held
			text := toJSON(held)
			require.NoError(t, l.Apply(example(what)))
			assert.True(t, reflect.DeepEqual(before, *held), "%s: %s", phase, what)
			assert.Equal(t, text, toJSON(held))
		}
	}
}

// Another unit may have made the change for its own users, so nothing is known of the pairs.
func TestLedger_Apply_strayed(t *testing.T) {
	l := inPhase(t, Sending)
	apply(t, l, example(Strayed))
	assert.Equal(t, unclear, l.Request(0).VerdictOf(0))
	assert.Equal(t, "foreign", l.Request(0).Event)
}

// A pair that was sent before has not failed because a later request for it was refused.
func TestLedger_Apply_refusedWithADoubtIsDisputed(t *testing.T) {
	l := inPhase(t, Replaced)
	apply(t, l, Fact{What: Begun, Request: 1}, Fact{What: Refused, Request: 1, Why: why})
	assert.Equal(t, Disputed, l.Request(1).Phase)
	assert.Equal(t, unclear, l.Request(1).VerdictOf(1))

	l = inPhase(t, Replaced) // a part of it is refused
	apply(t, l, Fact{What: Begun, Request: 1}, Fact{What: Cut, Request: 1, Pieces: []Piece{
		{Part: batch.Part{Assets: []int32{0}, Users: []int32{0}}, Outcome: Failed, Why: why},
		{Part: batch.Part{Assets: []int32{0}, Users: []int32{1}}},
	}})
	assert.Equal(t, Disputed, l.Request(2).Phase)
	assert.Equal(t, l.Request(1).Doubts, l.Request(3).Doubts)
	assert.Equal(t, Unconfirmed, l.Request(3).Outcome(0))
}

// A failure with a doubt becomes final when the event of the doubt has ended, and the lists
// do not show the pair.
func TestLedger_Apply_theEndOfADoubt(t *testing.T) {
	for _, end := range []Fact{{What: Ended, Rest: success}, {What: Gone}} {
		l := inPhase(t, Replaced)
		apply(t, l, Fact{What: Begun, Request: 1}, Fact{What: Refused, Request: 1, Why: why},
			Fact{What: ReadBack, Request: 1, At: origin, Due: at(time.Hour), Pairs: all(l.Request(1), failure)})
		require.Equal(t, Disputed, l.Request(1).Phase)
		require.True(t, l.Rests(false))
		end.At, end.Due = at(time.Minute), at(time.Minute)
		require.NoError(t, l.Apply(end))
		assert.False(t, l.Rests(false), "the lists must be read again")
		assert.Equal(t, at(time.Minute), l.Request(1).Due)
		apply(t, l, Fact{What: ReadBack, Request: 1, Pairs: all(l.Request(1), failure)})
		assert.Equal(t, Settled, l.Request(1).Phase)
		assert.Equal(t, failure, l.Request(1).VerdictOf(0))
	}
}

// An absence is final only if the request was lost long enough before the lists were read.
func TestLedger_Apply_lostRequests(t *testing.T) {
	l := inPhase(t, Lost)
	read := Fact{What: ReadBack, Aged: 6*stall - 1, Pairs: all(l.Request(0), failure)}
	apply(t, l, read)
	read.Aged = 1
	apply(t, l, read) // it becomes old enough while the lists are read
	assert.Equal(t, Lost, l.Request(0).Phase)
	assert.True(t, l.Request(0).WasRead)
	torn := read
	torn.Torn, torn.Pairs = true, read.Pairs[:1]
	torn.Pairs = []Group{{Runs{{1, 1}}, failure}}
	apply(t, l, torn)
	assert.Equal(t, Disputed, l.Request(0).Phase)
	assert.Equal(t, []Outcome{Unconfirmed, Failed}, []Outcome{l.Request(0).Outcome(0), l.Request(0).Outcome(1)})
	assert.False(t, l.MayResend(0), "one of its pairs has failed for good")
	apply(t, l, read)
	assert.Equal(t, Settled, l.Request(0).Phase)
}

// A lost request whose pairs have a doubt does not fail before the doubt is over.
func TestLedger_Apply_lostWithADoubt(t *testing.T) {
	l := inPhase(t, Replaced)
	apply(t, l, Fact{What: Begun, Request: 1}, Fact{What: GotLost, Request: 1, Why: why})
	read := Fact{What: ReadBack, Request: 1, Aged: 6 * stall, Pairs: all(l.Request(1), failure)}
	apply(t, l, read, read)
	assert.Equal(t, Lost, l.Request(1).Phase)
	apply(t, l, example(Gone), read)
	assert.Equal(t, Settled, l.Request(1).Phase)
	assert.Equal(t, Failed, l.Request(1).Outcome(0))
}

// The event of an overdue request may still end, so no absence is final. What the lists have
// shown stays when the event ends.
func TestLedger_Apply_overdueRequests(t *testing.T) {
	l := inPhase(t, Overdue)
	apply(t, l, Fact{What: ReadBack, Aged: 100 * stall, Pairs: []Group{{Runs{{0, 1}}, failure}, {Runs{{1, 1}}, success}}})
	assert.Equal(t, Overdue, l.Request(0).Phase)
	assert.Equal(t, []Outcome{Unconfirmed, Succeeded}, []Outcome{l.Request(0).Outcome(0), l.Request(0).Outcome(1)})
	apply(t, l, Fact{What: Ended, Rest: failure})
	assert.Equal(t, []Outcome{Failed, Succeeded}, []Outcome{l.Request(0).Outcome(0), l.Request(0).Outcome(1)})
	assert.Equal(t, Settled, l.Request(0).Phase)
}

// A reading that did not see some pairs says nothing of them, and one that cannot show a pair
// ends as unconfirmed.
func TestLedger_Apply_tornAndUnclearReadings(t *testing.T) {
	l := inPhase(t, Disputed)
	apply(t, l, Fact{What: ReadBack, Torn: true, Pairs: []Group{{Runs{{0, 1}}, unclear}}})
	assert.Equal(t, Disputed, l.Request(0).Phase)
	assert.False(t, l.Request(0).WasRead)
	apply(t, l, Fact{What: ReadBack, Pairs: []Group{{Runs{{0, 1}}, unclear}, {Runs{{1, 1}}, failure}}})
	assert.Equal(t, Settled, l.Request(0).Phase)
	assert.Equal(t, []Outcome{Unconfirmed, Failed}, []Outcome{l.Request(0).Outcome(0), l.Request(0).Outcome(1)})
	apply(t, l, Fact{What: Verified, Pairs: []Group{{Runs{{0, 1}}, success}}})
	assert.Equal(t, Succeeded, l.Request(0).Outcome(0))
}

// Failing polls count the waits that were planned, not the time in which nobody asked.
func TestLedger_Apply_failingPolls(t *testing.T) {
	l := inPhase(t, Pending)
	poll := Fact{What: Polled, At: origin, Due: at(time.Minute), Failing: true}
	apply(t, l, poll)
	assert.Zero(t, l.Request(0).Failing)
	poll.Aged, poll.NotFound = time.Hour, true
	apply(t, l, poll)
	assert.Equal(t, time.Minute, l.Request(0).Failing)
	assert.Equal(t, time.Minute, l.Request(0).Missing)
	poll.NotFound = false
	apply(t, l, poll)
	assert.Equal(t, 2*time.Minute, l.Request(0).Failing)
	assert.Equal(t, time.Minute, l.Request(0).Missing, "another error does not say that the event is missing")
	apply(t, l, Fact{What: Polled, Aged: time.Second})
	assert.Equal(t, [3]time.Duration{2*time.Minute + time.Second, 0, 0}, [3]time.Duration{l.Request(0).Age, l.Request(0).Failing, l.Request(0).Missing})
}

// Reading that fails is counted as failing polls are, and anew after the stall time and
// after a reading.
func TestLedger_Apply_failingReadings(t *testing.T) {
	l := inPhase(t, Lost)
	unread := Fact{What: Unread, At: origin, Due: at(stall)}
	for _, want := range []time.Duration{0, stall, stall} {
		apply(t, l, unread)
		assert.Equal(t, want, l.Request(0).Unread)
		unread.Aged = time.Hour
	}
	assert.Equal(t, 2*time.Hour, l.Request(0).Age, "the request is older all the same")
	apply(t, l, Fact{What: ReadBack, Pairs: all(l.Request(0), failure)})
	assert.Zero(t, l.Request(0).Unread)
}

// Notifications make a request due, and never later. The planned wait does not grow.
func TestLedger_Apply_noticed(t *testing.T) {
	l := inPhase(t, Overdue)
	apply(t, l, Fact{What: Polled, At: origin, Due: at(time.Minute), NotBefore: at(time.Second)})
	apply(t, l, Fact{What: Noticed, At: at(time.Hour), Due: at(time.Hour)})
	assert.Equal(t, at(time.Minute), l.Request(0).Due)
	apply(t, l, Fact{What: Noticed, At: at(2 * time.Second), Due: origin})
	assert.Equal(t, at(2*time.Second), l.Request(0).Due)
	assert.Equal(t, at(time.Second), l.Request(0).NotBefore)
	assert.Equal(t, origin, l.Request(0).At)
}

// What a process that resumes finds is due soon, whatever the clock of the last one was.
func TestLedger_Apply_resumed(t *testing.T) {
	for _, p := range []Phase{Queued, Sending, Pending, Lost, Overdue, Disputed, Replaced} {
		l := inPhase(t, p)
		year := 365 * 24 * time.Hour
		r := *l.Request(0)
		r.At, r.Due, r.NotBefore = at(year), at(year+time.Minute), at(year+time.Minute)
		l.put(&r)
		apply(t, l, Fact{What: Resumed, At: origin, Due: at(30 * time.Second), NotBefore: at(time.Hour), Why: why})
		got := l.Request(0)
		assert.Equal(t, origin, got.At, p)
		assert.False(t, got.Due.After(at(time.Minute)), p)
		assert.Equal(t, at(time.Hour), got.NotBefore, p)
		if p == Sending {
			assert.Equal(t, Lost, got.Phase)
		}
	}
	l := inPhase(t, Pending) // times in the past stay as they are
	apply(t, l, Fact{What: Resumed, At: at(time.Hour), Due: at(2 * time.Hour), NotBefore: at(2 * time.Hour), Why: why})
	assert.Equal(t, origin, l.Request(0).At)
	assert.Equal(t, origin, l.Request(0).Due)
}

// A request is sent again at most maxResends times, and only as the rules allow it.
func TestLedger_Apply_resentIsBounded(t *testing.T) {
	l := inPhase(t, Lost)
	id := 0
	for range maxResends {
		found := Piece{batch.Part{Assets: []int32{0}, Users: []int32{0}}, Succeeded, ""}
		pieces := []Piece{{Part: l.Request(id).Part}}
		if id == 0 {
			pieces = []Piece{found, {Part: batch.Part{Assets: []int32{0}, Users: []int32{1}}}}
		}
		require.True(t, l.MayResend(id))
		apply(t, l, Fact{What: Resent, Request: id, Pieces: pieces})
		id = len(l.Requests()) - 1
		apply(t, l, Fact{What: Begun, Request: id}, Fact{What: GotLost, Request: id, Why: why})
	}
	assert.Equal(t, Settled, l.Request(1).Phase)
	assert.Equal(t, Succeeded, l.Request(1).Outcome(0))
	assert.False(t, l.MayResend(id))
	assert.ErrorIs(t, l.Apply(Fact{What: Resent, Request: id, Pieces: []Piece{{Part: l.Request(id).Part}}}), ErrIllegal)
	for _, rules := range []Rules{{Stall: stall, ResendLost: true}, {Stall: stall, ResendOverdue: true}} {
		lost, overdue := inPhase(t, Lost), inPhase(t, Overdue)
		lost.rules, overdue.rules = rules, rules
		assert.Equal(t, rules.ResendLost, lost.MayResend(0))
		assert.Equal(t, rules.ResendOverdue, overdue.MayResend(0))
	}
}

// A pair that has succeeded is not sent again: the lists showed it.
func TestLedger_Apply_whatSucceededIsNotSentAgain(t *testing.T) {
	l := inPhase(t, Lost)
	apply(t, l, Fact{What: ReadBack, Pairs: []Group{{Runs{{0, 1}}, success}, {Runs{{1, 1}}, failure}}})
	before := toJSON(l)
	require.ErrorIs(t, l.Apply(Fact{What: Resent, Pieces: []Piece{{Part: part(1, 2, 0)}}}), ErrIllegal)
	assert.Equal(t, before, toJSON(l))
	assert.Equal(t, countAll(l), l.Counts())
}

// Cutting counts for the request that was cut first.
func TestLedger_Apply_cut(t *testing.T) {
	l := inPhase(t, Sending)
	halves := example(Cut).Pieces
	limits := &batch.Limits{Assets: 1, Users: 1, Devices: 1}
	apply(t, l, Fact{What: Cut, Pieces: halves, Bisects: true, Learned: limits})
	assert.Equal(t, limits, l.Learned())
	assert.Equal(t, 2, l.Trials(0))
	assert.Equal(t, 2, l.Trials(2))
	apply(t, l, Fact{What: Cut, Request: 1, Pieces: halves[:1], Limits: true}, Fact{What: Cut, Request: 3, Pieces: halves[:1], Bisects: true})
	assert.Equal(t, 3, l.Trials(4))
	assert.Equal(t, 1, l.Request(4).Splits)
	assert.Equal(t, 2, l.Counts().Requests)
	require.ErrorIs(t, l.Apply(Fact{What: Cut, Request: 4, Pieces: halves}), ErrIllegal)
	assert.Equal(t, countAll(l), l.Counts())
}

// Facts of any kind, legal or not, never make the ledger contradict itself.
func FuzzFacts(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, uint8(40))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		r := rand.New(rand.NewPCG(seed, 1))
		live := New(bothRules, []batch.Part{part(1, 2, 0), part(2, 1, 1)}, at(0))
		replayed := restore(t, live)
		for range steps {
			fact := randomFact(r, live)
			before := toJSON(live)
			var read Fact
			require.NoError(t, json.Unmarshal([]byte(toJSON(fact)), &read))
			err := live.Apply(fact)
			if err != nil {
				require.ErrorIs(t, err, ErrIllegal)
				require.Equal(t, before, toJSON(live))
			}
			require.Equal(t, err == nil, replayed.Apply(read) == nil)
			require.Equal(t, countAll(live), live.Counts())
			require.Equal(t, toJSON(live), toJSON(replayed))
			if r.IntN(4) == 0 {
				replayed = restore(t, live)
			}
		}
		restore(t, live)
	})
}

// restore returns the ledger as another process reads it.
func restore(t *testing.T, l *Ledger) *Ledger {
	t.Helper()
	restored := new(Ledger)
	require.NoError(t, json.Unmarshal([]byte(toJSON(l)), restored), toJSON(l))
	require.Equal(t, toJSON(l), toJSON(restored))
	require.Equal(t, l.Counts(), restored.Counts())
	return restored
}

// randomFact returns a fact that is often legal.
func randomFact(r *rand.Rand, l *Ledger) Fact {
	id := r.IntN(len(l.Requests())+1) - r.IntN(2)
	var phase Phase
	if id >= 0 && id < len(l.Requests()) {
		phase = l.Request(id).Phase
	}
	kinds := []What{Resumed, Halted}
	for _, what := range slices.Sorted(maps.Keys(table)) {
		if _, legal := table[what][phase]; legal || r.IntN(20) == 0 {
			kinds = append(kinds, what)
		}
	}
	if l.AtEnd() {
		kinds = append(kinds, Retried, Undone)
	}
	durations := []time.Duration{0, 0, 1, time.Second, stall, 6 * stall, -time.Hour, 1 << 62, -1 << 63, 1<<63 - 1}
	duration := func() time.Duration { return durations[r.IntN(len(durations))] }
	verdicts := []Verdict{success, failure, unclear, success, failure, unclear, {}, {Unsent, why}, {Failed, ""}}
	verdict := func() Verdict { return verdicts[r.IntN(len(verdicts))] }
	fact := example(kinds[r.IntN(len(kinds))])
	fact.Request, fact.Aged = id, duration()
	fact.At, fact.Due, fact.NotBefore = at(duration()), at(duration()), at(duration())
	fact.Failing, fact.NotFound, fact.Torn = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(4) == 0
	fact.Limits, fact.Bisects = r.IntN(2) == 0, r.IntN(2) == 0
	if fact.Rest.Outcome != "" {
		fact.Rest = verdict()
	}
	fact.Pairs, fact.Pieces = nil, nil
	for i := range 3 {
		if r.IntN(2) == 0 {
			fact.Pairs = append(fact.Pairs, Group{Runs{{i, 1 + r.IntN(2)}}, verdict()})
		}
	}
	if phase != "" {
		q := l.Request(id)
		for _, p := range batch.Split(q.Part, batch.Limits{Assets: 1, Users: 1 + r.IntN(2), Devices: 1}) {
			v := []Verdict{{}, {}, {Failed, why}, success}[r.IntN(4)]
			fact.Pieces = append(fact.Pieces, Piece{p, v.Outcome, v.Why})
		}
	}
	return fact
}

// A poll that was in progress when the process ended may have been answered PENDING at any time
// until the next process resumes the operation.
func TestLedger_Apply_resumedWhilePolling(t *testing.T) {
	l := inPhase(t, Pending)
	apply(t, l, Fact{What: Polling, At: origin, NotBefore: at(time.Minute), Asks: true},
		Fact{What: Resumed, At: at(time.Hour), Due: at(time.Hour + time.Minute), NotBefore: at(2 * time.Hour)})
	assert.WithinDuration(t, at(time.Hour+time.Minute), l.Request(0).NotBefore, 0)
	apply(t, l, Fact{What: Resumed, At: at(2 * time.Hour), Due: at(2*time.Hour + time.Minute), NotBefore: at(3 * time.Hour)})
	assert.WithinDuration(t, at(time.Hour+time.Minute), l.Request(0).NotBefore, 0, "only the poll in progress counts")
}

// Pairs that were to be sent again are not sent when the first event ends before: the lists show
// what it has done.
func TestLedger_Apply_endOfDoubtBeforeResend(t *testing.T) {
	for _, w := range []What{Ended, Gone} {
		l := inPhase(t, Replaced)
		require.Equal(t, Queued, l.Request(1).Phase)
		apply(t, l, example(w))
		assert.Equal(t, Disputed, l.Request(1).Phase)
		assert.Equal(t, unclear, l.Request(1).VerdictOf(0))
		due, next := l.Next(origin, false)
		require.Empty(t, due, "the lists may show the end a little later")
		require.WithinDuration(t, at(time.Minute), next, 0)
		due, _ = l.Next(at(time.Hour), false)
		require.Len(t, due, 1)
		assert.Equal(t, Read, due[0].Do)
	}
}
