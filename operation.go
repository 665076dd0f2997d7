package appsandbooks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/appsandbooks/appsandbooks/internal/transport"
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

	journaling sync.Mutex // keeps changes and their journal entries in one order; taken before mu
	unreadable time.Time  // since then reading back has failed; zero when it did not
	journaled  bool       // the journal has the whole operation, without a gap; guarded by journaling
	continues  bool       // the journal has all but what Resume revised; guarded by journaling
	revived    []*part    // revised by Resume

	mu       sync.Mutex
	unit     string          // UID of the organizational unit; "" until an answer showed it
	strange  bool            // resumed, or met another unit: asks whose the client is before it sends
	ceiling  *batch.Limits   // smaller than the service says its limits are; nil when it was not wrong
	events   map[string]bool // that answers have named
	told     []*Notification // by Notify, and not looked at yet
	parts    []*part         // never removed; index = id
	halt     error           // why sending stopped
	progress Progress
}

// kind is what an operation does: the path of its endpoint.
type kind string

const (
	associateAssets           kind = "assets/associate"
	disassociateAssets        kind = "assets/disassociate"
	revokeAssets              kind = "assets/revoke"
	createUsers               kind = "users/create"
	updateUsers               kind = "users/update"
	retireUsers               kind = "users/retire"
	associateSubscriptions    kind = "subscriptions/associate"
	disassociateSubscriptions kind = "subscriptions/disassociate"
)

// urlKeys are the keys of the service configuration's urls.
var urlKeys = map[kind]string{
	associateAssets: "associateAssets", disassociateAssets: "disassociateAssets", revokeAssets: "revokeAssets",
	createUsers: "createUsers", updateUsers: "updateUsers", retireUsers: "retireUsers",
}

// event is the type of the kind's events.
func (k kind) event() EventType {
	_, verb, _ := strings.Cut(string(k), "/")
	return EventType(strings.ToUpper(verb))
}

var eventTypes = []EventType{EventAssociate, EventDisassociate, EventRevoke, EventCreate, EventUpdate, EventRetire}

func (k kind) limits(l Limits) batch.Limits {
	switch k {
	case associateAssets, disassociateAssets:
		return batch.Limits{Assets: l.MaxAssets, Users: l.MaxClientUserIDs, Devices: l.MaxSerialNumbers}
	case revokeAssets:
		return batch.Limits{Assets: 1, Users: l.MaxRevokeClientUserIDs, Devices: l.MaxRevokeSerialNumbers}
	case associateSubscriptions, disassociateSubscriptions:
		return batch.Limits{Assets: l.MaxSubscriptions, Users: l.MaxSubscriptionClientUserIDs, Devices: 1}
	default:
		return batch.Limits{Assets: 1, Users: l.MaxUsers, Devices: 1}
	}
}

// OperationOption changes how an operation is carried out.
type OperationOption func(*operationOptions)

type operationOptions struct {
	planOnly bool
	bisect   bool
	resend   bool
	journal  Journal
	onward   bool // the journal is the one that Resume was given
	progress func(Progress)
}

// PlanOnly plans the operation without sending anything: look at
// [Operation.Plan], then call Submit or Wait, or drop it.
func PlanOnly() OperationOption { return func(o *operationOptions) { o.planOnly = true } }

// WithBisection searches for the bad items of a request that was refused
// without naming them, by sending halves of it: at most 64 more requests for
// each that was refused.
func WithBisection() OperationOption { return func(o *operationOptions) { o.bisect = true } }

// WithResend sends again, up to three times, what reading back did not find after a request
// whose fate is unknown, or whose event stayed PENDING beyond the stall time.
// Apple advises the latter. If the first request is still carried out later, the
// pairs are the same, but each such request is an event more. Revoke and the
// deferred Disassociate of subscriptions are never sent again.
func WithResend() OperationOption { return func(o *operationOptions) { o.resend = true } }

// maxResends bounds WithResend, for each pair.
const maxResends = 3

