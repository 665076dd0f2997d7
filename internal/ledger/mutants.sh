#!/usr/bin/env bash
# Breaks the ledger in many small ways, one at a time, and reports whether the explorer and
# the other tests catch each of them. It fails if one is caught by neither, or if the
# explorer misses a lie. A lie makes the ledger report something false. A slip is any other
# mistake. Each mutant begins with its kind. No file is changed:
# go test reads the broken file by -overlay. Arguments select mutants by parts of
# their texts.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

# mutant KIND TEXT FILE OLD NEW replaces the one occurrence of OLD in FILE.
mutant() {
	local kind=$1 text=$2 file=$3
	if [ ${#only[@]} -gt 0 ] && ! grep -qF "$(printf '%s\n' "${only[@]}")" <<<"$kind: $text"; then
		return 0
	fi
	OLD=$4 NEW=$5 perl -0pe 'BEGIN { $n = 0 } $n += s/\Q$ENV{OLD}\E/$ENV{NEW}/; END { exit($n != 1) }' "$file" >"$dir/$file" ||
		{ echo "$file does not have this text: $4"; exit 2; }
	echo "{\"Replace\": {\"$PWD/$file\": \"$dir/$file\"}}" >"$dir/overlay.json"
	go test -overlay "$dir/overlay.json" -c -o "$dir/test" . || { echo "does not compile: $text"; failed=1; return; }
	local explorer=caught others=caught
	"$dir/test" -test.short -test.failfast -test.run '^TestExplore' >/dev/null 2>&1 && explorer=-
	"$dir/test" -test.short -test.failfast -test.skip '^TestExplore' >/dev/null 2>&1 && others=-
	local result=ok
	if [ "$explorer$others" = -- ] || [ "$kind $explorer" = "lie -" ]; then
		result='NOT CAUGHT' failed=1
	fi
	printf '%-10s  explorer: %-6s  others: %-6s  %s: %s\n' "$result" "$explorer" "$others" "$kind" "$text"
}

only=("$@")

mutant lie 'an absence is final while a doubt is open' ledger.go 'return l.doubtsOver(r)' 'return true'
mutant lie 'an absence is final for a lost request with a doubt' ledger.go '>= l.rules.lateness() && l.doubtsOver(r)' '>= l.rules.lateness()'
mutant lie 'an absence is final while the event is overdue' ledger.go 'return false // the event' 'return true // the event'
mutant lie 'a request becomes old enough while the lists are read' apply.go 'final := l.absenceIsFinal(l.requests[r.ID])
	r.ageLost(f)' 'r.ageLost(f)
	final := l.absenceIsFinal(r)'
mutant lie 'a lost request is over after half of the time' ledger.go 'return 6*min(' 'return 3*min('
mutant lie 'a lost request is over at once' ledger.go 'return 6*min(' 'return 0*min('
mutant lie 'pieces do not inherit doubts' apply.go 'Phase: Queued, Doubts: doubts,' 'Phase: Queued,'
mutant lie 'the last doubt replaces the others' apply.go 'append(slices.Clone(r.Doubts), Doubt{' 'append([]Doubt(nil), Doubt{'
mutant lie 'a doubt is as old as if it were over' apply.go 'Doubt{Request: r.ID, Age: r.Age,' 'Doubt{Request: r.ID, Age: longestAge,'
mutant lie 'a failure with a doubt is final' apply.go 'if r.isDoubted() {' 'if r.Unsure {'
mutant lie 'a failure after an attempt that may have begun is final' apply.go 'if r.isDoubted() {' 'if len(r.Doubts) > 0 {'
mutant lie 'a request forgets that an attempt may have begun' apply.go 'if f.Unsure {' 'if r.Unsure = f.Unsure; f.Unsure {'
mutant lie 'an attempt that may have begun is over at once' ledger.go 'return !r.Unsure || r.UnsureAge >= l.rules.lateness()' 'return true'
mutant lie 'a refused piece with a doubt has failed' apply.go 'piece.end(&Verdict{Failed, p.Why}, nil)' 'piece.setVerdicts(&Verdict{Failed, p.Why}, nil)
			piece.Phase = Settled'
mutant lie 'the event of a request that was sent again counts as ended' apply.go 'r.Open = true' 'r.Open = false'
mutant lie 'a doubt with an event is over at once' ledger.go 'return !r.Open' 'return true'
mutant lie 'a pair with a doubt is unsent' request.go 'r.Phase == Queued && !r.isDoubted()' 'r.Phase == Queued'
mutant lie 'a crash while sending makes the request queued' apply.go '_ = gotLost(l, &r, &Fact{At: f.At, Due: f.Due, Why: f.Why})' 'r.Phase = Queued'
mutant lie 'no answer makes the request queued' apply.go 'r.Phase, r.Age, r.WasRead = Lost, 0, false
	r.setVerdicts(&Verdict{Unconfirmed, f.Why}, nil)' 'r.Phase = Queued'
mutant lie 'saved times are trusted' request.go '	if passed > planned+max(planned/2, believable) {
		return 0
	}
	return min(passed, planned)' '	return max(passed, planned)'
mutant slip 'a clock that jumps by hours counts' request.go 'if passed > planned+max(planned/2, believable) {' 'if false {'
mutant lie 'notifications make the planned wait longer' apply.go 'r.Due = earlier(r.Due, at) }' 'r.Due = at }'
mutant lie 'a time in the future does not come closer' apply.go 'r.Due = earlier(r.Due, f.At.Add(wait))' '_ = wait'
mutant lie 'the earliest poll in the future does not come closer' apply.go 'r.NotBefore = earlier(r.NotBefore, f.At.Add(max(0, f.NotBefore.Sub(f.At))))' ''
mutant lie 'a last result in the future stays there' apply.go '		r.At = earlier(r.At, f.At)
		l.put' '		l.put'
mutant slip 'a poll does not keep its distance after a crash' apply.go 'r.NotBefore, r.Asking = f.NotBefore, f.Asks
	return nil' 'r.Asking = f.Asks
	return nil'
mutant slip 'a poll without an answer allows the next one at once after a crash' apply.go 'r.NotBefore, r.Asking = f.Due, false' 'r.Asking = false'
mutant slip 'a request is sent again although its first event has ended' apply.go '&& q.Phase != Queued' ''
mutant slip 'a request is sent again before its first event is polled' next.go ', t.Do == Send && l.waitsForDoubt(r, now):' ':'
mutant lie 'reading the lists makes a request older twice' apply.go '	r.ageLost(f)
	r.At = f.At' '	r.ageLost(f)
	r.ageLost(f)
	r.At = f.At'
mutant lie 'the lists need not show what is sent again as found' apply.go 'case Succeeded:
			piece.end(&Verdict{Succeeded, ""}, nil)
' ''
mutant lie 'the rules for lost and overdue are exchanged' ledger.go 'r.Phase == Lost && l.rules.ResendLost || r.Phase == Overdue && l.rules.ResendOverdue' 'r.Phase == Overdue && l.rules.ResendLost || r.Phase == Lost && l.rules.ResendOverdue'
mutant lie 'an absence counts before anything is final' apply.go 'g.Outcome == Failed && final:' 'g.Outcome == Failed:'
mutant lie 'an event of which nobody knows the end has failed' apply.go 'r.Phase, r.Event, r.Tries, r.Verdict = Pending' 'r.Age = longestAge
	r.Missing = longestAge
	r.Phase, r.Event, r.Tries, r.Verdict = Pending'
mutant lie 'no answer to polls is as good as no such event' ledger.go 'r.Missing >= l.rules.lateness()' 'r.Failing >= l.rules.lateness()'
mutant lie 'failing polls count the time in which nobody asked' apply.go 'asked := min(f.Aged, r.planned())' 'asked := f.Aged'
mutant lie 'pairs can be handed over before the end' apply.go 'case !l.AtEnd():' 'case false:'
mutant lie 'pairs can be handed over twice' apply.go 'case *field != "":' 'case false:'
mutant lie 'an overdue event is not polled' next.go 'r.Phase == Overdue && r.WasRead,' ''
mutant lie 'the event of a doubt is not polled' next.go 'r.Phase == Replaced && r.Open && isDoubt' 'r.Phase == Replaced && false'
mutant lie 'a doubt does not end with its event' apply.go '		r.Open = false
		l.wakeDoubters(r.ID, f)
		return nil
	}
	rest := f.Rest' '		l.wakeDoubters(r.ID, f)
		return nil
	}
	rest := f.Rest'
