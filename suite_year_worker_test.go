package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process is a client of a unit, and the journal of one operation.
type process struct {
	u      *stormyUnit
	wire   *wire
	client *appsandbooks.Client

	mu      sync.Mutex
	journal []byte
	crashIn int // number of journal entries until the process crashes; -1 for none
	stores  int // what is stored of the entry at which it crashes: 0 the first half, 1 all, 2 nothing
	crash   context.CancelFunc
}

func (u *stormyUnit) startProcess(journal []byte) *process {
	p := &process{u: u, journal: slices.Clone(journal), crashIn: -1, crash: func() {}}
	p.wire = &wire{next: u.m.srv.Transport(), log: &u.sends, lose: u.lose, late: &u.m.late, lag: u.lag, abandoned: u.m.died}
	c, err := appsandbooks.NewClient("", appsandbooks.WithTokenSource(u.token), appsandbooks.WithLimiter(u.m.limiter),
		appsandbooks.WithHTTPClient(&http.Client{Transport: p.wire}))
	require.NoError(u.m.t, err)
	p.client = c
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clients[c] = true
	return p
}

// stop ends the process in an orderly way.
func (p *process) stop() {
	p.client.Close()
	p.u.m.died()
	p.u.mu.Lock()
	defer p.u.mu.Unlock()
	delete(p.u.clients, p.client)
}

// kill ends the process like a crash: it sends nothing more and writes no journal.
func (p *process) kill() {
	p.wire.kill()
	p.u.m.died()
	p.crash()
}

func (p *process) write(_ context.Context, entry []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wire.isDead() {
		return errCrash
	}
	if p.crashIn == 0 {
		switch p.stores {
		case 0:
			p.journal = append(p.journal, entry[:len(entry)/2]...)
		case 1:
			p.journal = append(p.journal, entry...)
		}
		p.kill()
		return errCrash
	}
	p.crashIn--
	p.journal = append(p.journal, entry...)
	return nil
}

func (p *process) stored() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.journal)
}

// A yearWorker carries out operations on users and devices that no other worker changes.
type yearWorker struct {
	u       *stormyUnit
	name    string
	users   []string
	devices []string
	count   int // number of operations

	op       *appsandbooks.Operation
	p        *process
	journals bool // the operation has a journal
	resends  bool
	jumps    int
	pairs    map[appsandbooks.AssetPair]bool
	before   ledger
}

func newYearWorker(u *stormyUnit, name string) *yearWorker {
	w := &yearWorker{u: u, name: name, users: names("u"+name+"-", 4), devices: names("D"+name, 4)}
	for _, id := range w.users {
		u.unit.AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
	}
	return w
}

func (w *yearWorker) logf(format string, args ...any) {
	w.u.m.logf("worker %s, operation %d: %s", w.name, w.count, fmt.Sprintf(format, args...))
}

// id is the name of the operation in the log of the writes.
func (w *yearWorker) id() string { return fmt.Sprint(w.name, "/", w.count) }

func (w *yearWorker) context() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithValue(w.u.m.t.Context(), operationKey{}, w.id()))
}

// ledger returns the assignments of the unit.
func (w *yearWorker) ledger() ledger {
	l := ledger{}
	for _, a := range w.u.unit.Assignments() {
		l[assetEntry(a.AdamID, a.ClientUserID, a.SerialNumber)] = true
	}
	return l
}

func (w *yearWorker) some(all []string) (subset []string) {
	for _, x := range all {
		if w.u.m.chance(0.6) {
			subset = append(subset, x)
		}
	}
	return subset
}

// start plans an operation: a new one, or a Retry or Undo of the last one.
func (w *yearWorker) start(ctx context.Context) (*appsandbooks.Operation, error) {
	m := w.u.m
	opts := w.options()
	if m.chance(0.5) {
		opts = append(opts, appsandbooks.WithPlanOnly())
	}
	change := appsandbooks.AssetChange{Assets: w.u.assets, ClientUserIDs: w.some(w.users), SerialNumbers: w.some(w.devices)}
	c := w.p.client
	switch m.intN(10) {
	case 0, 1, 2, 3:
		return c.Assets.Associate(ctx, change, opts...)
	case 4, 5, 6:
		return c.Assets.Disassociate(ctx, change, opts...)
	case 7:
		change.Assets = nil
		return c.Assets.Revoke(ctx, change, opts...)
	}
	if w.op == nil {
		return nil, appsandbooks.ErrInvalid
	}
	// The last operation is at its end. The new process continues its saved form.
	saved, err := w.op.Save()
	require.NoError(m.t, err)
	last, err := c.Resume(saved)
	require.NoError(m.t, err)
	if m.chance(0.5) {
		return last.Retry(ctx, opts...)
	}
	return last.Undo(ctx, opts...)
}

