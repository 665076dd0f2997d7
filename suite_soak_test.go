package appsandbooks_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var soakFor = flag.Duration("soak", 0, "how long the soak test runs; 0 skips it")

// In real time, over real connections and in memory: many goroutines of many
// organizational units do everything at once, while every tenth request goes
// wrong. At the end each ledger is what the reports said, and nothing is left
// behind: no goroutine, no memory.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("give it time: -soak=1m")
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	before := heapInUse()
	for _, medium := range []string{"memory", "TCP"} {
		t.Run(medium, func(t *testing.T) { soak(t, medium == "TCP", *soakFor/2) })
	}
	after := heapInUse()
	t.Logf("heap: %d KiB before, %d KiB after", before>>10, after>>10)
	require.Less(t, after, before+8<<20)
}

// heap is what is in use after a thorough collection: pools need two.
func heapInUse() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const (
	soakUnits   = 6
	soakWorkers = 4 // of each unit
	soakAssets  = 5
	soakTargets = 12 // users, and as many devices, of each worker
	soakSeat    = 67890
)

func soak(t *testing.T, tcp bool, long time.Duration) {
	secret := appsandbooks.NewSecret("soak-secret")
	clients := map[string]*appsandbooks.Client{} // by uId; complete before it is read
	handler, err := appsandbooks.NewNotificationHandler(nil, appsandbooks.WithNotificationSecrets(secret),
		appsandbooks.WithNotify(func(n *appsandbooks.Notification) {
			if c := clients[n.UID]; c != nil {
				c.Notify(n)
			}
		}))
	require.NoError(t, err)
	srv, err := appsandbookstest.NewServer(
		appsandbookstest.WithLatency(time.Millisecond),
		appsandbookstest.WithEventDelayFunc(func(appsandbookstest.Event) time.Duration { return rand.N(40 * time.Millisecond) }),
		appsandbookstest.WithPageSize(50),
		appsandbookstest.WithCursorPageSize(20),
		appsandbookstest.WithLimits(func() appsandbookstest.Limits {
			l := appsandbookstest.DefaultLimits()
			l.MaxAssets, l.MaxClientUserIDs, l.MaxSerialNumbers, l.MaxRequestPerSecond = 3, 7, 7, 100_000
			return l
		}()),
		appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(handler)),
		appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, ReorderWindow: 20 * time.Millisecond, RetryInterval: 10 * time.Millisecond}),
	)
	require.NoError(t, err)
	defer srv.Close()
	hc := srv.Client()
	if tcp {
		require.NoError(t, srv.Listen(""))
		tr := &http.Transport{MaxIdleConnsPerHost: soakUnits * soakWorkers}
		defer tr.CloseIdleConnections()
		hc = &http.Client{Transport: tr}
	}

	var workers []*soaker
	for i := range soakUnits {
		unit := srv.NewUnit(fmt.Sprint("unit ", i))
		opts := []appsandbooks.Option{
			appsandbooks.WithHTTPClient(hc),
			appsandbooks.WithRetry(5, time.Millisecond, 20*time.Millisecond),
			appsandbooks.WithTimeout(2 * time.Second),
			appsandbooks.WithPolling(20*time.Millisecond, 50*time.Millisecond),
			appsandbooks.WithStallTime(3 * time.Second),
		}
		if tcp {
			opts = append(opts, appsandbooks.WithBaseURL(srv.URL()))
		}
		c, err := appsandbooks.NewClient(unit.Token(), opts...)
		require.NoError(t, err)
		defer c.Close()
		clients[unit.UID()] = c
		if i%2 == 0 { // the others only poll
			_, err = c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{
				MDMInfo:         &appsandbooks.MDMInfo{ID: "soak", Name: "soak", Metadata: "soak"},
				NotificationURL: "https://mdm.example.com/notifications", NotificationAuthToken: secret,
				NotificationTypes: appsandbooks.NotificationTypes(),
			})
			require.NoError(t, err)
		}
		for a := range soakAssets {
			unit.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(100 + a), Total: 1000})
		}
		unit.AddSubscription(appsandbookstest.Subscription{AdamID: soakSeat, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 1000}})
		for w := range soakWorkers {
			s := &soaker{
				t: t, c: c, unit: unit, rand: rand.New(rand.NewPCG(uint64(i), uint64(w))),
				users: names(fmt.Sprintf("w%d-user-", w), soakTargets), devices: names(fmt.Sprintf("W%dD", w), soakTargets),
				accounts: names(fmt.Sprintf("w%d-account-", w), soakTargets), ledger: map[string]fate{},
			}
			for _, id := range s.users {
				unit.AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
			}
			workers = append(workers, s)
		}
	}

	faults := []appsandbookstest.Fault{
		{Kind: appsandbookstest.FaultDial},
		{Kind: appsandbookstest.FaultResetBefore},
		{Kind: appsandbookstest.FaultResetAfter},
		{Kind: appsandbookstest.FaultEOF},
		{Kind: appsandbookstest.FaultCutBody},
		{Kind: appsandbookstest.FaultTruncatedGzip},
		{Kind: appsandbookstest.FaultSlowBody, Delay: 20 * time.Millisecond},
		{Kind: appsandbookstest.FaultHugeBody, Size: 1 << 20},
		{Status: 502, Body: "<html>Bad Gateway</html>"},
		{Status: 502, Body: "<html>Bad Gateway</html>", Process: true},
		{Number: 9646},
		{Number: 9603},
		{Status: 200, Number: 9603},
	}
	for _, f := range faults {
		f.Probability = 0.1 / float64(len(faults))
		srv.AddFault(f)
	}

	var wg sync.WaitGroup
	var rounds atomic.Int64
	end := time.Now().Add(long)
	for _, s := range workers {
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				s.round()
				rounds.Add(1)
			}
		})
	}
	wg.Wait()
	srv.ClearFaults()
	require.False(t, t.Failed())

	unknown := 0
	for _, s := range workers {
		require.Eventually(t, func() bool {
			return !slices.ContainsFunc(s.unit.Events(), func(e appsandbookstest.Event) bool { return e.Status == appsandbookstest.EventPending })
		}, 10*time.Second, 10*time.Millisecond)
		unknown += s.compare()
	}
	t.Logf("%d rounds, %d of %d pairs of unknown fate", rounds.Load(), unknown, len(workers)*soakTargets*(2*soakAssets+2))
	for _, v := range srv.Violations() {
		switch v.Rule {
		case appsandbookstest.RulePollInterval: // 50 ms instead of 30 s
		case appsandbookstest.RuleRepeatedWrite: // the rounds repeat themselves
		case appsandbookstest.RuleParallelPages:
			// Over TCP the service hears a moment late that a read was given up.
			assert.True(t, tcp, "rule of conduct: %v", v)
		default:
			assert.Fail(t, "rule of conduct", "%v", v)
		}
	}
}

