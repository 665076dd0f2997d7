package appsandbooks_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	years    = flag.Int("years", 1, "number of years that TestYear simulates")
	yearSeed = flag.Uint64("year-seed", 0, "seed of the first month of TestYear")
)

// In a year with many faults, operations on several units run one after another and at the same
// time. Processes crash and hand operations over, clocks jump, tokens are wrong, answers and
// requests get lost, and lost requests arrive late. No report may differ from the stand-in's
// record of licenses and assignments when an operation is at its end, nor a day later. No pair may be lost or be sent
// twice, and every operation must come to its end. With -short, the year has three months.
func TestYear(t *testing.T) {
	months := 12
	if testing.Short() {
		months = 3
	}
	for i := range uint64(months * *years) {
		seed := *yearSeed + i
		t.Run(fmt.Sprint("month ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newMonth(t, seed).run(30) })
		})
	}
}

const (
	// yearLate is how late at most a lost write is carried out, with its event. The SDK assumes six
	// stall times. This is less, because each jump of a clock can count as ten minutes.
	yearLate = 25 * time.Minute
	// maxJumps is how often the clock of an operation jumps.
	maxJumps = 2
	// yearEnd is how long after the faults every operation is at its end: six stall times after
	// the last lost request, and as long until an event that is not found is given up.
	yearEnd = 4 * time.Hour
)

// A month is a stand-in with several units, and its weather.
type month struct {
	t        *testing.T
	srv      *appsandbookstest.Server
	limiter  appsandbooks.Limiter
	late     lateWrites
	units    []*stormyUnit
	stormEnd time.Time // the faults end then

	mu      sync.Mutex
	r       *rand.Rand
	history []string
	deaths  []time.Time // when processes ended, or canceled a request, and so got no answer
}

// A stormyUnit is an organizational unit with many faults.
type stormyUnit struct {
	m       *month
	unit    *appsandbookstest.Unit
	sends   sendLog
	lag     *lagging
	assets  []appsandbooks.AssetID
	failing string // serial number of a device for which every change fails

	mu         sync.Mutex
	clients    map[*appsandbooks.Client]bool
	wrongFrom  time.Time // from then until wrongUntil, clients have the token of another unit
	wrongUntil time.Time
	losses     float64 // probability that a write gets lost
	calm       bool    // no write may get lost, so processes do not crash while they send
	finished   time.Time
	jumped     map[string]bool // ids of events whose times a clock has changed
}

// newMonth returns a month with two units, and with two workers for each of them.
func newMonth(t *testing.T, seed uint64) *month {
	m := &month{t: t, r: rand.New(rand.NewPCG(seed, 365)), limiter: appsandbooks.NewLimiter()}
	t.Cleanup(func() {
		if t.Failed() {
			for _, line := range m.history {
				t.Log(line)
			}
		}
	})
	handler := newHandler(t, nil, appsandbooks.WithNotify(m.notify))
	options := []appsandbookstest.Option{
		appsandbookstest.WithSeed(seed),
		appsandbookstest.WithLatency(m.duration(1500 * time.Millisecond)),
		appsandbookstest.WithPageSize(1 + m.intN(20)),
		appsandbookstest.WithEventDelayFunc(m.eventDelay),
		appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(handler)),
		appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
			Delay: m.duration(20 * time.Second), Loss: 0.2, Duplicate: 0.3, Reorder: 0.3, RetryInterval: time.Minute,
		}),
		appsandbookstest.WithRequestLog(0),
	}
	// With these options, the status of an event does not always show which pairs failed.
	for _, o := range []appsandbookstest.Option{appsandbookstest.WithLooseErrorInfo(), appsandbookstest.WithoutErrorInfo()} {
		if m.chance(0.4) {
			options = append(options, o)
		}
	}
	srv, err := appsandbookstest.NewServer(options...)
	require.NoError(t, err)
	m.srv = srv
	t.Cleanup(srv.Close)
	for i := range 2 {
		u := &stormyUnit{m: m, unit: srv.NewUnit(fmt.Sprint("unit ", i)), clients: map[*appsandbooks.Client]bool{}, jumped: map[string]bool{}}
		u.lag = newLagging(u.unit)
		for a := range 3 {
			id := fmt.Sprint(100 + a)
			u.unit.AddAsset(appsandbookstest.Asset{AdamID: id, Total: 4 + m.intN(40)})
			u.assets = append(u.assets, appsandbooks.AssetID{AdamID: id})
		}
		m.units = append(m.units, u)
		if m.chance(0.5) {
			continue // a unit without notifications
		}
		c, err := appsandbooks.NewClient(u.unit.Token(), appsandbooks.WithHTTPClient(srv.Client()))
		require.NoError(t, err)
		_, err = c.Config.Register(t.Context(), appsandbooks.Registration{
			NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: handler,
		})
		require.NoError(t, err)
		c.Close()
	}
	return m
}

