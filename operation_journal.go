package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// savedVersion is the version of the saved form. Resume rejects any other version, such
// as that of a later SDK.
const savedVersion = 1

// savedOperation is the saved form of an operation.
type savedOperation struct {
	Version  int           `json:"version"`
	ID       string        `json:"id"`
	Kind     kind          `json:"kind"`
	Unit     string        `json:"uId,omitzero"`
	Assets   []AssetID     `json:"assets,omitzero"`
	Users    []string      `json:"users,omitzero"`
	Devices  []string      `json:"devices,omitzero"`
	Requests []UserRequest `json:"requests,omitzero"`
	Renewing bool          `json:"renewing,omitzero"`
	Deferred bool          `json:"deferred,omitzero"`
	Parts    []savedPart   `json:"parts"`
}

// savedPart is the saved form of a request, in a savedOperation or in a journal entry.
// The JSON names are part of the saved form and do not follow the field names.
type savedPart struct {
	ID    int       `json:"part"`
	State partState `json:"state"`
	// Assets, Users and Devices are absent in an entry for a request that the journal
	// already contains.
	Assets  runs   `json:"assets,omitzero"`
	Users   runs   `json:"users,omitzero"`
	Devices runs   `json:"devices,omitzero"`
	EventID string `json:"eventId,omitzero"`
	// Unit is the uId of the organizational unit. Only the entry of an accepted request
	// has it.
	Unit             string            `json:"uId,omitzero"`
	SentAt           time.Time         `json:"at,omitzero"`
	NextPoll         time.Time         `json:"nextLook,omitzero"`
	NotBefore        time.Time         `json:"floor,omitzero"`
	Polling          bool              `json:"asking,omitzero"`
	Resent           int               `json:"resent,omitzero"`
	PriorUncertainty *savedError       `json:"doubt,omitzero"`
	WasReadBack      bool              `json:"checked,omitzero"`
	Splits           int               `json:"splits,omitzero"`
	Outcome          OutcomeStatus     `json:"outcome"`
	Err              *savedError       `json:"error,omitzero"`
	Exceptions       []savedExceptions `json:"odd,omitzero"`
}

// savedExceptions are pairs of a request with one verdict that differs from the request's
// verdict.
type savedExceptions struct {
	Pairs   runs          `json:"pairs"`
	Outcome OutcomeStatus `json:"outcome"`
	Err     *savedError   `json:"error,omitzero"`
}

// runs are ascending numbers. Each element is the first number and the length of a run.
type runs [][2]int

// toRuns returns the runs of ascending numbers.
func toRuns[T ~int | ~int32](values []T) runs {
	var r runs
	for _, v := range values {
		if n := len(r); n > 0 && r[n-1][0]+r[n-1][1] == int(v) {
			r[n-1][1]++
			continue
		}
		r = append(r, [2]int{int(v), 1})
	}
	return r
}

// expand returns the numbers. It returns an error if a number is not in [0, limit), or if
// there are more than limit numbers.
func (r runs) expand(limit int) ([]int32, error) {
	var values []int32
	for _, run := range r {
		if run[0] < 0 || run[1] < 1 || run[0] > limit-run[1] || len(values)+run[1] > limit {
			return nil, invalidf("saved operation: a number is out of range")
		}
		for i := range run[1] {
			values = append(values, int32(run[0]+i))
		}
	}
	return values, nil
}

// savedError is the saved form of an error: its text, and what errors.Is and errors.As
// need to find in it.
type savedError struct {
	Text     string      `json:"text"`
	Marks    []string    `json:"marks,omitzero"` // keys of savedSentinels
	Status   int         `json:"status,omitzero"`
	Number   ErrorNumber `json:"number,omitzero"`
	Message  string      `json:"message,omitzero"`
	Attempts int         `json:"attempts,omitzero"`
	Also     []*Error    `json:"also,omitzero"` // up to 8 more errors of the service that the saved error wraps
}

// savedSentinels maps names in saved operations to the SDK's errors that an outcome can
// have.
var savedSentinels = map[string]error{
	"ambiguous": ErrAmbiguous, "stalled": ErrStalled, "pending": ErrPending,
	"notSent": ErrNotSent, "notVerified": ErrNotVerified, "takenOver": ErrTakenOver,
}

// saveError returns the saved form of err, and nil for nil.
func saveError(err error) *savedError {
	if err == nil {
		return nil
	}
	s := &savedError{Text: err.Error()}
	for mark, sentinel := range savedSentinels {
		if errors.Is(err, sentinel) {
			s.Marks = append(s.Marks, mark)
		}
	}
	slices.Sort(s.Marks)
	first := true
	anyError(err, func(e *Error) bool {
		switch {
		case first:
			s.Status, s.Number, s.Message, s.Attempts = e.StatusCode, e.Number, e.Message, e.Attempts
			first = false
		case e.Number != 0:
			s.Also = append(s.Also, &Error{Number: e.Number, Message: e.Message})
		}
		return len(s.Also) == 8
	})
	return s
}

// restoredError is an error of a saved operation. It unwraps to reasons.
type restoredError struct {
	text    string
	reasons []error
}

