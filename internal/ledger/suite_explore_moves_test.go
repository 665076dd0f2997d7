package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

const why = Reason(`"why"`)

// moves returns the worlds that one move leads to.
func (w *world) moves() (all []*world) {
	add := func(worlds ...*world) { all = append(all, worlds...) }
	due, _ := w.l.Next(w.time(), false)
	for _, task := range due {
		switch task.Do {
		case Send:
			add(w.begin(task.Request))
			add(w.cuts(task.Request)...)
		case Poll:
			add(w.polls(task.Request)...)
		case Read:
			add(w.reads(task.Request)...)
		}
	}
	for _, r := range w.l.Requests() {
		if r.Phase == Sending {
			add(w.answers(r.ID)...)
			add(w.cuts(r.ID)...)
		}
		add(w.notices(r)...)
		if n := w.verifies(r); n != nil {
			add(n)
		}
	}
	add(w.finishes()...)
	for _, units := range w.waits() {

		n := w.next("wait", units)
		n.pass(units)
		add(n)
	}
	add(w.crashes("crash")...)
	if w.halts && w.l.Halted() == "" {
		n := w.next("halt", 0)
		n.apply(Fact{What: Halted, Why: why})
		add(n)
	}
	return all
}

// waits returns how much time may pass in one move: until something is due, the stall time,
// and until just before and just when a lost request is no longer carried out.
func (w *world) waits() []int {
	return slices.Compact([]int{interval, w.stall, w.lateness() - 1, w.lateness()})
}

// pass lets true time pass.
func (w *world) pass(units int) {
	w.now += units
	for i := range w.fates {
		f := &w.fates[i]
		f.poll = min(f.poll+units, interval)
		if f.kind == late || f.missing {
			f.age = min(f.age+units, w.lateness())
		}
	}
}

// begin starts to send a request.
func (w *world) begin(id int) *world {
	n := w.next("send", id)
	n.checkSend(id)
	n.apply(Fact{What: Begun, Request: id, Aged: n.aged(id), Due: n.time()})
	return n
}

func (w *world) aged(id int) time.Duration { return w.l.Request(id).Aged(w.time()) }

// sent notes that the service may have got a request.
func (w *world) sent(id int, f fate) {
	w.fates[id] = f
	pairs := pairsOf(w.l.Request(id))
	for bit := range w.posts {
		if pairs&(1<<bit) != 0 {
			w.posts[bit]++
		}
	}
}

// lost returns what may become of a request to which no answer came.
func lost() []fate { return []fate{{kind: dead}, {kind: late}} }

// answers returns what one answer to a request leads to.
func (w *world) answers(id int) (all []*world) {
	answer := func(name string, f Fact) *world {
		n := w.next(name, id)
		f.Request, f.Aged = id, n.aged(id)
		n.apply(f)
		all = append(all, n)
		return n
	}
	answer("accepted", Fact{What: Accepted, Event: fmt.Sprint("event", id), Due: w.in(interval)}).sent(id, fate{kind: alive, poll: interval})
	answer("turned away", Fact{What: TurnedAway, Due: w.in(interval), Why: why})
	answer("refused", Fact{What: Refused, Due: w.in(interval), Why: why})
	// An attempt before the answered one was carried out, although the service denied it.
	done := answer("accepted, but not sure", Fact{What: Accepted, Event: fmt.Sprint("event", id), Due: w.in(interval), Unsure: true})
	done.sent(id, fate{kind: alive, poll: interval})
	done.made |= pairsOf(w.l.Request(id))
	done = answer("refused, but not sure", Fact{What: Refused, Due: w.in(interval), Why: why, Unsure: true})
	done.made |= pairsOf(w.l.Request(id))
	answer("refused, but carried out later", Fact{What: Refused, Due: w.in(interval), Why: why, Unsure: true}).sent(id, fate{kind: late})
	answer("strayed", Fact{What: Strayed, Event: "foreign", Due: w.in(interval), Why: why})
	for _, f := range lost() {
		answer("lost", Fact{What: GotLost, Due: w.in(interval), Why: why}).sent(id, f)
	}
	return all
}

// cuts returns what cutting a request leads to: halves, because of limits or to find an
// invalid item, or one refused piece for each pair.
func (w *world) cuts(id int) (all []*world) {
	r := w.l.Request(id)
	cut := func(name string, f Fact) {
		n := w.next(name, id)
		f.What, f.Request, f.Aged = Cut, id, n.aged(id)
		n.apply(f)
		all = append(all, n)
	}
	pieces := pieces(r)
	if len(pieces) > 1 {
		cut("cut by limits", Fact{Pieces: pieces, Limits: true, Learned: &batch.Limits{Assets: 1, Users: 1, Devices: 1}})
		cut("bisect", Fact{Pieces: pieces, Bisects: true})
	}
	if r.Phase == Queued {
		return all
	}
	for i := range pieces {
		named := append([]Piece{}, pieces...)
		named[i].Outcome, named[i].Why = Failed, why
		cut("cut by names", Fact{Pieces: named})
	}
	return all
}

