package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzChains runs operations of every kind one after another on the same organizational unit,
// each with random faults and in several processes. Every report must agree with the record of
// the stand-in, and the record must have no other changes.
func FuzzChains(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { newChain(t, seed).run() })
	})
}

// A chain is a sequence of random operations on one organizational unit. It contains the unit, a
// client of the unit, and the operations so far. All random numbers come from the seed, and only
// the goroutine of the test draws them, so that a run can be repeated.
type chain struct {
	t   *testing.T
	r   *rand.Rand
	srv *appsandbookstest.Server

	limiter appsandbooks.Limiter // all processes share the limiter, because the rate is that of the unit
	client  atomic.Pointer[appsandbooks.Client]
	sends   sendLog

	assets        []appsandbooks.AssetID
	irrevocable   map[string]bool // by Adam ID; true if the asset stays with a user after a revocation
	users         []string        // client user ids; some of these users do not exist
	devices       []string
	subscriptions []int64

	last    chainOperation // the operation on which Retry and Undo are called
	history []string       // logged if the test fails
}

// A chainOperation is one of the random operations of a chain.
type chainOperation struct {
	op       *appsandbooks.Operation
	renewing bool // true if the operation associates renewing seats; only for subscriptions
}

// chance returns true with the probability p.
func (ch *chain) chance(p float64) bool { return ch.r.Float64() < p }

// seconds returns a random duration below n seconds, in whole seconds.
func (ch *chain) seconds(n int) time.Duration { return time.Duration(ch.r.IntN(n)) * time.Second }

// randomSubset returns each element of a list with probability 0.6.
func (ch *chain) randomSubset(all []string) (subset []string) {
	for _, x := range all {
		if ch.chance(0.6) {
			subset = append(subset, x)
		}
	}
	return subset
}

// logf adds a line to the history of the chain of operations. A failed test logs the history.
func (ch *chain) logf(format string, args ...any) {
	ch.history = append(ch.history, fmt.Sprintf(format, args...))
}

// newChain returns a chain on a unit with small limits, so that an operation needs many requests.
// Some assets have too few licenses. More than half of the units have notifications, and some of
// these notifications are lost.
func newChain(t *testing.T, seed uint64) *chain {
	ch := &chain{
		t: t, r: rand.New(rand.NewPCG(seed, 77)), irrevocable: map[string]bool{}, subscriptions: []int64{900, 901},
		limiter: appsandbooks.NewLimiter(),
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, line := range ch.history {
				t.Log(line)
			}
		}
	})
	r := ch.r
	h := newHandler(t, nil, appsandbooks.WithNotify(func(n *appsandbooks.Notification) { ch.c().Notify(n) }))
	limits := appsandbookstest.DefaultLimits()
	limits.MaxAssets, limits.MaxClientUserIDs, limits.MaxSerialNumbers = 1+r.IntN(4), 1+r.IntN(9), 1+r.IntN(9)
	limits.MaxUsers, limits.MaxSubscriptionClientUserIDs, limits.MaxSubscriptions = 1+r.IntN(5), 1+r.IntN(5), 1+r.IntN(2)
	limits.MaxRevokeClientUserIDs, limits.MaxRevokeSerialNumbers = 1+r.IntN(5), 1+r.IntN(5)
	options := []appsandbookstest.Option{
		appsandbookstest.WithSeed(seed),
		appsandbookstest.WithLimits(limits),
		appsandbookstest.WithPageSize(1 + r.IntN(20)),
		appsandbookstest.WithLatency(time.Duration(r.IntN(1500)) * time.Millisecond),
		appsandbookstest.WithEventDelay(ch.seconds(80)),
		appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
			Delay: ch.seconds(20), Loss: r.Float64() * 0.3, Duplicate: 0.3, Reorder: 0.3, RetryInterval: time.Minute,
		}),
		appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(h)),
	}
	for _, o := range []appsandbookstest.Option{
		appsandbookstest.WithLooseErrorInfo(), appsandbookstest.WithoutErrorInfo(), appsandbookstest.WithAsyncUserNotFound(),
	} {
		if ch.chance(0.25) {
			options = append(options, o)
		}
	}
	srv, err := appsandbookstest.NewServer(options...)
	require.NoError(t, err)
	ch.srv = srv
	t.Cleanup(ch.srv.Close)
	ch.startProcess()
	t.Cleanup(func() { ch.c().Close() })
	if ch.chance(0.6) {
		_, err := ch.c().Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h})
		require.NoError(t, err)
	}

	unit := ch.srv.Unit()
	for i := range 1 + r.IntN(4) {
		id := fmt.Sprint(100 + i)
		ch.irrevocable[id] = ch.chance(0.1)
		unit.AddAsset(appsandbookstest.Asset{AdamID: id, Total: r.IntN(40), UsersOnly: ch.chance(0.1), Irrevocable: ch.irrevocable[id]})
		ch.assets = append(ch.assets, appsandbooks.AssetID{AdamID: id})
	}
	for _, id := range ch.subscriptions {
		unit.AddSubscription(appsandbookstest.Subscription{
			AdamID: id, Status: "ACTIVE", PeriodEndDate: "2099-01-01", Total: appsandbookstest.Seats{Renewing: r.IntN(8), Expiring: r.IntN(8)},
		})
	}
	require.NoError(t, ch.c().Subscriptions.Enable(t.Context()))
	ch.users, ch.devices = names("u", 3+r.IntN(8)), names("D", r.IntN(12))
	for _, id := range ch.users {
		if !ch.chance(0.1) {
			unit.AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
		}
	}
	return ch
}

