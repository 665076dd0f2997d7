package appsandbooks_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// FuzzReportAgreesWithLedger associates assets while random faults occur: broken connections,
// HTML answers, refusals for the rate, errors with status 200, smaller limits, canceled contexts
// and crashes. The report must agree with the stand-in's record for each pair, and no other pair
// may be assigned.
func FuzzReportAgreesWithLedger(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Add(uint64(1242)) // with this seed, a resend is refused, and the first request is processed late
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { associateThroughFaults(t, seed) })
	})
}

// associateThroughFaults associates assets once, while the faults of the seed occur.
func associateThroughFaults(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	chance := func(p float64) bool { return r.Float64() < p }

	options := []appsandbookstest.Option{
		appsandbookstest.WithSeed(seed),
		appsandbookstest.WithLatency(time.Duration(r.IntN(3000)) * time.Millisecond),
		appsandbookstest.WithEventDelay(time.Duration(r.IntN(90)) * time.Second),
		appsandbookstest.WithPageSize(1 + r.IntN(50)),
		appsandbookstest.WithLimits(func() appsandbookstest.Limits {
			l := appsandbookstest.DefaultLimits()
			l.MaxAssets, l.MaxClientUserIDs, l.MaxSerialNumbers = 1+r.IntN(4), 1+r.IntN(20), 1+r.IntN(20)
			return l
		}()),
	}
	for _, o := range []appsandbookstest.Option{
		appsandbookstest.WithLooseErrorInfo(), appsandbookstest.WithoutErrorInfo(), appsandbookstest.WithAsyncUserNotFound(),
	} {
		if chance(0.2) {
			options = append(options, o)
		}
	}
	srv, err := appsandbookstest.NewServer(options...)
	require.NoError(t, err)
	defer srv.Close()

	// In the test's unit, some assets have too few licenses, and some users do not exist.
	change := appsandbooks.AssetChange{SerialNumbers: names("C02", r.IntN(40))}
	for i := range 1 + r.IntN(6) {
		id := fmt.Sprint(100 + i)
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: id, Total: r.IntN(80), UsersOnly: chance(0.1)})
		change.Assets = append(change.Assets, appsandbooks.AssetID{AdamID: id})
	}
	for _, id := range names("user-", 1+r.IntN(30)) {
		if !chance(0.03) {
			srv.Unit().AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
		}
		change.ClientUserIDs = append(change.ClientUserIDs, id)
	}
	if chance(0.4) { // The change has single pairs instead of assets and targets.
		pairs := appsandbooks.AssetChange{}
		for _, a := range change.Assets {
			for _, u := range change.ClientUserIDs {
				if chance(0.5) {
					pairs.Pairs = append(pairs.Pairs, appsandbooks.AssetPair{AdamID: a.AdamID, ClientUserID: u})
				}
			}
			for _, s := range change.SerialNumbers {
				if chance(0.5) {
					pairs.Pairs = append(pairs.Pairs, appsandbooks.AssetPair{AdamID: a.AdamID, SerialNumber: s})
				}
			}
		}
		if len(pairs.Pairs) > 0 {
			change = pairs
		}
	}
	requested := map[appsandbookstest.Assignment]bool{}
	addRequested := func(a appsandbookstest.Assignment) { a.PricingParam = "STDQ"; requested[a] = true }
	for _, a := range change.Assets {
		for _, u := range change.ClientUserIDs {
			addRequested(appsandbookstest.Assignment{AdamID: a.AdamID, ClientUserID: u})
		}
		for _, s := range change.SerialNumbers {
			addRequested(appsandbookstest.Assignment{AdamID: a.AdamID, SerialNumber: s})
		}
	}
	for _, p := range change.Pairs {
		addRequested(appsandbookstest.Assignment{AdamID: p.AdamID, ClientUserID: p.ClientUserID, SerialNumber: p.SerialNumber})
	}

	for _, fault := range []appsandbookstest.Fault{
		{Kind: appsandbookstest.FaultResetBefore},
		{Kind: appsandbookstest.FaultResetAfter},
		{Kind: appsandbookstest.FaultDial},
		{Kind: appsandbookstest.FaultEOF},
		{Kind: appsandbookstest.FaultCutBody},
		{Kind: appsandbookstest.FaultTruncatedGzip},
		{Status: 502, Body: "<html>Bad Gateway</html>"},
		{Status: 502, Body: "<html>Bad Gateway</html>", Process: true},
		{Number: 9646},
		{Number: 9603},
		{Number: 9729, Header: http.Header{"Retry-After": {"20"}}},
		{Status: 200, Number: 9603},
	} {
		if chance(0.3) {
			fault.Probability = r.Float64() * 0.3
			srv.AddFault(fault)
		}
	}
	if chance(0.3) {
		after := time.Duration(r.IntN(20)) * time.Second
		assets, devices := 1+r.IntN(2), 1+r.IntN(5)
		timer := time.AfterFunc(after, func() {
			srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxAssets, l.MaxSerialNumbers = assets, devices })
		})
		defer timer.Stop()
	}

	var opts []appsandbooks.OperationOption
	if chance(0.5) {
		opts = append(opts, appsandbooks.WithResendOverdue())
	}
	if chance(0.5) {
		opts = append(opts, appsandbooks.WithResendLost())
	}
	if chance(0.5) {
		opts = append(opts, appsandbooks.WithBisection())
	}

	// One to three simulated processes work on the operation, one after another. Each of them may
	// be canceled or crash, except the last one.
	limiter := appsandbooks.NewLimiter() // all processes share the limiter, because the rate is that of the unit
	var journal bytes.Buffer
	var report *appsandbooks.Report
	processes := 1 + r.IntN(3)
	for process := range processes {
		last := process == processes-1
		entries := r.IntN(12)
		write := func(_ context.Context, entry []byte) error {
			if !last && entries == 0 {
				journal.Write(entry[:r.IntN(len(entry))]) // the entry is cut off
				entries--
				return errCrash
			}
			if entries < 0 && !last {
				return errCrash
			}
			entries--
			journal.Write(entry)
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		if !last && chance(0.3) {
			time.AfterFunc(time.Duration(r.IntN(120))*time.Second, cancel)
		}
		if last {
			srv.ClearFaults()
		}
		c := newClient(t, srv, appsandbooks.WithLimiter(limiter))
		all := append(slices.Clip(opts), appsandbooks.WithJournal(write))
		var op *appsandbooks.Operation
		var err error
		if journal.Len() == 0 || !bytes.Contains(journal.Bytes(), []byte(`"ledger"`)) {
			journal.Reset()
			op, err = c.Assets.Associate(ctx, change, all...)
		} else if op, err = c.Resume(journal.Bytes(), all...); err != nil && !bytes.Contains(journal.Bytes(), []byte("]}\n")) {
			journal.Reset() // The first entry of the journal is cut off, so no request was sent.
			op, err = c.Assets.Associate(ctx, change, all...)
		} else {
			require.NoError(t, err, "journal:\n%s", journal.Bytes())
		}
		if op != nil {
			report, _ = op.Wait(ctx)
		} else {
			require.Error(t, err)
		}
		cancel()
		c.Close()
		if last {
			require.NotNil(t, op, "%v", err)
		}
	}

	time.Sleep(10 * time.Minute) // virtual; all events finish
	for _, a := range srv.Unit().Assignments() {
		require.True(t, requested[a], "%v was assigned, but not requested", a)
	}
	require.Equal(t, len(requested), report.Total)
	requireLedgerAgrees(t, srv, report)
	for o := range report.Outcomes() {
		require.True(t, requested[appsandbookstest.Assignment{
			AdamID: o.AdamID, PricingParam: string(o.PricingParam), ClientUserID: o.ClientUserID, SerialNumber: o.SerialNumber,
		}])
	}
	for _, v := range srv.Violations() {
		switch v.Rule {
		case appsandbookstest.RuleRepeatedWrite: // a resend after an unknown result violates this rule
		// A request that was sent before the answer with the pause arrived violates this rule.
		case appsandbookstest.RuleRetryAfter:
			require.Contains(t, v.Detail, "20s too soon")
		default:
			require.Fail(t, "violation of a rule of conduct", "%v", v)
		}
	}
}