// pieces returns one piece for each pair of a request.
func pieces(r *Request) (all []Piece) {
	for _, a := range r.Assets {
		for _, u := range r.Users {
			all = append(all, Piece{Part: batch.Part{Assets: []int32{a}, Users: []int32{u}}})
		}
	}
	return all
}

// polls returns what one poll leads to.
func (w *world) polls(id int) (all []*world) {
	poll := func(name string, f Fact) {
		n := w.next(name, id)
		n.checkPoll(id)
		n.apply(Fact{What: Polling, Request: id, NotBefore: n.in(interval), Asks: true})
		n.fates[id].poll = 0
		if f.What == "" {
			all = append(all, n.crashes("crash while polling")...)
			return
		}
		if truth := &n.fates[id]; truth.kind == alive && (!f.Failing || f.NotFound && !truth.missing) {
			truth.age, truth.missing = 0, f.NotFound
		}
		f.Request, f.Aged, f.Due = id, n.aged(id), n.in(interval)
		if f.What == Polled {
			f.NotBefore = n.in(interval)
		}
		n.apply(f)
		if f, ok := n.l.Follow(id, n.time(), why); ok {
			all = append(all, n.crashes("crash before what follows")...)
			n.applyAt(f)
		}
		all = append(all, n)
	}
	all = append(all, w.outage(id, Fact{What: Polled, Failing: true}))
	if w.fates[id].kind == finished {
		all = append(all, w.outage(id, Fact{What: Polled, Failing: true, NotFound: true}))
	}
	poll("no answer to the poll", Fact{})
	poll("failing poll", Fact{What: Polled, Failing: true})
	switch f := w.fates[id]; f.kind {
	case alive:
		poll("PENDING", Fact{What: Polled})
		// The service finds an event that is pending before it has not found it for six stall
		// times. The ledger counts the wait before the first such answer too.
		if !f.missing || f.age+interval+w.ahead < w.lateness() {
			poll("9708", Fact{What: Polled, Failing: true, NotFound: true})
		}
	case finished:
		poll("9708", Fact{What: Polled, Failing: true, NotFound: true})
		for i, r := range w.results(id) {
			r.What = Ended
			poll(fmt.Sprint("ended, shape ", i), r)
		}
	}
	return all
}

// outage returns what failing polls for more than six stall times lead to.
func (w *world) outage(id int, f Fact) *world {
	n := w.next(fmt.Sprint("failing polls for long, not found: ", f.NotFound), id)
	for range w.lateness() + 2 {
		n.apply(Fact{What: Polling, Request: id, NotBefore: n.in(interval)})
		f.Request, f.Aged, f.Due, f.NotBefore = id, n.aged(id), n.in(interval), n.in(interval)
		n.apply(f)
		if f, ok := n.l.Follow(id, n.time(), why); ok {
			n.applyAt(f)
			if f.What == Gone {
				break
			}
		}
		n.pass(interval)
	}
	return n
}

// results returns facts with the verdicts of an event that has ended: all of them, none, or
// only the first.
func (w *world) results(id int) []Fact {
	r := w.l.Request(id)
	verdict := func(i int) Verdict {
		if w.fates[id].done&pairAt(r, i) != 0 {
			return Verdict{Succeeded, ""}
		}
		return Verdict{Failed, why}
	}
	unclear := Verdict{Unconfirmed, why}
	full := Fact{Rest: verdict(r.Len() - 1)}
	for i := range r.Len() - 1 {
		full.Pairs = append(full.Pairs, Group{Runs{{i, 1}}, verdict(i)})
	}
	facts := []Fact{full, {Rest: unclear}}
	if r.Len() > 1 {
		facts = append(facts, Fact{Rest: unclear, Pairs: []Group{{Runs{{0, 1}}, verdict(0)}}})
	}
	return facts
}

// notices returns what notifications lead to.
func (w *world) notices(r *Request) (all []*world) {
	if r.Phase != Pending && r.Phase != Overdue {
		return nil
	}
	n := w.next("noticed", r.ID)
	n.apply(Fact{What: Noticed, Request: r.ID})
	all = append(all, n)
	if w.fates[r.ID].kind == finished {
		n := w.next("named", r.ID)
		f := n.results(r.ID)[0]
		f.What, f.Request, f.Aged, f.Due = Named, r.ID, n.aged(r.ID), n.in(interval)
		n.apply(f)
		all = append(all, n)
	}
	return all
}

// reads returns what reading the lists leads to. Reading takes time: the lists may show what
// was true at an earlier time, but not before the last result of the request.
func (w *world) reads(id int) (all []*world) {
	all = append(all, w.readings(w.next("read", id), id)...)
	if w.l.Request(id).Phase != Overdue {
		old := w.next("reading", id)
		old.apply(Fact{What: Reading, Request: id, Aged: old.aged(id)})
		all = append(all, old)
	}
	slow := w.next("slow read", id)
	slow.pass(interval)
	all = append(all, w.readings(slow, id)...)
	for _, n := range w.finishes() {
		n.pass(interval)
		all = append(all, w.readings(n, id)...)
	}
	return all
}