// startProcess starts a new process: the client of the chain is a new one.
func (ch *chain) startProcess() {
	if old := ch.c(); old != nil {
		old.Close()
	}
	rt := &wire{next: ch.srv.Transport(), log: &ch.sends}
	ch.client.Store(newClient(ch.t, ch.srv, appsandbooks.WithLimiter(ch.limiter), appsandbooks.WithHTTPClient(&http.Client{Transport: rt})))
}

// c returns the client of the process that is running.
func (ch *chain) c() *appsandbooks.Client { return ch.client.Load() }

// run runs one to five operations of the chain, and stops when a check has failed.
func (ch *chain) run() {
	for n := range 1 + ch.r.IntN(5) {
		ch.endFaults()
		before := ch.ledger()
		stopTimers := ch.addFaults()
		ch.runOperation(n, before)
		stopTimers()
		if ch.t.Failed() {
			return
		}
	}
	ch.checkConduct()
}

// endFaults removes all faults from the stand-in, and waits 15 minutes of virtual time, in which
// all events and notifications finish.
func (ch *chain) endFaults() {
	ch.srv.ClearFaults()
	ch.srv.Unit().HoldEvents(false)
	time.Sleep(15 * time.Minute) // virtual
}

// runOperation starts operation n of the chain, finishes it, and compares its report with the
// ledger before and after the operation.
func (ch *chain) runOperation(n int, before ledger) {
	journal := &unreliableJournal{failAt: -1}
	if ch.chance(0.3) {
		journal.failAt, journal.stores = ch.r.IntN(10), ch.r.IntN(3)
	}
	opts, journaled, resends := ch.options(journal)
	ctx, cancel := context.WithCancel(context.WithValue(ch.t.Context(), operationKey{}, fmt.Sprint(n)))
	if ch.chance(0.3) {
		time.AfterFunc(ch.seconds(100), cancel)
	}
	next, err := ch.start(ctx, opts)
	assert.NotEqual(ch.t, next.op == nil, err == nil, "an operation and the error %v", err)
	if next.op == nil {
		cancel()
		ch.logf("%d: no operation: %v", n, err)
		return
	}
	if !journaled {
		journal = nil
	}
	total := next.op.Report().Total
	var report *appsandbooks.Report
	next.op, report = ch.finish(ctx, cancel, n, next.op, journal, opts)

	progress := next.op.Progress()
	assert.Equal(ch.t, [4]int{report.Succeeded, report.Failed, report.Unconfirmed, report.Unsent},
		[4]int{progress.Succeeded, progress.Failed, progress.Unconfirmed, progress.Unsent})
	assert.Equal(ch.t, report.Total, progress.Pairs)
	ch.endFaults()
	after := ch.ledger()
	if ch.chance(0.3) { // The report must also be right when Verify reads the data after the faults have ended.
		report, err = next.op.Verify(ch.t.Context())
		ch.logf("%d: Verify after all faults: %v, %v", n, report, err)
	}
	ch.compare(next, report, total, before, after)
	if ch.chance(0.7) && !ch.t.Failed() {
		report = ch.finishAll(n, next.op)
		ch.compare(next, report, total, before, ch.ledger())
	}
	if twice := ch.sends.twice(fmt.Sprint(n)); !resends {
		assert.Empty(ch.t, twice, "pairs were sent twice")
	}
	ch.last = next
}

