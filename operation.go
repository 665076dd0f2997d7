package appsandbooks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/ledger"
)

// An Operation is one change of any size. It is planned as the fewest requests
// that the current limits allow, sent, and followed until the outcome of each pair
// is known. A pair is an asset (or a subscription) and a user or device. For
// changes of users, and for Revoke, a pair is the user or device alone.
//
// A method that starts a change (such as [AssetsService.Associate]) sends the requests and
// returns the Operation. If it returns an error, there is no Operation, and nothing was sent:
// the input is invalid, or the limits or the organizational unit could not be read. A refusal
// of the service is not an error of that method; it is in the report. After that:
//
//   - [Operation.Wait] waits for as long as something can be learned, and returns the [Report].
//   - [Operation.Save] saves the operation at any moment, and [Client.Resume] continues it,
//     also in another process.
//
// An operation handles each result of a request as follows:
//
//   - If the service refuses a request, nothing of the request was started. A
//     temporary error is retried, with pauses. If the limits have become smaller,
//     the request is split to fit the new limits. If the error names the invalid
//     items, their pairs fail and the other pairs are sent again. If the error
//     names no item, [WithBisection] searches for the invalid ones.
//   - If the reason of an error applies to all requests (the token, the rate, no
//     connection), the operation stops sending. The pairs that were not sent are
//     unsent, with the reason. The next Wait sends them.
//   - If a request was sent and no usable answer came, the operation does not send it again,
//     unless [WithResendLost] is set. It reads the data back, which shows the outcome of most
//     pairs. A pair that the data does not show is unconfirmed: the service may still carry
//     out the request. After six stall times (see [WithStallTime]) it has failed.
//   - If an event stays PENDING for the stall time, the operation reads the data back, and
//     goes on polling the event. [WithResendOverdue] sends the pairs again that are missing.
//   - If the context is canceled, the operation starts no new request. A request
//     in progress has five seconds to return its event id. The service cannot undo
//     a request.
//
// The outcomes that an operation reports rest on these assumptions about the service, which
// Apple does not document: an Apple error number in the answer to a request means that nothing
// of the request began; a request that got lost is carried out within six stall times or never;
// and the lists show a change at the latest one polling interval after its event has ended. The
// number 9603 (internal error) is trusted less: an attempt of the request may have begun. The
// request is sent again, but its pairs are unconfirmed until another attempt has succeeded or
// the lists show them. They have failed only after six stall times. Serial numbers and user ids
// are compared byte by byte.
//
// An Operation is safe for concurrent use. Only one Wait, Step, Verify, Retry or Undo runs at
// a time, also if the operation was resumed twice by one client; another call returns
// [ErrBusy] at once, or [ErrUnfinished] if it is a Retry or an Undo and the operation is not at
// its end. The other methods never wait for them.
type Operation struct {
	// The mutex mu guards ledger, notifications and notifiedElements. The fields of running are used only by
	// the call that carries the operation (see carry), which also is the only one that changes
	// ledger. The other fields do not change after the start or Resume.

	client *Client
	id     string
	copy   int64  // number of this Operation among those of the client
	unit   string // uId of the organizational unit; "" if the service sends none
	tables tables
	opts   operationOptions

	mu               sync.Mutex
	ledger           *ledger.Ledger
	notifications    []*Notification // passed to Notify and not processed yet
	notifiedElements int             // number of elements in notifications

	running struct {
		stopped        error                      // why the operation stopped sending; nil if it did not
		unitChecked    bool                       // the client belongs to the operation's unit, as far as is known
		mustReadUnit   bool                       // an answer may have come from another unit
		journaled      bool                       // the journal has the whole operation and every fact until now
		journaledFacts int                        // number of facts that the journal has
		unjournaled    []ledger.Fact              // facts of Resume, which the continued journal does not have yet
		events         map[string]int             // ids of the requests, by the ids of their events
		derived        map[ledger.What]*Operation // operations of Retry and Undo that were not returned, because the journal failed
		named          map[int]*pairCount         // what notifications have named, by the id of the request
	}
}

