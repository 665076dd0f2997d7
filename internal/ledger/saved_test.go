package ledger

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// The saved form of a ledger in any phase can be restored.
func TestLedger_MarshalJSON(t *testing.T) {
	for phase := range wayTo {
		l := restore(t, inPhase(t, phase))
		assert.Equal(t, phase, l.Request(0).Phase)
		assert.NoError(t, l.Check(1, 2, 0))
	}
}

// A saved form that contradicts itself is an error, and changes nothing.
func TestLedger_UnmarshalJSON_damage(t *testing.T) {
	for _, test := range []struct {
		phase    Phase
		old, new string
	}{
		{Queued, `"stall":600000000000`, `"stall":0`},
		{Queued, `"facts":0`, `"facts":-1`},
		{Queued, `"facts":0`, `"facts":9223372036854775807`},
		{Queued, `"facts":0`, `"facts":0,"learned":{"Assets":0,"Users":1,"Devices":1}`},
		{Queued, `"facts":0`, `"facts":0,"retried":"other"`},
		{Queued, `"id":0`, `"id":1`},
		{Queued, `"queued"`, `"unknown"`},
		{Queued, `"queued"`, `"pending"`},
		{Queued, `"queued"`, `"queued","open":true,"event":"event"`},
		{Queued, `"queued"`, `"queued","age":-1`},
		{Queued, `"queued"`, `"queued","age":9223372036854775807`},
		{Queued, `"queued"`, `"queued","tries":-1`},
		{Queued, `"queued"`, `"queued","trials":9223372036854775807`},
		{Queued, `"queued"`, `"queued","outcome":"failed","why":1`},
		{Queued, `"queued"`, `"queued","pairs":[{"pairs":[[0,1]],"outcome":"failed","why":1}]`},
		{Queued, `"queued"`, `"queued","origin":1`},
		{Queued, `"queued"`, `"queued","origin":-1`},
		{Queued, `"queued"`, `"queued","doubts":[{"request":0}]`},
		{Queued, `"queued"`, `"queued","notBefore":"0000-01-01T00:00:00Z"`},
		{Queued, `[[0,1]]`, `[[0,-1]]`},
		{Queued, `[[0,1]]`, `[[0,16777217]]`},
		{Queued, `[[0,1]]`, `[[-1,1]]`},
		{Queued, `[[0,1]]`, `[]`},
		{Queued, `"requests":[`, `"requests":[0`},
		{Queued, `"requests":[`, `"requests":{`},
		{Lost, `"unconfirmed"`, `"succeeded"`},
		{Lost, `"unconfirmed"`, `"failed"`},
		{Lost, `"unconfirmed","why":"why"`, `"succeeded"`},
		{Lost, `"why":"why"`, `"why":null`},
		{Lost, `"why":"why"`, `"why":"why","pairs":[{"pairs":[[0,3]],"outcome":"succeeded"}]`},
		{Lost, `"why":"why"`, `"why":"why","pairs":[{"pairs":[[0,1]],"outcome":"succeeded"},{"pairs":[[0,1]],"outcome":"succeeded"}]`},
		{Overdue, `"event":"event"`, `"event":""`},
		{Replaced, `"request":0`, `"request":1`},
		{Replaced, `"request":0`, `"request":-1`},
		{Replaced, `"request":0`, `"request":0,"age":-1`},
		{Replaced, `{"request":0,"why":"why"}`, `{"request":0,"why":"why"},{"request":0,"why":"why"}`},
		{Replaced, `{"request":0,"why":"why"}`, `{"request":0,"why":null}`},
		{Replaced, `"phase":"replaced"`, `"phase":"pending"`},
		{Settled, `"settled"`, `"replaced"`},
	} {
		saved := toJSON(inPhase(t, test.phase))
		damaged := strings.Replace(saved, test.old, test.new, 1)
		require.NotEqual(t, saved, damaged, test.old)
		l := inPhase(t, Queued)
		before := toJSON(l)
		assert.Error(t, json.Unmarshal([]byte(damaged), l), damaged)
		assert.Equal(t, before, toJSON(l))
	}
}

