package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// What is due comes in the order in which it became due, each request at most once. What is
// not due yet is not there, but its time is.
func TestLedger_Next_order(t *testing.T) {
	l := New(bothRules, []batch.Part{part(1, 1, 0), part(1, 1, 0), part(1, 1, 0), part(1, 1, 0), part(1, 1, 0)}, at(time.Minute))
	for id, due := range []time.Duration{3 * time.Minute, time.Minute, 2 * time.Minute, time.Minute + 1, 4 * time.Minute} {
		apply(t, l, Fact{What: Begun, Request: id},
			Fact{What: Accepted, Request: id, Event: "event", At: origin, Due: at(due)})
	}
	due, next := l.Next(at(3*time.Minute), false)
	assert.Equal(t, []Task{{Poll, 1, at(time.Minute)}, {Poll, 3, at(time.Minute + 1)}, {Poll, 2, at(2 * time.Minute)}, {Poll, 0, at(3 * time.Minute)}}, due)
	assert.Equal(t, at(4*time.Minute), next)
	due, next = l.Next(origin, false)
	assert.Empty(t, due)
	assert.Equal(t, at(time.Minute), next)
}

// Nothing starves: a request that was just asked for comes after all that were due before.
func TestLedger_Next_nothingStarves(t *testing.T) {
	parts := make([]batch.Part, 20)
	for i := range parts {
		parts[i] = part(1, 1, 0)
	}
	l := New(bothRules, parts, origin)
	for id := range parts {
		apply(t, l, Fact{What: Begun, Request: id}, Fact{What: Accepted, Request: id, Event: "event"})
	}
	// Each poll takes 10 seconds, and a request is due again after 30 seconds.
	asked := map[int]int{}
	now := origin
	for round := range 5 * len(parts) {
		due, _ := l.Next(now, false)
		require.NotEmpty(t, due)
		id := due[0].Request
		asked[id]++
		now = now.Add(10 * time.Second)
		apply(t, l, Fact{What: Polled, Request: id, At: now, Due: now.Add(30 * time.Second)})
		require.LessOrEqual(t, asked[id], round/len(parts)+1)
	}
	assert.Len(t, asked, len(parts))
}

// What a request needs depends on its phase.
func TestLedger_Next_phases(t *testing.T) {
	for phase, want := range map[Phase]Do{Queued: Send, Sending: "", Pending: Poll, Lost: Read, Overdue: Read, Disputed: Read, Settled: ""} {
		l := inPhase(t, phase)
		due, next := l.Next(origin, false)
		assert.Zero(t, next)
		if want == "" {
			assert.Empty(t, due, phase)
			continue
		}
		assert.Equal(t, []Task{{want, 0, origin}}, due, phase)
		assert.Equal(t, phase == Settled, l.Rests(false), phase)
	}
}

// An overdue request is read back once. Then it rests, and its event is polled until it ends.
func TestLedger_Next_overdue(t *testing.T) {
	l := inPhase(t, Overdue)
	apply(t, l, Fact{What: ReadBack})
	assert.True(t, l.Rests(false))
	due, _ := l.Next(origin, false)
	assert.Equal(t, []Task{{Poll, 0, origin}}, due)
	apply(t, l, Fact{What: Polled})
	assert.True(t, l.Rests(false), "also after another poll: otherwise Wait would not end")
	due, _ = l.Next(origin, false)
	assert.Equal(t, []Task{{Poll, 0, origin}}, due)
}

// A poll waits until its distance to the last one has passed, also after a crash.
func TestLedger_Next_notBefore(t *testing.T) {
	l := inPhase(t, Pending)
	apply(t, l, Fact{What: Polling, At: origin, NotBefore: at(time.Minute)})
	due, next := restore(t, l).Next(at(time.Minute-1), false)
	assert.Empty(t, due)
	assert.WithinDuration(t, at(time.Minute), next, 0)
}

// When the pairs of an overdue event were sent again, its event is polled until none of the pairs
// depends on its end any more.
func TestLedger_Next_doubts(t *testing.T) {
	l := inPhase(t, Replaced)
	due, _ := l.Next(origin, false)
	assert.Equal(t, []Task{{Poll, 0, origin}}, due, "the event may have ended, so it is polled before its pairs are sent again")
	apply(t, l, Fact{What: Polling, At: origin, NotBefore: at(time.Minute)})
	due, _ = l.Next(origin, false)
	assert.Equal(t, []Task{{Send, 1, origin}}, due)
	apply(t, l, Fact{What: Begun, Request: 1}, Fact{What: Accepted, Request: 1, Event: "event"}, Fact{What: Ended, Request: 1, Rest: success})
	due, next := l.Next(origin, false)
	assert.Empty(t, due)
	assert.Zero(t, next)
	assert.True(t, l.AtEnd())
	assert.True(t, l.Rests(false))
}
