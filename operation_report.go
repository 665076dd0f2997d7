package appsandbooks

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// OutcomeStatus is the result of the change of one pair: succeeded, failed, unconfirmed or
// unsent.
type OutcomeStatus string

// Each pair of an operation has exactly one of these outcomes.
const (
	// OutcomeSucceeded means that the service has confirmed the change of the pair.
	OutcomeSucceeded OutcomeStatus = "succeeded"
	// OutcomeFailed means that the pair was not changed, and that this operation will not
	// change it. Err gives the reason. [Operation.Retry] tries the pair again.
	OutcomeFailed OutcomeStatus = "failed"
	// OutcomeUnconfirmed means that it is not known yet whether the pair was changed.
	// Err gives the reason, for example [ErrPending], [ErrStalled], [ErrAmbiguous], or an
	// [*EventError] if the counts of the event do not show which pairs failed.
	OutcomeUnconfirmed OutcomeStatus = "unconfirmed"
	// OutcomeUnsent means that nothing has happened to the pair: its request was not sent yet,
	// or the service did not accept it for a reason that is not about the pair. Err is
	// [ErrNotSent], with the reason why the operation stopped. [Operation.Wait] sends it.
	OutcomeUnsent OutcomeStatus = "unsent"
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

// A Report holds the outcome of each pair of an operation at one moment. Each pair is in Total,
// and in exactly one of the other counts. The outcomes are created while they are
// iterated. A Report is safe for concurrent use.
type Report struct {
	Total       int `json:"total"`
	Succeeded   int `json:"succeeded"`
	Failed      int `json:"failed"`
	Unconfirmed int `json:"unconfirmed"`
	Unsent      int `json:"unsent"`

	tables   *tables
	requests []*ledger.Request // by id
	halted   ledger.Reason
	reasons  *reasonCache // so that errors.Is does not read every reason again
}

// Report returns the state of the operation at this moment.
func (op *Operation) Report() *Report {
	r := &Report{tables: &op.tables, reasons: new(reasonCache)}
	r.requests, r.halted = op.requests()
	r.count()
	return r
}

// count sets the counts of the report.
func (r *Report) count() {
	r.Total, r.Succeeded, r.Failed, r.Unconfirmed, r.Unsent = 0, 0, 0, 0, 0
	for _, q := range r.requests {
		if q.Phase == ledger.Replaced {
			continue
		}
		r.Total += q.Len()
		q.Tally(func(o ledger.Outcome, n int) {
			switch o {
			case ledger.Succeeded:
				r.Succeeded += n
			case ledger.Failed:
				r.Failed += n
			case ledger.Unsent:
				r.Unsent += n
			default:
				r.Unconfirmed += n
			}
		})
	}
}

// Outcomes iterates over all pairs, each once, in the order of the requests.
func (r *Report) Outcomes() iter.Seq[Outcome] { return r.outcomes(false) }

// Problems iterates over the pairs that did not succeed.
func (r *Report) Problems() iter.Seq[Outcome] { return r.outcomes(true) }

// outcomes iterates over all pairs, or over those that did not succeed.
func (r *Report) outcomes(problems bool) iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		errs := &pairErrors{report: r, reasons: reasons{known: r.reasons}}
		for _, q := range r.requests {
			if q.Phase == ledger.Replaced || problems && len(q.Exceptions) == 0 && q.Outcome(0) == ledger.Succeeded {
				continue
			}
			for i := range q.Len() {
				v := q.VerdictOf(i)
				if problems && v.Outcome == ledger.Succeeded {
					continue
				}
				o := Outcome{AssetPair: r.pair(q, i), Status: OutcomeStatus(v.Outcome), Err: errs.of(q, v), EventID: q.Event}
				if !yield(o) {
					return
				}
			}
		}
	}
}

// pair returns the names of the pair at position i of a request.
func (r *Report) pair(q *ledger.Request, i int) (names AssetPair) {
	key := q.Pair(i)
	if len(r.tables.assets) > 0 {
		asset := r.tables.assets[key.Asset()]
		names.AdamID = asset.AdamID
		if !r.tables.info.subscriptions {
			names.PricingParam = asset.PricingParam
		}
	}
	if user, ok := key.User(); ok {
		names.ClientUserID = r.tables.users[user]
	} else {
		names.SerialNumber = r.tables.devices[key.Device()]
	}
	return names
}

// pairErrors makes the errors of pairs. Pairs with the same reason share one error. It is not
// safe for concurrent use.
type pairErrors struct {
	report *Report
	reasons
	unsent map[ledger.Reason]error
}

// of returns the error of a pair of a request: why the pair did not succeed, or nil.
func (e *pairErrors) of(q *ledger.Request, v ledger.Verdict) error {
	switch {
	case v.Outcome == ledger.Succeeded:
		return nil
	case v.Outcome == ledger.Unsent:
		return e.notSent(v.Why)
	case q.Phase == ledger.Sending || q.Phase == ledger.Pending:
		return ErrPending
	case q.Phase == ledger.Queued && len(q.Doubts) > 0: // sent before, and to be sent again
		return e.err(q.Doubts[len(q.Doubts)-1].Why)
	case q.Phase == ledger.Queued: // an attempt may have begun
		return e.ambiguous(v.Why)
	}
	return e.err(v.Why)
}

