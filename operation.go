package appsandbooks

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// Operation is one change of any size: planned as the fewest requests that the
// live limits allow, sent, waited for, and accounted for pair by pair. A pair is
// an asset (or a subscription) and a user or device; for changes of users and
// for Revoke it is the user or device alone.
//
// The methods that begin a change (such as [AssetsService.Associate]) send it
// and return. They return an error beside the Operation when none of it was
// accepted, and a nil Operation when nothing was even tried. Then:
//
//   - [Operation.Wait] carries it to its end and gives the [Report].
//   - [Operation.MarshalJSON] saves it at any moment, and [Client.Resume]
//     takes it up, in another process if need be.
//
// What happens to a request of an operation:
//
//   - A refusal by the service means that nothing of the request was started.
//     A passing one is retried, with pauses. If the limits have shrunk, the
//     request is split by the new ones. If the refusal names the bad items,
//     their pairs fail and the rest is sent again; if it names none,
//     [WithBisection] searches for them.
//   - A refusal that concerns all requests (the token, the rate, no
//     connection) stops the sending; what was not sent says so.
//   - A request that was sent and got no usable answer is never sent again
//     blindly: after a while the data is read back, which settles most of it.
//     What is not there then stays unconfirmed, or is sent again with [WithResend].
//   - Cancelling the context starts nothing new. Requests under way get five
//     seconds to come back with their event ids. The service cannot undo them.
//
// An Operation is safe for concurrent use; only one Submit, Step, Wait or
// Verify runs at a time.
type Operation struct {
	client *Client
	id     string
	tables tables
	opts   operationOptions
	busy   chan struct{} // one token: the right to change parts

	journaling           sync.Mutex // keeps changes and their journal entries in one order; taken before mu
	readbackFailingSince time.Time  // since then reading back has failed; zero when it did not
	journaled            bool       // the journal has the whole operation, without a gap; guarded by journaling
	continuesJournal     bool       // the journal has all but what Resume revised; guarded by journaling
	changedByResume      []*part    // revised by Resume

	mu                   sync.Mutex
	unit                 string          // UID of the organizational unit; "" until an answer showed it
	unitUnverified       bool            // resumed, or met another unit: asks whose the client is before it sends
	learnedLimits        *batch.Limits   // smaller than the service says its limits are; nil when it was not wrong
	events               map[string]bool // that answers have named
	pendingNotifications []*Notification // by Notify, and not looked at yet
	parts                []*part         // never removed; index = id
	halt                 error           // why sending stopped
	progress             Progress
}

// Progress is how far an operation is, in requests and in pairs.
type Progress struct {
	Requests    int // planned so far; splitting and sending again add to them
	Accepted    int // answered with an event
	Finished    int // at their end, whatever it is
	Pairs       int
	Succeeded   int
	Failed      int
	Unconfirmed int // of finished requests
}

// Plan is what an operation will send.
type Plan struct {
	Requests int
	Pairs    int
	// Assets counts the pairs by asset: the licences an association needs at most.
	Assets map[AssetID]int
}

// start plans a change and, unless told otherwise, sends it.
func (c *Client) start(ctx context.Context, k kind, fill func(*tables) error, opts []OperationOption) (*Operation, error) {
	op, err := c.newOperation(k, opts)
	if err != nil {
		return nil, err
	}
	if err := fill(&op.tables); err != nil {
		return nil, err
	}
	limits, err := c.Config.limits(ctx)
	if err != nil {
		return nil, fmt.Errorf("the limits for %s: %w", k, err)
	}
	for _, b := range op.tables.buildParts(k.limits(limits)) {
		op.addPart(&part{Part: b})
	}
	if op.opts.planOnly {
		return op, nil
	}
	return op, op.Submit(ctx)
}

