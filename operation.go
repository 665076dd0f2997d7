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

// An Operation is one change of any size. It is planned as the fewest requests
// that the current limits allow, sent, and followed until the outcome of each pair
// is known. A pair is an asset (or a subscription) and a user or device. For
// changes of users, and for Revoke, a pair is the user or device alone.
//
// A method that starts a change (such as [AssetsService.Associate]) sends the
// requests and returns. If the service accepted none of them, the method returns an
// error together with the Operation. If nothing was sent because the input is
// invalid or the limits cannot be read, the Operation is nil. After that:
//
//   - [Operation.Wait] waits until the operation is finished and returns the [Report].
//   - [Operation.MarshalJSON] saves the operation at any moment, and
//     [Client.Resume] continues it, also in another process.
//
// An operation handles each result of a request as follows:
//
//   - If the service refuses a request, nothing of the request was started. A
//     temporary error is retried, with pauses. If the limits have become smaller,
//     the request is split to fit the new limits. If the error names the invalid
//     items, their pairs fail and the other pairs are sent again. If the error
//     names no item, [WithBisection] searches for the invalid ones.
//   - If the reason of an error applies to all requests (the token, the rate, no
//     connection), the operation stops sending. The pairs that were not sent fail
//     with [ErrNotSent] and the reason.
//   - If a request was sent and no usable answer came, the operation does not send
//     it again. Later it reads the data back, which shows the outcome of most pairs.
//     A pair that the data does not show stays unconfirmed, or is sent again with
//     [WithResend].
//   - If the context is canceled, the operation starts no new request. A request
//     in progress has five seconds to return its event id. The service cannot undo
//     a request.
//
// An Operation is safe for concurrent use. Only one Submit, Step, Wait or Verify
// runs at a time; another call waits until it returns.
type Operation struct {
	// The busy token guards readbackFailingSince. The mutex journaling guards journaled,
	// continuesJournal and changedByResume. The mutex mu guards the fields after mu. A
	// request (part) is changed only by a goroutine that holds both the busy token and mu,
	// so either of the two is enough to read the request. The other fields do not change
	// after start or Resume.

	client *Client
	id     string
	tables tables
	opts   operationOptions
	busy   chan struct{} // busy holds one token: the right to change the requests (parts)

	// readbackFailingSince is the time of the first failure of a series of failed
	// read-backs. It is zero if the last one succeeded.
	readbackFailingSince time.Time

	// journaling keeps the changes and their journal entries in the same order. It is
	// locked before mu.
	journaling       sync.Mutex
	journaled        bool    // true if the journal has the whole operation and every later change
	continuesJournal bool    // true if the journal has everything except the state of changedByResume
	changedByResume  []*part // the requests whose state Resume has changed

	mu   sync.Mutex
	unit string // uId of the organizational unit; "" until an answer contains it
	// unitUnverified is true after Resume, or after an answer from another unit: check
	// the client's unit before the next request is sent.
	unitUnverified bool
	// learnedLimits are smaller than the announced limits, after refusals that the
	// announced limits do not explain. They are nil if there was no such refusal.
	learnedLimits        *batch.Limits
	events               map[string]bool // ids of all events of the operation
	pendingNotifications []*Notification // notifications that were passed to Notify and are not processed yet
	// parts are the requests. The index is the id of a request. No request is ever
	// removed.
	parts    []*part
	halt     error // why the operation stopped sending; nil if it did not
	progress Progress
}

// Progress counts the requests and the pairs of an operation. The pairs of
// requests that are not finished are only in Pairs.
type Progress struct {
	Requests    int // requests that are planned so far; splitting and sending again add requests
	Accepted    int // requests that the service accepted as an event
	Finished    int // requests whose pairs have an outcome, whatever it is
	Pairs       int
	Succeeded   int // pairs that succeeded; Succeeded, Failed and Unconfirmed count finished requests only
	Failed      int
	Unconfirmed int
}