// addFaults adds random faults, smaller limits, failing events and stalled events to the
// stand-in. It returns a function that stops the timers of these faults.
func (ch *chain) addFaults() (stopTimers func()) {
	r, unit := ch.r, ch.srv.Unit()
	var timers []*time.Timer
	for _, fault := range []appsandbookstest.Fault{
		{Kind: appsandbookstest.FaultResetBefore},
		{Kind: appsandbookstest.FaultResetAfter},
		{Kind: appsandbookstest.FaultDial},
		{Kind: appsandbookstest.FaultEOF},
		{Kind: appsandbookstest.FaultCutBody},
		{Status: 502, Body: "<html>Bad Gateway</html>", Process: true},
		{Status: 200, Body: "<html>hi</html>", Process: true, Method: "POST"},
		{Status: 200, Body: "{}", Process: true, Method: "POST"},
		{Number: 9646},
		{Number: 9603},
		{Status: 200, Number: 9603},
		{Number: 9729, Header: http.Header{"Retry-After": {"7"}}},
		{Number: 9708, Path: "status"},
		{Number: 9602, Method: "POST"},
		{Number: 9709, Method: "POST"},
		{Number: 9601, Method: "POST"},
		{Status: 404, Body: "<html>", Method: "POST"},
		{Status: 200, Body: "{}", Path: "status"},
		{Status: 200, Body: "{}", Path: "assignments"},
	} {
		if ch.chance(0.15) {
			fault.Probability = r.Float64() * 0.3
			ch.srv.AddFault(fault)
		}
	}
	if ch.chance(0.3) {
		assets, targets := 1+r.IntN(2), 1+r.IntN(3)
		timers = append(timers, time.AfterFunc(ch.seconds(20), func() {
			ch.srv.SetLimits(func(l *appsandbookstest.Limits) {
				l.MaxAssets, l.MaxSerialNumbers, l.MaxUsers = assets, targets, targets
				l.MaxClientUserIDs, l.MaxSubscriptionClientUserIDs = targets, targets
			})
		}))
	}
	if ch.chance(0.2) {
		unit.FailTarget(ch.users[0], 9603)
	}
	if ch.chance(0.1) {
		unit.FailNextEvent(9603)
	}
	if ch.chance(0.1) {
		unit.HoldEvents(true)
		timers = append(timers, time.AfterFunc(ch.seconds(1200), func() { unit.HoldEvents(false) }))
	}
	return func() {
		for _, timer := range timers {
			timer.Stop()
		}
	}
}

// unreliableJournal is a journal that fails at one entry.
type unreliableJournal struct {
	failAt int // the number of the entry at which the journal fails; -1 for none
	stores int // what the journal stores of the failed entry: 0 the first half, 1 everything, 2 nothing

	mu      sync.Mutex
	entries int
	text    bytes.Buffer
}

func (j *unreliableJournal) write(_ context.Context, entry []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries++
	if j.entries-1 != j.failAt {
		j.text.Write(entry)
		return nil
	}
	switch j.stores {
	case 0:
		j.text.Write(entry[:len(entry)/2])
	case 1:
		j.text.Write(entry)
	}
	return errCrash
}

