package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

var deeper = flag.Int("depth", 0, "how many moves deeper the explorer goes than by default")

// The times of the explorer, in units of its clock.
const (
	interval = 1   // planned wait
	longest  = 2   // longest wait that a service may ask for
	jump     = 100 // how far a clock is set
	unit     = time.Second

	// everything is how many moves deep the explorer checks for each state that the journal
	// gives the same ledger, and that the operation can come to its end. Deeper, it does so
	// for every eighth state, because these checks take most of the time.
	everything = 3
)

// A setup is one exploration.
type setup struct {
	name   string
	parts  []batch.Part
	stall  int
	rules  Rules
	start  pairSet // pairs that are as the operation wants them from the start
	jumps  int     // how often the clock may be set
	depth  int
	remove bool // the operation removes pairs
	halts  bool // the operation may be halted

	// before has what happened to request 0 before the exploration begins, and each time the
	// pair was sent again. So the explorer sees what comes late without walking all the way.
	before []fateKind
}

func (s *setup) lateness() int { return 6 * s.stall }

// TestExplore_everyOrderOfFacts walks every sequence of moves of small operations, breadth
// first, and checks in each state that the ledger says nothing false. The moves are in
// suite_explore_moves_test.go, what must hold is in suite_explore_truth_test.go. A state
// that was seen before is not walked again: two states are the same if the ledger and the
// model of the service will do the same from there on.
//
// mutants.sh breaks the ledger in many ways, and runs this test for each of them. These are
// the lies that this test must find, in groups; the others are slips that the tests of the
// source files find:
//
//   - an absence is final too early: while a doubt is open, while an event is overdue, while
//     the lists are read, after too short a time, or at once
//   - a doubt is lost: pieces do not inherit it, a later doubt replaces it, it is over too early
//     or loses its age in the saved form, a failure or a refused piece ignores it
//   - something is sent again unasked: a crash or no answer makes the request queued, the rules
//     are exchanged, what the lists show is sent again
//   - clocks are trusted: saved times, waits that grow, times in the future that stay there,
//     time in which nobody asked, polls without their distance
//   - it does not end: an event or a doubt is not polled, nothing becomes older, an event that
//     the service forgot stays
//   - pairs are handed over too early or twice, verdicts are given to the wrong pairs, Rests or
//     Next is wrong
func TestExplore_everyOrderOfFacts(t *testing.T) {
	one := []batch.Part{{Assets: []int32{0}, Users: []int32{0}}}
	two := []batch.Part{{Assets: []int32{0}, Users: []int32{0, 1}}}
	three := append(slices.Clone(two), batch.Part{Assets: []int32{1}, Users: []int32{0}})
	var setups []setup
	for _, r := range []Rules{{}, {ResendOverdue: true}, {ResendLost: true}, {ResendOverdue: true, ResendLost: true}} {
		name := fmt.Sprintf("resendOverdue=%t,resendLost=%t", r.ResendOverdue, r.ResendLost)
		both := r.ResendOverdue && r.ResendLost
		setups = append(setups,
			setup{name: "1 pair," + name, parts: one, stall: 1, rules: r, jumps: 1, depth: 8, halts: !both},
			setup{name: "1 pair to remove," + name, parts: one, stall: 1, rules: r, jumps: 1, depth: 8, remove: true},
			setup{name: "2 pairs," + name, parts: two, stall: 1, rules: r, jumps: 1, depth: 6},
			setup{name: "2 requests," + name, parts: three, stall: 1, rules: r, jumps: 1, depth: 5},
		)
	}
	for _, before := range [][]fateKind{{late}, {alive}, {alive, late}, {late, alive}} {
		setups = append(setups, setup{
			name: fmt.Sprintf("1 pair, sent again after %v", before), parts: one, stall: 1, depth: 7 - len(before),
			rules: Rules{ResendOverdue: true, ResendLost: true}, before: before,
		})
	}
	slices.Reverse(setups) // the shortest way to a lie comes first
	setups = append(setups, setup{name: "1 pair that is so already", parts: one, stall: 1, rules: Rules{ResendLost: true}, start: 1, depth: 9})
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.rules.Stall = time.Duration(s.stall) * unit
			s.depth += *deeper
			if testing.Short() && s.depth > 6 {
				s.depth--
			}
			s.explore(t)
		})
	}
}