// options returns random options for an operation.
func (w *yearWorker) options() (opts []appsandbooks.OperationOption) {
	m := w.u.m
	w.resends = false
	if w.journals = m.chance(0.7); w.journals {
		opts = append(opts, appsandbooks.WithJournal(w.p.write))
	}
	if m.chance(0.25) {
		opts, w.resends = append(opts, appsandbooks.WithResendOverdue()), true
	}
	if m.chance(0.25) {
		opts, w.resends = append(opts, appsandbooks.WithResendLost()), true
	}
	if m.chance(0.3) {
		opts = append(opts, appsandbooks.WithBisection())
	}
	return opts
}

// runOperation carries out one operation to its end, in one process after another, and compares
// its report with the ledger.
func (w *yearWorker) runOperation() {
	m := w.u.m
	w.count++
	w.jumps, w.pairs = 0, nil
	w.before = w.ledger()
	var op *appsandbooks.Operation
	for range 10 {
		if w.p != nil {
			w.p.stop()
		}
		w.p = w.u.startProcess(nil)
		ctx, cancel := w.context()
		var err error
		op, err = w.start(ctx)
		cancel()
		assert.NotEqual(m.t, op == nil, err == nil, "an operation and the error %v", err)
		if op != nil {
			break
		}
		w.logf("no operation: %v", err)
		time.Sleep(m.duration(time.Hour)) // virtual
	}
	if w.op = op; op == nil {
		return
	}
	w.pairs = map[appsandbooks.AssetPair]bool{}
	for o := range op.Report().Outcomes() {
		w.pairs[o.AssetPair] = true
	}
	if w.u.unit.UID() != op.Unit() { // it was planned with the wrong token
		w.logf("planned for another unit")
		w.op, w.pairs = nil, nil
		return
	}
	for turn := 0; ; turn++ {
		w.turn(turn)
		at, more := w.op.Next()
		if !more {
			break
		}
		if !assert.Less(m.t, time.Since(m.stormEnd), yearEnd, "worker %s: %v does not end", w.name, w.op) || m.t.Failed() {
			return
		}
		if m.chance(0.1) {
			_, err := w.op.Retry(m.t.Context())
			assert.Error(m.t, err)
		}
		pause := max(time.Until(at), m.duration(time.Minute))
		if m.chance(0.1) {
			pause += m.duration(time.Hour) // nobody carries out the operation for a while
		}
		time.Sleep(pause) // virtual
	}
	w.compare("at its end")
}

// turn continues the operation with Wait, or with some calls of Step. Then another process may
// take over.
func (w *yearWorker) turn(number int) {
	m := w.u.m
	ctx, cancel := w.context()
	defer cancel()
	w.u.mu.Lock()
	stormy := time.Now().Before(m.stormEnd) && !w.u.calm
	w.u.mu.Unlock()
	w.p.mu.Lock()
	w.p.crash = cancel
	if stormy && w.journals && m.chance(0.3) {
		w.p.crashIn, w.p.stores = m.intN(12), m.intN(3)
	}
	w.p.mu.Unlock()
	var crash, stop *time.Timer
	if stormy && m.chance(0.2) {
		crash = time.AfterFunc(m.duration(20*time.Minute), w.p.kill)
		defer crash.Stop()
	}
	if stormy && m.chance(0.2) {
		stop = time.AfterFunc(m.duration(time.Hour), func() { cancel(); m.died() })
		defer stop.Stop()
	}
	if m.chance(0.6) {
		report, err := w.op.Wait(ctx)
		w.logf("turn %d: Wait: %v, %v", number, report, err)
	} else {
		for range 1 + m.intN(20) {
			began := time.Now()
			err := w.op.Step(ctx)
			at, more := w.op.Next()
			w.logf("turn %d: Step: %v, %v", number, w.op.Report(), err)
			assert.Less(m.t, time.Since(began), 5*time.Minute, "Step sleeps")
			if err != nil || !more || w.p.wire.isDead() {
				break
			}
			time.Sleep(time.Until(at)) // virtual
		}
	}
	if m.chance(0.1) && !w.p.wire.isDead() {
		report, err := w.op.Verify(ctx)
		w.logf("turn %d: Verify: %v, %v", number, report, err)
		assert.Equal(m.t, len(w.pairs), report.Succeeded+report.Failed+report.Unconfirmed+report.Unsent)
	}
	if w.p.wire.isDead() || m.chance(0.3) {
		w.handOver()
	}
}

