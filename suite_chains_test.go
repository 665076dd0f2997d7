package appsandbooks_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Operations of every kind, one after another on the same unit, each in bad
// weather and carried by several processes: what a report says became of a pair
// is so in the ledger, and nothing happened that it does not tell.
func FuzzChains(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { newChain(t, seed).run() })
	})
}

// chain is a unit, a client of it, and what was done so far. Everything is drawn
// from the seed's random numbers, by the goroutine of the test alone.
type chain struct {
	t   *testing.T
	r   *rand.Rand
	srv *appsandbookstest.Server
	c   *appsandbooks.Client

	assets       []appsandbooks.AssetID
	irrevocable  map[string]bool // of the assets
	people       []string        // some of whom do not exist
	devices      []string
	subscription []int64

	last  chainOperation // what Retry and Undo go on from
	story []string       // told if the test fails
}

// chained is an operation of the chain.
type chainOperation struct {
	op       *appsandbooks.Operation
	renewing bool // of subscriptions
}

func (ch *chain) chance(p float64) bool { return ch.r.Float64() < p }

func (ch *chain) seconds(n int) time.Duration { return time.Duration(ch.r.IntN(n)) * time.Second }

// some draws a part of a list.
func (ch *chain) some(all []string) (part []string) {
	for _, x := range all {
		if ch.chance(0.6) {
			part = append(part, x)
		}
	}
	return part
}

func (ch *chain) tell(format string, args ...any) {
	ch.story = append(ch.story, fmt.Sprintf(format, args...))
}

// newChain makes a unit with small limits, so that operations have many parts,
// with assets that run short, and mostly with notifications, many of which get lost.
func newChain(t *testing.T, seed uint64) *chain {
	ch := &chain{t: t, r: rand.New(rand.NewPCG(seed, 77)), irrevocable: map[string]bool{}, subscription: []int64{900, 901}}
	t.Cleanup(func() {
		if t.Failed() {
			for _, line := range ch.story {
				t.Log(line)
			}
		}
	})
	r := ch.r
	h := newHandler(t, nil, appsandbooks.WithNotify(func(n *appsandbooks.Notification) { ch.c.Notify(n) }))
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
	ch.c = newClient(t, ch.srv)
	t.Cleanup(ch.c.Close)
	if ch.chance(0.6) {
		_, err := ch.c.Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h})
		require.NoError(t, err)
	}

	unit := ch.srv.Unit()
	for i := range 1 + r.IntN(4) {
		id := fmt.Sprint(100 + i)
		ch.irrevocable[id] = ch.chance(0.1)
		unit.AddAsset(appsandbookstest.Asset{AdamID: id, Total: r.IntN(40), UsersOnly: ch.chance(0.1), Irrevocable: ch.irrevocable[id]})
		ch.assets = append(ch.assets, appsandbooks.AssetID{AdamID: id})
	}
	for _, id := range ch.subscription {
		unit.AddSubscription(appsandbookstest.Subscription{
			AdamID: id, Status: "ACTIVE", PeriodEndDate: "2099-01-01", Total: appsandbookstest.Seats{Renewing: r.IntN(8), Expiring: r.IntN(8)},
		})
	}
	require.NoError(t, ch.c.Subscriptions.Enable(t.Context()))
	ch.people, ch.devices = names("u", 3+r.IntN(8)), names("D", r.IntN(12))
	for _, id := range ch.people {
		if !ch.chance(0.1) {
			unit.AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
		}
	}
	return ch
}

// run makes operations until it has enough or one was reported wrongly.
func (ch *chain) run() {
	for n := range 1 + ch.r.IntN(5) {
		ch.calm()
		before := ch.ledger()
		end := ch.badWeather()
		ch.step(n, before)
		end()
		if ch.t.Failed() {
			return
		}
	}
	ch.conduct()
}

// calm lets everything that is still on its way arrive.
func (ch *chain) calm() {
	ch.srv.ClearFaults()
	ch.srv.Unit().HoldEvents(false)
	time.Sleep(15 * time.Minute) // virtual
}

