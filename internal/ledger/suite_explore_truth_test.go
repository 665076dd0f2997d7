package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
)

// checkTruth checks what must hold in each state.
func (w *world) checkTruth() {
	var all pairSet
	var sending bool
	for _, r := range w.l.Requests() {
		if r.Phase == Replaced {
			continue
		}
		sending = sending || r.Phase == Sending
		for i := range r.Len() {
			p := pairAt(r, i)
			if all&p != 0 {
				panic(lie(fmt.Sprintf("pair %d is in two requests", p)))
			}
			all |= p
			w.checkOutcome(p, r.Outcome(i))
		}
	}
	for _, part := range w.parts {
		if p := pairsOf(&Request{Part: part}); all&p != p {
			panic(lie(fmt.Sprintf("the pairs %d are in no request", p&^all)))
		}
	}
	if got, want := w.l.Counts(), countAll(w.l); got != want {
		panic(lie(fmt.Sprintf("the counts are %+v, but must be %+v", got, want)))
	}
	due, next := w.l.Next(w.time(), false)
	if len(due) == 0 && next.IsZero() && !w.l.AtEnd() && !sending {
		panic(lie("nothing is due, and it is not at its end"))
	}
	w.checkWords(due)
}

// checkWords checks what AtEnd, Rests and Next say.
func (w *world) checkWords(due []Task) {
	end, active := true, false
	for _, r := range w.l.Requests() {
		end = end && (r.Phase == Settled || r.Phase == Replaced)
		active = active || r.Phase == Queued || r.Phase == Sending || r.Phase == Pending
	}
	if w.l.AtEnd() != end {
		panic(lie(fmt.Sprintf("AtEnd is %t", !end)))
	}
	if w.l.Rests(false) && active || end && !w.l.Rests(false) {
		panic(lie("Rests is wrong"))
	}
	w.checkOrder(due)
}

// checkOrder checks that each request is due once, in order.
func (w *world) checkOrder(due []Task) {
	once := map[int]bool{}
	for i, t := range due {
		if once[t.Request] || i > 0 && t.Due.Before(due[i-1].Due) {
			panic(lie("a task is there twice, or out of order"))
		}
		once[t.Request] = true
	}
}

// checkHandingOver checks that pairs are handed over once, and only at the end.
func (w *world) checkHandingOver() {
	for _, f := range []Fact{{What: Retried, To: "other"}, {What: Undone, To: "other"}} {
		l := w.l.clone()
		if first, second := l.Apply(f), l.Apply(f); (first == nil) != w.l.AtEnd() || second == nil {
			panic(lie("pairs are handed over before the end, or twice"))
		}
	}
}

// checkOutcome checks the outcome of a pair.
func (w *world) checkOutcome(p pairSet, o Outcome) {
	made, may := w.made&p != 0, false
	for id := range w.fates {
		may = may || w.mayHappen(id) && pairsOf(w.l.Request(id))&p != 0
	}
	ok := o == Unconfirmed
	switch o {
	case Succeeded:
		ok = made
	case Failed:
		ok = (!made || w.start&p != 0) && !may // a request for what is so already can be refused
	case Unsent:
		ok = (!made || w.start&p != 0) && !may
	}
	if !ok {
		panic(lie(fmt.Sprintf("pair %d is %s, but made: %d, may happen: %t", p, o, w.made, may)))
	}
}

// checkStep checks what must hold between two states: what succeeded or failed stays so.
func (w *world) checkStep(before *world) {
	final := map[pairSet]Outcome{}
	for _, r := range before.l.Requests() {
		for i := range r.Len() {
			if o := r.Outcome(i); r.Phase != Replaced && (o == Succeeded || o == Failed) {
				final[pairAt(r, i)] = o
			}
		}
	}
	for _, r := range w.l.Requests() {
		for i := range r.Len() {
			p := pairAt(r, i)
			if w.start&p != 0 {
				continue // a refused request for what is so already can be verified
			}
			if o, ok := final[p]; ok && r.Phase != Replaced && o != r.Outcome(i) {
				panic(lie(fmt.Sprintf("pair %d was %s, and is %s", p, o, r.Outcome(i))))
			}
		}
	}
}

// checkSend checks that a request may be sent: no pair of it has succeeded or failed, no
// earlier request for its pairs may still be carried out, unless the rules ask for it, and
// its pairs were not sent too often.
func (w *world) checkSend(id int) {
	r := w.l.Request(id)
	for other := range w.fates {
		q := w.l.Request(other)
		if other == id || !w.mayHappen(other) || pairsOf(q)&pairsOf(r) == 0 {
			continue
		}
		asked := w.rules.ResendLost
		if q.Event != "" {
			asked = w.rules.ResendOverdue
		}
		if !asked || !slices.ContainsFunc(r.Doubts, func(d Doubt) bool { return d.Request == other }) {
			panic(lie(fmt.Sprintf("request %d is sent while request %d may be carried out", id, other)))
		}
	}
	for bit, n := range w.posts {
		if pairsOf(r)&(1<<bit) != 0 && n > maxResends {
			panic(lie(fmt.Sprintf("pair %d is sent %d times", 1<<bit, n+1)))
		}
	}
}

