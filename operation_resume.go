package appsandbooks

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// Resume restores an [Operation] that was saved with [Operation.Save], or from a journal (see
// [WithJournal]). It ignores an incomplete last line, which a crash can leave. Resume sends
// no request.
//
// The client must belong to the organizational unit of the operation. If it does not, Wait,
// Step and Verify end with [ErrOtherUnit], and neither send, poll nor read. If no earlier answer
// has shown the unit of the client, they read the client configuration first.
//
// After Resume, Wait sends the requests that were not sent, waits for those that the
// service accepted, and reads back those whose result is unknown, as if the operation had
// not been interrupted. The new entries of a journal can be appended to the same file. See
// also [WithContinuedJournal]. [WithBisection], [WithResendOverdue] and [WithResendLost] are
// saved with the operation; given here, they are added. [WithPlanOnly] has no effect here.
//
// Stop the old Operation before you resume a copy of it. A client refuses to carry out a copy
// while it carries out another one, or after it has carried out a newer one: the error is
// [ErrBusy]. Clients do not know of each other, not even in one process. Only one client at a
// time may carry out an operation: use one client for each unit, and a lease in a database
// between processes.
//
// The times in a saved operation come from the clocks of other machines. They decide when
// something is due again. For the age of an event or of a lost request, at most the planned wait
// counts between two processes, and nothing if the clocks contradict each other. So a clock that
// is a little ahead can make that age too long by one planned wait for each move to another
// process.
//
// If saved cannot be read, or contradicts itself, the error is [ErrInvalid].
func (c *Client) Resume(saved []byte, opts ...OperationOption) (*Operation, error) {
	op, isComplete, err := c.readJournal(saved, opts)
	switch {
	case err != nil:
		return nil, err
	case op == nil:
		return nil, invalidf("saved operation: nothing in it can be read")
	}
	if err := op.ledger.Check(max(1, len(op.tables.assets)), len(op.tables.users), len(op.tables.devices)); err != nil {
		return nil, invalidf("saved operation: %v", err)
	}
	if err := op.finishRestore(); err != nil {
		return nil, err
	}
	if !op.opts.continueJournal || !isComplete {
		op.running.unjournaled = nil // the journal gets the whole operation again
	}
	return op, nil
}

// readJournal returns the operation in a journal or in a saved form, which is a journal of one
// line. It returns nil if no line can be read. isComplete is false if new entries cannot follow:
// after an incomplete line, and after JSON with line breaks.
func (c *Client) readJournal(saved []byte, opts []OperationOption) (op *Operation, isComplete bool, err error) {
	var invalidLine error // error of the first unreadable line after the last whole operation
	lines := bytes.Lines(saved)
	indented := json.Valid(saved) && bytes.Contains(bytes.TrimSpace(saved), []byte("\n"))
	if indented { // saved holds one operation, whose JSON was formatted with line breaks
		lines = slices.Values([][]byte{saved})
	}
	for line := range lines {
		var entry savedEntry
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			if invalidLine == nil {
				invalidLine = err
			}
			continue
		}
		if entry.operation == nil {
			err = op.replay(entry.facts, invalidLine)
		} else {
			// This is the first line, or a later line that holds the whole operation again.
			invalidLine = nil
			op, err = c.restoreAgain(op, entry.operation, opts)
		}
		if err != nil {
			return nil, false, err
		}
	}
	return op, invalidLine == nil && !indented && bytes.HasSuffix(saved, []byte("\n")), nil
}

// restoreAgain returns the operation in s, which must be the same operation as before, unless
// that is nil.
func (c *Client) restoreAgain(before *Operation, s *savedOperation, opts []OperationOption) (*Operation, error) {
	if before != nil && before.id != s.ID {
		return nil, invalidf("saved operation: it contains two operations")
	}
	return c.restoreOperation(s, opts)
}

// savedEntry is one line of a journal. It is either a whole operation, or the facts of one
// step. The facts of a step are one line, so that a crash leaves all of them in the journal or
// none.
type savedEntry struct {
	operation *savedOperation
	facts     []ledger.Fact
}

func (e *savedEntry) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, &e.facts)
	}
	return json.Unmarshal(data, &e.operation)
}