// options returns random options for an operation. It reports whether the operation uses j as
// its journal, and whether it may send pairs again.
func (ch *chain) options(j *unreliableJournal) (opts []appsandbooks.OperationOption, journaled, resends bool) {
	if journaled = ch.chance(0.5); journaled {
		opts = append(opts, appsandbooks.WithJournal(j.write))
	}
	if ch.chance(0.3) {
		opts, resends = append(opts, appsandbooks.WithResendOverdue()), true
	}
	if ch.chance(0.3) {
		opts, resends = append(opts, appsandbooks.WithResendLost()), true
	}
	if ch.chance(0.4) {
		opts = append(opts, appsandbooks.WithBisection())
	}
	if ch.chance(0.2) {
		opts = append(opts, appsandbooks.WithPlanOnly())
	}
	return opts, journaled, resends
}

// change returns a random change: all assets on some targets, or some single pairs of them.
func (ch *chain) change() appsandbooks.AssetChange {
	change := appsandbooks.AssetChange{Assets: ch.assets, ClientUserIDs: ch.randomSubset(ch.users), SerialNumbers: ch.randomSubset(ch.devices)}
	if !ch.chance(0.4) {
		return change
	}
	var pairs []appsandbooks.AssetPair
	for _, a := range change.Assets {
		for _, u := range change.ClientUserIDs {
			if ch.chance(0.5) {
				pairs = append(pairs, appsandbooks.AssetPair{AdamID: a.AdamID, ClientUserID: u})
			}
		}
		for _, d := range change.SerialNumbers {
			if ch.chance(0.5) {
				pairs = append(pairs, appsandbooks.AssetPair{AdamID: a.AdamID, SerialNumber: d})
			}
		}
	}
	return appsandbooks.AssetChange{Pairs: pairs}
}

// start starts an operation of a random kind. It returns no operation if the change is empty, if
// Retry or Undo has nothing to do, or if the limits or the unit could not be read.
func (ch *chain) start(ctx context.Context, opts []appsandbooks.OperationOption) (next chainOperation, err error) {
	c := ch.c()
	seats := func() appsandbooks.SubscriptionChange {
		return appsandbooks.SubscriptionChange{AdamIDs: ch.subscriptions, ClientUserIDs: ch.randomSubset(ch.users)}
	}
	switch ch.r.IntN(10) {
	case 0, 1, 2:
		next.op, err = c.Assets.Associate(ctx, ch.change(), opts...)
	case 3:
		next.op, err = c.Assets.Disassociate(ctx, ch.change(), opts...)
	case 4:
		next.op, err = c.Assets.Revoke(ctx, appsandbooks.AssetChange{ClientUserIDs: ch.randomSubset(ch.users), SerialNumbers: ch.randomSubset(ch.devices)}, opts...)
	case 5:
		var list []appsandbooks.UserRequest
		for _, id := range ch.randomSubset(append(slices.Clone(ch.users), names("n", 3)...)) {
			list = append(list, appsandbooks.UserRequest{ClientUserID: id})
		}
		next.op, err = c.Users.Create(ctx, appsandbooks.UserChange{Users: list}, opts...)
	case 6:
		next.op, err = c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: ch.users[:1+ch.r.IntN(2)]}, opts...)
	case 7:
		next.renewing = ch.chance(0.5)
		change := seats()
		change.Expiring = !next.renewing
		next.op, err = c.Subscriptions.Associate(ctx, change, opts...)
	case 8:
		next.op, err = c.Subscriptions.Disassociate(ctx, seats(), opts...)
	case 9:
		next.renewing = ch.last.renewing
		if ch.last.op == nil {
			return next, appsandbooks.ErrInvalid
		}
		_, more := ch.last.op.Next()
		derive := ch.last.op.Retry
		if ch.chance(0.5) {
			derive = ch.last.op.Undo
		}
		next.op, err = derive(ctx, opts...)
		if more {
			assert.Error(ch.t, err, "%v is not at its end", ch.last.op)
		}
		if err == nil {
			again, err := derive(ctx)
			assert.Nil(ch.t, again, "the pairs were handed over before")
			assert.ErrorIs(ch.t, err, appsandbooks.ErrInvalid)
		}
	}
	return next, err
}