// checkShown checks that what the lists show has succeeded.
func (w *world) checkShown(id int, f Fact) {
	shown := map[pairSet]bool{}
	for _, p := range f.Pieces {
		if p.Outcome == Succeeded {
			shown[pairsOf(&Request{Part: p.Part})] = true
		}
	}
	for _, g := range f.Pairs {
		if g.Outcome == Succeeded {
			shown[pairAt(w.l.Request(id), g.Pairs[0][0])] = true
		}
	}
	for _, r := range w.l.Requests() {
		for i := range r.Len() {
			if p := pairAt(r, i); r.Phase != Replaced && shown[p] && r.Outcome(i) != Succeeded {
				panic(lie(fmt.Sprintf("the lists show pair %d, but it is %s", p, r.Outcome(i))))
			}
		}
	}
}

// checkPoll checks that polls of one event are not too close to each other. After the clock
// was set, nobody can know.
func (w *world) checkPoll(id int) {
	if w.fates[id].poll < interval {
		panic(lie(fmt.Sprintf("request %d is polled too soon", id)))
	}
}

// checkResumed checks that nothing is due too late, whatever the clock of an earlier process
// was, and that nothing is being sent.
func (w *world) checkResumed() {
	for _, r := range w.l.Requests() {
		t, ok := r.task(true)
		if r.Phase == Sending || ok && t.Due.After(w.in(longest)) || r.At.After(w.time()) && r.Phase != Settled && r.Phase != Replaced {
			panic(lie(fmt.Sprintf("request %d is %s, and due at %s", r.ID, r.Phase, t.Due)))
		}
	}
}

// checkReplay checks that a process that restores the ledger before the last move, and reads
// the facts of the move, has the same ledger. By induction, this holds for each snapshot and
// for the whole journal.
func (w *world) checkReplay(before string) {
	l := new(Ledger)
	if err := json.Unmarshal([]byte(before), l); err != nil {
		panic(lie(err.Error()))
	}
	for _, f := range w.facts {
		var read Fact
		if err := json.Unmarshal([]byte(toJSON(f)), &read); err != nil {
			panic(lie(err.Error()))
		}
		if err := l.Apply(read); err != nil {
			panic(lie(err.Error()))
		}
	}
	if got, want := toJSON(l), toJSON(w.l); got != want {
		panic(lie(fmt.Sprintf("replayed: %s\nlive: %s", got, want)))
	}
}

// checkRecovery checks that the operation comes to its end if the service recovers: it does
// what it was asked, and answers. The status of an event is there, or forgotten.
func (w *world) checkRecovery() {
	for _, forgets := range []bool{false, true} {
		n := w.next(fmt.Sprint("recovery, forgets events: ", forgets), 0)
		rounds := 0
		for ; !n.l.AtEnd(); rounds++ {
			if rounds > 20*w.lateness() {
				panic(lie(fmt.Sprintf("%s: it does not end: %s", n.trace, toJSON(n.l))))
			}
			n.recover(forgets)
		}
		n.checkTruth()
		if due, next := n.l.Next(n.time(), false); len(due) > 0 || !next.IsZero() {
			panic(lie("something is due at the end"))
		}
	}
}

// recover does all that is due, with the best of answers, and then waits for the next task.
func (w *world) recover(forgets bool) {
	for id := range w.fates {
		if w.mayHappen(id) {
			w.made |= pairsOf(w.l.Request(id))
			if w.fates[id].kind == late {
				w.fates[id].kind = dead
				continue
			}
			w.fates[id] = fate{kind: finished, done: pairsOf(w.l.Request(id)), poll: interval}
		}
	}
	for _, r := range slices.Clone(w.l.Requests()) {
		if r.Phase == Sending {
			w.apply(Fact{What: Accepted, Request: r.ID, Event: "recovered", Due: w.in(interval)})
			w.fates[r.ID] = fate{kind: alive}
		}
	}
	due, next := w.l.Next(w.time(), false)
	if len(due) == 0 {
		w.pass(max(1, int(next.Sub(w.time())/unit)))
		return
	}
	for _, t := range due {
		f := w.best(t, forgets)
		f.Request, f.Aged, f.Due, f.NotBefore = t.Request, w.aged(t.Request), w.in(interval), w.in(interval)
		w.apply(f)
		if f, ok := w.l.Follow(t.Request, w.time(), why); ok {
			w.applyAt(f)
		}
	}
}

// best returns what happens if the service answers as well as it can.
func (w *world) best(t Task, forgets bool) Fact {
	switch {
	case t.Do == Send:
		return Fact{What: Begun}
	case t.Do == Read:
		return Fact{What: ReadBack, Pairs: w.shown(w.l.Request(t.Request))}
	case w.l.Request(t.Request).Event == "":
		panic(lie("a request without an event is polled"))
	case forgets:
		return Fact{What: Polled, Failing: true, NotFound: true}
	}
	f := w.results(t.Request)[0]
	f.What = Ended
	return f
}