// WithProgress calls f after each step, never from two goroutines at once. It
// must return quickly.
func WithProgress(f func(Progress)) OperationOption {
	return func(o *operationOptions) { o.progress = f }
}

// WithJournal makes the operation survive a crash: see [Journal].
func WithJournal(j Journal) OperationOption { return func(o *operationOptions) { o.journal = j } }

// WithContinuedJournal is WithJournal for an operation that [Client.Resume] takes up
// from that very journal: it goes on behind the entries that are there, instead
// of beginning again with the whole operation. It is for journals whose entries
// are kept whole or not at all, such as rows of a table.
func WithContinuedJournal(j Journal) OperationOption {
	return func(o *operationOptions) { o.journal, o.onward = j, true }
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
	Targets  int
	// Assets counts the pairs by asset: the licences an association needs at most.
	Assets map[AssetID]int
}

// part is one request and what became of it.
type part struct {
	id int
	batch.Part
	state    partState
	eventID  string
	at       time.Time // accepted; or, of an unknown fate, tried
	nextLook time.Time // at its event; the zero time is at once
	floor    time.Time // never before this one
	asking   bool      // a look is under way
	failing  time.Time // since then the looks have failed; zero when the last did not
	resent   int       // how often its pairs were sent before, with unknown fate
	doubt    error     // of a part that sends again: why it is not known what became of the pairs before
	checked  bool      // read back already
	splits   int       // how often it was split by limits to get here
	trials   *int      // requests left for bisection, shared by its pieces
	verdict
	odd  map[int]verdict // of pairs that differ from the part's verdict; replaced, never changed
	seen *coverage       // by notifications
}

type partState string

const (
	partPlanned    partState = "planned"
	partSending    partState = "sending"    // journaled before it is sent
	partSubmitted  partState = "submitted"  // has an event
	partUnknown    partState = "unknown"    // sent, or stalled: fate unknown, to be read back
	partFinished   partState = "finished"   // has its verdict
	partSuperseded partState = "superseded" // replaced by other parts
)

// verdict is the outcome of a pair, or of all pairs of a part.
type verdict struct {
	outcome OutcomeStatus
	err     error
}

func (v verdict) doubted() verdict {
	if v.outcome == OutcomeFailed {
		v.outcome = OutcomeUnconfirmed
	}
	return v
}

// pair is the verdict of a pair.
func (p *part) pair(i int) verdict {
	if v, ok := p.odd[i]; ok {
		return v
	}
	return p.verdict
}

// start plans a change and, unless told otherwise, sends it.
func (c *Client) start(ctx context.Context, k kind, fill func(*tables) error, opts []OperationOption) (*Operation, error) {
	op := c.newOperation(k, opts)
	if err := fill(&op.tables); err != nil {
		return nil, err
	}
	limits, err := c.Config.limits(ctx)
	if err != nil {
		return nil, fmt.Errorf("the limits for %s: %w", k, err)
	}
	for _, b := range op.tables.cut(k.limits(limits)) {
		op.addPart(&part{Part: b})
	}
	if op.opts.planOnly {
		return op, nil
	}
	return op, op.Submit(ctx)
}

func (c *Client) newOperation(k kind, opts []OperationOption) *Operation {
	op := &Operation{client: c, id: rand.Text(), tables: tables{kind: k}, busy: make(chan struct{}, 1), events: map[string]bool{}}
	for _, o := range opts {
		if o != nil {
			o(&op.opts)
		}
	}
	op.busy <- struct{}{}
	return op
}

// unsend returns a part that was certainly not accepted to the plan. The
// caller holds op.mu.
func (op *Operation) unsend(p *part, why error) {
	p.state, p.verdict = partPlanned, p.unsent(&notSentError{why})
}

// unsent is the verdict of a part that is not sent: nothing happened to its
// pairs, unless an earlier request had them.
func (p *part) unsent(why error) verdict {
	if p.doubt != nil {
		return verdict{OutcomeUnconfirmed, p.doubt}
	}
	return verdict{OutcomeFailed, why}
}