func (c *Client) newOperation(k kind, opts []OperationOption) (*Operation, error) {
	op := &Operation{client: c, id: rand.Text(), tables: tables{kind: k}, busy: make(chan struct{}, 1), events: map[string]bool{}}
	for _, o := range opts {
		if o == nil {
			return nil, invalidf("a nil OperationOption")
		}
		if err := o(&op.opts); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	op.busy <- struct{}{}
	return op, nil
}

// Format implements [fmt.Formatter]: an operation prints as what it does and how
// far it is, without the ids of anybody.
func (op *Operation) Format(f fmt.State, _ rune) { fmt.Fprint(f, op.summary()) }

// LogValue implements [slog.LogValuer], like Format.
func (op *Operation) LogValue() slog.Value { return slog.StringValue(op.summary()) }

func (op *Operation) summary() string {
	if op == nil || op.client == nil {
		return "appsandbooks.Operation(<nil>)"
	}
	return fmt.Sprintf("appsandbooks.Operation(%s %s)", op.id, op.Report())
}

// ID identifies the operation, also after it was resumed.
func (op *Operation) ID() string { return op.id }

// Kind is what the operation does, as the path of its endpoint: "assets/associate".
func (op *Operation) Kind() string { return string(op.tables.kind) }

// Plan sums up what there is to send, and was sent.
func (op *Operation) Plan() Plan {
	op.mu.Lock()
	defer op.mu.Unlock()
	plan := Plan{}
	for _, p := range op.parts {
		if p.state == partReplaced {
			continue
		}
		plan.Requests++
		plan.Pairs += p.Len()
		if len(op.tables.assets) == 0 {
			continue
		}
		if plan.Assets == nil {
			plan.Assets = map[AssetID]int{}
		}
		for _, a := range p.Assets {
			plan.Assets[op.tables.assets[a]] += len(p.Users) + len(p.Devices)
		}
	}
	return plan
}

// EventIDs are the events of the operation so far, in the order of its requests.
func (op *Operation) EventIDs() []string {
	op.mu.Lock()
	defer op.mu.Unlock()
	var ids []string
	for _, p := range op.parts {
		if p.eventID != "" {
			ids = append(ids, p.eventID)
		}
	}
	return ids
}

// Progress is how far the operation is.
func (op *Operation) Progress() Progress {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.progress
}

// Retry begins a new operation with the pairs that failed here; [WithPlanOnly]
// lets the caller look first. Pairs that are unconfirmed are left out: settle
// them first, or they may be done twice.
func (op *Operation) Retry(ctx context.Context, opts ...OperationOption) (*Operation, error) {
	return op.derive(ctx, op.tables.kind, OutcomeFailed, opts)
}

// Undo begins a new operation that is the inverse of what succeeded here, as
// far as there is one: associate and disassociate are each other's, and retiring
// is that of creating. Mind that it also takes back what was there before: an
// association of something associated already is a success, and so is the
// creation of a user of unknown fate whom reading back shows.
func (op *Operation) Undo(ctx context.Context, opts ...OperationOption) (*Operation, error) {
	inverse, ok := map[kind]kind{
		associateAssets:        disassociateAssets,
		disassociateAssets:     associateAssets,
		associateSubscriptions: disassociateSubscriptions,
		createUsers:            retireUsers,
	}[op.tables.kind]
	if !ok {
		return nil, invalidf("%s has no inverse", op.tables.kind)
	}
	return op.derive(ctx, inverse, OutcomeSucceeded, opts)
}

func (op *Operation) derive(ctx context.Context, k kind, want OutcomeStatus, opts []OperationOption) (*Operation, error) {
	r := op.Report()
	return op.client.start(ctx, k, func(t *tables) error {
		t.renewing = op.tables.renewing
		t.deferred = op.tables.deferred && k == op.tables.kind
		r.each(func(p *part, i int, v verdict) bool {
			if v.outcome == want {
				t.addPairOf(&op.tables, p.pairAt(i))
			}
			return true
		})
		if len(t.pairs) == 0 {
			return invalidf("no pair of the operation is %s", want)
		}
		return nil
	}, opts)
}
