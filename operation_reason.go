package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// A reasonError is why a pair has its outcome. The ledger of an operation holds it as JSON
// from the moment when it happened, so that an operation that runs and one that was saved and
// resumed report the same errors. It keeps the text, and what errors.Is, errors.As and the
// predicates of this package find.
type reasonError struct {
	Text     string       `json:"text"`
	Marks    []string     `json:"marks,omitzero"` // keys of savedSentinels
	Errors   []savedError `json:"errors,omitzero"`
	restored []error      // what the error unwraps to
}

// savedError is the saved form of an [*EventError], of a [*TakeoverError], of an [ErrorNumber]
// that is an error by itself, or else of an [*Error].
type savedError struct {
	Event    *savedEvent    `json:"event,omitzero"`
	Takeover *savedTakeover `json:"takeover,omitzero"`
	Bare     bool           `json:"bare,omitzero"` // only the number

	Status     int           `json:"status,omitzero"`
	Number     ErrorNumber   `json:"number,omitzero"`
	Message    string        `json:"message,omitzero"`
	Info       *ErrorInfo    `json:"info,omitzero"`
	Method     string        `json:"method,omitzero"`
	Path       string        `json:"path,omitzero"`
	Attempts   int           `json:"attempts,omitzero"`
	RetryAfter time.Duration `json:"retryAfter,omitzero"`
	Ambiguous  bool          `json:"ambiguous,omitzero"`
	Excerpt    string        `json:"excerpt,omitzero"`
	Cause      string        `json:"cause,omitzero"` // text of the cause of an error without a usable answer
	Final      bool          `json:"final,omitzero"` // the cause is not a network error that can pass
	Incomplete bool          `json:"incomplete,omitzero"`
	Ended      bool          `json:"ended,omitzero"` // the caller's context had ended
}

// savedEvent is the saved form of an [*EventError].
type savedEvent struct {
	ID     string       `json:"id,omitzero"`
	Status *EventStatus `json:"status,omitzero"`
}

// savedTakeover is the saved form of a [*TakeoverError].
type savedTakeover struct {
	UID string  `json:"uId"`
	By  MDMInfo `json:"by"`
}

// savedSentinels maps names in saved operations to errors that errors.Is finds in a reason.
var savedSentinels = map[string]error{
	"ambiguous": ErrAmbiguous, "stalled": ErrStalled, "pending": ErrPending, "notSent": ErrNotSent,
	"notVerified": ErrNotVerified, "takenOver": ErrTakenOver, "closed": ErrClosed, "otherUnit": ErrOtherUnit,
	"invalid": ErrInvalid, "noToken": ErrNoToken, "noProgress": ErrNoProgress, "dataChanged": ErrDataChanged,
	"redirect": ErrRedirect, "answerDiffers": ErrAnswerDiffers, "restarted": ErrRestarted, "unfinished": ErrUnfinished,
	"busy": ErrBusy, "canceled": context.Canceled, "deadline": context.DeadlineExceeded,
}

// toReason returns an error as the reason of a pair. The empty reason stands for nil.
func toReason(err error) ledger.Reason {
	if err == nil {
		return ""
	}
	r := reasonError{Text: err.Error()}
	r.collect(err)
	r.mark(err)
	text, jsonErr := json.Marshal(r)
	if jsonErr != nil { // an ErrorInfo whose Raw is not JSON, which only a caller can make
		r.Errors = nil
		r.mark(err)
		text, _ = json.Marshal(r)
	}
	return ledger.Reason(text)
}

// mark sets the marks of the sentinels that err matches and that the errors of r do not match.
func (r *reasonError) mark(err error) {
	r.Marks = nil
	for mark, sentinel := range savedSentinels {
		if errors.Is(err, sentinel) && !r.implies(sentinel) {
			r.Marks = append(r.Marks, mark)
		}
	}
	slices.Sort(r.Marks)
}

// implies reports whether the errors that r keeps already match a sentinel.
func (r *reasonError) implies(sentinel error) bool {
	return slices.ContainsFunc(r.children(), func(err error) bool { return errors.Is(err, sentinel) })
}

