package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// A new ledger has each pair once, and all of them are unsent and due.
func TestNew(t *testing.T) {
	l := New(bothRules, []batch.Part{part(1, 2, 3), part(2, 1, 0)}, origin)
	assert.Equal(t, Counts{Requests: 2, Pairs: 7, Unsent: 7}, l.Counts())
	assert.Equal(t, bothRules, l.Rules())
	assert.Zero(t, l.Facts())
	assert.False(t, l.AtEnd())
	due, next := l.Next(origin, false)
	assert.Equal(t, []Task{{Send, 0, origin}, {Send, 1, origin}}, due)
	assert.Zero(t, next)
	assert.True(t, New(bothRules, nil, origin).AtEnd())
}

// An event is overdue after the stall time, and gone if the service has not found it for six
// stall times.
func TestLedger_Follow(t *testing.T) {
	for _, test := range []struct {
		phase  Phase
		change func(*Request)
		want   What
	}{
		{Pending, func(r *Request) { r.Age = stall - 1 }, ""},
		{Pending, func(r *Request) { r.Age = stall }, TooLong},
		{Pending, func(r *Request) { r.Failing = stall - 1 }, ""},
		{Pending, func(r *Request) { r.Failing = stall }, TooLong},
		{Overdue, func(r *Request) { r.Age, r.Failing = 100*stall, 100*stall }, ""},
		{Overdue, func(r *Request) { r.Missing = 6*stall - 1 }, ""},
		{Overdue, func(r *Request) { r.Missing = 6 * stall }, Gone},
		{Replaced, func(r *Request) { r.Missing = 6 * stall }, Gone},
		{Replaced, func(r *Request) { r.Missing, r.Open = 6*stall, false }, ""},
		{Lost, func(r *Request) { r.Age = 100 * stall }, ""},
	} {
		l := inPhase(t, test.phase)
		r := *l.Request(0)
		test.change(&r)
		l.put(&r)
		f, ok := l.Follow(0, at(time.Hour), why)
		assert.Equal(t, test.want, f.What, test.phase)
		assert.Equal(t, test.want != "", ok)
		if ok {
			assert.Equal(t, at(time.Hour), f.At)
			require.NoError(t, l.Apply(f))
		}
	}
}

// A doubt is over when its event has ended, or when its request was lost long ago.
func TestLedger_Over(t *testing.T) {
	lost := inPhase(t, Lost)
	apply(t, lost, Fact{What: Resent, Aged: time.Minute, Pieces: []Piece{{Part: part(1, 2, 0)}}})
	require.Equal(t, []Doubt{{0, time.Minute, why}}, lost.Request(1).Doubts)
	assert.False(t, lost.Over(Doubt{Age: 6*stall - 1}))
	assert.True(t, lost.Over(Doubt{Age: 6 * stall}))
	apply(t, lost, Fact{What: Begun, Request: 1, Aged: time.Minute}, Fact{What: GotLost, Request: 1, Aged: time.Minute, Why: why})
	assert.Equal(t, []Doubt{{0, 3 * time.Minute, why}}, lost.Request(1).Doubts)

	open := inPhase(t, Replaced)
	apply(t, open, Fact{What: Begun, Request: 1, Aged: time.Minute})
	assert.Equal(t, []Doubt{{Request: 0, Why: why}}, open.Request(1).Doubts, "a doubt with an event does not age")
	assert.False(t, open.Over(Doubt{Request: 0, Age: 100 * stall}))
	apply(t, open, example(Ended))
	assert.True(t, open.Over(Doubt{Request: 0}))
}

// A very long stall time does not become a short one.
func TestRules_lateness(t *testing.T) {
	assert.Equal(t, 6*stall, Rules{Stall: stall}.lateness())
	assert.Positive(t, Rules{Stall: 1<<63 - 1}.lateness())
}

// Sending stops until something is sent again. Each pair is handed over once.
func TestLedger_Apply_wholeOperation(t *testing.T) {
	l := inPhase(t, Queued)
	apply(t, l, example(Halted))
	assert.Equal(t, why, l.Halted())
	apply(t, l, wayTo[Settled]...)
	assert.Empty(t, l.Halted())
	assert.True(t, l.AtEnd())
	apply(t, l, example(Retried), example(Undone))
	assert.Equal(t, "other", l.Retried())
	assert.Equal(t, "other", l.Undone())
	assert.ErrorIs(t, l.Apply(example(Retried)), ErrIllegal)
	assert.ErrorIs(t, l.Apply(example(Undone)), ErrIllegal)
	assert.Equal(t, 6, l.Facts())
}