// The random numbers of a month come from its seed. The order in which goroutines of the same
// moment draw them can differ between runs.
func (m *month) intN(n int) int { m.mu.Lock(); defer m.mu.Unlock(); return m.r.IntN(n) }

func (m *month) chance(p float64) bool { m.mu.Lock(); defer m.mu.Unlock(); return m.r.Float64() < p }

func (m *month) duration(below time.Duration) time.Duration {
	return time.Duration(m.intN(int(below/time.Millisecond))) * time.Millisecond
}

func (m *month) logf(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history = append(m.history, time.Now().Format("01-02 15:04:05 ")+fmt.Sprintf(format, args...))
}

// notify passes a notification to all clients of its unit.
func (m *month) notify(n *appsandbooks.Notification) {
	for _, u := range m.units {
		if u.unit.UID() == n.UID {
			u.mu.Lock()
			for c := range u.clients {
				c.Notify(n)
			}
			u.mu.Unlock()
		}
	}
}

// eventDelay returns a random delay of an event. At the earliest and at the latest time at which
// the event can be applied, the lagging lists of the units take a sample of the ledger.
func (m *month) eventDelay(e appsandbookstest.Event) time.Duration {
	delay := m.duration(80 * time.Second)
	for _, u := range m.units {
		u.mu.Lock()
		if at := e.Accepted.Add(delay); at.After(u.finished) {
			u.finished = at // the service finishes the events of a unit in order
		}
		wait := u.finished.Sub(e.Accepted) + time.Millisecond
		u.mu.Unlock()
		time.AfterFunc(wait, u.lag.sample)
		time.AfterFunc(delay+time.Millisecond, u.lag.sample)
	}
	return delay
}

// run simulates days with many faults. On each day every worker carries out one operation. The
// reports are compared with the ledger when the operations are at their end, and a day later.
func (m *month) run(days int) {
	var workers []*yearWorker
	for i, u := range m.units {
		for n := range 2 {
			workers = append(workers, newYearWorker(u, fmt.Sprintf("%d%d", i, n)))
		}
	}
	for start := time.Now(); time.Since(start) < time.Duration(days)*24*time.Hour; {
		m.beginStorm()
		var wg sync.WaitGroup
		for _, w := range workers {
			wg.Go(w.runOperation)
		}
		time.Sleep(time.Until(m.stormEnd)) // virtual
		m.endStorm()
		wg.Wait()
		if m.t.Failed() {
			break
		}
		m.late.wg.Wait()
		time.Sleep(24 * time.Hour) // virtual
		for _, w := range workers {
			w.compare("a day later")
		}
	}
	m.late.wg.Wait()
	for _, v := range m.srv.Violations() {
		switch v.Rule {
		case appsandbookstest.RuleRepeatedWrite: // the workers compare with the log of all writes
		case appsandbookstest.RuleRetryAfter:
			assert.True(m.t, m.excuses(v), "%v", v)
		case appsandbookstest.RulePollInterval:
			ofJump := false
			for _, u := range m.units {
				for id := range u.jumped {
					ofJump = ofJump || strings.Contains(v.Detail, id)
				}
			}
			assert.True(m.t, ofJump, "%v", v)
		default:
			assert.Fail(m.t, "violation of a rule of conduct", "%v", v)
		}
	}
}

// excuses reports whether a request in a pause could not be avoided: it was sent before the answer
// with the pause arrived, or the answer went to a process that has ended, or the request is one
// that had got lost.
func (m *month) excuses(v appsandbookstest.Violation) bool {
	if regexp.MustCompile(`came [789](\.\d+)?s too soon`).MatchString(v.Detail) {
		return true
	}
	near := func(at time.Time) bool { return at.Before(v.Time.Add(time.Second)) && v.Time.Sub(at) < 11*time.Second }
	return slices.ContainsFunc(m.deaths, near) || slices.ContainsFunc(m.late.delivered(), near)
}

// died records that a process has ended, or has canceled a request.
func (m *month) died() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaths = append(m.deaths, time.Now())
}

// beginStorm adds random faults. They end at stormEnd.
func (m *month) beginStorm() {
	m.stormEnd = time.Now().Add(m.duration(5 * time.Hour))
	if m.chance(0.5) {
		m.srv.SetLimits(func(l *appsandbookstest.Limits) {
			l.MaxAssets, l.MaxClientUserIDs, l.MaxSerialNumbers = 1+m.intN(3), 1+m.intN(4), 1+m.intN(4)
			l.MaxRevokeClientUserIDs, l.MaxRevokeSerialNumbers = 1+m.intN(4), 1+m.intN(4)
		})
	}
	if m.chance(0.3) {
		time.AfterFunc(m.duration(3*time.Minute), func() {
			m.srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxAssets, l.MaxClientUserIDs, l.MaxSerialNumbers = 1, 1, 1 })
		})
	}
	for _, u := range m.units {
		u.beginStorm()
	}
}