// collect keeps the errors in the tree of err whose types callers ask for with errors.As.
func (r *reasonError) collect(err error) {
	switch e := err.(type) { //nolint:errorlint // this function unwraps the tree itself
	case nil:
		return
	case *reasonError:
		r.Errors = append(r.Errors, e.Errors...)
		return
	case ErrorNumber:
		r.Errors = append(r.Errors, savedError{Bare: true, Number: e})
	case *Error:
		if e == nil {
			return
		}
		r.Errors = append(r.Errors, saveError(e))
	case *EventError:
		r.Errors = append(r.Errors, savedError{Event: &savedEvent{e.EventID, e.Status}})
		return // the failures are in the status
	case *TakeoverError:
		r.Errors = append(r.Errors, savedError{Takeover: &savedTakeover{e.UID, e.By}})
	}
	switch w := err.(type) { //nolint:errorlint // this function unwraps the tree itself
	case interface{ Unwrap() error }:
		r.collect(w.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range w.Unwrap() {
			r.collect(err)
		}
	}
}

// saveError returns the saved form of an Error.
func saveError(e *Error) savedError {
	s := savedError{
		Status: e.StatusCode, Number: e.Number, Message: e.Message, Info: e.Info, Method: e.Method, Path: e.Path,
		Attempts: e.Attempts, RetryAfter: e.RetryAfter, Ambiguous: e.Ambiguous, Excerpt: e.Excerpt,
		Incomplete: e.incomplete, Ended: e.contextEnded,
	}
	if e.err != nil {
		s.Cause = e.err.Error()
		s.Final = transport.IsCertificateError(e.err) || errors.Is(e.err, ErrInvalid)
	}
	return s
}

// errCause is the cause of a restored Error. It has only its text.
type errCause string

func (e errCause) Error() string { return string(e) }

// restore returns the error of a saved form.
func (s savedError) restore() error {
	switch {
	case s.Event != nil:
		return &EventError{s.Event.ID, s.Event.Status}
	case s.Takeover != nil:
		return &TakeoverError{s.Takeover.UID, s.Takeover.By}
	case s.Bare:
		return s.Number
	}
	e := &Error{
		StatusCode: s.Status, Number: s.Number, Message: s.Message, Info: s.Info, Method: s.Method, Path: s.Path,
		Attempts: s.Attempts, RetryAfter: s.RetryAfter, Ambiguous: s.Ambiguous, Excerpt: s.Excerpt,
		incomplete: s.Incomplete, contextEnded: s.Ended || s.Final,
	}
	if s.Cause != "" {
		e.err = errCause(s.Cause)
	}
	return e
}

// children returns the errors that r unwraps to.
func (r *reasonError) children() (all []error) {
	for _, m := range r.Marks {
		if sentinel := savedSentinels[m]; sentinel != nil {
			all = append(all, sentinel)
		}
	}
	for _, e := range r.Errors {
		all = append(all, e.restore())
	}
	return all
}

// fromReason returns the error of a reason, and nil for the empty reason.
func fromReason(why ledger.Reason) error {
	if why == "" {
		return nil
	}
	r := new(reasonError)
	if err := json.Unmarshal([]byte(why), r); err != nil {
		return errors.New("the saved reason cannot be read")
	}
	r.restored = r.children()
	return r
}

func (r *reasonError) Error() string { return r.Text }

func (r *reasonError) Unwrap() []error { return r.restored }

// reasons turns reasons into errors, each only once. The zero value is ready for use; it is
// not safe for concurrent use.
type reasons struct {
	known   *reasonCache
	last    ledger.Reason // the reason of the last call, which most often is the next one too
	lastErr error
}

// err returns the error of a reason, and nil for the empty reason.
func (r *reasons) err(why ledger.Reason) error {
	if why == r.last { // a reason can be long: looking it up for each pair would take long
		return r.lastErr
	}
	if r.known == nil {
		r.known = new(reasonCache)
	}
	err := r.known.err(why)
	r.last, r.lastErr = why, err
	return err
}

// reasonCache keeps the errors of reasons. The zero value is ready for use; it is safe for
// concurrent use.
type reasonCache struct {
	mu   sync.Mutex
	errs map[ledger.Reason]error
}

func (c *reasonCache) err(why ledger.Reason) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err, ok := c.errs[why]
	if !ok {
		if c.errs == nil {
			c.errs = map[ledger.Reason]error{}
		}
		err = fromReason(why)
		c.errs[why] = err
	}
	return err
}