// finish continues operation n until it is finished. One to three simulated processes do this one
// after another. Only the first process meets faults, and only until ctx ends.
func (ch *chain) finish(
	ctx context.Context, cancel context.CancelFunc, n int, op *appsandbooks.Operation, journal *unreliableJournal, opts []appsandbooks.OperationOption,
) (*appsandbooks.Operation, *appsandbooks.Report) {
	total := op.Report().Total
	stopReader := func() {}
	if ch.chance(0.3) {
		stopReader = ch.readConcurrently(op)
	}
	for process := range 1 + ch.r.IntN(3) {
		report, err := ch.wait(ctx, op)
		ch.logf("%d.%d: %s: %v, %v", n, process, op.Kind(), report, err)
		cancel()
		ch.srv.ClearFaults()
		ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
		if ch.chance(0.3) {
			report, err = op.Verify(ctx)
			ch.logf("%d.%d: Verify: %v, %v", n, process, report, err)
		}
		if !ch.chance(0.4) {
			continue
		}
		stopReader()
		stopReader = func() {}
		saved, err := op.Save()
		require.NoError(ch.t, err)
		crashes := journal != nil && ch.chance(0.7)
		if crashes {
			saved = journal.text.Bytes()
		}
		if crashes || ch.chance(0.5) {
			ch.startProcess()
		}
		resumed, err := ch.c().Resume(saved, opts...)
		if err != nil && journal != nil && journal.failAt == 0 {
			// The journal has no complete entry, and no request was sent.
			saved, err = op.Save()
			require.NoError(ch.t, err)
			resumed, err = ch.c().Resume(saved, opts...)
		}
		require.NoError(ch.t, err, "%s", saved)
		require.Equal(ch.t, total, resumed.Report().Total)
		op = resumed
	}
	stopReader()
	report, err := op.Wait(ctx)
	ch.logf("%d: finished: %v, %v", n, report, err)
	cancel()
	return op, report
}

// wait waits for an operation. A Step of the concurrent reader can be in progress: then it waits
// again.
func (ch *chain) wait(ctx context.Context, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
	for {
		report, err := op.Wait(ctx)
		if !errors.Is(err, appsandbooks.ErrBusy) {
			return report, err
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
}

// finishAll continues operation n until it is at its end, and returns the report. The operation
// must end within four hours: six stall times for lost requests, and as much for events that are
// not found.
func (ch *chain) finishAll(n int, op *appsandbooks.Operation) (report *appsandbooks.Report) {
	began := time.Now()
	ctx := context.WithValue(ch.t.Context(), operationKey{}, fmt.Sprint(n))
	for {
		var err error
		report, err = op.Wait(ctx)
		ch.logf("%d: at %v: %v, %v", n, time.Since(began), report, err)
		at, more := op.Next()
		if !more {
			break
		}
		if !assert.Less(ch.t, time.Since(began), 4*time.Hour, "%v does not end", op) {
			return report
		}
		time.Sleep(time.Until(at)) // virtual
	}
	assert.Zero(ch.t, report.Unsent)
	return report
}

// readConcurrently starts a goroutine that regularly reads, saves and resumes an operation while
// it runs. The goroutine may also call Operation.Step. It ends when the caller calls stop.
func (ch *chain) readConcurrently(op *appsandbooks.Operation) (stop func()) {
	interval := 2*time.Second + ch.seconds(28)
	callsStep := ch.chance(0.5)
	total := op.Report().Total
	ctx, cancel := context.WithCancel(ch.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(interval):
			}
			r := op.Report()
			assert.Equal(ch.t, []int{total, total}, []int{r.Total, r.Succeeded + r.Failed + r.Unconfirmed + r.Unsent})
			saved, err := op.Save()
			if assert.NoError(ch.t, err) {
				_, err = ch.c().Resume(saved)
				assert.NoError(ch.t, err)
			}
			if callsStep {
				stepCtx, cancelStep := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				_ = op.Step(stepCtx)
				_, _ = op.Next()
				cancelStep()
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}