// readings returns what follows from the lists, as they are in the world w, for the world n.
func (w *world) readings(n *world, id int) (all []*world) {
	reading := func(f Fact) {
		from := n.from
		m := n.next(string(f.What), id)
		m.from = from
		f.Request, f.Aged, f.Due = id, m.aged(id), m.in(interval)
		m.apply(f)
		m.checkShown(id, f)
		all = append(all, m)
	}
	r := w.l.Request(id)
	reading(Fact{What: Unread})
	reading(Fact{What: ReadBack, Torn: true}) // no pair was read
	shown, found, missing := w.shown(r), pieces(r), 0
	unclear := slices.Clone(shown)
	for i := range shown {
		unclear[i].Verdict = Verdict{Unconfirmed, why}
		if shown[i].Outcome == Succeeded {
			found[i].Outcome = Succeeded
		} else {
			missing++
		}
	}
	reading(Fact{What: ReadBack, Pairs: shown})
	reading(Fact{What: ReadBack, Pairs: unclear})
	if r.Len() > 1 {
		reading(Fact{What: ReadBack, Pairs: shown[1:], Torn: true})
		reading(Fact{What: ReadBack, Pairs: shown[:1], Torn: true})
		reading(Fact{What: ReadBack, Pairs: []Group{shown[0], unclear[1]}})
	}
	if missing > 0 && w.l.MayResend(id) {
		reading(Fact{What: Resent, Pieces: found})
	}
	return all
}

// shown returns what the lists show of each pair of a request.
func (w *world) shown(r *Request) (groups []Group) {
	for i := range r.Len() {
		v := Verdict{Failed, why}
		if w.made&pairAt(r, i) != 0 {
			v = Verdict{Succeeded, ""}
		}
		groups = append(groups, Group{Runs{{i, 1}}, v})
	}
	return groups
}

// finishes returns what one act of the service leads to.
func (w *world) finishes() (all []*world) {
	for id, f := range w.fates {
		if !w.mayHappen(id) {
			continue
		}
		pairs := pairsOf(w.l.Request(id))
		for done := range pairs + 1 {
			if done&^pairs != 0 || pairs&w.start&^done != 0 || f.kind == late && done == 0 {
				continue
			}
			n := w.next(fmt.Sprint("carried out for ", done), id)
			n.made |= done
			if f.kind == late {
				n.fates[id] = fate{kind: dead}
			} else {
				n.fates[id] = fate{kind: finished, done: done, poll: f.poll}
			}
			all = append(all, n)
		}
	}
	return all
}

// verifies returns what Verify leads to, or nil if it shows nothing new.
func (w *world) verifies(r *Request) *world {
	if r.Phase != Settled {
		return nil
	}
	f := Fact{What: Verified, Request: r.ID}
	for i := range r.Len() {
		if w.made&pairAt(r, i) != 0 && r.Outcome(i) != Succeeded {
			f.Pairs = append(f.Pairs, Group{Runs{{i, 1}}, Verdict{Succeeded, ""}})
		}
	}
	if f.Pairs == nil {
		return nil
	}
	n := w.next("verified", r.ID)
	n.apply(f)
	return n
}

// crashes returns what the end of the process leads to: another one restores the ledger. Its
// clock may be set to another time.
func (w *world) crashes(name string) (all []*world) {
	for _, set := range []int{0, jump, -jump} {
		if set != 0 && w.jumped >= w.jumps {
			continue
		}
		n := w.next(name, set)
		if n.facts = slices.Clone(w.facts); n.facts != nil {
			n.from = w.from // the crash is a part of the move
		}
		n.l = restored(w.l)
		n.clock += set
		if set != 0 {
			n.jumped++
			for i := range n.fates {
				n.fates[i].poll = interval
			}
		}
		if set > 0 {
			n.ahead += interval
		}
		all = append(all, n.resume()...)
	}
	return all
}

// resume applies that a process continues. A request that was being sent has one of several fates.
func (w *world) resume() []*world {
	all := []*world{w}
	for _, r := range w.l.Requests() {
		if r.Phase != Sending {
			continue
		}
		var more []*world
		for _, n := range all {
			for _, f := range lost() {
				m := *n
				m.fates = append([]fate{}, n.fates...)
				m.sent(r.ID, f)
				more = append(more, &m)
			}
		}
		all = more
	}
	for _, n := range all {
		n.l = n.l.clone()
		n.facts = append([]Fact{}, n.facts...)
		n.apply(Fact{What: Resumed, Due: n.in(interval), NotBefore: n.in(longest), Why: why})
		n.checkResumed()
	}
	return all
}

// restored returns the ledger that another process restores: its times come from elsewhere.
// checkReplay shows that the JSON form has all the rest.
func restored(l *Ledger) *Ledger {
	c := l.clone()
	for i, r := range c.requests {
		r := *r
		r.At, r.Due, r.NotBefore = utc(r.At).In(elsewhere), utc(r.Due), utc(r.NotBefore)
		c.requests[i] = &r
	}
	return c
}
