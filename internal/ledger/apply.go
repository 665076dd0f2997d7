package ledger

import (
	"errors"
	"slices"
	"time"
)

// Apply changes the ledger as the fact says. If the fact cannot have happened in the
// present state, Apply changes nothing and returns an error that wraps [ErrIllegal].
func (l *Ledger) Apply(f Fact) error {
	if err := f.check(); err != nil {
		return err
	}
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
	r.ageDoubts(l, &f)
	if f.Unsure {
		r.Unsure, r.UnsureAge = true, 0
	}
	if err := t.apply(l, &r, &f); err != nil {
		return err
	}
	if !t.allowed(old.Phase, r.Phase) {
		return illegal(f, "it would become %s", r.Phase)
	}
	l.put(&r)
	l.facts++
	return nil
}

// ageDoubts makes the lost requests among the doubts older by the time since the last result, and
// keeps the time of the fact.
func (r *Request) ageDoubts(l *Ledger, f *Fact) {
	if f.What == Polling || f.What == Noticed {
		return // these are not results: what has passed counts with the next result
	}
	f.Aged = max(0, min(f.Aged, longestAge))
	if r.Unsure {
		r.UnsureAge = add(r.UnsureAge, f.Aged)
	}
	if len(r.Doubts) > 0 && f.Aged > 0 {
		r.Doubts = slices.Clone(r.Doubts)
		for i, d := range r.Doubts {
			if l.requests[d.Request].Event == "" {
				r.Doubts[i].Age = add(d.Age, f.Aged)
			}
		}
	}
}

// longestAge is more than any age that decides something. It keeps sums small enough.
const longestAge = 100 * 365 * 24 * time.Hour

// add adds two ages.
func add(a, b time.Duration) time.Duration { return min(a+b, longestAge) }

// setTimes records the time of a result, and when the request is due again.
func (r *Request) setTimes(f *Fact) { r.At, r.Due = f.At, f.Due }

func begun(l *Ledger, r *Request, f *Fact) error {
	r.Phase = Sending
	r.setTimes(f)
	l.halted = ""
	return nil
}

func accepted(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Event, r.Tries, r.Verdict = Pending, f.Event, 0, Verdict{}
	r.setTimes(f)
	return nil
}

func turnedAway(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Verdict = Queued, Verdict{Why: f.Why}
	r.Tries++
	r.setTimes(f)
	return nil
}

func refused(_ *Ledger, r *Request, f *Fact) error {
	r.end(&Verdict{Failed, f.Why}, nil)
	r.setTimes(f)
	return nil
}

// end gives the request the verdicts of its end. The request is settled if all of them are
// clear. If the pairs were sent before, a failure is not clear: the earlier request, or the
// earlier attempt, may have made the change.
func (r *Request) end(rest *Verdict, groups []Group) {
	if r.isDoubted() {
		weaken := func(v *Verdict) {
			if v.Outcome == Failed {
				v.Outcome = Unconfirmed
			}
		}
		if rest != nil {
			v := *rest
			weaken(&v)
			rest = &v
		}
		groups = slices.Clone(groups)
		for i := range groups {
			weaken(&groups[i].Verdict)
		}
	}
	r.setVerdicts(rest, groups)
	r.Phase, r.WasRead = Settled, false
	if r.Has(Unconfirmed) {
		r.Phase = Disputed
	}
}

func strayed(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Event = Settled, f.Event
	r.setVerdicts(&Verdict{Unconfirmed, f.Why}, nil)
	r.setTimes(f)
	return nil
}

func gotLost(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.Age, r.WasRead = Lost, 0, false
	r.setVerdicts(&Verdict{Unconfirmed, f.Why}, nil)
	r.setTimes(f)
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
	if err := checkPieces(r, f.Pieces); err != nil {
		return illegal(*f, "%v", err)
	}
	for _, p := range f.Pieces {
		piece := &Request{
			Part: p.Part, Phase: Queued, Doubts: doubts, At: f.At, Due: f.At,
			Unsure: r.Unsure, UnsureAge: r.UnsureAge, Splits: r.Splits, Origin: r.Origin,
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
			piece.Due = f.Due
		case Succeeded:
			piece.end(&Verdict{Succeeded, ""}, nil)
		}
		l.add(piece)
	}
	r.Phase, r.Verdict, r.Exceptions = Replaced, Verdict{}, nil
	return nil
}

func polling(_ *Ledger, r *Request, f *Fact) error {
	r.NotBefore, r.Asking = f.NotBefore, f.Asks
	return nil
}

func noticed(_ *Ledger, r *Request, f *Fact) error {
	r.hasten(f.At)
	return nil
}

// hasten makes the request due no later than at. The planned wait does not become
// longer: see [Request.Aged].
func (r *Request) hasten(at time.Time) { r.Due = earlier(r.Due, at) }

// earlier returns the earlier time. It ignores monotonic readings, because the journal does
// not have them, and replaying it must give the same ledger.
func earlier(a, b time.Time) time.Time {
	if b.Round(0).Before(a.Round(0)) {
		return b
	}
	return a
}

func polled(_ *Ledger, r *Request, f *Fact) error {
	if f.Failing {
		// Time without polls does not count: only the planned wait does.
		asked := min(f.Aged, r.planned())
		r.Failing = add(r.Failing, asked)
		if f.NotFound {
			r.Missing = add(r.Missing, asked)
		}
	} else {
		r.Age = add(r.Age, add(r.Failing, f.Aged))
		r.Failing, r.Missing = 0, 0
	}
	r.NotBefore, r.Asking = f.NotBefore, false
	r.setTimes(f)
	return nil
}

func tooLong(_ *Ledger, r *Request, f *Fact) error {
	r.Phase, r.WasRead = Overdue, false
	r.setVerdicts(&Verdict{Unconfirmed, f.Why}, nil)
	r.setTimes(f)
	return nil
}