mutant lie 'doubts do not become older' apply.go 'r.Doubts[i].Age = add(d.Age, f.Aged)' '_ = i'
mutant lie 'a lost request does not become older' apply.go 'r.Age = add(r.Age, f.Aged)
	}
}' '}
}'
mutant lie 'an event that is never found does not end' apply.go 'r.Missing = add(r.Missing, asked)' ''
mutant lie 'Rests forgets pending requests' next.go 'case Sending, Pending:' 'case Sending:'
mutant lie 'Next is not sorted' next.go 'return a.Due.Compare(b.Due)' 'return 0'
mutant slip 'pieces need not have all pairs' apply.go 'if left > 0 {' 'if false {'
mutant slip 'a torn reading is as good as a complete one' apply.go '0, !f.Torn' '0, true'
mutant slip 'Verify can turn what succeeded into failed' apply.go 'if g.Outcome != Succeeded {' 'if false {'
mutant slip 'a pending request can be sent' fact.go '{phases(Queued), phases(Sending), begun}' '{phases(Queued, Pending), phases(Sending), begun}'
mutant slip 'an absence can be final in a replaced request' fact.go '{phases(Lost, Overdue, Disputed), phases(Settled,' '{phases(Lost, Overdue, Disputed, Replaced), phases(Settled, Replaced,'
mutant slip 'pairs are sent again without end' ledger.go 'len(r.Doubts) < maxResends && ' ''
mutant slip 'what succeeded can be sent again' apply.go ' || whole.Outcome(i) == Succeeded && p.Outcome != Succeeded' ''
mutant slip 'an answer does not end the time in which the event was missing' apply.go 'r.Age = add(r.Age, add(r.Failing, f.Aged))
		r.Failing, r.Missing = 0, 0' 'r.Age = add(r.Age, add(r.Failing, f.Aged))
		r.Failing = 0'