// explore walks all states that can be reached in s.depth moves.
func (s *setup) explore(t *testing.T) {
	start := newWorld(s)
	seen := map[[16]byte]struct{}{start.key(): {}}
	level := []*world{start}
	transitions, deepest := 0, 0
	for depth := 0; depth < s.depth && len(level) > 0; depth++ {
		var next []*world
		for _, w := range level {
			if found.Load() {
				return // the exploration that has found the lie fails the test
			}
			saved := sync.OnceValue(func() string { return toJSON(w.l) })
			try(t, w, func() {
				for _, m := range w.moves() {
					transitions++
					k := m.key()
					if _, ok := seen[k]; ok {
						continue
					}
					seen[k] = struct{}{}
					try(t, m, func() {
						m.checkTruth()
						m.checkStep(w)
						if depth < everything || k[0]%8 == 0 {
							m.checkReplay(saved())
							m.checkHandingOver()
							m.checkRecovery()
						}
					})
					m.from, m.facts = nil, nil
					next = append(next, m)
				}
			})
		}
		level, deepest = next, depth+1
	}
	state := "all states"
	if len(level) > 0 {
		state = "states of that depth"
	}
	t.Logf("%d states, %d transitions, %d moves deep (%s)", len(seen), transitions, deepest, state)
}

// A lie is what the explorer has found.
type lie string

// found is true after a lie was found.
var found atomic.Bool

// try calls f, and reports a lie with the moves that lead to it.
func try(t *testing.T, w *world, f func()) {
	t.Helper()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case lie:
			found.Store(true)
			t.Fatalf("%s\nmoves:%s\nfacts: %s\nledger: %s\nfates: %+v", r, w.trace, toJSON(w.facts), toJSON(w.l), w.fates)
		default:
			panic(r)
		}
	}()
	f()
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// steps are the moves that lead to a state, the last one first.
type steps struct {
	before *steps
	text   string
	id     int
}

func (s *steps) String() string {
	var all []string
	for ; s != nil; s = s.before {
		all = append(all, fmt.Sprintf(" %s(%d)", s.text, s.id))
	}
	slices.Reverse(all)
	return strings.Join(all, "")
}

// pairSet is a set of pairs, by bit. The bit of a pair is twice its asset plus its user.
type pairSet uint8

func pairsOf(r *Request) (set pairSet) {
	for i := range r.Len() {
		set |= pairAt(r, i)
	}
	return set
}

// pairAt returns the pair at a position of a request.
func pairAt(r *Request, i int) pairSet {
	return 1 << (2*r.Assets[i/len(r.Users)] + r.Users[i%len(r.Users)])
}

// A fateKind is what the service does with a request.
type fateKind uint8

const (
	untouched fateKind = iota // not sent
	dead                      // nothing, from now on
	late                      // no answer came; it may be carried out until it is six stall times old
	alive                     // its event is pending
	finished                  // its event has ended
)

// A fate is what the service does with a request: the truth that the ledger does not know.
type fate struct {
	kind    fateKind
	age     int     // true time since the request got lost, or since the service does not find its event
	done    pairSet // of an event that ended: the pairs for which it succeeded
	missing bool    // the service does not find its event, which is pending
	poll    int     // true time since the last poll; large if the clock was set meanwhile
}

// A world is a state of the exploration: a ledger and the truth.
type world struct {
	*setup
	l      *Ledger
	now    int // true time
	clock  int // what the clock of the process shows beyond true time
	jumped int // how often the clock was set
	ahead  int // how much time the clocks may have made up: at most one planned wait each time that they were set forward
	fates  []fate
	made   pairSet // pairs that are as the operation wants them
	posts  [4]int  // how often the pair of a bit was sent and not refused
	trace  *steps
	from   *Ledger // before the last move
	facts  []Fact  // of the last move
}

// origin is when all explorations begin. It is a reading of the clock of this process.
var origin = time.Now()

func newWorld(s *setup) *world {
	w := &world{setup: s, made: s.start}
	w.l = New(s.rules, s.parts, w.time())
	w.fates = make([]fate, len(s.parts))
	for id, kind := range s.before {
		w.apply(Fact{What: Begun, Request: id})
		if kind == late {
			w.apply(Fact{What: GotLost, Request: id, Why: why})
		} else {
			w.apply(Fact{What: Accepted, Request: id, Event: fmt.Sprint("event", id)})
			w.apply(Fact{What: TooLong, Request: id, Why: why})
		}
		w.sent(id, fate{kind: kind, poll: interval})
		w.apply(Fact{What: Resent, Request: id, Pieces: pieces(w.l.Request(id))})
	}
	w.facts = nil
	return w
}

