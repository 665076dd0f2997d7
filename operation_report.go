package appsandbooks

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// OutcomeStatus is the result of the change of one pair: succeeded, failed or unconfirmed.
type OutcomeStatus string

// Each pair of an operation has exactly one of these outcomes.
const (
	// OutcomeSucceeded means that the service has confirmed the change of the pair.
	OutcomeSucceeded OutcomeStatus = "succeeded"
	// OutcomeFailed means that the pair was not changed. Err gives the reason. If Err
	// is [ErrNotSent], the service has not accepted a request for the pair.
	OutcomeFailed OutcomeStatus = "failed"
	// OutcomeUnconfirmed means that it is not known yet whether the pair was changed.
	// Err gives the reason: [ErrPending], [ErrStalled], [ErrAmbiguous], or an
	// [*EventError] if the counts of the event do not show which pairs failed.
	OutcomeUnconfirmed OutcomeStatus = "unconfirmed"
)

// An Outcome is one pair of an operation and its result. Fields that do not apply to
// the kind of operation are empty: a change of users sets only ClientUserID, and a
// revocation sets either ClientUserID or SerialNumber.
type Outcome struct {
	AssetPair
	Status  OutcomeStatus
	Err     error  // why the pair did not succeed; nil if it succeeded
	EventID string // id of the event that the pair belongs to; empty if the service has created none
}

// A Report holds the outcome of each pair of an operation at one moment. The totals
// are counted when the report is made. The outcomes are created while they are
// iterated.
type Report struct {
	Total       int
	Succeeded   int
	Failed      int
	Unconfirmed int

	tables *tables
	parts  []*part // copies of the requests; their exceptions are shared with the operation and never modified
}

// Report returns the state of the operation at this moment.
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

// add adds n pairs with outcome s to the totals of the report.
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

// each calls f for each pair of the report, with its request and its position, until f
// returns false.
func (r *Report) each(f func(p *part, i int, v verdict) bool) {
	for _, p := range r.parts {
		for i := range p.Len() {
			if !f(p, i, p.verdictOf(i)) {
				return
			}
		}
	}
}

// Outcomes iterates over all pairs, each once, in the order of the requests.
func (r *Report) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		r.each(func(p *part, i int, v verdict) bool { return yield(r.outcome(p, i, v)) })
	}
}

// Problems iterates over the pairs that failed or are unconfirmed.
func (r *Report) Problems() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		for _, p := range r.parts {
			if p.outcome == OutcomeSucceeded && len(p.exceptions) == 0 {
				continue // all pairs of the request succeeded, which is the usual case: do not check each pair
			}
			for i := range p.Len() {
				if v := p.verdictOf(i); v.outcome != OutcomeSucceeded && !yield(r.outcome(p, i, v)) {
					return
				}
			}
		}
	}
}

// outcome returns the Outcome of the pair at position i of the request p.
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

// String returns the kind and the totals in one line, for example
// "assets/associate: 9 of 10 succeeded, 1 failed".
func (r *Report) String() string {
	if r.tables == nil {
		return "report without an operation"
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

// reasons returns the errors of the pairs of the report, each text once, at most
// maxReasons of them.
func (r *Report) reasons(maxReasons int) (errs []error) {
	known := map[string]bool{}
	add := func(err error) {
		if err != nil && len(errs) < maxReasons && !known[err.Error()] {
			known[err.Error()] = true
			errs = append(errs, err)
		}
	}
	for _, p := range r.parts {
		if p.outcome != OutcomeSucceeded && len(p.exceptions) < p.Len() {
			add(p.err)
		}
		seen := map[error]bool{} // errors that were seen: pairs with the same reason share one error value
		for _, v := range p.exceptions {
			if !seen[v.err] {
				seen[v.err] = true
				add(v.err)
			}
		}
		if len(errs) == maxReasons {
			break
		}
	}
	return errs
}

// An OperationError is the error of an operation in which at least one pair did not
// succeed. It unwraps to Cause and to the reasons of the pairs, each reason once, so that
// for example errors.Is(err, ErrNotEnoughLicenses) works.
type OperationError struct {
	Report *Report
	Cause  error // why the operation stopped before it was finished; nil if it is finished
}

// report returns the report of the operation. It returns an empty report if the caller
// created the error without one.
func (e *OperationError) report() *Report {
	if e.Report == nil {
		return new(Report)
	}
	return e.Report
}

// Error returns the totals of the report, the cause and up to three reasons of the pairs.
func (e *OperationError) Error() string {
	var text strings.Builder
	report := e.report()
	text.WriteString(report.String())
	if e.Cause != nil {
		text.WriteString("; stopped: " + e.Cause.Error())
	}
	const maxReasons = 3
	for _, err := range report.reasons(maxReasons) {
		if e.Cause == nil || !errors.Is(e.Cause, err) {
			text.WriteString("; " + err.Error())
		}
	}
	return text.String()
}

// Unwrap returns Cause, if it is set, and up to 64 reasons of the pairs.
func (e *OperationError) Unwrap() []error {
	errs := e.report().reasons(64)
	if e.Cause != nil {
		errs = append([]error{e.Cause}, errs...)
	}
	return errs
}