// replay applies the facts of a journal entry. invalidLine is the error of an earlier line that
// could not be read, or nil.
func (op *Operation) replay(facts []ledger.Fact, invalidLine error) error {
	switch {
	case op == nil:
		return invalidf("saved operation: the first line is not an operation")
	case invalidLine != nil:
		return invalidf("saved operation: a line before the last cannot be read: %v", invalidLine)
	}
	for _, f := range facts {
		switch next := op.ledger.Facts() + 1; {
		case f.Number != 0 && f.Number < next:
			continue // the store has kept the entry twice
		case f.Number > next:
			return invalidf("saved operation: the entries between fact %d and fact %d are missing", next-1, f.Number)
		}
		if err := op.ledger.Apply(f); err != nil {
			return invalidf("saved operation: %v", err)
		}
	}
	return nil
}

// restoreOperation returns the operation in s. The operation is not ready to run before
// finishRestore.
func (c *Client) restoreOperation(s *savedOperation, opts []OperationOption) (*Operation, error) {
	if s.Version != savedVersion {
		return nil, invalidf("saved operation: this SDK does not support version %d", s.Version)
	}
	op, err := c.newOperation(s.Kind, opts)
	if err != nil {
		return nil, err
	}
	op.id, op.unit = s.ID, s.Unit
	t := &op.tables
	t.assets, t.users, t.devices, t.userRequests = s.Assets, s.Users, s.Devices, s.UserRequests
	t.renewing, t.deferred = s.Renewing, s.Deferred
	t.buildIndexes()
	if err := t.validate(); err != nil {
		return nil, err
	}
	op.ledger = new(ledger.Ledger)
	if err := json.Unmarshal(s.Ledger, op.ledger); err != nil {
		return nil, invalidf("saved operation: %v", err)
	}
	return op, nil
}

// validate returns an error if no change can produce these saved tables.
func (t *tables) validate() error {
	info, ok := kinds[t.kind]
	switch {
	case !ok:
		return invalidf("saved operation: unknown kind %q", t.kind)
	case info.hasAssets != (len(t.assets) > 0), info.hasUserRequests != (len(t.userRequests) > 0),
		info.hasUserRequests && len(t.userRequests) != len(t.users), len(t.users)+len(t.devices) == 0, len(t.devices) > 0 && !info.hasDevices:
		return invalidf("saved operation: its assets, users and devices do not match the kind %q", t.kind)
	case len(t.assetIndex) < len(t.assets), len(t.userIndex) < len(t.users), len(t.deviceIndex) < len(t.devices),
		slices.Contains(t.users, ""), slices.Contains(t.devices, ""):
		return invalidf("saved operation: a name is empty or duplicate")
	}
	for _, a := range t.assets {
		id, err := strconv.ParseInt(a.AdamID, 10, 64)
		if a.AdamID == "" || a.PricingParam == "" || info.subscriptions && (err != nil || formatAdamID(id) != a.AdamID) {
			return invalidf("saved operation: asset %q is invalid", a.AdamID)
		}
	}
	for i, r := range t.userRequests {
		if r.ClientUserID != t.users[i] {
			return invalidf("saved operation: the user request %d does not match its user", i)
		}
	}
	return nil
}

// finishRestore makes a restored operation ready to run: a request that was being sent when
// the journal or the saved form ended is lost, and times that are too far in the future come
// closer.
func (op *Operation) finishRestore() error {
	now := time.Now()
	interval := op.client.opts.pollInterval
	f := ledger.Fact{
		What: ledger.Resumed, At: now, Due: now.Add(interval), NotBefore: now.Add(interval + op.client.opts.maxPause),
	}
	if slices.ContainsFunc(op.ledger.Requests(), func(r *ledger.Request) bool { return r.Phase == ledger.Sending }) {
		f.Why = op.interrupted()
	}
	rules := op.ledger.Rules()
	rules.Bisect = rules.Bisect || op.opts.bisect
	if op.tables.listsShowAbsence() {
		rules.ResendOverdue = rules.ResendOverdue || op.opts.resendOverdue
		rules.ResendLost = rules.ResendLost || op.opts.resendLost
	}
	if rules != op.ledger.Rules() {
		f.Rules = &rules
	}
	if err := op.ledger.Apply(f); err != nil {
		return invalidf("saved operation: %v", err)
	}
	op.running.unjournaled = []ledger.Fact{f}
	for _, r := range op.ledger.Requests() {
		if r.Event != "" {
			op.running.events[r.Event] = r.ID
		}
	}
	return nil
}