// The faults after which it is not known whether a write is carried out, and all others.
var (
	lossyFaults = []appsandbookstest.Fault{
		{Kind: appsandbookstest.FaultResetBefore},
		{Kind: appsandbookstest.FaultResetAfter},
		{Kind: appsandbookstest.FaultEOF},
		{Kind: appsandbookstest.FaultCutBody},
		{Kind: appsandbookstest.FaultSlowBody, Delay: 100 * time.Second},
		{Status: 502, Body: "<html>Bad Gateway</html>", Process: true},
		{Status: 302, Body: " ", Header: http.Header{"Location": {"https://mdm.example.com/"}}, Process: true, Method: "POST"},
		{Status: 200, Body: "{}", Process: true, Method: "POST"},
	}
	otherFaults = []appsandbookstest.Fault{
		{Kind: appsandbookstest.FaultDial},
		{Kind: appsandbookstest.FaultSlowBody, Delay: 5 * time.Second},
		{Number: 9646},
		{Number: 9603},
		{Number: 9644},
		{Status: 200, Number: 9603},
		{Number: 9729, Header: http.Header{"Retry-After": {"9"}}},
		{Number: 9625},
		{Status: 502, Body: "<html>Bad Gateway</html>", Method: "GET"},
		{Status: 200, Body: "{}", Path: "assignments"},
		{Status: 200, Body: "{}", Path: "status"},
	}
)

// beginStorm adds random faults of one unit.
func (u *stormyUnit) beginStorm() {
	m := u.m
	u.lag.set(m.duration(20 * time.Second))
	addSome := func(faults []appsandbookstest.Fault) {
		for _, f := range faults {
			if m.chance(0.25) {
				f.Unit, f.Probability = u.unit, 0.01+float64(m.intN(30))/100
				m.srv.AddFault(f)
			}
		}
	}
	hold, losses, calm := m.duration(yearLate), 0.0, false
	if m.chance(0.7) {
		losses = float64(m.intN(40)) / 100
		addSome(lossyFaults)
		if m.chance(0.3) {
			m.srv.AddFault(appsandbookstest.Fault{Number: 9708, Path: "status", Unit: u.unit, Probability: 0.2 + float64(m.intN(80))/100})
		}
	} else { // without lost writes, events can be pending for as long as the storm
		calm = true
		hold = m.duration(time.Until(m.stormEnd) + time.Second)
	}
	addSome(otherFaults)
	if m.chance(0.3) {
		u.unit.HoldEvents(true)
		time.AfterFunc(hold, func() { u.unit.HoldEvents(false); u.lag.sample() })
	}
	if m.chance(0.2) {
		u.unit.FailNextEvent(9603)
	}
	if m.chance(0.4) {
		u.failing = fmt.Sprintf("D%d%d%05d", slices.Index(m.units, u), m.intN(2), m.intN(4))
		u.unit.FailTarget(u.failing, 9603)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.losses, u.calm = losses, calm
	if m.chance(0.3) {
		u.wrongFrom = time.Now().Add(m.duration(time.Hour))
		u.wrongUntil = u.wrongFrom.Add(m.duration(2 * time.Hour))
	}
}

// endStorm ends all faults.
func (m *month) endStorm() {
	m.srv.ClearFaults()
	m.srv.SetLimits(func(l *appsandbookstest.Limits) { *l = appsandbookstest.DefaultLimits() })
	for _, u := range m.units {
		u.mu.Lock()
		u.losses, u.wrongUntil = 0, time.Time{}
		u.mu.Unlock()
		u.unit.HoldEvents(false)
		u.unit.FailTarget(u.failing, 0)
		u.lag.set(0)
	}
}

// lose decides whether a write gets lost now, and when it is carried out later.
func (u *stormyUnit) lose() (lost bool, after time.Duration) {
	u.mu.Lock()
	losses := u.losses
	u.mu.Unlock()
	if !u.m.chance(losses) {
		return false, 0
	}
	if u.m.chance(0.5) {
		return true, 0
	}
	return true, u.m.duration(yearLate) + 1
}

// token returns the content token that the clients of the unit have now. For a while it is that
// of another unit.
func (u *stormyUnit) token(context.Context) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); now.After(u.wrongFrom) && now.Before(u.wrongUntil) {
		for _, other := range u.m.units {
			if other != u {
				return other.unit.Token(), nil
			}
		}
	}
	return u.unit.Token(), nil
}
