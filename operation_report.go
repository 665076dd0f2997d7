package appsandbooks

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// OutcomeStatus is what became of one pair.
type OutcomeStatus string

// Outcomes. Exactly one holds for each pair.
const (
	// OutcomeSucceeded: the service confirmed it.
	OutcomeSucceeded OutcomeStatus = "succeeded"
	// OutcomeFailed: it was not done; Err says why. [ErrNotSent] means that it
	// was not even tried.
	OutcomeFailed OutcomeStatus = "failed"
	// OutcomeUnconfirmed: nobody knows yet; Err says why: [ErrPending],
	// [ErrStalled], [ErrAmbiguous], or counts of an event that do not add up.
	OutcomeUnconfirmed OutcomeStatus = "unconfirmed"
)

// Outcome is one pair of an operation and what became of it. Of the fields
// that name the pair, those that do not apply are empty: changes of users have
// only a ClientUserID, a revocation either that or a SerialNumber.
type Outcome struct {
	AssetPair
	Status  OutcomeStatus
	Err     error  // nil when it succeeded
	EventID string // empty when no event took it up
}

// Report accounts for each pair of an operation, as of one moment. Totals cost
// nothing; the outcomes are made as they are iterated.
type Report struct {
	Total       int
	Succeeded   int
	Failed      int
	Unconfirmed int

	tables *tables
	parts  []*part // copies; their odd maps are never changed
}

// Report gives the state so far; Wait gives it at the end.
func (op *Operation) Report() *Report {
	op.mu.Lock()
	defer op.mu.Unlock()
	r := &Report{tables: &op.tables}
	for _, p := range op.parts {
		if p.state == partReplaced {
			continue
		}
		c := *p
		c.namedPairs, c.bisectBudget = nil, nil
		r.parts = append(r.parts, &c)
		r.Total += p.Len()
		r.add(p.outcome, p.Len()-len(p.exceptions))
		for _, v := range p.exceptions {
			r.add(v.outcome, 1)
		}
	}
	return r
}

func (r *Report) add(s OutcomeStatus, n int) {
	switch s {
	case OutcomeSucceeded:
		r.Succeeded += n
	case OutcomeFailed:
		r.Failed += n
	case OutcomeUnconfirmed:
		r.Unconfirmed += n
	}
}

// each calls f for each pair until it returns false.
func (r *Report) each(f func(p *part, i int, v verdict) bool) {
	for _, p := range r.parts {
		for i := range p.Len() {
			if !f(p, i, p.verdictOf(i)) {
				return
			}
		}
	}
}

// Outcomes yields each pair once, request by request.
func (r *Report) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		r.each(func(p *part, i int, v verdict) bool { return yield(r.outcome(p, i, v)) })
	}
}

// Problems yields the pairs that did not succeed.
func (r *Report) Problems() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		for _, p := range r.parts {
			if p.outcome == OutcomeSucceeded && len(p.exceptions) == 0 {
				continue // the rule, and no reason to walk it
			}
			for i := range p.Len() {
				if v := p.verdictOf(i); v.outcome != OutcomeSucceeded && !yield(r.outcome(p, i, v)) {
					return
				}
			}
		}
	}
}

func (r *Report) outcome(p *part, i int, v verdict) Outcome {
	o := Outcome{Status: v.outcome, Err: v.err, EventID: p.eventID}
	key := p.pairAt(i)
	if len(r.tables.assets) > 0 {
		asset := r.tables.assets[key.Asset()]
		o.AdamID = asset.AdamID
		if r.tables.kind == associateAssets || r.tables.kind == disassociateAssets {
			o.PricingParam = asset.PricingParam
		}
	}
	if user, ok := key.User(); ok {
		o.ClientUserID = r.tables.users[user]
	} else {
		o.SerialNumber = r.tables.devices[key.Device()]
	}
	return o
}

// String sums the report up in a line.
func (r *Report) String() string {
	if r.tables == nil {
		return "a report of no operation"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d succeeded", r.tables.kind, r.Succeeded, r.Total)
	if r.Failed > 0 {
		fmt.Fprintf(&b, ", %d failed", r.Failed)
	}
	if r.Unconfirmed > 0 {
		fmt.Fprintf(&b, ", %d unconfirmed", r.Unconfirmed)
	}
	return b.String()
}

// reasons are the distinct errors of the pairs, at most max of them.
func (r *Report) reasons(most int) (errs []error) {
	known := map[string]bool{}
	add := func(err error) {
		if err != nil && len(errs) < most && !known[err.Error()] {
			known[err.Error()] = true
			errs = append(errs, err)
		}
	}
	for _, p := range r.parts {
		if p.outcome != OutcomeSucceeded && len(p.exceptions) < p.Len() {
			add(p.err)
		}
		seen := map[error]bool{} // the pairs of one reason share the error
		for _, v := range p.exceptions {
			if !seen[v.err] {
				seen[v.err] = true
				add(v.err)
			}
		}
		if len(errs) == most {
			break
		}
	}
	return errs
}

// OperationError says that not every pair of an operation succeeded. It unwraps
// to the distinct reasons, so that errors.Is(err, ErrNotEnoughLicenses) and its
// like work.
type OperationError struct {
	Report *Report
	Cause  error // why it stopped before its end; nil if it came to it
}

// report is that of the operation, also of an error that somebody made by hand.
func (e *OperationError) report() *Report {
	if e.Report == nil {
		return new(Report)
	}
	return e.Report
}

func (e *OperationError) Error() string {
	var text strings.Builder
	report := e.report()
	text.WriteString(report.String())
	if e.Cause != nil {
		text.WriteString("; stopped: " + e.Cause.Error())
	}
	const most = 3
	for _, err := range report.reasons(most) {
		if e.Cause == nil || !errors.Is(e.Cause, err) {
			text.WriteString("; " + err.Error())
		}
	}
	return text.String()
}

// Unwrap gives the reasons, up to 64 of them.
func (e *OperationError) Unwrap() []error {
	errs := e.report().reasons(64)
	if e.Cause != nil {
		errs = append([]error{e.Cause}, errs...)
	}
	return errs
}