// A damaged form does not take all memory.
func TestLedger_UnmarshalJSON_bounded(t *testing.T) {
	request := `{"id":0,"assets":[[0,1]],"users":[[0,16777216]],"phase":"queued"}`
	saved := `{"rules":{"stall":1},"facts":0,"requests":[` + request
	for i := 1; i < 1000; i++ {
		saved += strings.Replace(","+request, `"id":0`, `"id":`+toJSON(i), 1)
	}
	limitNumbers(t, 1<<16)
	assert.ErrorContains(t, json.Unmarshal([]byte(saved+"]}"), new(Ledger)), "too many pairs")
}

// limitNumbers lowers the limit of numbers for a test.
func limitNumbers(t testing.TB, most int) {
	old := maxNumbers
	maxNumbers = most
	t.Cleanup(func() { maxNumbers = old })
}

// Check compares a ledger with the tables of its operation.
func TestLedger_Check(t *testing.T) {
	l := New(bothRules, []batch.Part{part(1, 2, 3), {Assets: []int32{1}, Users: []int32{0}}}, origin)
	assert.NoError(t, l.Check(2, 2, 3))
	for _, numbers := range [][3]int{{1, 2, 3}, {2, 1, 3}, {2, 2, 2}, {0, 0, 0}} {
		assert.Error(t, l.Check(numbers[0], numbers[1], numbers[2]), numbers)
	}
	twice := New(bothRules, []batch.Part{part(1, 2, 0), part(2, 1, 0)}, origin)
	assert.ErrorContains(t, twice.Check(2, 2, 0), "same pair")
	twice = New(bothRules, []batch.Part{part(1, 0, 2), part(1, 0, 1)}, origin)
	assert.ErrorContains(t, twice.Check(1, 0, 2), "same pair")
	assert.NoError(t, inPhase(t, Replaced).Check(1, 2, 0), "the pieces have the pairs of a replaced request")
}

// The journal of testdata has every fact. This version reads it, and condenses it to the
// snapshots: one from the middle, which has every phase, and one from the end.
func TestLedger_UnmarshalJSON_golden(t *testing.T) {
	middle, end := readSnapshot(t, "testdata/middle.json"), readSnapshot(t, "testdata/end.json")
	phases := map[Phase]bool{}
	for _, r := range middle.Requests() {
		phases[r.Phase] = true
	}
	assert.Len(t, phases, len(wayTo))
	assert.NoError(t, middle.Check(9, 2, 1))
	assert.NoError(t, end.Check(9, 2, 1))

	journal, err := os.ReadFile("testdata/journal.jsonl")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(journal)), "\n")
	var l Ledger
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &l)) // the ledger before the first fact
	facts := map[What]bool{}
	for _, line := range lines[1:] {
		var f Fact
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		assert.JSONEq(t, line, toJSON(f))
		require.NoError(t, l.Apply(f), line)
		require.Equal(t, countAll(&l), l.Counts())
		facts[f.What] = true
		if l.Facts() == middle.Facts() {
			assert.Equal(t, toJSON(middle), toJSON(&l))
		}
	}
	assert.Equal(t, toJSON(end), toJSON(&l))
	assert.Len(t, facts, len(table)+4)
}

// readSnapshot reads a ledger whose saved form does not change when it is saved again.
func readSnapshot(t *testing.T, name string) *Ledger {
	t.Helper()
	saved, err := os.ReadFile(name)
	require.NoError(t, err)
	l := new(Ledger)
	require.NoError(t, json.Unmarshal(saved, l))
	require.Equal(t, strings.TrimSpace(string(saved)), toJSON(l))
	return l
}

// Any text is an error, or a ledger that has the same JSON form after it was saved.
func FuzzLedgerJSON(f *testing.F) {
	for phase := range wayTo {
		f.Add([]byte(toJSON(inPhase(f, phase))))
	}
	if saved, err := os.ReadFile("testdata/middle.json"); err == nil {
		f.Add(saved)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		limitNumbers(t, 1<<16)
		var l Ledger
		if json.Unmarshal(data, &l) != nil {
			return
		}
		restore(t, &l)
		require.Equal(t, countAll(&l), l.Counts())
		_ = l.Check(1<<10, 1<<10, 1<<10)
		l.Next(origin, false)
		l.Rests(false)
		for id := range l.Requests() {
			l.MayResend(id)
			l.Trials(id)
			if f, ok := l.Follow(id, origin, why); ok {
				require.NoError(t, l.Apply(f))
			}
		}
		require.NoError(t, l.Apply(example(Resumed)))
		restore(t, &l)
	})
}