func (e *restoredError) Error() string { return e.text }

func (e *restoredError) Unwrap() []error { return e.reasons }

// restore returns the saved error as an error value, and nil for nil.
func (s *savedError) restore() error {
	if s == nil {
		return nil
	}
	r := &restoredError{text: s.Text}
	for _, m := range s.Marks {
		if err := savedSentinels[m]; err != nil {
			r.reasons = append(r.reasons, err)
		}
	}
	if s.Status != 0 || s.Number != 0 {
		r.reasons = append(r.reasons, &Error{StatusCode: s.Status, Number: s.Number, Message: s.Message, Attempts: s.Attempts})
	}
	for _, e := range s.Also {
		if e != nil {
			r.reasons = append(r.reasons, e)
		}
	}
	return r
}

// MarshalJSON returns the current state of the operation as JSON, without secrets. Store
// it, and pass it to [Client.Resume] to continue the operation. It can be called
// while the operation runs. If a request is in progress at that moment, its result is
// unknown after [Client.Resume], so it is better to save after Submit has returned. Only
// this SDK reads the form.
func (op *Operation) MarshalJSON() ([]byte, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return json.Marshal(op.saved())
}

// saved returns the saved form of the operation. The caller holds op.mu.
func (op *Operation) saved() savedOperation {
	t := &op.tables
	s := savedOperation{
		Version: savedVersion, ID: op.id, Kind: t.kind, Unit: op.unit,
		Assets: t.assets, Users: t.users, Devices: t.devices, Requests: t.requests,
		Renewing: t.renewing, Deferred: t.deferred,
	}
	for _, p := range op.parts {
		s.Parts = append(s.Parts, p.saved(true))
	}
	return s
}

// saved returns the saved form of the request. withContent adds its assets, users and
// devices, which never change. The caller holds op.mu.
func (p *part) saved(withContent bool) savedPart {
	s := savedPart{
		ID: p.id, State: p.state, EventID: p.eventID, SentAt: p.sentAt.UTC(), NextPoll: p.nextPoll.UTC(), NotBefore: p.notBefore.UTC(),
		Polling: p.polling, Resent: p.resent, PriorUncertainty: saveError(p.priorUncertainty), WasReadBack: p.wasReadBack, Splits: p.splits, Outcome: p.outcome, Err: saveError(p.err),
	}
	if withContent {
		s.Assets, s.Users, s.Devices = toRuns(p.Assets), toRuns(p.Users), toRuns(p.Devices)
	}
	// Pairs with the same outcome and the same error value share one savedExceptions.
	type group struct {
		outcome OutcomeStatus
		err     error
	}
	groups := map[group][]int{}
	for i, v := range p.exceptions {
		g := group(v)
		groups[g] = append(groups[g], i)
	}
	for g, pairs := range groups {
		slices.Sort(pairs)
		s.Exceptions = append(s.Exceptions, savedExceptions{toRuns(pairs), g.outcome, saveError(g.err)})
	}
	slices.SortFunc(s.Exceptions, func(a, b savedExceptions) int { return a.Pairs[0][0] - b.Pairs[0][0] })
	return s
}

// startJournal makes sure that the journal has the whole operation. For a journal that is
// continued, it writes only the changes that Resume made.
func (op *Operation) startJournal(ctx context.Context) error {
	if op.opts.journal == nil {
		return nil
	}
	op.journaling.Lock()
	defer op.journaling.Unlock()
	if op.journaled {
		return nil
	}
	if op.continuesJournal {
		op.continuesJournal, op.journaled = false, true
		if len(op.changedByResume) == 0 {
			return nil
		}
		op.mu.Lock()
		var record []savedPart
		for _, p := range op.changedByResume {
			record = append(record, p.saved(false))
		}
		op.mu.Unlock()
		return op.writeJournal(ctx, record)
	}
	op.mu.Lock()
	saved := op.saved()
	op.mu.Unlock()
	return op.writeJournal(ctx, saved)
}

// journalEntry returns the journal entry for a step that changed the request p and added
// the requests in pieces. It returns nil if the operation has no journal. It returns the
// whole operation if the journal does not have it, for example because writing an earlier
// entry failed. The caller holds op.journaling and op.mu.
func (op *Operation) journalEntry(p *part, pieces []*part) any {
	switch {
	case op.opts.journal == nil:
		return nil
	case !op.journaled:
		return op.saved()
	}
	record := []savedPart{p.saved(false)}
	if p.state == partSubmitted {
		record[0].Unit = op.unit
	}
	for _, piece := range pieces {
		record = append(record, piece.saved(true))
	}
	return record
}

// writeJournal writes an entry to the journal. The caller holds op.journaling.
func (op *Operation) writeJournal(ctx context.Context, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		text = append(text, '\n')
		if !op.journaled {
			// End the journal line that a crash or a failed write can have left
			// incomplete.
			text = append([]byte{'\n'}, text...)
		}
		err = op.opts.journal(context.WithoutCancel(ctx), text)
	}
	op.journaled = err == nil
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}