var savedTime = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`)

// jump changes all times of a saved operation, as a process does whose clock is wrong.
func jump(saved []byte, by time.Duration) []byte {
	return savedTime.ReplaceAllFunc(saved, func(old []byte) []byte {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(old))
		if err != nil || at.IsZero() {
			return old
		}
		return at.Add(by).AppendFormat(nil, `"`+time.RFC3339Nano+`"`)
	})
}

// handOver lets a new process continue the operation: from its journal, or from a saved form.
func (w *yearWorker) handOver() {
	m := w.u.m
	saved, err := w.op.Save()
	require.NoError(m.t, err)
	old := w.p
	dead := old.wire.isDead()
	fromJournal := w.journals && (dead || m.chance(0.5))
	if fromJournal && (bytes.Contains(old.stored(), []byte("]}}\n")) || bytes.Contains(old.stored(), []byte("]}\n"))) {
		saved = old.stored()
	}
	if w.jumps < maxJumps && m.chance(0.2) {
		w.jumps++
		by := m.duration(10*time.Hour) - 5*time.Hour
		saved = jump(saved, by)
		w.logf("the clock jumps by %v", by)
		w.u.mu.Lock()
		for _, id := range w.op.EventIDs() {
			w.u.jumped[id] = true
		}
		w.u.mu.Unlock()
	}
	w.p = w.u.startProcess(nil)
	var opts []appsandbooks.OperationOption
	if w.journals {
		opts = append(opts, appsandbooks.WithJournal(w.p.write))
		if bytes.HasSuffix(saved, []byte("\n")) && m.chance(0.5) {
			w.p.journal = bytes.Clone(saved)
			opts = []appsandbooks.OperationOption{appsandbooks.WithContinuedJournal(w.p.write)}
		}
	}
	op, err := w.p.client.Resume(saved, opts...)
	require.NoError(m.t, err, "%s", saved)
	w.logf("process killed: %t; the next one continues from the journal: %t; %v", dead, fromJournal, op.Report())
	if m.chance(0.5) || dead {
		old.stop() // otherwise it is only stopped
	}
	w.op = op
}

// compare compares the report of the operation with the ledger.
func (w *yearWorker) compare(when string) {
	if w.op == nil {
		return
	}
	t := w.u.m.t
	report, after := w.op.Report(), w.ledger()
	seen := map[appsandbooks.AssetPair]bool{}
	for o := range report.Outcomes() {
		assert.False(t, seen[o.AssetPair], "%v has two outcomes", o.AssetPair)
		assert.True(t, w.pairs[o.AssetPair], "%v is not of the operation", o.AssetPair)
		seen[o.AssetPair] = true
		entries := []string{assetEntry(o.AdamID, o.ClientUserID, o.SerialNumber)}
		if w.op.Kind() == "assets/revoke" {
			entries = nil
			for _, a := range w.u.assets {
				entries = append(entries, assetEntry(a.AdamID, o.ClientUserID, o.SerialNumber))
			}
		}
		adds := w.op.Kind() == "assets/associate"
		was, is := false, false
		for _, e := range entries {
			was, is = was || w.before[e], is || after[e]
		}
		describe := func() string {
			return fmt.Sprintf("worker %s, operation %d, %s: %s of %v %s (%v); present before %t, now %t", w.name, w.count, when, w.op.Kind(), o.AssetPair, o.Status, o.Err, was, is)
		}
		switch o.Status {
		case appsandbooks.OutcomeSucceeded:
			assert.Equal(t, adds, is, describe())
		case appsandbooks.OutcomeFailed:
			assert.False(t, was != is && is == adds, describe())
		case appsandbooks.OutcomeUnconfirmed:
			assert.True(t, w.op.Kind() == "assets/revoke" || errors.Is(o.Err, appsandbooks.ErrOtherUnit), describe())
		default:
			assert.Fail(t, "an operation at its end has a pair that is unsent", describe())
		}
	}
	assert.Len(t, seen, len(w.pairs), "pairs were lost")
	if !w.resends {
		assert.Empty(t, w.u.sends.twice(w.id()), "worker %s, operation %d: pairs were sent twice", w.name, w.count)
	}
}