// fate is what a worker knows of a pair of its own.
type fate int

const (
	absent fate = iota
	present
	uncertain
)

// soaker works on users and devices that no other worker touches.
type soaker struct {
	t        *testing.T
	c        *appsandbooks.Client
	unit     *appsandbookstest.Unit
	rand     *rand.Rand
	users    []string
	devices  []string
	accounts []string
	ledger   map[string]fate
}

func assetKey(asset, user, device string) string { return asset + "/" + user + "/" + device }

func (s *soaker) some(all []string) []string {
	from := s.rand.IntN(len(all))
	return all[from : from+s.rand.IntN(len(all)-from)+1]
}

func (s *soaker) assets() []appsandbooks.AssetID {
	var ids []appsandbooks.AssetID
	for _, a := range s.rand.Perm(soakAssets)[:1+s.rand.IntN(soakAssets)] {
		ids = append(ids, appsandbooks.AssetID{AdamID: fmt.Sprint(100 + a)})
	}
	return ids
}

func (s *soaker) round() {
	ctx := s.t.Context()
	cancel := context.CancelFunc(func() {})
	if s.rand.IntN(10) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.rand.IntN(200))*time.Millisecond)
	}
	defer cancel()
	change := appsandbooks.AssetChange{Assets: s.assets(), ClientUserIDs: s.some(s.users), SerialNumbers: s.some(s.devices)}
	switch s.rand.IntN(12) {
	case 0, 1, 2:
		op, err := s.c.Assets.Associate(ctx, change, s.options()...)
		s.carryOut(ctx, op, err, pairKeys, present)
	case 3, 4:
		op, err := s.c.Assets.Disassociate(ctx, change, s.options()...)
		s.carryOut(ctx, op, err, pairKeys, absent)
	case 5:
		op, err := s.c.Assets.Revoke(ctx, appsandbooks.AssetChange{ClientUserIDs: s.some(s.users), SerialNumbers: s.some(s.devices)}, s.options()...)
		s.carryOut(ctx, op, err, func(o appsandbooks.Outcome) (keys []string) {
			for a := range soakAssets {
				keys = append(keys, assetKey(fmt.Sprint(100+a), o.ClientUserID, o.SerialNumber))
			}
			return keys
		}, absent)
	case 6:
		var requests []appsandbooks.UserRequest
		for _, id := range s.some(s.accounts) {
			if s.ledger["account "+id] != present {
				requests = append(requests, appsandbooks.UserRequest{ClientUserID: id})
			}
		}
		if len(requests) > 0 {
			op, err := s.c.Users.Create(ctx, appsandbooks.UserChange{Users: requests}, s.options()...)
			s.carryOut(ctx, op, err, accountKeys, present)
		}
	case 7:
		if ids := s.having("account ", s.accounts); len(ids) > 0 {
			op, err := s.c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: ids}, s.options()...)
			s.carryOut(ctx, op, err, accountKeys, absent)
		}
	case 8:
		op, err := s.c.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: s.some(s.users)}, s.options()...)
		s.carryOut(ctx, op, err, seatKeys, present)
	case 9:
		if ids := s.having("seat ", s.users); len(ids) > 0 {
			op, err := s.c.Subscriptions.Disassociate(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: ids}, s.options()...)
			s.carryOut(ctx, op, err, seatKeys, absent)
		}
	case 10:
		s.read(ctx)
	case 11:
		_, err := s.c.Users.Update(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: s.users[0], Email: "soak@example.com"}}})
		s.expected(err)
		err = s.c.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: s.users[:1]})
		s.expected(err)
		err = s.c.SubscriptionAdmins.Remove(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: s.users[:1]})
		s.expected(err)
		_, err = s.c.Config.ClientConfig(ctx)
		s.expected(err)
		_, err = s.c.Users.InvitationURL(ctx, "code")
		s.expected(err)
	}
}