// time returns what the clock of the process shows.
func (w *world) time() time.Time { return origin.Add(time.Duration(w.now+w.clock) * unit) }

// in returns what the clock of the process will show after some time.
func (w *world) in(units int) time.Time { return w.time().Add(time.Duration(units) * unit) }

// next returns a copy of the world after a move.
func (w *world) next(move string, id int) *world {
	n := *w
	n.l, n.from, n.facts = w.l.clone(), w.l, nil
	n.fates = slices.Clone(w.fates)
	n.trace = &steps{w.trace, move, id}
	return &n
}

// apply applies a fact that has happened now.
func (w *world) apply(f Fact) {
	f.At = w.time()
	w.applyAt(f)
}

func (w *world) applyAt(f Fact) {
	w.facts = append(w.facts, f)
	if err := w.l.Apply(f); err != nil {
		panic(lie(err.Error()))
	}
	for len(w.fates) < len(w.l.Requests()) {
		w.fates = append(w.fates, fate{})
	}
}

// mayHappen reports whether the service may still carry out the request.
func (w *world) mayHappen(id int) bool {
	f := w.fates[id]
	return f.kind == alive || f.kind == late && f.age+w.ahead < w.lateness()
}

// key returns the same value for worlds that cannot be told apart by what can happen next.
func (w *world) key() [16]byte {
	var b bytes.Buffer
	put := func(values ...int) {
		for _, v := range values {
			b.WriteByte(byte(v))
			b.WriteByte(byte(v >> 8))
		}
	}
	units := func(d time.Duration, least, most int) int { return max(least, min(int(d/unit), most)) }
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	late := w.lateness()
	now := w.time()
	put(int(w.made), w.jumped, w.ahead, flag(w.l.Halted() != ""), len(w.l.Requests()))
	for _, n := range w.posts {
		put(n)
	}
	doubted := w.l.doubted()
	for _, r := range w.l.Requests() {
		f := w.fates[r.ID]
		put(int(r.Phase[0])<<8|int(r.Phase[1]), int(pairsOf(r)), int(f.kind), f.age, int(f.done), flag(f.missing), f.poll)
		if r.Phase == Settled || r.Phase == Replaced && !(r.Open && doubted[r.ID]) {
			put(flag(r.Open), flag(r.Event != ""))
		} else {
			put(flag(isReading(r.At)), units(now.Sub(r.At), -1, late+1), units(r.planned(), 0, late+1))
			put(units(r.Due.Sub(now), 0, 1000), units(r.NotBefore.Sub(now), 0, 1000))
			put(units(r.Age, 0, late), units(r.Failing, 0, late), units(r.Unread, 0, w.stall))
			put(units(r.Missing, 0, late), flag(r.WasRead), flag(r.Open), flag(r.Event != ""))
			for _, d := range r.Doubts {
				put(d.Request, units(d.Age, 0, late))
			}
		}
		for i := range r.Len() {
			if r.Phase != Replaced {
				put(int(r.Outcome(i)[2]))
			}
		}
	}
	sum := sha256.Sum256(b.Bytes())
	return [16]byte(sum[:16])
}

// The explorer itself must be able to see a lie: a world in which the ledger says of a lost
// request what the service has not done.
func TestExplore_seesALie(t *testing.T) {
	s := &setup{parts: []batch.Part{{Assets: []int32{0}, Users: []int32{0}}}, stall: 1, rules: Rules{Stall: unit}}
	for _, v := range []Verdict{{Succeeded, ""}, {Failed, `"why"`}} {
		w := newWorld(s)
		w.apply(Fact{What: Begun})
		w.apply(Fact{What: Accepted, Event: "event"})
		w.fates[0] = fate{kind: alive}
		w.checkTruth()
		w.apply(Fact{What: Ended, Rest: v})
		require.PanicsWithValue(t, lie(fmt.Sprintf("pair 1 is %s, but made: 0, may happen: true", v.Outcome)), w.checkTruth)
	}
}

func (k fateKind) String() string {
	return [...]string{"untouched", "dead", "late", "pending", "finished"}[k]
}