// Progress counts the requests and the pairs of an operation. Each pair is in Pairs, and in
// exactly one of Succeeded, Failed, Unconfirmed and Unsent, as in the [Report].
type Progress struct {
	Requests    int `json:"requests"` // requests that are planned so far; splitting and sending again add requests
	Accepted    int `json:"accepted"` // requests that the service accepted as an event
	Finished    int `json:"finished"` // requests whose pairs all have their final outcome
	Pairs       int `json:"pairs"`
	Succeeded   int `json:"succeeded"` // pairs
	Failed      int `json:"failed"`
	Unconfirmed int `json:"unconfirmed"`
	Unsent      int `json:"unsent"`
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
	op, err := c.planOperation(ctx, k, fillTables, opts)
	if err != nil || op.opts.planOnly {
		return op, err
	}
	op.sendAll(ctx)
	return op, nil
}

// planOperation returns an operation whose requests are queued.
func (c *Client) planOperation(ctx context.Context, k kind, fillTables func(*tables) error, opts []OperationOption) (*Operation, error) {
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
	// The operation must know its unit before anything is saved or sent: otherwise another
	// unit's client could continue it.
	if op.unit = c.knownUnit(); op.unit == "" {
		config, err := c.Config.ClientConfig(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the organizational unit for %s: %w", k, err)
		}
		op.unit = config.UID
	}
	op.running.unitChecked = true
	rules := ledger.Rules{Stall: c.opts.stallTime, Lag: c.opts.pollInterval, Bisect: op.opts.bisect}
	if op.tables.listsShowAbsence() {
		rules.ResendOverdue, rules.ResendLost = op.opts.resendOverdue, op.opts.resendLost
	}
	op.ledger = ledger.New(rules, op.tables.buildParts(op.tables.info.limits(limits)), time.Now())
	return op, nil
}

