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

var soakFor = flag.Duration("soak", 0, "duration of the soak test; 0 skips it")

// In real time, in memory and over TCP, many goroutines of several units call all kinds of
// methods at once, while a tenth of the requests fails. At the end, the reports must agree with
// the ledger of each unit, no goroutine may be left, and the heap may be at most 8 MiB larger
// than before.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("set the duration, for example -soak=1m")
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

// heapInUse returns the bytes of the heap that are in use after garbage collection. It collects
// three times, because the content of a sync.Pool is freed only by the second collection.
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
	soakWorkers = 4 // for each unit
	soakAssets  = 5
	soakTargets = 12    // the number of users, of devices, and of accounts that each worker has
	soakSeat    = 67890 // Adam ID of the subscription
)

// soak runs the workers of the soak test for a time, over TCP or in memory.
func soak(t *testing.T, tcp bool, duration time.Duration) {
	secret := appsandbooks.NewSecret("soak-secret")
	clients := map[string]*appsandbooks.Client{} // the clients by uId; filled before the first notification
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
		if i%2 == 0 { // Only every second unit gets notifications.
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
				accounts: names(fmt.Sprintf("w%d-account-", w), soakTargets), known: map[string]pairState{},
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
	end := time.Now().Add(duration)
	for _, s := range workers {
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				s.runRound()
				rounds.Add(1)
			}
		})
	}
	wg.Wait()
	srv.ClearFaults()
	require.False(t, t.Failed())

	unknownPairs := 0
	for _, s := range workers {
		require.Eventually(t, func() bool {
			return !slices.ContainsFunc(s.unit.Events(), func(e appsandbookstest.Event) bool { return e.Status == appsandbookstest.EventPending })
		}, 10*time.Second, 10*time.Millisecond)
		unknownPairs += s.compareWithLedger()
	}
	t.Logf("%d rounds; the state of %d of %d pairs is unknown", rounds.Load(), unknownPairs, len(workers)*soakTargets*(2*soakAssets+2))
	for _, v := range srv.Violations() {
		switch v.Rule {
		case appsandbookstest.RulePollInterval: // the client polls every 50 ms instead of every 30 s
		case appsandbookstest.RuleRepeatedWrite: // two rounds of a worker may send the same request
		case appsandbookstest.RuleParallelPages:
			// Over TCP, the stand-in notices with a delay that the client has canceled a read.
			assert.True(t, tcp, "violation of a rule of conduct: %v", v)
		default:
			assert.Fail(t, "violation of a rule of conduct", "%v", v)
		}
	}
}

// pairState is what a worker of the soak test knows about one of its pairs, seats or accounts.
type pairState int

const (
	absent pairState = iota
	present
	unknown
)

// A soaker is a worker of the soak test. It has users, devices and accounts that no other worker
// changes.
type soaker struct {
	t        *testing.T
	c        *appsandbooks.Client
	unit     *appsandbookstest.Unit
	rand     *rand.Rand
	users    []string
	devices  []string
	accounts []string // the ids of users that the worker creates and retires
	known    map[string]pairState
}

// assetKey returns the key under which a worker stores the state of an assignment.
func assetKey(asset, user, device string) string { return asset + "/" + user + "/" + device }

// randomRange returns a random, non-empty range of consecutive elements of a list.
func (s *soaker) randomRange(all []string) []string {
	from := s.rand.IntN(len(all))
	return all[from : from+s.rand.IntN(len(all)-from)+1]
}

// assets returns one or more random assets of the organizational unit, for a change.
func (s *soaker) assets() []appsandbooks.AssetID {
	var ids []appsandbooks.AssetID
	for _, a := range s.rand.Perm(soakAssets)[:1+s.rand.IntN(soakAssets)] {
		ids = append(ids, appsandbooks.AssetID{AdamID: fmt.Sprint(100 + a)})
	}
	return ids
}

// runRound runs one random operation, or some other calls. In one round of ten, the context ends
// after less than 200 ms.
func (s *soaker) runRound() {
	ctx := s.t.Context()
	cancel := context.CancelFunc(func() {})
	if s.rand.IntN(10) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.rand.IntN(200))*time.Millisecond)
	}
	defer cancel()
	change := appsandbooks.AssetChange{Assets: s.assets(), ClientUserIDs: s.randomRange(s.users), SerialNumbers: s.randomRange(s.devices)}
	switch s.rand.IntN(12) {
	case 0, 1, 2:
		op, err := s.c.Assets.Associate(ctx, change, s.options()...)
		s.finish(ctx, op, err, pairKeys, present)
	case 3, 4:
		op, err := s.c.Assets.Disassociate(ctx, change, s.options()...)
		s.finish(ctx, op, err, pairKeys, absent)
	case 5:
		op, err := s.c.Assets.Revoke(ctx, appsandbooks.AssetChange{ClientUserIDs: s.randomRange(s.users), SerialNumbers: s.randomRange(s.devices)}, s.options()...)
		s.finish(ctx, op, err, func(o appsandbooks.Outcome) (keys []string) {
			for a := range soakAssets {
				keys = append(keys, assetKey(fmt.Sprint(100+a), o.ClientUserID, o.SerialNumber))
			}
			return keys
		}, absent)
	case 6:
		var requests []appsandbooks.UserRequest
		for _, id := range s.randomRange(s.accounts) {
			if s.known["account "+id] != present {
				requests = append(requests, appsandbooks.UserRequest{ClientUserID: id})
			}
		}
		if len(requests) > 0 {
			op, err := s.c.Users.Create(ctx, appsandbooks.UserChange{Users: requests}, s.options()...)
			s.finish(ctx, op, err, accountKeys, present)
		}
	case 7:
		if ids := s.randomPresent("account ", s.accounts); len(ids) > 0 {
			op, err := s.c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: ids}, s.options()...)
			s.finish(ctx, op, err, accountKeys, absent)
		}
	case 8:
		op, err := s.c.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: s.randomRange(s.users)}, s.options()...)
		s.finish(ctx, op, err, seatKeys, present)
	case 9:
		if ids := s.randomPresent("seat ", s.users); len(ids) > 0 {
			op, err := s.c.Subscriptions.Disassociate(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: ids}, s.options()...)
			s.finish(ctx, op, err, seatKeys, absent)
		}
	case 10:
		s.read(ctx)
	case 11:
		_, err := s.c.Users.Update(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: s.users[0], Email: "soak@example.com"}}})
		s.checkError(err)
		err = s.c.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: s.users[:1]})
		s.checkError(err)
		err = s.c.SubscriptionAdmins.Remove(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{soakSeat}, ClientUserIDs: s.users[:1]})
		s.checkError(err)
		_, err = s.c.Config.ClientConfig(ctx)
		s.checkError(err)
		_, err = s.c.Users.InvitationURL(ctx, "code")
		s.checkError(err)
	}
}