// addPart adds a planned part. The caller holds op.mu, or is alone.
func (op *Operation) addPart(p *part) {
	p.id, p.state, p.verdict = len(op.parts), partPlanned, p.unsent(ErrNotSent)
	op.parts = append(op.parts, p)
	op.progress.Requests++
	op.progress.Pairs += p.Len()
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
	plan := Plan{Targets: len(op.tables.users) + len(op.tables.devices)}
	for _, p := range op.parts {
		if p.state == partSuperseded {
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

// Submit sends what has not been sent, several requests at a time. It returns
// when all are answered; an error only if no request of the operation was ever
// accepted or is of unknown fate, so that nothing changed. Everything else is
// in the [Report].
func (op *Operation) Submit(ctx context.Context) error {
	if err := op.begin(ctx); err != nil {
		return err
	}
	defer op.end()
	return op.submit(ctx)
}

// begin takes the right to change parts, allows sending again, and makes sure
// that the journal has the plan.
func (op *Operation) begin(ctx context.Context) error {
	select {
	case <-op.busy:
	case <-ctx.Done():
		return contextError(ctx)
	}
	op.mu.Lock()
	op.halt = nil
	op.mu.Unlock()
	if op.client.Config.cached.Load() == nil {
		// An operation that was resumed needs no limits to go on, but the pace
		// and the URLs. Whether they can be read is not what its caller asks.
		_, _ = op.client.Config.limits(ctx)
	}
	if err := op.journalStart(ctx); err != nil {
		op.end()
		return err
	}
	return nil
}

// sameUnit makes sure, before something is sent, that the client is still that of
// the operation's organizational unit: elsewhere its changes would be somebody
// else's.
func (op *Operation) sameUnit(ctx context.Context) error {
	op.mu.Lock()
	known := !op.strange || op.unit == ""
	op.mu.Unlock()
	if known {
		return nil
	}
	config, err := op.client.Config.Client(ctx)
	if err != nil {
		return fmt.Errorf("whose operation it is: %w", err)
	}
	if err := op.ofUnit(config.UID); err != nil {
		return err
	}
	op.mu.Lock()
	op.strange = false
	op.mu.Unlock()
	return nil
}

// ofUnit compares an answer's UID with the operation's, which is that of the
// first answer that has one.
func (op *Operation) ofUnit(uid string) error {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.unit == "" {
		op.unit = uid
	}
	if uid != "" && uid != op.unit {
		return fmt.Errorf("%s: %w", op.tables.kind, ErrOtherUnit)
	}
	return nil
}

func (op *Operation) end() { op.busy <- struct{}{} }

// parallelWrites is how many requests of an operation are on their way at
// once. Apple advises few large requests over many parallel ones.
const parallelWrites = 4

func (op *Operation) submit(ctx context.Context) error {
	if err := op.sameUnit(ctx); err != nil {
		op.stop(err)
	}
	for {
		planned := op.inState(partPlanned)
		if len(planned) == 0 || op.halted() != nil {
			break
		}
		var group errgroup.Group
		group.SetLimit(parallelWrites)
		for _, p := range planned {
			if ctx.Err() != nil {
				op.stop(contextError(ctx))
			}
			if op.halted() != nil {
				break
			}
			group.Go(func() error {
				op.send(ctx, p)
				return nil
			})
		}
		_ = group.Wait()
	}
	op.explainUnsent()
	return op.refused()
}

// explainUnsent tells the parts that were not even tried why.
func (op *Operation) explainUnsent() {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.halt == nil {
		return
	}
	why := &notSentError{op.halt} // one for all: reports tell reasons apart by it
	for _, p := range op.parts {
		if p.state == partPlanned {
			p.verdict = p.unsent(why)
		}
	}
}

func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// refused is the error of Submit: not nil when nothing of the operation got through.
func (op *Operation) refused() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	var reasons []error
	for _, p := range op.parts {
		if p.eventID != "" || p.doubt != nil {
			return nil
		}
		switch p.state {
		case partPlanned, partSuperseded:
		case partFinished:
			if p.err == nil || p.has(OutcomeUnconfirmed) {
				return nil
			}
			if len(reasons) < 8 {
				reasons = append(reasons, p.err)
			}
		default:
			return nil
		}
	}
	if op.halt != nil {
		reasons = append(reasons, op.halt)
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%s: nothing was accepted: %w", op.tables.kind, errors.Join(reasons...))
}

func (op *Operation) inState(s partState) []*part {
	op.mu.Lock()
	defer op.mu.Unlock()
	var parts []*part
	for _, p := range op.parts {
		if p.state == s {
			parts = append(parts, p)
		}
	}
	return parts
}

func (op *Operation) halted() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.halt
}

// stop ends the sending; the first reason counts.
func (op *Operation) stop(err error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.strange = op.strange || errors.Is(err, ErrOtherUnit)
	if op.halt == nil {
		op.halt = err
	}
}

// send sends one part and records what became of it.
func (op *Operation) send(ctx context.Context, p *part) {
	if op.halted() != nil {
		return
	}
	if pieces := op.underCeiling(p); len(pieces) > 1 { // what the service has refused for its size is not tried again
		if err := op.update(ctx, p, func() { op.replace(p, pieces) }); err != nil {
			op.stop(err)
		}
		return
	}
	if err := op.update(ctx, p, func() { p.state, p.verdict = partSending, verdict{OutcomeUnconfirmed, ErrPending} }); err != nil {
		// Without the journal's word that it is being sent, it must not be sent.
		op.stop(err)
		_ = op.update(ctx, p, func() { op.unsend(p, err) })
		return
	}
	var answer struct {
		EventID string `json:"eventId"`
		Meta
	}
	err := op.client.do(ctx, request{
		method: "POST", path: string(op.tables.kind), key: urlKeys[op.tables.kind],
		in: op.tables.body(p.Part), class: transport.Write, grace: 5 * time.Second,
	}, &answer)
	if err == nil {
		err = op.checkEvent(answer.EventID)
	}
	if err != nil {
		op.sendFailed(ctx, p, err)
		return
	}
	if other := op.ofUnit(answer.UID); other != nil {
		op.stop(other)
		_ = op.update(ctx, p, func() { // it happens where nobody asked for it
			p.eventID, p.at = answer.EventID, time.Now()
			op.progress.Accepted++
			op.finish(p, verdict{OutcomeUnconfirmed, other}, nil)
			p.checked = true
		})
		return
	}
	err = op.update(ctx, p, func() {
		p.state, p.eventID, p.at = partSubmitted, answer.EventID, time.Now()
		p.nextLook = p.at.Add(op.client.firstLook())
		p.verdict = verdict{OutcomeUnconfirmed, ErrPending}
		op.progress.Accepted++
	})
	if err != nil {
		op.stop(err)
	}
}

// checkEvent refuses what cannot be the event of a new request: what became of
// the request is not known then.
func (op *Operation) checkEvent(id string) error {
	const longest = 512 // it becomes a part of URLs
	op.mu.Lock()
	defer op.mu.Unlock()
	var why string
	switch {
	case id == "":
		why = "the answer names no event"
	case len(id) > longest:
		why = "the answer names an event by a text that is no id"
	case op.events[id]:
		why = "the answer names the event of an earlier request"
	default:
		op.events[id] = true
		return nil
	}
	return &Error{Method: "POST", Path: string(op.tables.kind), StatusCode: 200, Attempts: 1, Ambiguous: true, Message: why}
}

// sendFailed decides what a request that was not accepted means for its pairs.
func (op *Operation) sendFailed(ctx context.Context, p *part, err error) {
	var e *Error
	isError := errors.As(err, &e)
	apple := isError && e.Number != 0
	var after func()
	switch {
	case errors.Is(err, ErrAmbiguous):
		after = func() {
			p.state, p.at, p.verdict = partUnknown, time.Now(), verdict{OutcomeUnconfirmed, err}
			p.nextLook = p.at.Add(op.client.opts.pollInterval)
		}
	case apple && IsLimit(err):
		after = op.splitByLimits(ctx, p, err)
	case !apple && (!isError || e.StatusCode/100 != 4), IsAuth(err), IsForbidden(err), IsRetryable(err):
		// Not accepted for a reason that holds for the other parts as well.
		op.stop(err)
		after = func() { op.unsend(p, err) }
	case apple && e.Info != nil && !e.Info.empty():
		after = op.splitByNames(p, e)
	case apple && op.opts.bisect && p.Len() > 1:
		after = op.bisect(p, err)
	default:
		after = func() { op.finish(p, verdict{OutcomeFailed, err}, nil) }
	}
	if err := op.update(ctx, p, after); err != nil {
		op.stop(err)
	}
}

// maxSplits bounds splitting by limits that were read, for each pair.
const maxSplits = 4

// splitByLimits cuts a part again, by limits read now. If by these the service
// should have taken it, they are behind the times: what is too large is halved,
// and so is what has not been sent yet.
func (op *Operation) splitByLimits(ctx context.Context, p *part, cause error) func() {
	fresh, err := op.client.Config.refresh(ctx)
	if err != nil {
		op.stop(err)
		return func() { op.unsend(p, err) }
	}
	limits := op.tables.kind.limits(fresh.config.Limits.orDefaults())
	pieces := batch.Split(p.Part, limits)
	if p.splits >= maxSplits || len(pieces) == 1 {
		pieces = batch.Split(p.Part, op.lowerCeiling(p, limits, cause))
	}
	if len(pieces) == 1 { // and so small a request is not too large: there is something else about it
		op.stop(cause)
		return func() { op.finish(p, verdict{OutcomeFailed, cause}, nil) }
	}
	return func() {
		op.replace(p, pieces)
		for _, piece := range op.parts[len(op.parts)-len(pieces):] {
			piece.splits++
		}
	}
}

// lowerCeiling makes half of the size of a part the largest that is sent.
func (op *Operation) lowerCeiling(p *part, limits batch.Limits, cause error) batch.Limits {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.ceiling != nil {
		limits = *op.ceiling
	}
	lower := func(limit *int, n int) { *limit = min(*limit, max(1, n/2)) }
	switch {
	case errors.Is(cause, ErrTooManyAssets), errors.Is(cause, ErrTooManySubscriptions) && len(p.Assets) >= len(p.Users):
		lower(&limits.Assets, len(p.Assets))
	case errors.Is(cause, ErrTooManySerialNumbers):
		lower(&limits.Devices, len(p.Devices))
	default:
		lower(&limits.Users, len(p.Users))
	}
	op.ceiling = &limits
	return limits
}

// underCeiling are the pieces of a part that are no larger than what the service
// has refused before.
func (op *Operation) underCeiling(p *part) []batch.Part {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.ceiling == nil {
		return nil
	}
	return batch.Split(p.Part, *op.ceiling)
}

// splitByNames fails the pairs that a refusal names, and sends the rest again.
func (op *Operation) splitByNames(p *part, e *Error) func() {
	bad, rest := op.tables.named(p.Part, e)
	if bad.Len() == 0 {
		return func() { op.finish(p, verdict{OutcomeFailed, e}, nil) }
	}
	return func() {
		op.replace(p, append(rest, bad))
		op.finish(op.parts[len(op.parts)-1], verdict{OutcomeFailed, e}, nil)
	}
}

// bisect cuts a part in two, so that the bad items end up in ever smaller ones.
func (op *Operation) bisect(p *part, cause error) func() {
	op.mu.Lock()
	if p.trials == nil {
		p.trials = new(int)
		*p.trials = 64
	}
	enough := *p.trials >= 2
	if enough {
		*p.trials -= 2
	}
	op.mu.Unlock()
	if !enough {
		return func() { op.finish(p, verdict{OutcomeFailed, cause}, nil) }
	}
	half := func(n int) int { return max(1, (n+1)/2) }
	l := batch.Limits{Assets: len(p.Assets), Users: max(1, len(p.Users)), Devices: max(1, len(p.Devices))}
	if targets := max(len(p.Users), len(p.Devices)); targets > 1 {
		l.Users, l.Devices = half(targets), half(targets)
	} else if len(p.Assets) > 1 {
		l.Assets = half(len(p.Assets))
	} else { // one asset, one user, one device
		return func() {
			op.replace(p, []batch.Part{{Assets: p.Assets, Users: p.Users}, {Assets: p.Assets, Devices: p.Devices}})
		}
	}
	return func() { op.replace(p, batch.Split(p.Part, l)) }
}

// replace puts pieces in the place of a part. The caller holds op.mu.
func (op *Operation) replace(p *part, pieces []batch.Part) {
	p.state = partSuperseded
	op.progress.Requests--
	op.progress.Pairs -= p.Len()
	if p.eventID != "" {
		op.progress.Accepted--
	}
	for _, b := range pieces {
		op.addPart(&part{Part: b, splits: p.splits, trials: p.trials, doubt: p.doubt, resent: p.resent})
	}
}

// finish gives a part its verdict. The caller holds op.mu.
//
// What was sent twice can fail because the first time succeeded after all:
// such failures stay open until they are read back.
func (op *Operation) finish(p *part, v verdict, odd map[int]verdict) {
	if p.doubt != nil && !p.checked {
		v = v.doubted()
		for i := range odd {
			odd[i] = odd[i].doubted()
		}
	}
	op.count(p, -1)
	p.state, p.verdict, p.odd, p.seen, p.asking = partFinished, v, odd, nil, false
	op.count(p, 1)
}

// count adds (or takes away) what a finished part adds to the progress.
func (op *Operation) count(p *part, sign int) {
	if p.state != partFinished {
		return
	}
	op.progress.Finished += sign
	add := func(s OutcomeStatus, n int) {
		switch s {
		case OutcomeSucceeded:
			op.progress.Succeeded += n
		case OutcomeFailed:
			op.progress.Failed += n
		case OutcomeUnconfirmed:
			op.progress.Unconfirmed += n
		}
	}
	add(p.outcome, sign*(p.Len()-len(p.odd)))
	for _, v := range p.odd {
		add(v.outcome, sign)
	}
}

// update changes parts, then tells the progress callback and the journal, whose
// error it returns.
func (op *Operation) update(ctx context.Context, p *part, change func()) error {
	op.journaling.Lock()
	defer op.journaling.Unlock()
	op.mu.Lock()
	before := len(op.parts)
	change()
	entry := op.entry(p, op.parts[before:])
	progress := op.progress
	op.mu.Unlock()
	if op.opts.progress != nil {
		op.opts.progress(progress)
	}
	if entry == nil {
		return nil
	}
	return op.write(ctx, entry)
}

// Wait carries the operation to its end: it sends what was not sent, waits for
// all events together, and reads back what they leave open. The report is never
// nil; it comes with an error, an [*OperationError], unless every pair
// succeeded. When the context ends, the report is the state so far and the error
// wraps the context's; Wait can be called again.
//
// An event is first asked for early (see [WithPolling]), then at the interval,
// or when notifications ([Client.Notify]) have named all of its pairs. One that
// an earlier Wait gave up as [ErrStalled] gets another look.
func (op *Operation) Wait(ctx context.Context) (*Report, error) {
	if err := op.begin(ctx); err != nil {
		return op.outcome(err)
	}
	defer op.end()
	if err := op.lookAgain(ctx); err != nil {
		return op.outcome(err)
	}
	hints := op.client.hints.listen()
	defer hints.close()
	for {
		next, err := op.step(ctx, hints)
		if next.IsZero() || err != nil {
			return op.outcome(err)
		}
		if err := hints.wait(ctx, time.Until(next)); err != nil {
			return op.outcome(contextError(ctx))
		}
	}
}

// lookAgain asks once more for the events that were given up, if it is time.
func (op *Operation) lookAgain(ctx context.Context) error {
	for _, p := range op.inState(partFinished) {
		stalled := p.outcome == OutcomeUnconfirmed && errors.Is(p.err, ErrStalled)
		for _, v := range p.odd {
			stalled = stalled || v.outcome == OutcomeUnconfirmed && errors.Is(v.err, ErrStalled)
		}
		if p.eventID == "" || !stalled || p.floor.After(time.Now()) {
			continue
		}
		// Recorded before it is asked, as ever.
		if err := op.update(ctx, p, func() { p.floor, _ = op.client.nextLook(nil) }); err != nil {
			return err
		}
		status, err := op.client.Status.get(ctx, p.eventID, transport.Poll)
		switch {
		case err == nil && status.finished():
			v, odd := op.tables.judge(p.Part, status)
			err = op.update(ctx, p, func() {
				p.checked = false
				op.finish(p, v, odd)
			})
		case err == nil || errors.Is(err, ErrEventNotFound) || ctx.Err() == nil && op.client.passing(err):
			err = nil // what is known stays
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Notify tells the operation of a notification that came before it was resumed,
// and that was kept: the next Step, or Wait, takes it into account. For those
// that come meanwhile there is [Client.Notify].
func (op *Operation) Notify(n *Notification) {
	if n == nil || n.EventID() == "" {
		return
	}
	op.mu.Lock()
	op.told = append(op.told, n)
	op.mu.Unlock()
}

// Step does what is due now (sending, looking at events, reading back) and
// says when the next step is due: the zero time when the operation is at its
// end. It is Wait for callers who do not want to sleep, such as a job engine that
// marshals the operation and takes it up later.
func (op *Operation) Step(ctx context.Context) (next time.Time, err error) {
	if err := op.begin(ctx); err != nil {
		return time.Time{}, err
	}
	defer op.end()
	hints := op.client.hints.listen()
	defer hints.close()
	return op.step(ctx, hints)
}

// outcome is the end of Wait.
func (op *Operation) outcome(err error) (*Report, error) {
	r := op.Report()
	if err == nil && r.Succeeded == r.Total {
		return r, nil
	}
	return r, &OperationError{Report: r, Cause: err}
}

func (op *Operation) step(ctx context.Context, hints *listener) (time.Time, error) {
	if op.halted() == nil && len(op.inState(partPlanned)) > 0 {
		if err := op.submit(ctx); err != nil {
			return time.Time{}, err
		}
	}
	if err := op.look(ctx, hints); err != nil {
		return time.Time{}, err
	}
	if ctx.Err() != nil {
		return time.Time{}, contextError(ctx)
	}
	if err := op.settle(ctx); err != nil {
		return time.Time{}, err
	}
	var next time.Time
	op.mu.Lock()
	defer op.mu.Unlock()
	for _, p := range op.parts {
		due := p.nextLook
		switch {
		case p.state == partPlanned && op.halt == nil: // sent again
			due = time.Now()
		case p.state != partSubmitted && p.state != partUnknown && !p.open():
			continue
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if next.IsZero() {
		return next, op.halt
	}
	return next, nil
}

// looksAtOnce bounds the looks between two checks for hints.
const looksAtOnce = 16

// look asks for the status of the events that are due.
func (op *Operation) look(ctx context.Context, hints *listener) error {
	submitted := op.inState(partSubmitted)
	events := make(map[string]*part, len(submitted))
	for _, p := range submitted {
		events[p.eventID] = p
		hints.add(p.eventID)
	}
	op.mu.Lock()
	told := op.told
	op.told = nil
	op.mu.Unlock()
	for {
		for _, n := range append(told, hints.take()...) {
			if p := events[n.EventID()]; p != nil {
				op.noted(ctx, p, n)
			}
		}
		told = nil
		var due []*part
		now := time.Now()
		for _, p := range submitted {
			if p.state == partSubmitted && !p.nextLook.After(now) && len(due) < looksAtOnce {
				due = append(due, p)
			}
		}
		if len(due) == 0 {
			return nil
		}
		group, looking := errgroup.WithContext(ctx)
		group.SetLimit(parallelWrites)
		for _, p := range due {
			group.Go(func() error {
				if looking.Err() != nil {
					return nil //nolint:nilerr // what ended one look would end the others, and is told by it
				}
				return op.lookAt(ctx, p)
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return contextError(ctx)
		}
	}
}

// lookAt asks for the status of one event. Its error ends the wait.
func (op *Operation) lookAt(ctx context.Context, p *part) error {
	// Recorded before it is asked: who resumes must keep the distance, too.
	if err := op.update(ctx, p, func() { p.asking = true }); err != nil {
		return err
	}
	status, err := op.client.Status.get(ctx, p.eventID, transport.Poll)
	switch {
	case err == nil && status.finished():
		v, odd := op.tables.judge(p.Part, status)
		return op.update(ctx, p, func() { op.finish(p, v, odd) })
	case errors.Is(err, ErrEventNotFound):
		return op.update(ctx, p, func() { p.state, p.verdict = partUnknown, verdict{OutcomeUnconfirmed, err} })
	case err != nil && (ctx.Err() != nil || !op.client.passing(err)):
		_ = op.update(ctx, p, func() {
			p.asking = false
			if e := (*Error)(nil); errors.As(err, &e) && e.Attempts > 0 && e.Number == 0 {
				p.floor, p.nextLook = op.client.nextLook(nil) // the answer may have been PENDING
			}
		})
		return err
	}
	if p.seen.complete() {
		return op.finishSeen(ctx, p)
	}
	if time.Since(op.pendingSince(p, err)) >= op.client.opts.stallTime {
		stalled := fmt.Errorf("event %s: %w", printed(p.eventID), errors.Join(ErrStalled, err))
		return op.update(ctx, p, func() {
			p.state, p.verdict, p.asking = partUnknown, verdict{OutcomeUnconfirmed, stalled}, false
			p.floor, _ = op.client.nextLook(err)
		})
	}
	return op.update(ctx, p, func() {
		p.asking = false
		p.floor, p.nextLook = op.client.nextLook(err)
	})
}

// pendingSince is since when a part's event has not finished, as far as the
// looks tell: one that fails does not count from the start, for the event may
// have finished long ago.
func (op *Operation) pendingSince(p *part, err error) time.Time {
	op.mu.Lock()
	defer op.mu.Unlock()
	switch {
	case err == nil:
		p.failing = time.Time{}
		return p.at
	case p.failing.IsZero():
		p.failing = time.Now()
	}
	return p.failing
}

// noted takes in a notification of a part's event. When notifications have
// named all its pairs, the status is worth a look; if the last look is too
// recent for another, what they said is the result.
func (op *Operation) noted(ctx context.Context, p *part, n *Notification) {
	op.mu.Lock()
	if p.state != partSubmitted {
		op.mu.Unlock()
		return
	}
	complete := true
	if op.tables.kind != revokeAssets { // which cannot be counted
		if p.seen == nil {
			p.seen = newCoverage(&op.tables, p.Part)
		}
		p.seen.add(n)
		complete = p.seen.complete()
	}
	wait := time.Until(p.floor)
	if complete {
		p.nextLook = time.Now().Add(max(0, wait))
	}
	op.mu.Unlock()
	if wait > 0 && p.seen.complete() {
		if err := op.finishSeen(ctx, p); err != nil {
			op.stop(err)
		}
	}
}

func (op *Operation) finishSeen(ctx context.Context, p *part) error {
	return op.update(ctx, p, func() { op.finish(p, verdict{outcome: OutcomeSucceeded}, p.seen.failed) })
}

// Retry begins a new operation with the pairs that failed here; [PlanOnly]
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
				t.take(&op.tables, p.key(i))
			}
			return true
		})
		if len(t.pairs) == 0 {
			return invalidf("no pair of the operation is %s", want)
		}
		return nil
	}, opts)
}

// key is the pair at a place of a part.
func (p *part) key(i int) batch.Pair {
	n := len(p.Users) + len(p.Devices)
	asset := p.Assets[i/n]
	if i %= n; i < len(p.Users) {
		return batch.UserPair(asset, p.Users[i])
	}
	return batch.DevicePair(asset, p.Devices[i-len(p.Users)])
}

func formatAdamID(id int64) string { return strconv.FormatInt(id, 10) }
