package ledger

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// table is the table of the package comment, written down a second time: the phases from
// which a fact moves a request, and the phase that the fact of the function example leads to.
var table = map[What]map[Phase]Phase{
	Begun:      {Queued: Sending},
	Accepted:   {Sending: Pending},
	TurnedAway: {Sending: Queued},
	Refused:    {Sending: Settled},
	Strayed:    {Sending: Settled},
	Cut:        {Queued: Replaced, Sending: Replaced},
	GotLost:    {Sending: Lost},
	Polling:    {Pending: Pending, Overdue: Overdue, Replaced: Replaced},
	Noticed:    {Pending: Pending, Overdue: Overdue},
	Polled:     {Pending: Pending, Overdue: Overdue, Replaced: Replaced},
	TooLong:    {Pending: Overdue},
	Gone:       {Overdue: Disputed, Replaced: Replaced},
	Ended:      {Pending: Settled, Overdue: Settled, Replaced: Replaced},
	Named:      {Pending: Settled, Overdue: Settled},
	Reading:    {Lost: Lost, Disputed: Disputed},
	Unread:     {Lost: Lost, Overdue: Overdue, Disputed: Disputed},
	ReadBack:   {Lost: Settled, Overdue: Settled, Disputed: Settled},
	Resent:     {Lost: Replaced, Overdue: Replaced},
	Verified:   {Settled: Settled},
}

// Every fact is tried in every phase. Those of the table are applied. The others change
// nothing, and are ErrIllegal.
func TestFact_exactlyTheTableIsLegal(t *testing.T) {
	require.Len(t, transitions, len(table))
	for what := range transitions {
		for phase := range wayTo {
			l := inPhase(t, phase)
			before, counts := toJSON(l), l.Counts()
			err := l.Apply(example(what))
			to, legal := table[what][phase]
			if !legal {
				assert.ErrorIs(t, err, ErrIllegal, "%s: %s", phase, what)
				assert.Equal(t, before, toJSON(l), "%s: %s", phase, what)
				assert.Equal(t, counts, l.Counts())
				continue
			}
			assert.NoError(t, err, "%s: %s", phase, what)
			assert.Equal(t, to, l.Request(0).Phase, "%s: %s", phase, what)
			assert.Equal(t, countAll(l), l.Counts(), "%s: %s", phase, what)
		}
	}
}

// A replaced request whose event has ended takes no more facts.
func TestFact_closedRequestsTakeNoFacts(t *testing.T) {
	for _, closing := range []What{Ended, Gone} {
		l := inPhase(t, Replaced)
		require.True(t, l.Request(0).Open)
		apply(t, l, example(closing))
		require.False(t, l.Request(0).Open)
		for what := range transitions {
			require.ErrorIs(t, l.Apply(example(what)), ErrIllegal, what)
		}
	}
}

// A fact that lacks what it needs, or holds what no saved form can hold, is not applied.
func TestFact_mustBeComplete(t *testing.T) {
	far := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, bad := range map[string]struct {
		phase Phase
		fact  Fact
	}{
		"unknown":               {Queued, Fact{What: "unknown"}},
		"no such request":       {Queued, Fact{What: Begun, Request: 1}},
		"negative request":      {Queued, Fact{What: Begun, Request: -1}},
		"time":                  {Queued, Fact{What: Begun, At: far}},
		"due":                   {Queued, Fact{What: Begun, Due: far}},
		"not before":            {Pending, Fact{What: Polling, NotBefore: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"no event":              {Sending, Fact{What: Accepted}},
		"no reason":             {Sending, Fact{What: GotLost}},
		"resumed, no reason":    {Sending, Fact{What: Resumed}},
		"no verdict":            {Pending, Fact{What: Ended}},
		"success with reason":   {Pending, Fact{What: Ended, Rest: Verdict{Succeeded, why}}},
		"unsent":                {Pending, Fact{What: Ended, Rest: Verdict{Unsent, why}}},
		"unsent pair":           {Lost, Fact{What: ReadBack, Pairs: []Group{{Runs{{0, 1}}, Verdict{Unsent, why}}}}},
		"pair out of range":     {Lost, Fact{What: ReadBack, Pairs: []Group{{Runs{{1, 2}}, success}}}},
		"pairs out of order":    {Lost, Fact{What: ReadBack, Pairs: []Group{{Runs{{1, 1}, {0, 1}}, success}}}},
		"verified failure":      {Settled, Fact{What: Verified, Pairs: []Group{{Runs{{0, 1}}, failure}}}},
		"no pieces":             {Sending, Fact{What: Cut}},
		"a pair is missing":     {Sending, Fact{What: Cut, Pieces: []Piece{{Part: part(1, 1, 0)}}}},
		"a pair is new":         {Sending, Fact{What: Cut, Pieces: []Piece{{Part: part(1, 3, 0)}}}},
		"a pair is there twice": {Sending, Fact{What: Cut, Pieces: []Piece{{Part: part(1, 1, 0)}, {Part: part(1, 1, 0)}}}},
		"another target":        {Sending, Fact{What: Cut, Pieces: []Piece{{Part: part(1, 1, 0)}, {Part: part(1, 0, 1)}}}},
		"another asset":         {Sending, Fact{What: Cut, Pieces: []Piece{{Part: part(2, 1, 0)}}}},
		"cut, and succeeded":    {Sending, Fact{What: Cut, Pieces: []Piece{{part(1, 2, 0), Succeeded, ""}}}},
		"resent, and failed":    {Lost, Fact{What: Resent, Pieces: []Piece{{part(1, 2, 0), Failed, why}}}},
		"piece without reason":  {Sending, Fact{What: Cut, Pieces: []Piece{{part(1, 2, 0), Failed, ""}}}},
		"learned":               {Sending, Fact{What: Cut, Pieces: []Piece{{Part: part(1, 2, 0)}}, Learned: &batch.Limits{Assets: 1, Users: 1}}},
		"retried too early":     {Pending, Fact{What: Retried, To: "other"}},
		"retried by nobody":     {Settled, Fact{What: Retried}},
		"undone by nobody":      {Settled, Fact{What: Undone}},
	} {
		l := inPhase(t, bad.phase)
		before, counts := toJSON(l), l.Counts()
		assert.ErrorIs(t, l.Apply(bad.fact), ErrIllegal, name)
		assert.Equal(t, before, toJSON(l), name)
		assert.Equal(t, counts, l.Counts(), name)
	}
}

// A fact can be read again from its line of the journal, without its monotonic readings.
func TestFact_MarshalJSON(t *testing.T) {
	for what := range table {
		f := example(what)
		f.Aged, f.NotBefore = time.Second, origin
		var read Fact
		require.NoError(t, json.Unmarshal([]byte(toJSON(f)), &read))
		assert.False(t, isReading(read.At))
		assert.Equal(t, toJSON(f), toJSON(read))
	}
	for _, damaged := range []string{`{"pieces":[{}]}`, `{"pieces":[{"assets":[[0,1]],"users":[[0,-1]]}]}`, `{"pieces":[{"assets":[[0,16777217]],"users":[[0,1]]}]}`, `{"pieces":[0]}`} {
		var f Fact
		assert.Error(t, json.Unmarshal([]byte(damaged), &f), damaged)
	}
}
