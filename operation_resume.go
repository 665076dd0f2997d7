package appsandbooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// Resume restores an [Operation] that was saved with MarshalJSON, or from a journal (see
// [WithJournal]). It ignores an incomplete last line, which a crash can leave. Resume sends
// no request.
//
// The client must belong to the organizational unit of the operation. If it does not,
// sending and reading end with [ErrOtherUnit]. To check this, the operation reads the
// client configuration before it sends.
//
// After Resume, Wait sends the requests that were not sent, waits for those that the
// service accepted, and reads back those whose result is unknown, as if the operation had
// not been interrupted. The new entries of a journal can be appended to the same file. See
// also [WithContinuedJournal].
//
// If saved cannot be read, or contradicts itself, the error is [ErrInvalid].
func (c *Client) Resume(saved []byte, opts ...OperationOption) (*Operation, error) {
	var op *Operation
	var invalidLine error // the first line of the journal that could not be read since the last whole operation
	lines := bytes.Lines(saved)
	indented := json.Valid(saved) && bytes.Contains(bytes.TrimSpace(saved), []byte("\n"))
	if indented { // saved holds one operation, whose JSON was formatted with line breaks
		lines = slices.Values([][]byte{saved})
	}
	for line := range lines {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var entry savedLine
		if err := json.Unmarshal(line, &entry); err != nil {
			if invalidLine == nil {
				invalidLine = err
			}
			continue
		}
		var err error
		switch {
		case entry.operation != nil:
			// This is the first line, or a later line that holds the whole operation again.
			if op != nil && op.id != entry.operation.ID {
				return nil, invalidf("saved operation: it contains two operations")
			}
			invalidLine = nil
			op, err = c.restoreOperation(entry.operation, opts)
		case op == nil:
			err = invalidf("saved operation: the first line is not an operation")
		case invalidLine != nil:
			err = invalidf("saved operation: a line before the last cannot be read: %v", invalidLine)
		default:
			for _, p := range entry.parts {
				if err = op.restorePart(p); err != nil {
					break
				}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if op == nil {
		return nil, invalidf("saved operation: nothing in it can be read")
	}
	if err := op.checkDisjoint(); err != nil {
		return nil, err
	}
	op.finishRestore()
	// After an incomplete line, or after JSON with line breaks, the whole operation must be
	// written again.
	op.continuesJournal = op.opts.continueJournal && invalidLine == nil && !indented && bytes.HasSuffix(saved, []byte("\n"))
	return op, nil
}

// savedLine is one line of a journal. It is either a whole operation, or the requests that one
// step changed. The requests of a step are one line, so that a crash leaves all of them in the
// journal or none.
type savedLine struct {
	operation *savedOperation
	parts     []savedPart
}

func (l *savedLine) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, &l.parts)
	}
	return json.Unmarshal(data, &l.operation)
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
	op.id, op.unit, op.unitUnverified = s.ID, s.Unit, true
	t := &op.tables
	t.assets, t.users, t.devices, t.requests = s.Assets, s.Users, s.Devices, s.Requests
	t.renewing, t.deferred = s.Renewing, s.Deferred
	t.buildIndexes()
	if err := t.validate(); err != nil {
		return nil, err
	}
	for _, p := range s.Parts {
		if err := op.restorePart(p); err != nil {
			return nil, err
		}
	}
	return op, nil
}

// validate returns an error if no change can produce these saved tables.
func (t *tables) validate() error {
	subscriptions := t.kind == associateSubscriptions || t.kind == disassociateSubscriptions
	withAssets := t.kind == associateAssets || t.kind == disassociateAssets || subscriptions
	withDevices := !subscriptions && (withAssets || t.kind == revokeAssets)
	withRequests := t.kind == createUsers || t.kind == updateUsers
	switch {
	case !withAssets && !withRequests && t.kind != revokeAssets && t.kind != retireUsers:
		return invalidf("saved operation: unknown kind %q", t.kind)
	case withAssets != (len(t.assets) > 0), withRequests != (len(t.requests) > 0),
		withRequests && len(t.requests) != len(t.users), len(t.users)+len(t.devices) == 0, len(t.devices) > 0 && !withDevices:
		return invalidf("saved operation: its assets, users and devices do not match the kind %q", t.kind)
	case len(t.assetIndex) < len(t.assets), len(t.userIndex) < len(t.users), len(t.deviceIndex) < len(t.devices),
		slices.Contains(t.users, ""), slices.Contains(t.devices, ""):
		return invalidf("saved operation: a name is empty or duplicate")
	}
	for _, a := range t.assets {
		id, err := strconv.ParseInt(a.AdamID, 10, 64)
		if a.AdamID == "" || a.PricingParam == "" || subscriptions && (err != nil || formatAdamID(id) != a.AdamID) {
			return invalidf("saved operation: asset %q is invalid", a.AdamID)
		}
	}
	for i, r := range t.requests {
		if r.ClientUserID != t.users[i] {
			return invalidf("saved operation: request %d does not match its user", i)
		}
	}
	return nil
}

// checkDisjoint returns an error if two requests contain the same pair, because the pair would
// have two outcomes.
func (op *Operation) checkDisjoint() error {
	t := &op.tables
	parts := make([][]*part, max(1, len(t.assets))) // by asset
	for _, p := range op.parts {
		if p.state == partReplaced {
			continue
		}
		for _, a := range p.Assets {
			parts[a] = append(parts[a], p)
		}
	}
	// seen holds, for each target, the last asset seen with it, plus 1; 0 if none.
	seen := make([]int, len(t.users)+len(t.devices))
	for i, parts := range parts {
		for _, p := range parts {
			for n, targets := range [][]int32{p.Users, p.Devices} {
				for _, target := range targets {
					at := int(target) + n*len(t.users)
					if seen[at] == i+1 {
						return invalidf("saved operation: duplicate pair")
					}
					seen[at] = i + 1
				}
			}
		}
	}
	return nil
}

