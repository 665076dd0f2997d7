package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// readBack reads the lists that show the pairs of some requests whose outcome is not clear, and
// records what they show. If a list cannot be read because of a temporary error, or because it
// did not advance, the requests are due again after the polling interval. It returns the error
// when reading back has failed for the stall time.
func (op *Operation) readBack(ctx context.Context, ids []int) error {
	if err := op.beginReading(ctx, ids); err != nil {
		return err
	}
	var wanted []batch.Pair
	for _, id := range ids {
		wanted = append(wanted, pairsWith(op.ledger.Request(id), ledger.Unconfirmed)...)
	}
	found, err := op.lookUpAll(ctx, wanted)
	if err != nil {
		err = fmt.Errorf("reading back %s: %w", op.tables.kind, err)
		if op.isLasting(ctx, err) {
			return err
		}
	}
	for _, id := range ids {
		if recordErr := op.recordReading(ctx, op.ledger.Request(id), found, err, true); recordErr != nil {
			return recordErr
		}
		if r := op.ledger.Request(id); err != nil && r.Unread >= op.ledger.Rules().Stall {
			return err
		}
	}
	return nil
}

// beginReading records how old the requests are before the lists are read, if that makes a
// difference: a request that got lost may have become so old that it can no longer be carried
// out.
func (op *Operation) beginReading(ctx context.Context, ids []int) error {
	var facts []ledger.Fact
	for _, id := range ids {
		now := time.Now()
		aged := op.ledger.Request(id).Aged(now)
		if op.ledger.BecomesFinal(id, aged) {
			facts = append(facts, ledger.Fact{What: ledger.Reading, Request: id, At: now, Aged: aged})
		}
	}
	if len(facts) == 0 {
		return nil
	}
	return op.record(ctx, facts...)
}

// isLasting reports whether an error of reading back ends the operation's call, because
// trying again soon does not help.
func (op *Operation) isLasting(ctx context.Context, err error) bool {
	return ctx.Err() != nil || !op.client.isTemporary(err) && !errors.Is(err, ErrNoProgress)
}

// pairsWith returns the pairs of a request with an outcome.
func pairsWith(r *ledger.Request, o ledger.Outcome) (pairs []batch.Pair) {
	for i := range r.Len() {
		if r.Outcome(i) == o {
			pairs = append(pairs, r.Pair(i))
		}
	}
	return pairs
}

// recordReading records what the lists show of a request. failed is the temporary error of
// reading them, or nil. If the rules allow it and resends is true, the pairs that are missing
// are sent again.
func (op *Operation) recordReading(ctx context.Context, r *ledger.Request, found lookup, failed error, resends bool) error {
	now := time.Now()
	f := ledger.Fact{What: ledger.ReadBack, Request: r.ID, At: now, Aged: r.Aged(now)}
	f.Pairs, f.Torn = op.verdictsFrom(r, found)
	if !resends && r.Due.After(now) {
		return op.recordEarly(ctx, r, f)
	}
	if !f.Torn && op.ledger.MayResend(r.ID) && hasMissing(r.With(f.Pairs)) {
		if resends && failed == nil {
			return op.resend(ctx, r, f)
		}
		f.Torn = true // so that the lists are read again before the pairs are sent again
	}
	wait := op.client.opts.stallTime
	switch {
	case failed != nil || f.Torn:
		wait = op.client.opts.pollInterval
		if e := (*Error)(nil); errors.As(failed, &e) {
			wait = max(wait, e.RetryAfter)
		}
		if failed != nil && len(f.Pairs) == 0 {
			f.What, f.Torn = ledger.Unread, false
		}
	case r.Phase == ledger.Overdue:
		wait = 0 // for the next poll; NotBefore keeps its distance
	}
	f.Due = now.Add(wait)
	return op.record(ctx, f)
}

// recordEarly records the pairs that Verify has found before the request is due to be read back.
// It changes neither when the request is due, nor what becomes of the other pairs. It records
// nothing if the request was not read back before: so soon, the lists may show what was before
// the request.
func (op *Operation) recordEarly(ctx context.Context, r *ledger.Request, f ledger.Fact) error {
	if !r.WasRead {
		return nil
	}
	f.Pairs = slices.DeleteFunc(f.Pairs, func(g ledger.Group) bool { return g.Outcome != ledger.Succeeded })
	if len(f.Pairs) == 0 {
		return nil
	}
	f.Torn, f.Due = false, r.Due
	return op.record(ctx, f)
}

