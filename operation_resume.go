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

// Resume takes up an operation that was saved with MarshalJSON, or that
// a journal kept (see [WithJournal]). A last line that was cut off by a crash is ignored. It makes no
// request. The client must be the same organizational unit's: with another's,
// what is to be sent or read ends with [ErrOtherUnit]. (Before it sends, it reads
// the client configuration to know.)
//
// Wait then sends what was not sent, waits for what was, and reads back what
// is of unknown fate, as if the operation had never been interrupted. A journal
// may go on in the same file; see also [WithContinuedJournal].
func (c *Client) Resume(saved []byte, opts ...OperationOption) (*Operation, error) {
	var op *Operation
	var cut error // a line that could not be read, so far the last one
	lines := bytes.Lines(saved)
	indented := json.Valid(saved) && bytes.Contains(bytes.TrimSpace(saved), []byte("\n"))
	if indented { // the operation alone, formatted on its way
		lines = slices.Values([][]byte{saved})
	}
	for line := range lines {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var entry savedLine
		if err := json.Unmarshal(line, &entry); err != nil {
			if cut == nil {
				cut = err
			}
			continue
		}
		var err error
		switch {
		case entry.operation != nil: // the first line, or again after a Resume
			if op != nil && op.id != entry.operation.ID {
				return nil, invalidf("saved operation: it holds two operations")
			}
			cut = nil
			op, err = c.restoreOperation(entry.operation, opts)
		case op == nil:
			err = invalidf("saved operation: it does not begin with the operation")
		case cut != nil:
			err = invalidf("saved operation: %v", cut)
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
	// Behind a cut line, or another saved form, the whole operation is needed.
	op.continuesJournal = op.opts.continueJournal && cut == nil && !indented && bytes.HasSuffix(saved, []byte("\n"))
	return op, nil
}

// savedLine is a line of a journal: a whole operation, or the parts that one
// step changed, all or none of which must be known.
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

func (c *Client) restoreOperation(s *savedOperation, opts []OperationOption) (*Operation, error) {
	if s.Version != savedVersion {
		return nil, invalidf("saved operation: version %d is not known to this SDK", s.Version)
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

// check refuses tables that no change can have made.
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
		return invalidf("saved operation: its tables do not fit a change of kind %q", t.kind)
	case len(t.assetIndex) < len(t.assets), len(t.userIndex) < len(t.users), len(t.deviceIndex) < len(t.devices),
		slices.Contains(t.users, ""), slices.Contains(t.devices, ""):
		return invalidf("saved operation: a name is empty, or there twice")
	}
	for _, a := range t.assets {
		id, err := strconv.ParseInt(a.AdamID, 10, 64)
		if a.AdamID == "" || a.PricingParam == "" || subscriptions && (err != nil || formatAdamID(id) != a.AdamID) {
			return invalidf("saved operation: asset %q", a.AdamID)
		}
	}
	for i, r := range t.requests {
		if r.ClientUserID != t.users[i] {
			return invalidf("saved operation: user %d", i)
		}
	}
	return nil
}

// disjoint refuses parts that share a pair: it would have two outcomes.
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
	seen := make([]int, len(t.users)+len(t.devices)) // the last asset of each target, counted from 1
	for i, parts := range parts {
		for _, p := range parts {
			for n, targets := range [][]int32{p.Users, p.Devices} {
				for _, target := range targets {
					at := int(target) + n*len(t.users)
					if seen[at] == i+1 {
						return invalidf("saved operation: a pair is there twice")
					}
					seen[at] = i + 1
				}
			}
		}
	}
	return nil
}

// restore adds or updates a part.
func (op *Operation) restorePart(s savedPart) error {
	if s.ID == len(op.parts) {
		op.parts = append(op.parts, &part{id: s.ID})
	}
	if s.ID < 0 || s.ID >= len(op.parts) {
		return invalidf("saved operation: part %d", s.ID)
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
		const most = 1 << 24 // pairs; no service takes as many at once, and damage must not cost the memory
		if n := b.Len(); n == 0 || n > most {
			return invalidf("saved operation: part %d has %d pairs", s.ID, n)
		}
		p.Part = b
	}
	switch s.State {
	case partPlanned, partSubmitted, partFinished, partReplaced, partUnknown:
	case partSending:
	default:
		return invalidf("saved operation: part %d is in state %q", s.ID, s.State)
	}
	if s.State == partSubmitted && s.EventID == "" {
		return invalidf("saved operation: part %d has no event", s.ID)
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
	open := verdict{outcome: OutcomeUnconfirmed}
	if p.state == partPlanned {
		open = p.unsentVerdict(nil)
	}
	if p.state != partFinished && p.state != partReplaced && (p.outcome != open.outcome || len(s.Exceptions) > 0) {
		return invalidf("saved operation: part %d is %s, and not at its end", s.ID, p.outcome)
	}
	p.exceptions = nil
	for _, o := range s.Exceptions {
		v, err := restoreVerdict(o.Outcome, o.Err)
		if err != nil {
			return err
		}
		pairs, err := o.Pairs.expand(p.Len())
		if err != nil {
			return err
		}
		if p.exceptions == nil {
			p.exceptions = map[int]verdict{}
		}
		if len(p.exceptions)+len(pairs) > p.Len() {
			return invalidf("saved operation: part %d has two outcomes for a pair", s.ID)
		}
		for _, i := range pairs {
			p.exceptions[int(i)] = v
		}
	}
	return nil
}

func restoreVerdict(s OutcomeStatus, e *savedError) (verdict, error) {
	switch s {
	case OutcomeSucceeded, OutcomeFailed, OutcomeUnconfirmed:
		if (s == OutcomeSucceeded) == (e == nil) {
			return verdict{s, e.restore()}, nil
		}
	}
	return verdict{}, invalidf("saved operation: outcome %q", s)
}

// revive makes a restored operation ready to go on.
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
			// It was about to be sent when the record ends.
			err := &Error{Method: "POST", Path: string(op.tables.kind), Ambiguous: true, Message: "interrupted while it was being sent"}
			p.state, p.verdict, p.sentAt = partUnknown, verdict{OutcomeUnconfirmed, err}, now
			p.nextPoll = now.Add(op.client.opts.pollInterval)
			op.changedByResume = append(op.changedByResume, p)
		}
		if p.polling {
			p.notBefore, p.nextPoll = op.client.nextPoll(nil) // the answer may have been PENDING
			p.polling = false
			op.changedByResume = append(op.changedByResume, p)
		}
		// A clock that was wrong, or has been set back, must not put off a look
		// for longer than any reason for it lasts.
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