func (s *soaker) options() (opts []appsandbooks.OperationOption) {
	if s.rand.IntN(2) == 0 {
		opts = append(opts, appsandbooks.WithResend())
	}
	if s.rand.IntN(2) == 0 {
		opts = append(opts, appsandbooks.WithBisection())
	}
	return opts
}

func (s *soaker) having(what string, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return s.ledger[what+id] != present || s.rand.IntN(2) == 0 })
}

func pairKeys(o appsandbooks.Outcome) []string {
	return []string{assetKey(o.AdamID, o.ClientUserID, o.SerialNumber)}
}

func accountKeys(o appsandbooks.Outcome) []string { return []string{"account " + o.ClientUserID} }

func seatKeys(o appsandbooks.Outcome) []string { return []string{"seat " + o.ClientUserID} }

// carryOut waits for an operation, some after a stay on paper, and enters the
// outcomes into the ledger of the worker.
func (s *soaker) carryOut(ctx context.Context, op *appsandbooks.Operation, err error, keys func(appsandbooks.Outcome) []string, done fate) {
	s.expected(err)
	if op == nil {
		return // not even tried
	}
	if s.rand.IntN(4) == 0 {
		blob, err := op.MarshalJSON()
		if assert.NoError(s.t, err) {
			op, err = s.c.Resume(blob)
			assert.NoError(s.t, err)
		}
	}
	report, err := op.Wait(ctx)
	s.expected(err)
	for o := range report.Outcomes() {
		for _, key := range keys(o) {
			switch o.Status {
			case appsandbooks.OutcomeSucceeded:
				s.ledger[key] = done
			case appsandbooks.OutcomeUnconfirmed:
				s.ledger[key] = uncertain
			case appsandbooks.OutcomeFailed: // nothing happened
			}
		}
	}
}

// read walks lists; a page may fail in the end, but no other way than known.
func (s *soaker) read(ctx context.Context) {
	for _, err := range s.c.Assignments.All(ctx, appsandbooks.AssignmentFilter{}) {
		s.expected(err)
	}
	for _, err := range s.c.Users.All(ctx, appsandbooks.UserFilter{}) {
		s.expected(err)
	}
	for _, err := range s.c.Assets.All(ctx, appsandbooks.AssetFilter{}) {
		s.expected(err)
	}
	for _, err := range s.c.SubscriptionAssignments.All(ctx, appsandbooks.SubscriptionAssignmentFilter{}) {
		s.expected(err)
	}
}

// expected refuses errors that are no *Error, and no end of a context.
func (s *soaker) expected(err error) {
	var e *appsandbooks.Error
	known := func(target error) bool { return errors.Is(err, target) }
	if err != nil && !errors.As(err, &e) && !slices.ContainsFunc([]error{
		context.DeadlineExceeded, appsandbooks.ErrAmbiguous, appsandbooks.ErrNotVerified, appsandbooks.ErrStalled, appsandbooks.ErrPending,
	}, known) {
		assert.Fail(s.t, "unexpected error", "%T: %v", err, err)
	}
}

// compare checks what the worker was told against the service's own books.
func (s *soaker) compare() (unknown int) {
	actual := map[string]bool{}
	for _, a := range s.unit.Assignments() {
		actual[assetKey(a.AdamID, a.ClientUserID, a.SerialNumber)] = true
	}
	for _, a := range s.unit.SubscriptionAssignments() {
		actual["seat "+a.ClientUserID] = true
	}
	for _, u := range s.unit.Users() {
		if u.Status != appsandbookstest.UserRetired {
			actual["account "+u.ClientUserID] = true
		}
	}
	for key, f := range s.ledger {
		if f == uncertain {
			unknown++
			continue
		}
		assert.Equal(s.t, f == present, actual[key], "%s: %s", s.unit.Name(), key)
	}
	return unknown
}