// options returns random options for an operation of a worker.
func (s *soaker) options() (opts []appsandbooks.OperationOption) {
	if s.rand.IntN(2) == 0 {
		opts = append(opts, appsandbooks.WithResendOverdue())
	}
	if s.rand.IntN(2) == 0 {
		opts = append(opts, appsandbooks.WithResendLost())
	}
	if s.rand.IntN(2) == 0 {
		opts = append(opts, appsandbooks.WithBisection())
	}
	return opts
}

// randomPresent returns about half of those ids that are present: the worker knows this state
// under the key prefix+id.
func (s *soaker) randomPresent(prefix string, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return s.known[prefix+id] != present || s.rand.IntN(2) == 0 })
}

func pairKeys(o appsandbooks.Outcome) []string {
	return []string{assetKey(o.AdamID, o.ClientUserID, o.SerialNumber)}
}

func accountKeys(o appsandbooks.Outcome) []string { return []string{"account " + o.ClientUserID} }

func seatKeys(o appsandbooks.Outcome) []string { return []string{"seat " + o.ClientUserID} }

// finish waits for an operation and records the states of its pairs. keys returns the keys of a
// pair, and state is the new state of a pair that succeeded. A quarter of the operations is saved
// and resumed before the wait.
func (s *soaker) finish(ctx context.Context, op *appsandbooks.Operation, err error, keys func(appsandbooks.Outcome) []string, state pairState) {
	s.checkError(err)
	if op == nil {
		return // The operation could not be planned.
	}
	if s.rand.IntN(4) == 0 {
		blob, err := op.Save()
		if assert.NoError(s.t, err) {
			op, err = s.c.Resume(blob)
			assert.NoError(s.t, err)
		}
	}
	report, err := op.Wait(ctx)
	s.checkError(err)
	for o := range report.Outcomes() {
		for _, key := range keys(o) {
			switch o.Status {
			case appsandbooks.OutcomeSucceeded:
				s.known[key] = state
			case appsandbooks.OutcomeUnconfirmed:
				s.known[key] = unknown
			case appsandbooks.OutcomeFailed, appsandbooks.OutcomeUnsent: // the state has not changed
			}
		}
	}
}

// read reads four lists of the unit. A list may end with an error that checkError accepts.
func (s *soaker) read(ctx context.Context) {
	for _, err := range s.c.Assignments.All(ctx, appsandbooks.AssignmentFilter{}) {
		s.checkError(err)
	}
	for _, err := range s.c.Users.All(ctx, appsandbooks.UserFilter{}) {
		s.checkError(err)
	}
	for _, err := range s.c.Assets.All(ctx, appsandbooks.AssetFilter{}) {
		s.checkError(err)
	}
	for _, err := range s.c.SubscriptionAssignments.All(ctx, appsandbooks.SubscriptionAssignmentFilter{}) {
		s.checkError(err)
	}
}

// checkError fails the test on an error that is not an *Error, not the error of an ended context,
// and not one of the errors of an unconfirmed outcome.
func (s *soaker) checkError(err error) {
	var e *appsandbooks.Error
	matches := func(target error) bool { return errors.Is(err, target) }
	if err != nil && !errors.As(err, &e) && !slices.ContainsFunc([]error{
		context.DeadlineExceeded, appsandbooks.ErrAmbiguous, appsandbooks.ErrNotVerified, appsandbooks.ErrStalled, appsandbooks.ErrPending,
	}, matches) {
		assert.Fail(s.t, "unexpected error", "%T: %v", err, err)
	}
}

// compareWithLedger compares the states that a worker knows with the record of the stand-in. It
// returns the number of states that the worker does not know.
func (s *soaker) compareWithLedger() (unknownPairs int) {
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
	for key, state := range s.known {
		if state == unknown {
			unknownPairs++
			continue
		}
		assert.Equal(s.t, state == present, actual[key], "%s: %s", s.unit.Name(), key)
	}
	return unknownPairs
}