// step begins an operation, carries it to its end, and compares its report with
// what became of the ledger.
func (ch *chain) step(n int, before ledger) {
	kept := &unreliableJournal{failAt: -1}
	if ch.chance(0.3) {
		kept.failAt, kept.keeps = ch.r.IntN(10), ch.r.IntN(3)
	}
	opts, journaled := ch.options(kept)
	ctx, cancel := context.WithCancel(ch.t.Context())
	if ch.chance(0.3) {
		time.AfterFunc(ch.seconds(100), cancel)
	}
	next, err := ch.begin(ctx, opts)
	if next.op == nil {
		cancel()
		ch.tell("%d: none: %v", n, err)
		return
	}
	if !journaled {
		kept = nil
	}
	total := next.op.Report().Total
	var report *appsandbooks.Report
	next.op, report = ch.carry(ctx, cancel, n, next.op, kept, opts)

	progress := next.op.Progress()
	if kept == nil || kept.failAt != 0 { // without its first entry a journal has no operation to go on with
		assert.Equal(ch.t, report.Total, progress.Pairs, "%+v, %v", progress, report)
		assert.LessOrEqual(ch.t, progress.Succeeded, report.Succeeded, "%+v, %v", progress, report)
	}
	ch.calm()
	after := ch.ledger()
	if ch.chance(0.3) { // nor does it tell a lie to verify once the dust has settled
		report, err = next.op.Verify(ch.t.Context())
		ch.tell("%d: verified at the end: %v, %v", n, report, err)
	}
	ch.judge(next, report, total, before, after)
	ch.last = next
}

// badWeather adds faults, and what else can go wrong at the service. It returns
// what ends it.
func (ch *chain) badWeather() (end func()) {
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
		unit.FailTarget(ch.people[0], 9603)
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

// unreliableJournal fails at one entry, of which it keeps a half, all or nothing.
type unreliableJournal struct {
	failAt int // -1: never
	keeps  int

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
	switch j.keeps {
	case 0:
		j.text.Write(entry[:len(entry)/2])
	case 1:
		j.text.Write(entry)
	}
	return errCrash
}

func (ch *chain) options(j *unreliableJournal) (opts []appsandbooks.OperationOption, journaled bool) {
	if journaled = ch.chance(0.5); journaled {
		opts = append(opts, appsandbooks.WithJournal(j.write))
	}
	if ch.chance(0.4) {
		opts = append(opts, appsandbooks.WithResend())
	}
	if ch.chance(0.4) {
		opts = append(opts, appsandbooks.WithBisection())
	}
	if ch.chance(0.2) {
		opts = append(opts, appsandbooks.WithPlanOnly())
	}
	return opts, journaled
}

// change draws a product of assets and targets, or single pairs of it.
func (ch *chain) change() appsandbooks.AssetChange {
	change := appsandbooks.AssetChange{Assets: ch.assets, ClientUserIDs: ch.some(ch.people), SerialNumbers: ch.some(ch.devices)}
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

// begin begins an operation of any kind. There is none when what was drawn is
// empty, or when nothing got through.
func (ch *chain) begin(ctx context.Context, opts []appsandbooks.OperationOption) (next chainOperation, err error) {
	c := ch.c
	seats := func() appsandbooks.SubscriptionChange {
		return appsandbooks.SubscriptionChange{AdamIDs: ch.subscription, ClientUserIDs: ch.some(ch.people)}
	}
	switch ch.r.IntN(10) {
	case 0, 1, 2:
		next.op, err = c.Assets.Associate(ctx, ch.change(), opts...)
	case 3:
		next.op, err = c.Assets.Disassociate(ctx, ch.change(), opts...)
	case 4:
		next.op, err = c.Assets.Revoke(ctx, appsandbooks.AssetChange{ClientUserIDs: ch.some(ch.people), SerialNumbers: ch.some(ch.devices)}, opts...)
	case 5:
		var list []appsandbooks.UserRequest
		for _, id := range ch.some(append(slices.Clone(ch.people), names("n", 3)...)) {
			list = append(list, appsandbooks.UserRequest{ClientUserID: id})
		}
		next.op, err = c.Users.Create(ctx, appsandbooks.UserChange{Users: list}, opts...)
	case 6:
		next.op, err = c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: ch.people[:1+ch.r.IntN(2)]}, opts...)
	case 7:
		next.renewing = ch.chance(0.5)
		change := seats()
		change.Expiring = !next.renewing
		next.op, err = c.Subscriptions.Associate(ctx, change, opts...)
	case 8:
		next.op, err = c.Subscriptions.Disassociate(ctx, seats(), opts...)
	case 9:
		next.renewing = ch.last.renewing
		switch {
		case ch.last.op == nil:
		case ch.chance(0.5):
			next.op, err = ch.last.op.Retry(ctx, opts...)
		default:
			next.op, err = ch.last.op.Undo(ctx, opts...)
		}
	}
	return next, err
}