// hasMissing reports whether a pair of the request has not succeeded.
func hasMissing(r *ledger.Request) bool { return r.Has(ledger.Failed) || r.Has(ledger.Unconfirmed) }

// verdictsFrom returns what the lists show of the unconfirmed pairs of a request, by position:
// succeeded, failed if the lists show that the change was not made, and unconfirmed if they
// cannot show it. torn is true if some pairs are in none of the groups, because they were not
// read.
func (op *Operation) verdictsFrom(r *ledger.Request, found lookup) (groups []ledger.Group, torn bool) {
	byVerdict := map[ledger.Verdict][]int{}
	var reasons notVerifiedReasons
	for i := range r.Len() {
		v := r.VerdictOf(i)
		if v.Outcome != ledger.Unconfirmed {
			continue
		}
		switch op.look(r.Pair(i), found) {
		case notRead:
			torn = true
			continue
		case achieved:
			v = ledger.Verdict{Outcome: ledger.Succeeded}
		case notAchieved:
			v = ledger.Verdict{Outcome: ledger.Failed, Why: reasons.of(v.Why)}
		}
		byVerdict[v] = append(byVerdict[v], i)
	}
	return groupsOf(byVerdict), torn
}

// groupsOf returns positions by verdict as groups, ordered by their first pairs. The positions
// must be ascending.
func groupsOf(byVerdict map[ledger.Verdict][]int) []ledger.Group {
	groups := make([]ledger.Group, 0, len(byVerdict))
	for v, positions := range byVerdict {
		groups = append(groups, ledger.Group{Pairs: ledger.ToRuns(positions), Verdict: v})
	}
	slices.SortFunc(groups, func(a, b ledger.Group) int { return a.Pairs[0][0] - b.Pairs[0][0] })
	return groups
}

// notVerifiedReasons makes the reasons of pairs that the lists do not show: ErrNotVerified
// together with the reason why they had to be read back. The zero value is ready for use.
type notVerifiedReasons struct {
	known map[ledger.Reason]ledger.Reason
}

// of returns the reason for a pair whose reason was why.
func (n *notVerifiedReasons) of(why ledger.Reason) ledger.Reason {
	reason, ok := n.known[why]
	if !ok {
		reason = toReason(withCause(ErrNotVerified, fromReason(why)))
		if n.known == nil {
			n.known = map[ledger.Reason]ledger.Reason{}
		}
		n.known[why] = reason
	}
	return reason
}

// A sight is what the lists show of a pair.
type sight int

const (
	notRead     sight = iota // notRead means that the list changed while it was read, or was not read.
	achieved                 // achieved means that the pair is as the operation wants it: present, or for a removal absent.
	notAchieved              // notAchieved means that the pair is not as the operation wants it.
	notVisible               // notVisible means that the lists cannot show the pair.
)

// look returns what the lists show of a pair.
func (op *Operation) look(p batch.Pair, found lookup) sight {
	present := found.seen[p]
	switch {
	case !present && found.unread[p]:
		return notRead
	case found.unseen[p]:
		return notVisible
	case present != op.tables.info.removes:
		return achieved
	case !op.tables.listsShowAbsence():
		return notVisible
	}
	return notAchieved
}

// resend records that the pairs of a request are sent again, except those that the lists show. f
// is the fact of reading back.
func (op *Operation) resend(ctx context.Context, r *ledger.Request, f ledger.Fact) error {
	limits, err := op.client.Config.limits(ctx)
	if err != nil {
		return err
	}
	l := op.tables.info.limits(limits)
	after := r.With(f.Pairs)
	present := pairsWith(after, ledger.Succeeded)
	missing := append(pairsWith(after, ledger.Failed), pairsWith(after, ledger.Unconfirmed)...)
	f.What, f.Pairs, f.Due = ledger.Resent, nil, r.Due
	for _, p := range batch.Pairs(missing, l) {
		f.Pieces = append(f.Pieces, ledger.Piece{Part: p})
	}
	for _, p := range batch.Pairs(present, l) {
		f.Pieces = append(f.Pieces, ledger.Piece{Part: p, Outcome: ledger.Succeeded})
	}
	return op.record(ctx, f)
}