func gone(l *Ledger, r *Request, f *Fact) error {
	if r.Phase == Replaced {
		r.Open = false
		l.wakeDoubters(r.ID, f)
		return nil
	}
	r.Phase, r.WasRead = Disputed, false
	r.setTimes(f)
	return nil
}

// wakeDoubters makes the requests due that wait for the end of an earlier request. A request
// that was not sent again yet is not sent: the lists show what the earlier request has done.
func (l *Ledger) wakeDoubters(id int, f *Fact) {
	for _, q := range l.requests {
		i := slices.IndexFunc(q.Doubts, func(d Doubt) bool { return d.Request == id })
		if i < 0 || q.Phase != Disputed && q.Phase != Queued {
			continue
		}
		c := *q
		if c.Phase == Queued {
			c.Phase = Disputed
			c.setVerdicts(&Verdict{Unconfirmed, c.Doubts[i].Why}, nil)
		}
		c.WasRead = false
		c.At, c.Due = f.At, f.Due // the lists may show the end a little later
		l.put(&c)
	}
}

func ended(l *Ledger, r *Request, f *Fact) error {
	if r.Phase == Replaced {
		r.Open = false
		l.wakeDoubters(r.ID, f)
		return nil
	}
	rest := f.Rest
	if r.Phase == Overdue { // keep what the lists have shown already
		f.Pairs = append(slices.Clone(f.Pairs), Group{r.positions(Succeeded), Verdict{Succeeded, ""}})
	}
	r.end(&rest, f.Pairs)
	r.Failing, r.Missing, r.Asking = 0, 0, false
	r.setTimes(f)
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

// reading makes the request older before the lists are read: an absence is final only if
// nothing could be carried out any more when the reading began.
func reading(_ *Ledger, r *Request, f *Fact) error {
	r.ageLost(f)
	r.At = f.At
	return nil
}

func unread(l *Ledger, r *Request, f *Fact) error {
	if r.Unread >= l.rules.Stall { // the caller was told then, and has tried again
		r.Unread = 0
	}
	r.Unread = add(r.Unread, min(f.Aged, r.planned()))
	r.ageLost(f)
	r.setTimes(f)
	return nil
}

// ageLost makes a lost request older by the time since its last result.
func (r *Request) ageLost(f *Fact) {
	if r.Phase == Lost {
		r.Age = add(r.Age, f.Aged)
	}
}

func readBack(l *Ledger, r *Request, f *Fact) error {
	// Reading takes time. An absence is final only if it was so before the lists were read.
	final := l.absenceIsFinal(l.requests[r.ID])
	r.ageLost(f)
	var groups []Group
	unknown := 0 // number of pairs whose outcome the lists do not show
	for _, g := range f.Pairs {
		switch {
		case g.Outcome == Succeeded, g.Outcome == Failed && final:
			groups = append(groups, g)
		case g.Outcome == Unconfirmed && final:
			unknown += g.Pairs.Len()
			groups = append(groups, g)
		}
	}
	r.setVerdicts(nil, groups)
	r.Unread, r.WasRead = 0, !f.Torn
	open := 0
	r.Tally(func(o Outcome, n int) {
		if o == Unconfirmed {
			open += n
		}
	})
	switch {
	case open == 0 || final && open == unknown:
		r.Phase = Settled
	case final:
		r.Phase = Disputed // a lost request can no longer be carried out
	}
	r.setTimes(f)
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
	r.ageLost(f)
	doubts := append(slices.Clone(r.Doubts), Doubt{Request: r.ID, Age: r.Age, Why: r.firstUnconfirmedReason()})
	if r.Event != "" {
		doubts[len(doubts)-1].Age = 0
		r.Open = true
	}
	err := l.replace(r, f, doubts)
	r.setTimes(f)
	return err
}

func verified(_ *Ledger, r *Request, f *Fact) error {
	for _, g := range f.Pairs {
		if g.Outcome != Succeeded {
			return illegal(*f, "a pair is %s", g.Outcome)
		}
	}
	r.setVerdicts(nil, f.Pairs)
	return nil
}

// applyToAll applies a fact about the whole operation.
func (l *Ledger) applyToAll(f Fact) error {
	switch f.What {
	case Resumed:
		isSending := func(r *Request) bool { return r.Phase == Sending }
		if f.Why == "" && slices.ContainsFunc(l.requests, isSending) {
			return illegal(f, "it has no reason for a request that was being sent")
		}
		l.resume(f)
		return nil // not counted: restoring alone adds nothing that an older copy lacks
	case Halted:
		l.halted, l.haltedAt = f.Why, f.At
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
	if f.Rules != nil {
		l.rules = *f.Rules
	}
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
		if r.Asking { // the answer may have been PENDING, at any time until now
			r.NotBefore, r.Asking = f.Due, false
		}
		r.At = earlier(r.At, f.At)
		l.put(&r)
	}
}

var errPieces = errors.New("the pieces do not have each pair once, or a pair that has succeeded would be sent again")

// checkPieces returns an error unless the pieces have each pair of a request once, and no pair
// that has succeeded would be sent again.
func checkPieces(whole *Request, pieces []Piece) error {
	if len(pieces) == 0 {
		return errPieces
	}
	assets, users, devices := positionByIndex(whole.Assets), positionByIndex(whole.Users), positionByIndex(whole.Devices)
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
					if !ok || seen[i] || whole.Outcome(i) == Succeeded && p.Outcome != Succeeded {
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

// positionByIndex maps each index to its position in the list.
func positionByIndex(list []int32) map[int32]int {
	m := make(map[int32]int, len(list))
	for i, v := range list {
		m[v] = i
	}
	return m
}