// ambiguous returns the error of a pair that may have been changed, although the service denied
// it with the reason why.
func (e *pairErrors) ambiguous(why ledger.Reason) error {
	if err := e.err(why); err != nil {
		return fmt.Errorf("%w: %w", ErrAmbiguous, err)
	}
	return ErrAmbiguous
}

// notSent returns the error of a pair that is unsent. own is why its request was turned away,
// or "".
func (e *pairErrors) notSent(own ledger.Reason) error {
	why := e.report.halted
	if why == "" {
		why = own
	}
	if why == "" {
		return ErrNotSent
	}
	err, ok := e.unsent[why]
	if !ok {
		if e.unsent == nil {
			e.unsent = map[ledger.Reason]error{}
		}
		err = &notSentError{e.err(why)}
		e.unsent[why] = err
	}
	return err
}

// A ReasonCount is one reason why pairs did not succeed.
type ReasonCount struct {
	Err    error
	Status OutcomeStatus
	Pairs  int // how many pairs have this outcome for this reason
}

// Reasons iterates over the different reasons of the pairs that did not succeed, each with the
// number of its pairs, in the order of the requests.
func (r *Report) Reasons() iter.Seq[ReasonCount] {
	type key struct {
		text   string
		status OutcomeStatus
	}
	return func(yield func(ReasonCount) bool) {
		index := map[key]int{}
		var all []ReasonCount
		r.eachReason(func(err error, o ledger.Outcome, pairs int) bool {
			k := key{err.Error(), OutcomeStatus(o)}
			i, ok := index[k]
			if !ok {
				i = len(all)
				index[k] = i
				all = append(all, ReasonCount{Err: err, Status: k.status})
			}
			all[i].Pairs += pairs
			return true
		})
		for _, reason := range all {
			if !yield(reason) {
				return
			}
		}
	}
}

// eachReason calls f with the reasons of the pairs that did not succeed and with numbers of
// pairs, until f returns false. It may call f several times for one reason.
func (r *Report) eachReason(f func(err error, o ledger.Outcome, pairs int) bool) {
	errs := &pairErrors{report: r, reasons: reasons{known: r.reasons}}
	for _, q := range r.requests {
		if q.Phase == ledger.Replaced {
			continue
		}
		counts := map[ledger.Verdict]int{}
		var order []ledger.Verdict // so that the order of the reasons is always the same
		q.TallyVerdicts(func(v ledger.Verdict, n int) {
			if v.Outcome == ledger.Succeeded || n == 0 {
				return
			}
			if counts[v] == 0 {
				order = append(order, v)
			}
			counts[v] += n
		})
		for _, v := range order {
			if !f(errs.of(q, v), v.Outcome, counts[v]) {
				return
			}
		}
	}
}

// anyReason reports whether is returns true for the reason of a pair that did not succeed.
func (r *Report) anyReason(is func(error) bool) (found bool) {
	tried := map[error]bool{} // pairs with the same reason share one error
	r.eachReason(func(err error, _ ledger.Outcome, _ int) bool {
		if !tried[err] {
			tried[err] = true
			found = is(err)
		}
		return !found
	})
	return found
}

// String returns the kind and the totals in one line, for example
// "assets/associate: 9 of 10 succeeded, 1 failed".
func (r *Report) String() string {
	if r.tables == nil {
		return "report without an operation"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d succeeded", r.tables.kind, r.Succeeded, r.Total)
	for _, part := range []struct {
		n    int
		name OutcomeStatus
	}{{r.Failed, OutcomeFailed}, {r.Unconfirmed, OutcomeUnconfirmed}, {r.Unsent, OutcomeUnsent}} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.name)
		}
	}
	return b.String()
}

// result returns the report and the error of Wait and Verify.
func (r *Report) result(op *Operation, cause error) (*Report, error) {
	if cause == nil && r.Succeeded == r.Total {
		return r, nil
	}
	return r, &OperationError{Operation: op, Report: r, Cause: cause}
}

// An OperationError is the error of an operation in which at least one pair did not
// succeed. errors.Is and errors.As find Cause and the reasons of all pairs, so that for
// example errors.Is(err, ErrNotEnoughLicenses) works.
type OperationError struct {
	Operation *Operation // the operation, which can go on
	Report    *Report
	Cause     error // why the call ended early; nil if it did all that was possible at that moment
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
	text.WriteString(e.report().String())
	if e.Cause != nil {
		text.WriteString("; stopped: " + e.Cause.Error())
	}
	const maxReasons = 3
	named := map[string]bool{}
	e.report().anyReason(func(err error) bool {
		reason := err.Error()
		if named[reason] || e.Cause != nil && strings.HasSuffix(reason, e.Cause.Error()) {
			return false
		}
		named[reason] = true
		text.WriteString("; " + reason)
		return len(named) == maxReasons
	})
	return text.String()
}

// Unwrap returns Cause.
func (e *OperationError) Unwrap() error { return e.Cause }

// Is reports whether the reason of a pair matches target.
func (e *OperationError) Is(target error) bool {
	return e.report().anyReason(func(err error) bool { return errors.Is(err, target) })
}

// As sets target to Cause, or to the first reason of a pair, that matches its type. It reports
// whether there is one.
func (e *OperationError) As(target any) bool {
	if e.Cause != nil && errors.As(e.Cause, target) {
		return true
	}
	return e.report().anyReason(func(err error) bool { return errors.As(err, target) })
}