// newOperation returns an operation without tables and ledger.
func (c *Client) newOperation(k kind, opts []OperationOption) (*Operation, error) {
	op := &Operation{client: c, id: rand.Text(), copy: c.claims.copies.Add(1), tables: tables{kind: k, info: kinds[k]}}
	op.running.events, op.running.named = map[string]int{}, map[int]*pairCount{}
	op.running.derived = map[ledger.What]*Operation{}
	for _, o := range opts {
		if o == nil {
			return nil, invalidf("an OperationOption is nil")
		}
		if err := o(&op.opts); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
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

// UnmarshalJSON returns an error: an operation needs a client. Use [Client.Resume].
func (op *Operation) UnmarshalJSON([]byte) error {
	return invalidf("an Operation is restored with Client.Resume, not from JSON")
}

// ID returns the id of the operation. Resuming an operation keeps its id.
func (op *Operation) ID() string { return op.id }

// Kind returns the kind of the change. It is the path of the endpoint, for example
// "assets/associate".
func (op *Operation) Kind() string { return string(op.tables.kind) }

// Unit returns the uId of the organizational unit that the operation belongs to. It is known
// before anything is sent. It is "" if the service sends none.
func (op *Operation) Unit() string { return op.unit }

// requests returns the requests as they are now, by id, and why nothing more is sent.
func (op *Operation) requests() ([]*ledger.Request, ledger.Reason) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.ledger == nil {
		return nil, ""
	}
	return append([]*ledger.Request(nil), op.ledger.Requests()...), op.ledger.Halted()
}

// Plan counts all requests and pairs of the operation, sent or not.
func (op *Operation) Plan() Plan {
	plan := Plan{}
	requests, _ := op.requests()
	for _, r := range requests {
		if r.Phase == ledger.Replaced {
			continue
		}
		plan.Requests++
		plan.Pairs += r.Len()
		if len(op.tables.assets) == 0 {
			continue
		}
		if plan.Assets == nil {
			plan.Assets = map[AssetID]int{}
		}
		for _, a := range r.Assets {
			plan.Assets[op.tables.assets[a]] += len(r.Users) + len(r.Devices)
		}
	}
	return plan
}

// EventIDs returns the ids of the events that the service has created for the
// operation so far, in the order of the operation's requests. It includes the events of
// requests whose pairs were sent again.
func (op *Operation) EventIDs() []string {
	var ids []string
	requests, _ := op.requests()
	for _, r := range requests {
		if r.Event != "" {
			ids = append(ids, r.Event)
		}
	}
	return ids
}

// Progress returns the current counts of requests and pairs.
func (op *Operation) Progress() Progress {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.progress()
}

// progress is Progress for a caller that holds op.mu.
func (op *Operation) progress() Progress {
	if op.ledger == nil {
		return Progress{}
	}
	c := op.ledger.Counts()
	return Progress{c.Requests, c.Accepted, c.Settled, c.Pairs, c.Succeeded, c.Failed, c.Unconfirmed, c.Unsent}
}

// Retry plans a new [Operation] with the pairs that failed in this one. It sends nothing:
// call Wait on the new operation. Pairs that are unsent are not included; Wait of this
// operation sends them.
//
// The operation must be at its end: every pair has its final outcome (see [Operation.Next]).
// Otherwise the error is [ErrUnfinished]. If no pair failed, or if the failed pairs are with
// another operation already, the error is [ErrInvalid]: each pair is handed over once. Save the
// new operation, or give it [WithJournal], before you drop it or the program can end.
func (op *Operation) Retry(ctx context.Context, opts ...OperationOption) (*Operation, error) {
	return op.handOver(ctx, op.tables.kind, ledger.Failed, ledger.Retried, opts)
}

// Undo plans a new [Operation] that does the inverse for the pairs that succeeded in this one.
// It sends nothing: call Wait on the new operation. Associate and Disassociate of assets are
// the inverse of each other. The inverse of associating subscriptions is disassociating them,
// and the inverse of creating users is retiring them. For any other kind, or if no pair
// succeeded, the error is [ErrInvalid].
//
// As with [Operation.Retry], the operation must be at its end, and its pairs are handed over
// once. If pairs were sent again ([WithResendOverdue], [WithResendLost]), the error is also
// [ErrUnfinished] while the first request may still be carried out: it would bring back what the
// new operation removes.
//
// Undo also removes what existed before the operation. Associating an asset that
// is already associated is a success. Creating a user is a success too, if the
// result of the request is unknown and reading back shows the user.
func (op *Operation) Undo(ctx context.Context, opts ...OperationOption) (*Operation, error) {
	inverse := op.tables.info.inverse
	if inverse == "" {
		return nil, invalidf("%s has no inverse", op.tables.kind)
	}
	return op.handOver(ctx, inverse, ledger.Succeeded, ledger.Undone, opts)
}

// handOver plans a new operation of kind k with the pairs whose outcome is want, and records
// that they are with it.
func (op *Operation) handOver(ctx context.Context, k kind, want ledger.Outcome, what ledger.What, opts []OperationOption) (*Operation, error) {
	if _, more := op.Next(); more {
		return nil, fmt.Errorf("%s: %w", op.tables.kind, ErrUnfinished)
	}
	done, err := op.carry(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	l := op.ledger                                     // only this call changes it
	if kept := op.running.derived[what]; kept != nil { // the last call could not write the journal
		delete(op.running.derived, what)
		return kept, nil
	}
	if what == ledger.Undone {
		if err := op.endDoubts(ctx); err != nil {
			return nil, err
		}
	}
	if other := map[ledger.What]string{ledger.Retried: l.Retried(), ledger.Undone: l.Undone()}[what]; other != "" {
		return nil, invalidf("the pairs were handed over to operation %s already: resume it, or start a new change with the pairs of the report", other)
	}
	derived, err := op.client.planOperation(ctx, k, func(t *tables) error {
		t.renewing = op.tables.renewing
		t.deferred = op.tables.deferred && k == op.tables.kind
		for _, r := range l.Requests() {
			for i := range r.Len() {
				if r.Phase == ledger.Settled && r.Outcome(i) == want {
					t.addPairOf(&op.tables, r.Pair(i))
				}
			}
		}
		if len(t.pairs) == 0 {
			return invalidf("no pair of the operation has %s", want)
		}
		return nil
	}, opts)
	if err != nil {
		return nil, err
	}
	if derived.unit != op.unit {
		return nil, fmt.Errorf("%s: %w", op.tables.kind, ErrOtherUnit)
	}
	// The new operation is in its journal before this one gives the pairs away, so that a crash
	// loses none.
	if err := derived.startJournal(ctx); err != nil {
		return nil, err
	}
	if err := op.record(ctx, ledger.Fact{What: what, At: time.Now(), To: derived.id}); err != nil {
		op.running.derived[what] = derived // for the next call: the ledger has given the pairs away
		return nil, err
	}
	return derived, nil
}

// endDoubts returns [ErrUnfinished] if an earlier request for a pair that succeeded may still be
// carried out: it would bring back what an Undo removes. It polls the events of such requests.
func (op *Operation) endDoubts(ctx context.Context) error {
	now := time.Now()
	for _, r := range op.ledger.Requests() {
		if r.Phase != ledger.Replaced || !r.Open {
			continue
		}
		result, err := op.client.polls.poll(ctx, r.Event)
		if err != nil {
			return err
		}
		if result.status != nil && result.status.finished() {
			if err := op.record(ctx, op.ended(r, result.status, ledger.Fact{Request: r.ID, At: now, Aged: r.Aged(now)})); err != nil {
				return err
			}
		}
	}
	for _, r := range op.ledger.Requests() {
		if r.Phase == ledger.Settled && r.Has(ledger.Succeeded) && !op.ledger.IsCertain(r.ID, r.Aged(now)) {
			return fmt.Errorf("%s: %w: an earlier request for a pair may still be carried out", op.tables.kind, ErrUnfinished)
		}
	}
	return nil
}

// savedOperation is the saved form of an operation.
type savedOperation struct {
	Version      int             `json:"version"`
	ID           string          `json:"id"`
	Kind         kind            `json:"kind"`
	Unit         string          `json:"uId,omitzero"`
	Assets       []AssetID       `json:"assets,omitzero"`
	Users        []string        `json:"users,omitzero"`
	Devices      []string        `json:"devices,omitzero"`
	UserRequests []UserRequest   `json:"userRequests,omitzero"`
	Renewing     bool            `json:"renewing,omitzero"`
	Deferred     bool            `json:"deferred,omitzero"`
	Ledger       json.RawMessage `json:"ledger"`
}

// Save returns the current state of the operation as JSON, without secrets. Store it, and
// pass it to [Client.Resume] to continue the operation. Save can be called at any time, also
// from another goroutine while the operation runs. If a request is being sent at that moment,
// its result is unknown after [Client.Resume]. Only this SDK reads the form.
//
// A saved operation contains only what happened before it was saved. Do not resume it if the
// operation went on after that: save it again, or use [WithJournal].
func (op *Operation) Save() ([]byte, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.saved()
}

// saved is Save for a caller that holds op.mu.
func (op *Operation) saved() ([]byte, error) {
	if op.ledger == nil {
		return nil, errZeroOperation
	}
	state, err := json.Marshal(op.ledger)
	if err != nil {
		return nil, err
	}
	t := &op.tables
	return json.Marshal(savedOperation{
		Version: savedVersion, ID: op.id, Kind: t.kind, Unit: op.unit,
		Assets: t.assets, Users: t.users, Devices: t.devices, UserRequests: t.userRequests,
		Renewing: t.renewing, Deferred: t.deferred, Ledger: state,
	})
}

// errZeroOperation is the error of an Operation that no method of a client has made.
var errZeroOperation = fmt.Errorf("%w: the Operation was not made by a Client", ErrInvalid)