// A Plan counts the requests and pairs of an operation, whether they are sent or not.
type Plan struct {
	Requests int
	Pairs    int
	// Assets is the number of pairs of each asset. An association needs at most this
	// many licenses of it.
	Assets map[AssetID]int
}

// start plans a change and sends it, unless [WithPlanOnly] is among opts. fillTables
// adds the assets and targets, or the pairs, of the change to the tables.
func (c *Client) start(ctx context.Context, k kind, fillTables func(*tables) error, opts []OperationOption) (*Operation, error) {
	op, err := c.newOperation(k, opts)
	if err != nil {
		return nil, err
	}
	if err := fillTables(&op.tables); err != nil {
		return nil, err
	}
	limits, err := c.Config.limits(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the limits for %s: %w", k, err)
	}
	for _, b := range op.tables.buildParts(k.limits(limits)) {
		op.addPart(&part{Part: b})
	}
	if op.opts.planOnly {
		return op, nil
	}
	return op, op.Submit(ctx)
}

// newOperation returns an operation without tables and requests, whose busy token is
// available.
func (c *Client) newOperation(k kind, opts []OperationOption) (*Operation, error) {
	op := &Operation{client: c, id: rand.Text(), tables: tables{kind: k}, busy: make(chan struct{}, 1), events: map[string]bool{}}
	for _, o := range opts {
		if o == nil {
			return nil, invalidf("an OperationOption is nil")
		}
		if err := o(&op.opts); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	op.busy <- struct{}{}
	return op, nil
}

// Format implements [fmt.Formatter]. For every verb it prints the operation's id and
// kind and the counts of its report, without the ids of users and devices.
func (op *Operation) Format(f fmt.State, _ rune) { fmt.Fprint(f, op.summary()) }

// LogValue implements [slog.LogValuer]. It returns the same text as Format.
func (op *Operation) LogValue() slog.Value { return slog.StringValue(op.summary()) }

func (op *Operation) summary() string {
	if op == nil || op.client == nil {
		return "appsandbooks.Operation(<nil>)"
	}
	return fmt.Sprintf("appsandbooks.Operation(%s %s)", op.id, op.Report())
}

// ID returns the id of the operation. Resuming an operation keeps its id.
func (op *Operation) ID() string { return op.id }

// Kind returns the kind of the change. It is the path of the endpoint, for example
// "assets/associate".
func (op *Operation) Kind() string { return string(op.tables.kind) }

// Plan counts all requests and pairs of the operation, sent or not.
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

// EventIDs returns the ids of the events that the service has created for the
// operation so far, in the order of the operation's requests.
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

// Progress returns the current counts of requests and pairs.
func (op *Operation) Progress() Progress {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.progress
}

// Retry starts a new [Operation] with the pairs that failed in this one. With
// [WithPlanOnly] nothing is sent yet. Unconfirmed pairs are not included, because
// the service may still change them. Wait until they are confirmed or have failed,
// otherwise they can be changed twice. If no pair failed, the error is [ErrInvalid].
//
// The failed pairs include those with [ErrNotSent], which Wait, Step and Submit of this
// operation still send. Use Retry or one of these, not both: otherwise the pairs are
// sent twice.
func (op *Operation) Retry(ctx context.Context, opts ...OperationOption) (*Operation, error) {
	return op.derive(ctx, op.tables.kind, OutcomeFailed, opts)
}

// Undo starts a new [Operation] that does the inverse for the pairs that
// succeeded in this one. Associate and Disassociate of assets are the inverse of
// each other. The inverse of associating subscriptions is disassociating them, and
// the inverse of creating users is retiring them. For any other kind, or if no pair
// succeeded, the error is [ErrInvalid].
//
// Undo also removes what existed before the operation. Associating an asset that
// is already associated is a success. Creating a user is a success too, if the
// result of the request is unknown and reading back shows the user.
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

// derive starts a new operation of kind k with the pairs of the operation op whose outcome
// is want.
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