// carry has up to three processes work on an operation, one after another: the
// first in bad weather, until ctx ends. The last is left alone.
func (ch *chain) carry(
	ctx context.Context, cancel context.CancelFunc, n int, op *appsandbooks.Operation, kept *unreliableJournal, opts []appsandbooks.OperationOption,
) (*appsandbooks.Operation, *appsandbooks.Report) {
	total := op.Report().Total
	leave := func() {}
	if ch.chance(0.3) {
		leave = ch.bystander(op)
	}
	for life := range 1 + ch.r.IntN(3) {
		report, err := op.Wait(ctx)
		ch.tell("%d.%d: %s: %v, %v", n, life, op.Kind(), report, err)
		cancel()
		ch.srv.ClearFaults()
		ctx, cancel = context.WithCancel(ch.t.Context())
		if ch.chance(0.3) {
			report, err = op.Verify(ctx)
			ch.tell("%d.%d: verified: %v, %v", n, life, report, err)
		}
		if !ch.chance(0.4) {
			continue
		}
		leave()
		leave = func() {}
		saved, err := op.MarshalJSON()
		require.NoError(ch.t, err)
		if kept != nil && ch.chance(0.7) {
			saved = kept.text.Bytes()
		}
		again, err := ch.c.Resume(saved, opts...)
		if err != nil && kept != nil && kept.failAt == 0 {
			break // nothing was kept, and nothing sent
		}
		require.NoError(ch.t, err, "%s", saved)
		require.Equal(ch.t, total, again.Report().Total)
		op = again
	}
	report, err := op.Wait(ctx)
	ch.tell("%d: at the end: %v, %v", n, report, err)
	cancel()
	leave()
	return op, report
}