// restorePart adds a request to the operation, or updates the request with the same id.
func (op *Operation) restorePart(s savedPart) error {
	if s.ID == len(op.parts) {
		op.parts = append(op.parts, &part{id: s.ID})
	}
	if s.ID < 0 || s.ID >= len(op.parts) {
		return invalidf("saved operation: request %d is out of order", s.ID)
	}
	p := op.parts[s.ID]
	if p.Len() == 0 {
		var b batch.Part
		var err [3]error
		b.Assets, err[0] = s.Assets.expand(max(1, len(op.tables.assets)))
		b.Users, err[1] = s.Users.expand(len(op.tables.users))
		b.Devices, err[2] = s.Devices.expand(len(op.tables.devices))
		if e := errors.Join(err[:]...); e != nil {
			return e
		}
		const maxPairs = 1 << 24 // more pairs than the service allows; bounds the memory for invalid input
		if n := b.Len(); n == 0 || n > maxPairs {
			return invalidf("saved operation: request %d has %d pairs", s.ID, n)
		}
		p.Part = b
	}
	switch s.State {
	case partPlanned, partSubmitted, partFinished, partReplaced, partUnknown:
	case partSending:
	default:
		return invalidf("saved operation: request %d is in state %q", s.ID, s.State)
	}
	if s.State == partSubmitted && s.EventID == "" {
		return invalidf("saved operation: request %d has no event", s.ID)
	}
	p.state, p.eventID, p.sentAt, p.nextPoll, p.notBefore = s.State, s.EventID, s.SentAt, s.NextPoll, s.NotBefore
	if s.Unit != "" {
		op.unit = s.Unit
	}
	p.polling, p.resent, p.priorUncertainty, p.wasReadBack, p.splits = s.Polling, s.Resent, s.PriorUncertainty.restore(), s.WasReadBack, s.Splits
	var err error
	if p.verdict, err = restoreVerdict(s.Outcome, s.Err); err != nil {
		return err
	}
	expected := verdict{outcome: OutcomeUnconfirmed} // the expected verdict of a request that is not finished
	if p.state == partPlanned {
		expected = p.unsentVerdict(nil)
	}
	if p.state != partFinished && p.state != partReplaced && (p.outcome != expected.outcome || len(s.Exceptions) > 0) {
		return invalidf("saved operation: request %d is not finished, but has the outcome %q or exceptions", s.ID, p.outcome)
	}
	p.exceptions = nil
	for _, e := range s.Exceptions {
		v, err := restoreVerdict(e.Outcome, e.Err)
		if err != nil {
			return err
		}
		pairs, err := e.Pairs.expand(p.Len())
		if err != nil {
			return err
		}
		if p.exceptions == nil {
			p.exceptions = map[int]verdict{}
		}
		if len(p.exceptions)+len(pairs) > p.Len() {
			return invalidf("saved operation: request %d has two outcomes for a pair", s.ID)
		}
		for _, i := range pairs {
			p.exceptions[int(i)] = v
		}
	}
	return nil
}

// restoreVerdict returns a saved verdict. A verdict has an error exactly if the pair did not
// succeed.
func restoreVerdict(s OutcomeStatus, e *savedError) (verdict, error) {
	switch s {
	case OutcomeSucceeded, OutcomeFailed, OutcomeUnconfirmed:
		if (s == OutcomeSucceeded) == (e == nil) {
			return verdict{s, e.restore()}, nil
		}
	}
	return verdict{}, invalidf("saved operation: the outcome %q is invalid or does not match its error", s)
}

// finishRestore makes a restored operation ready to run. It counts the progress, and
// changes the requests that were being sent or polled when the journal or the saved form ended.
func (op *Operation) finishRestore() {
	now := time.Now()
	for _, p := range op.parts {
		if p.state == partReplaced {
			continue
		}
		op.progress.Requests++
		op.progress.Pairs += p.Len()
		if p.eventID != "" {
			op.progress.Accepted++
			op.events[p.eventID] = true
		}
		if p.state == partSending {
			// The journal or the saved form ends while the request was being sent.
			err := &Error{Method: "POST", Path: string(op.tables.kind), Ambiguous: true, Message: "interrupted while the request was being sent"}
			p.state, p.verdict, p.sentAt = partUnknown, verdict{OutcomeUnconfirmed, err}, now
			p.nextPoll = now.Add(op.client.opts.pollInterval)
			op.changedByResume = append(op.changedByResume, p)
		}
		if p.polling {
			p.notBefore, p.nextPoll = op.client.nextPoll(nil) // the lost answer to the poll may have been PENDING
			p.polling = false
			op.changedByResume = append(op.changedByResume, p)
		}
		// If a clock was wrong, or has been set back, a saved time can be far in the
		// future. It must not delay a poll for longer than an interval and a pause.
		latest := now.Add(op.client.opts.pollInterval + op.client.opts.maxPause)
		if p.nextPoll.After(latest) {
			p.nextPoll = latest
		}
		if p.notBefore.After(latest) {
			p.notBefore = latest
		}
		op.count(p, 1)
	}
}
