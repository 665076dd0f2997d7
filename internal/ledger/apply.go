package ledger

import (
	"errors"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// Apply changes the ledger as the fact says. If the fact cannot have happened in the
// present state, Apply changes nothing and returns an error that wraps [ErrIllegal].
func (l *Ledger) Apply(f Fact) error {
	t, ok := transitions[f.What]
	if !ok {
		return l.applyToAll(f)
	}
	if f.Request < 0 || f.Request >= len(l.requests) {
		return illegal(f, "there is no such request")
	}
	old := l.requests[f.Request]
	if !slices.Contains(t.from, old.Phase) {
		return illegal(f, "it is %s", old.Phase)
	}
	if old.Phase == Replaced && !old.Open {
		return illegal(f, "it is replaced, and its event has ended")
	}
	for _, g := range f.Pairs {
		if err := g.Pairs.check(old.Len()); err != nil {
			return illegal(f, "%v", err)
		}
	}
	r := *old
	r.age(l, &f)
	known := len(l.requests)
	err := t.apply(l, &r, &f)
	if err == nil && !t.allowed(old.Phase, r.Phase) {
		err = illegal(f, "it would become %s", r.Phase)
	}
	if err != nil {
		for _, piece := range l.requests[known:] {
			l.count(piece, -1)
		}
		l.requests = l.requests[:known]
		return err
	}
	l.put(&r)
	l.facts++
	return nil
}

// age makes the lost requests among the doubts older by the time since the last result, and
// keeps the time of the fact.
func (r *Request) age(l *Ledger, f *Fact) {
	if f.What == Polling || f.What == Noticed {
		return // these are not results: what has passed counts with the next result
	}
	f.Aged = max(0, f.Aged)
	if len(r.Doubts) > 0 && f.Aged > 0 {
		r.Doubts = slices.Clone(r.Doubts)
		for i, d := range r.Doubts {
			if l.requests[d.Request].Event == "" {
				r.Doubts[i].Age += f.Aged
			}
		}
	}
}

// seen records the time of a result, and when the request is due again.
func (r *Request) seen(f *Fact) { r.At, r.Due = f.At, f.Due }

func begun(l *Ledger, r *Request, f *Fact) error {
	r.Phase = Sending
	r.seen(f)
	l.halted = ""
	return nil
}

func accepted(_ *Ledger, r *Request, f *Fact) error {
	if f.Event == "" {
		return illegal(*f, "it has no event")
	}
	r.Phase, r.Event, r.Tries, r.Verdict = Pending, f.Event, 0, Verdict{}
	r.seen(f)
	return nil
}

func turnedAway(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Verdict = Queued, Verdict{Why: f.Why}
	r.Tries++
	r.seen(f)
	return nil
}

func refused(_ *Ledger, r *Request, f *Fact) error {
	r.end(&Verdict{Failed, f.Why}, nil)
	r.seen(f)
	return nil
}

// end gives the request the verdicts of its end. The request is settled if all of them are
// clear. If the pairs were sent before, a failure is not clear: the earlier request may have
// made the change.
func (r *Request) end(rest *Verdict, groups []Group) {
	if len(r.Doubts) > 0 {
		clear := func(v *Verdict) {
			if v.Outcome == Failed {
				v.Outcome = Unconfirmed
			}
		}
		if rest != nil {
			v := *rest
			clear(&v)
			rest = &v
		}
		groups = slices.Clone(groups)
		for i := range groups {
			clear(&groups[i].Verdict)
		}
	}
	r.judge(rest, groups)
	r.Phase, r.WasRead = Settled, false
	if r.Has(Unconfirmed) {
		r.Phase = Disputed
	}
}

func strayed(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Event = Settled, f.Event
	r.judge(&Verdict{Unconfirmed, f.Why}, nil)
	r.seen(f)
	return nil
}

func gotLost(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Age, r.WasRead = Lost, 0, false
	r.judge(&Verdict{Unconfirmed, f.Why}, nil)
	r.seen(f)
	return nil
}

func cut(l *Ledger, r *Request, f *Fact) error {
	for _, p := range f.Pieces {
		if p.Outcome != "" && p.Outcome != Failed {
			return illegal(*f, "a piece is %s", p.Outcome)
		}
	}
	if err := l.replace(r, f, r.Doubts); err != nil {
		return err
	}
	if f.Learned != nil {
		l.learned = f.Learned
	}
	if f.Bisects {
		first := r
		if r.Origin > 0 {
			c := *l.requests[r.origin()]
			first = &c
			defer l.put(first)
		}
		first.Trials += len(f.Pieces)
	}
	return nil
}

// replace appends the pieces of a fact, which must have each pair of the request once, and
// makes the request replaced.
func (l *Ledger) replace(r *Request, f *Fact, doubts []Doubt) error {
	if err := partition(r.Part, f.Pieces); err != nil {
		return illegal(*f, "%v", err)
	}
	for _, p := range f.Pieces {
		piece := &Request{
			Part: p.Part, Phase: Queued, Doubts: doubts, At: f.At, Due: f.At,
			Splits: r.Splits, Origin: r.Origin,
		}
		if f.Limits {
			piece.Splits++
		}
		if f.Bisects {
			piece.Origin = r.origin() + 1
		}
		switch p.Outcome {
		case Failed:
			piece.end(&Verdict{Failed, p.Why}, nil)
		case Succeeded:
			piece.end(&Verdict{Succeeded, ""}, nil)
		}
		l.add(piece)
	}
	r.Phase, r.Verdict, r.Exceptions = Replaced, Verdict{}, nil
	return nil
}

func polling(_ *Ledger, r *Request, f *Fact) error {
	r.NotBefore = f.NotBefore
	return nil
}

func noticed(_ *Ledger, r *Request, f *Fact) error {
	r.Due = f.At
	r.At = earlier(r.At, f.At)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func polled(_ *Ledger, r *Request, f *Fact) error {
	if f.Failing {
		// Nobody knows what happened while nobody asked.
		r.Gone = f.NotFound && (r.Gone || r.Failing == 0)
		r.Failing += min(f.Aged, r.planned())
	} else {
		r.Age += r.Failing + f.Aged
		r.Failing, r.Gone = 0, false
	}
	if r.Phase == Overdue {
		r.WasRead = false
	}
	r.NotBefore = f.NotBefore
	r.seen(f)
	return nil
}

func tooLong(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.WasRead = Overdue, false
	r.judge(&Verdict{Unconfirmed, f.Why}, nil)
	r.seen(f)
	return nil
}

func gone(l *Ledger, r *Request, f *Fact) error {
	if r.Phase == Replaced {
		r.Open = false
		l.wakeDoubters(r.ID, f.At)
		return nil
	}
	r.Phase, r.WasRead = Disputed, false
	r.seen(f)
	return nil
}

// wakeDoubters makes the requests due that wait for the end of an earlier request.
func (l *Ledger) wakeDoubters(id int, at time.Time) {
	for _, q := range l.requests {
		if q.Phase == Disputed && slices.ContainsFunc(q.Doubts, func(d Doubt) bool { return d.Request == id }) {
			c := *q
			c.Due, c.WasRead = at, false
			c.At = earlier(c.At, at)
			l.put(&c)
		}
	}
}

func ended(l *Ledger, r *Request, f *Fact) error {
	if r.Phase == Replaced {
		r.Open = false
		l.wakeDoubters(r.ID, f.Due)
		return nil
	}
	if f.Rest.Outcome == "" || f.Rest.Outcome == Unsent {
		return illegal(*f, "it has no verdict")
	}
	rest := f.Rest
	if r.Phase == Overdue { // keep what the lists have shown already
		f.Pairs = append(slices.Clone(f.Pairs), Group{r.positions(Succeeded), Verdict{Succeeded, ""}})
	}
	r.end(&rest, f.Pairs)
	r.Failing, r.Gone = 0, false
	r.seen(f)
	return nil
}

// positions returns the positions of the pairs with an outcome.
func (r *Request) positions(o Outcome) Runs {
	var all []int
	for i := range r.Len() {
		if r.Outcome(i) == o {
			all = append(all, i)
		}
	}
	return ToRuns(all)
}

func unread(l *Ledger, r *Request, f *Fact) error {
	if r.Unread >= l.rules.Stall { // the caller was told then, and has tried again
		r.Unread = 0
	}
	r.Unread += min(f.Aged, r.planned())
	r.older(f)
	r.seen(f)
	return nil
}

// older makes a lost request older by the time since its last result.
func (r *Request) older(f *Fact) {
	if r.Phase == Lost {
		r.Age += f.Aged
	}
}

func readBack(l *Ledger, r *Request, f *Fact) error {
	r.older(f)
	final := l.absenceIsFinal(r)
	var groups []Group
	unknown := 0 // number of pairs whose outcome the lists do not show
	for _, g := range f.Pairs {
		switch {
		case g.Outcome == Succeeded, g.Outcome == Failed && final:
			groups = append(groups, g)
		case g.Outcome == Unconfirmed && final:
			unknown += g.Pairs.Len()
			groups = append(groups, g)
		case g.Outcome == Unsent:
			return illegal(*f, "a pair is %s", g.Outcome)
		}
	}
	r.judge(nil, groups)
	r.Unread, r.WasRead = 0, !f.Torn
	open := 0
	r.tally(func(o Outcome, n int) {
		if o == Unconfirmed {
			open += n
		}
	})
	if open == 0 || final && !f.Torn && open == unknown {
		r.Phase = Settled
	}
	r.seen(f)
	return nil
}

func resent(l *Ledger, r *Request, f *Fact) error {
	if !l.MayResend(r.ID) {
		return illegal(*f, "the rules do not allow it")
	}
	for _, p := range f.Pieces {
		if p.Outcome != "" && p.Outcome != Succeeded {
			return illegal(*f, "a piece is %s", p.Outcome)
		}
	}
	r.older(f)
	doubts := append(slices.Clone(r.Doubts), Doubt{Request: r.ID, Age: r.Age})
	if r.Event != "" {
		doubts[len(doubts)-1].Age = 0
		r.Open = true
	}
	err := l.replace(r, f, doubts)
	r.seen(f)
	return err
}

func verified(_ *Ledger, r *Request, f *Fact) error {
	for _, g := range f.Pairs {
		if g.Outcome != Succeeded {
			return illegal(*f, "a pair is %s", g.Outcome)
		}
	}
	r.judge(nil, f.Pairs)
	return nil
}

// applyToAll applies a fact about the whole operation.
func (l *Ledger) applyToAll(f Fact) error {
	switch f.What {
	case Resumed:
		l.resume(f)
	case Halted:
		l.halted = f.Why
	case Retried, Undone:
		field := &l.retried
		if f.What == Undone {
			field = &l.undone
		}
		switch {
		case f.To == "":
			return illegal(f, "it has no other operation")
		case *field != "":
			return illegal(f, "the pairs are with operation %s", *field)
		case !l.AtEnd():
			return illegal(f, "the operation is not at its end")
		}
		*field = f.To
	default:
		return illegal(f, "unknown fact")
	}
	l.facts++
	return nil
}

// resume makes the requests lost that were being sent when the saved form ended. It brings
// times closer that are too far in the future, as after a wrong clock.
func (l *Ledger) resume(f Fact) {
	for _, old := range l.requests {
		if old.Phase == Settled || old.Phase == Replaced && !old.Open {
			continue
		}
		r := *old
		if r.Phase == Sending {
			_ = gotLost(l, &r, &Fact{At: f.At, Due: f.Due, Why: f.Why})
		}
		wait := max(r.planned(), f.Due.Sub(f.At))
		r.Due = earlier(r.Due, f.At.Add(wait))
		r.NotBefore = earlier(r.NotBefore, f.At.Add(max(0, f.NotBefore.Sub(f.At))))
		r.At = earlier(r.At, f.At)
		l.put(&r)
	}
}

var errPieces = errors.New("the pieces do not have each pair once")

// partition returns an error unless the pieces have each pair of a request once.
func partition(whole batch.Part, pieces []Piece) error {
	if len(pieces) == 0 {
		return errPieces
	}
	assets, users, devices := numbers(whole.Assets), numbers(whole.Users), numbers(whole.Devices)
	targets := len(whole.Users) + len(whole.Devices)
	seen := make([]bool, whole.Len())
	left := whole.Len()
	for _, p := range pieces {
		if p.Len() == 0 || p.Len() > left {
			return errPieces
		}
		left -= p.Len()
		for _, a := range p.Assets {
			row, ok := assets[a]
			if !ok {
				return errPieces
			}
			for n, list := range [][]int32{p.Users, p.Devices} {
				index, first := users, 0
				if n == 1 {
					index, first = devices, len(whole.Users)
				}
				for _, t := range list {
					at, ok := index[t]
					i := row*targets + first + at
					if !ok || seen[i] {
						return errPieces
					}
					seen[i] = true
				}
			}
		}
	}
	if left > 0 {
		return errPieces
	}
	return nil
}

// numbers maps each index to its position in the list.
func numbers(list []int32) map[int32]int {
	m := make(map[int32]int, len(list))
	for i, v := range list {
		m[v] = i
	}
	return m
}