// bystander looks at an operation while it is carried out, saves it, and
// sometimes lends a hand, until it is told to leave.
func (ch *chain) bystander(op *appsandbooks.Operation) (leave func()) {
	pause := 2*time.Second + ch.seconds(28)
	helps := ch.chance(0.5)
	total := op.Report().Total
	ctx, cancel := context.WithCancel(ch.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			r := op.Report()
			assert.Equal(ch.t, []int{total, total}, []int{r.Total, r.Succeeded + r.Failed + r.Unconfirmed})
			saved, err := op.MarshalJSON()
			if assert.NoError(ch.t, err) {
				_, err = ch.c.Resume(saved)
				assert.NoError(ch.t, err)
			}
			if helps {
				short, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				_, _ = op.Step(short)
				end()
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// ledger is what there is at the service: assignments, seats and users.
type ledger map[string]bool

func assetEntry(asset, user, device string) string { return asset + "/" + user + "/" + device }

func seatEntry(subscription, user string, renewing bool) string {
	return fmt.Sprintf("seat %s/%s/%t", subscription, user, renewing)
}

func (ch *chain) ledger() ledger {
	l := ledger{}
	for _, a := range ch.srv.Unit().Assignments() {
		l[assetEntry(a.AdamID, a.ClientUserID, a.SerialNumber)] = true
	}
	for _, a := range ch.srv.Unit().SubscriptionAssignments() {
		l[seatEntry(fmt.Sprint(a.AdamID), a.ClientUserID, a.Renewing)] = true
	}
	for _, u := range ch.srv.Unit().Users() {
		if u.Status != appsandbookstest.UserRetired {
			l["user "+u.ClientUserID] = true
		}
	}
	return l
}

// entries are those that an outcome of an operation is about, any of which means
// that it is there.
func (ch *chain) entries(k chainOperation, o appsandbooks.Outcome) (entries []string, removes bool) {
	switch kind := k.op.Kind(); kind {
	case "assets/associate", "assets/disassociate":
		return []string{assetEntry(o.AdamID, o.ClientUserID, o.SerialNumber)}, kind == "assets/disassociate"
	case "assets/revoke":
		for _, a := range ch.assets {
			if !ch.irrevocable[a.AdamID] { // which stay with whom they were given to
				entries = append(entries, assetEntry(a.AdamID, o.ClientUserID, o.SerialNumber))
			}
		}
		return entries, true
	case "users/create", "users/retire":
		return []string{"user " + o.ClientUserID}, kind == "users/retire"
	case "subscriptions/associate":
		return []string{seatEntry(o.AdamID, o.ClientUserID, k.renewing)}, false
	case "subscriptions/disassociate":
		return []string{seatEntry(o.AdamID, o.ClientUserID, true), seatEntry(o.AdamID, o.ClientUserID, false)}, true
	default:
		require.Fail(ch.t, "an unknown kind", kind)
		return nil, false
	}
}

// judge compares a report with the ledger before and after. What succeeded is
// so; what failed is as it was, unless it was so before.
func (ch *chain) judge(k chainOperation, report *appsandbooks.Report, total int, before, after ledger) {
	t := ch.t
	seen, touched := map[appsandbooks.AssetPair]bool{}, ledger{}
	for o := range report.Outcomes() {
		require.False(t, seen[o.AssetPair], "two outcomes for %v", o.AssetPair)
		seen[o.AssetPair] = true
		assert.Equal(t, o.Status == appsandbooks.OutcomeSucceeded, o.Err == nil, "%v", o)
		entries, removes := ch.entries(k, o)
		if k.op.Kind() == "subscriptions/associate" { // whoever had the other kind of seat has it no more
			touched[seatEntry(o.AdamID, o.ClientUserID, !k.renewing)] = true
		}
		was, is := false, false
		for _, entry := range entries {
			touched[entry] = true
			was, is = was || before[entry], is || after[entry]
		}
		switch o.Status {
		case appsandbooks.OutcomeSucceeded:
			assert.NotEqual(t, removes, is, "%s of %v succeeded; before %t, after %t", k.op.Kind(), entries, was, is)
		case appsandbooks.OutcomeFailed:
			assert.False(t, is != was && is != removes, "%s of %v failed (%v); before %t, after %t", k.op.Kind(), entries, o.Err, was, is)
		}
	}
	assert.Len(t, seen, total)
	switch k.op.Kind() {
	case "users/create", "users/retire": // who goes takes assignments along
		return
	}
	for entry := range after {
		assert.True(t, before[entry] || touched[entry], "%s appeared", entry)
	}
	for entry := range before {
		assert.True(t, after[entry] || touched[entry], "%s disappeared", entry)
	}
}

// conduct looks at how the client behaved.
func (ch *chain) conduct() {
	for _, v := range ch.srv.Violations() {
		switch v.Rule {
		case appsandbookstest.RuleRepeatedWrite: // asked for again, by a new operation or after its fate was unknown
		case appsandbookstest.RuleRetryAfter: // was on its way when the service asked for the pause
			assert.Contains(ch.t, v.Detail, "7s too soon")
		default:
			assert.Fail(ch.t, "rule of conduct", "%v", v)
		}
	}
}