mutant slip 'every failing poll means that the event is missing' apply.go 'if f.NotFound {' 'if true {'
mutant slip 'PENDING does not count the failing polls before it' apply.go 'add(r.Age, add(r.Failing, f.Aged))' 'add(r.Age, f.Aged)'
mutant slip 'the end of a doubt wakes nobody' apply.go 'c.At, c.Due = f.At, f.Due // the lists' '// the lists'
mutant slip 'the lists are read at once when a doubt has ended' apply.go 'c.At, c.Due = f.At, f.Due // the lists' 'c.At, c.Due = f.At, f.At // the lists'
mutant slip 'the end of a doubt does not ask for another reading' apply.go 'c.WasRead = false' ''
mutant slip 'doubts with an event become older' apply.go 'l.requests[d.Request].Event == ""' 'true'
mutant slip 'a foreign answer is a failure' apply.go 'r.Phase, r.Event = Settled, f.Event
	r.setVerdicts(&Verdict{Unconfirmed,' 'r.Phase, r.Event = Settled, f.Event
	r.setVerdicts(&Verdict{Failed,'
mutant slip 'the end of an event forgets what the lists have shown' apply.go 'r.Phase == Overdue { // keep' 'false { // keep'
mutant slip 'bisection counts for each piece alone' apply.go 'if r.Origin > 0 {' 'if false {'
mutant slip 'a fact changes the request that a caller holds' apply.go 'r := *old
	r.ageDoubts(l, &f)' 'r := *old
	old.WasRead = !old.WasRead
	r.ageDoubts(l, &f)'
mutant slip 'a fact changes the doubts that a caller holds' apply.go 'r.Doubts = slices.Clone(r.Doubts)
' ''
mutant slip 'reading that fails counts the time in which nobody asked' apply.go 'add(r.Unread, min(f.Aged, r.planned()))' 'add(r.Unread, f.Aged)'
mutant slip 'an age can overflow' apply.go 'return min(a+b, longestAge)' 'return a + b'
mutant slip 'negative time passes' apply.go 'max(0, min(f.Aged, longestAge))' 'min(f.Aged, longestAge)'
mutant lie 'Next ignores the earliest time of a poll' next.go 'if r.NotBefore.After(t.Due) {' 'if false {'
mutant lie 'a doubt is polled although nobody waits for it' next.go 'if r.Phase == Settled || r.Phase == Replaced {' 'if false {'
mutant lie 'a process that resumes forgets the open doubts' apply.go 'old.Phase == Settled || old.Phase == Replaced && !old.Open' 'old.Phase == Settled || old.Phase == Replaced'
mutant lie 'a request that is turned away with a doubt loses it' apply.go 'r.Phase, r.Verdict = Queued, Verdict{Why: f.Why}' 'r.Phase, r.Verdict, r.Doubts = Queued, Verdict{Why: f.Why}, nil'
mutant lie 'a reading of an ended event can fail pairs of an open doubt' ledger.go 'if !l.Over(d) {' 'if !l.Over(d) && l.requests[d.Request].Event == "" {'
mutant lie 'the verdicts of an event are given to the wrong pairs' request.go 'exceptions[int32(i)] = g.Verdict' 'exceptions[int32(r.Len()-1-i)] = g.Verdict'
mutant slip 'what is found before the end of an overdue event is forgotten in its saved form' request.go 'Pairs: r.groups(),' 'Pairs: nil,'
mutant lie 'the saved form loses the age of a doubt' request.go '`json:"age,omitzero"` // how long' '`json:"-"` // how long'
mutant slip 'an event is overdue at once' ledger.go 'r.Age >= l.rules.Stall' 'r.Age >= 0'
mutant slip 'what is due now is not due' next.go 'case !t.Due.After(now):' 'case t.Due.Before(now):'
mutant slip 'sending stays halted' apply.go 'l.halted = ""' ''
mutant slip 'equal verdicts have different forms' request.go 'if len(r.Exceptions) < r.Len() {' 'if true {'
mutant slip 'new verdicts keep old exceptions' request.go 'if rest != nil {
		r.Verdict = *rest
	} else {' 'if rest != nil {
		r.Verdict = *rest
	}
	{'
mutant slip 'Check ignores devices' saved.go ', {r.Devices, devices}}' '}'
mutant slip 'a damaged form replaces the ledger' saved.go '	if err := restored.check(); err != nil {
' '	*l = restored
	if err := restored.check(); err != nil {
'

[ "$failed" = 0 ]
