package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// virtual runs f in virtual time with a stand-in in memory and a client of its
// default unit. The stand-in's rules of conduct must hold at the end.
func virtual(t *testing.T, options []appsandbookstest.Option, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := appsandbookstest.NewServer(options...)
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		f(t, srv, c)
		require.Empty(t, srv.Violations())
	})
}

func newClient(t testing.TB, srv *appsandbookstest.Server, opts ...appsandbooks.Option) *appsandbooks.Client {
	t.Helper()
	c, err := appsandbooks.NewClient(srv.Unit().Token(), append([]appsandbooks.Option{
		appsandbooks.WithHTTPClient(srv.Client()),
	}, opts...)...)
	require.NoError(t, err)
	return c
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%05d", prefix, i)
	}
	return all
}

// stock adds n assets with licences each, and returns their ids.
func stock(srv *appsandbookstest.Server, n, licences int) []appsandbooks.AssetID {
	ids := make([]appsandbooks.AssetID, n)
	for i := range ids {
		ids[i] = appsandbooks.AssetID{AdamID: fmt.Sprint(1000 + i), PricingParam: appsandbooks.PricingSTDQ}
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: ids[i].AdamID, Total: licences})
	}
	return ids
}

func users(srv *appsandbookstest.Server, n int) []string {
	ids := names("user-", n)
	for _, id := range ids {
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
	}
	return ids
}

func countPath(srv *appsandbookstest.Server, path string) int {
	n := 0
	for _, r := range srv.Requests() {
		if r.Path == path {
			n++
		}
	}
	return n
}

// agree checks a report of associations against the ledger, pair by pair.
func agree(t testing.TB, srv *appsandbookstest.Server, r *appsandbooks.Report) {
	t.Helper()
	seen := map[appsandbookstest.Assignment]bool{}
	totals := map[appsandbooks.OutcomeStatus]int{}
	for o := range r.Outcomes() {
		a := appsandbookstest.Assignment{
			AdamID: o.AdamID, PricingParam: string(o.PricingParam), ClientUserID: o.ClientUserID, SerialNumber: o.SerialNumber,
		}
		require.False(t, seen[a], "two outcomes for %v", a)
		seen[a] = true
		totals[o.Status]++
		there := srv.Unit().HasAssignment(a)
		switch o.Status {
		case appsandbooks.OutcomeSucceeded:
			require.True(t, there, "%v succeeded, but is not in the ledger", a)
			require.NoError(t, o.Err)
		case appsandbooks.OutcomeFailed:
			require.False(t, there, "%v failed (%v), but is in the ledger", a, o.Err)
			require.Error(t, o.Err)
		default:
			require.Error(t, o.Err)
		}
	}
	require.Len(t, seen, r.Total)
	require.Equal(t, r.Succeeded, totals[appsandbooks.OutcomeSucceeded])
	require.Equal(t, r.Failed, totals[appsandbooks.OutcomeFailed])
	require.Equal(t, r.Unconfirmed, totals[appsandbooks.OutcomeUnconfirmed])
}

// The number of requests is the minimum, and the time is one early look.
func TestAssociateProduct(t *testing.T) {
	for _, test := range []struct{ assets, users, devices, requests int }{
		{1, 1, 0, 1},
		{25, 0, 10_000, 10},
		{40, 0, 10_000, 20},
		{25, 1000, 1000, 1},
		{26, 1001, 10, 4},
	} {
		t.Run(fmt.Sprintf("%dx%d+%d", test.assets, test.users, test.devices), func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				change := appsandbooks.AssetChange{
					Assets:        stock(srv, test.assets, 100_000),
					ClientUserIDs: users(srv, test.users),
					SerialNumbers: names("C02", test.devices),
				}
				// Repetitions are the caller's right.
				change.SerialNumbers = append(change.SerialNumbers, change.SerialNumbers...)
				began := time.Now()
				op, err := c.Assets.Associate(t.Context(), change)
				require.NoError(t, err)
				require.Equal(t, test.requests, op.Plan().Requests)
				if test.requests < 15 { // beyond, the pace of 15 requests a second adds to it
					require.Zero(t, time.Since(began))
				}

				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.assets*(test.users+test.devices), report.Succeeded)
				require.Equal(t, report.Succeeded, report.Total)
				require.Equal(t, test.requests, countPath(srv, "assets/associate"))
				require.Equal(t, test.requests, countPath(srv, "status"))
				require.Len(t, srv.Unit().Assignments(), report.Total)
				if test.requests < 7 {
					require.Equal(t, 5*time.Second, time.Since(began))
				}
			})
		})
	}
}

// Events are asked for after 5 s and then not sooner than 30 s after PENDING.
func TestWaitSchedule(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(80 * time.Second)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		var looks []time.Duration
		for _, at := range statusTimes(srv) {
			looks = append(looks, at.Sub(began))
		}
		require.Len(t, looks, 4) // 5, 35, 65 and 95 s, a little later each time
		require.Equal(t, 5*time.Second, looks[0])
		for i := 1; i < len(looks); i++ {
			require.GreaterOrEqual(t, looks[i]-looks[i-1], 30*time.Second)
			require.LessOrEqual(t, looks[i]-looks[i-1], 33*time.Second)
		}
	})
}

func statusTimes(srv *appsandbookstest.Server) (times []time.Time) {
	for _, r := range srv.Requests() {
		if r.Path == "status" {
			times = append(times, r.Time)
		}
	}
	return times
}

// A look whose answer was cancelled may have been answered PENDING: the next
// Wait keeps the distance.
func TestWaitAgainAfterCancel(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(20 * time.Second), appsandbookstest.WithLatency(2 * time.Second)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 6500*time.Millisecond) // the service answers at 6 s
		defer cancel()
		_, err = op.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		looks := statusTimes(srv)
		require.Len(t, looks, 2)
		require.GreaterOrEqual(t, looks[1].Sub(looks[0]), 30*time.Second)
	})
}

// A pause beyond the longest ends the wait and says so; nothing is lost.
func TestWaitEndsAtALongPause(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "status", Number: 9729, Header: http.Header{"Retry-After": {"3600"}}, Times: 1})
		began := time.Now()
		report, err := op.Wait(t.Context())
		require.Equal(t, time.Hour, isError(t, err).RetryAfter)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.Equal(t, 3, report.Unconfirmed)
		_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
		require.NotZero(t, isError(t, err).RetryAfter)
		require.Less(t, time.Since(began), time.Minute)

		time.Sleep(time.Hour) // virtual
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// That an old event could not be asked for once does not make it stalled.
func TestOldEventAndABrokenConnection(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 2), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		time.Sleep(24 * time.Hour) // virtual
		srv.AddFault(appsandbookstest.Fault{Path: "status", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.NotErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Failed)
		agree(t, srv, report)
	})
}

func TestPartialFailure(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := append(stock(srv, 1, 14), appsandbooks.AssetID{AdamID: "2000"})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2000", Total: 16})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: assets, ClientUserIDs: users(srv, 8), SerialNumbers: names("C02", 8),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.NotErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 30, report.Succeeded)
		require.Equal(t, 2, report.Failed)
		agree(t, srv, report)

		// What failed can be tried again, once there is something to try with.
		srv.Unit().Purchase("1000", "STDQ", 2)
		again, err := op.Retry(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, again.Plan().Pairs)
		report, err = again.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, report.Total)
		agree(t, srv, report)

		// And taken back.
		undo, err := op.Undo(t.Context())
		require.NoError(t, err)
		report, err = undo.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, report.Succeeded)
		require.Len(t, srv.Unit().Assignments(), 2)
	})
}

// Names that claim more than what failed leave pairs open; reading back closes them.
func TestLooseErrorInfo(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLooseErrorInfo()}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 3})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets:        []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: "2"}},
			SerialNumbers: names("C02", 4),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 4, report.Succeeded)
		require.Equal(t, 4, report.Failed)
		agree(t, srv, report)
	})
}

// A status whose counts and names do not fit together proves nothing about a
// pair: reading back decides. Each asset has two licences for three devices.
func TestOddStatus(t *testing.T) {
	const prefix = `{"eventType":"ASSOCIATE","eventStatus":`
	for name, status := range map[string]string{
		"COMPLETE, nothing completed": `"COMPLETE","numRequested":6,"numCompleted":0}`,
		"COMPLETE, no counts":         `"COMPLETE"}`,
		"COMPLETE, more than asked":   `"COMPLETE","numRequested":6,"numCompleted":7}`,
		"FAILED, nothing failed":      `"FAILED","numRequested":6,"numCompleted":6}`,
		"counted in another way": `"FAILED","numRequested":3,"numCompleted":1,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000"},{"adamId":"1001"}],"serialNumbers":["C0200001","C0200002"]}}]}`,
		"too many names, and none": `"FAILED","numRequested":6,"numCompleted":4,"failures":[null,
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000","pricingParam":"STDQ"}],"serialNumbers":["C0200001","C0200002","C0200001"]}},
			{"errorNumber":9709}]}`,
		"too many names, more failures": `"FAILED","numRequested":6,"numCompleted":2,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000"}],"serialNumbers":["C0200000"]}}]}`,
		"strange names": `"FAILED","numRequested":6,"numCompleted":4,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"77"}],"serialNumbers":["C0200002","X"],"clientUserIds":["C0200001"]}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: prefix + status})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: stock(srv, 2, 2), SerialNumbers: []string{"C0200000", "C0200001", "C0200002"},
				})
				require.NoError(t, err)
				report, err := op.Wait(t.Context())
				require.Error(t, err)
				require.Len(t, srv.Unit().Assignments(), 4)
				require.Equal(t, 4, report.Succeeded)
				agree(t, srv, report)
			})
		})
	}
}

func TestWithoutErrorInfo(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo()}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 2, 3), SerialNumbers: names("C02", 4),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 6, report.Succeeded)
		agree(t, srv, report)
	})
}

func TestLimitsShrinkMidway(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers, l.MaxAssets = 400, 10 })
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 20, 10_000), SerialNumbers: names("C02", 1000),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
		require.Equal(t, 20_000, report.Succeeded)
		require.Equal(t, 1+6, countPath(srv, "assets/associate"))
		require.Equal(t, 2, countPath(srv, "service/config"))
	})
}

func TestRefusalNamesItems(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := stock(srv, 2, 100)
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "9999", ProductType: appsandbookstest.ProductBook, Total: 100})
		assets = append(assets, appsandbooks.AssetID{AdamID: "9999", PricingParam: "STDQ"})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets:        assets,
			ClientUserIDs: append(users(srv, 5), "stranger", "nobody"),
			SerialNumbers: names("C02", 5),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.ErrorIs(t, err, appsandbooks.ErrAssetNotDeviceAssignable)
		agree(t, srv, report)
		require.Equal(t, 3*5+2*5, report.Succeeded) // the strangers, and the book on devices, failed
	})
}

func TestBisection(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo()}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		change := appsandbooks.AssetChange{
			Assets: stock(srv, 3, 5000), ClientUserIDs: append(users(srv, 900), "stranger"), SerialNumbers: names("C02", 10),
		}
		_, err := c.Assets.Associate(t.Context(), change)
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)

		op, err := c.Assets.Associate(t.Context(), change, appsandbooks.WithBisection())
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 3, report.Failed)
		agree(t, srv, report)
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 2+64)
	})
}

// A write whose fate is unknown is not sent again; reading back settles it.
func TestAmbiguousWrites(t *testing.T) {
	for _, test := range []struct {
		kind      appsandbookstest.FaultKind
		resend    bool
		posts     int
		succeeded int
	}{
		{appsandbookstest.FaultResetAfter, false, 1, 6},
		{appsandbookstest.FaultResetAfter, true, 1, 6},
		{appsandbookstest.FaultCutBody, false, 1, 6},
		{appsandbookstest.FaultEOF, false, 1, 6},
		{appsandbookstest.FaultResetBefore, false, 1, 0},
		{appsandbookstest.FaultResetBefore, true, 2, 6},
	} {
		t.Run(fmt.Sprintf("%s resend=%t", test.kind, test.resend), func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: test.kind, Times: 1})
				var opts []appsandbooks.OperationOption
				if test.resend {
					opts = append(opts, appsandbooks.WithResend())
				}
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: stock(srv, 2, 3), SerialNumbers: names("C02", 3),
				}, opts...)
				require.NoError(t, err)
				report, err := op.Wait(t.Context())
				require.Equal(t, test.posts, countPath(srv, "assets/associate"))
				require.Equal(t, test.succeeded, report.Succeeded)
				require.Equal(t, 6-test.succeeded, report.Unconfirmed)
				if test.succeeded < 6 {
					require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
				} else {
					require.NoError(t, err)
				}
				agree(t, srv, report)
			})
		})
	}
}

// What is sent again can be refused because the first request was carried out
// late, after it was looked for: that is a success.
func TestResentIntoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(50 * time.Second))
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, Times: 1})
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "a"}, {ClientUserID: "b"}}}, appsandbooks.WithResend())
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, report.Succeeded)
		require.Equal(t, 2, countPath(srv, "users/create"))
		require.Len(t, srv.Unit().Users(), 2)
	})
}

// What is to be sent again, and cannot be, is as unconfirmed as it was: the
// first request may still be carried out.
func TestResendThatIsNotSent(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 5), SerialNumbers: names("C02", 3),
		}, appsandbooks.WithResend())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9646})
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		resumed, err := c.Resume(saved, appsandbooks.WithResend())
		require.NoError(t, err)
		srv.Unit().HoldEvents(false)
		time.Sleep(time.Second) // virtual
		require.Len(t, srv.Unit().Assignments(), 3)
		for _, op := range []*appsandbooks.Operation{op, resumed} {
			report := op.Report()
			require.Equal(t, 3, report.Unconfirmed)
			agree(t, srv, report)
			require.Equal(t, 1, op.Progress().Requests)
			require.Equal(t, 0, op.Progress().Accepted)
			for o := range report.Outcomes() {
				require.ErrorIs(t, o.Err, appsandbooks.ErrStalled)
				require.NotErrorIs(t, o.Err, appsandbooks.ErrNotSent)
			}
		}
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid) // nothing has failed
	})
}

// A part that was sent again is read back when its own event leaves pairs open.
func TestResendWithLooseNames(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLooseErrorInfo()}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 3})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: "2"}}, SerialNumbers: names("C02", 4),
		}, appsandbooks.WithResend())
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 4, report.Succeeded)
		require.Zero(t, report.Unconfirmed)
		agree(t, srv, report)
	})
}

// A connection that was never made proves that nothing was started.
func TestUnsentWritesAreRetried(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultDial, Times: 4})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 2, 3), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

func TestStalledEvent(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 3), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 3, report.Unconfirmed)
		require.GreaterOrEqual(t, time.Since(began), 10*time.Minute)
		require.Less(t, time.Since(began), 11*time.Minute)
		require.Equal(t, 1, countPath(srv, "assets/associate"))

		srv.Unit().HoldEvents(false)
		time.Sleep(time.Second) // virtual
		report, err = op.Verify(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
	})
}

func TestStopsTheLineOnAuth(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := stock(srv, 25, 100_000)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, After: 3})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 20_000)})
		require.NoError(t, err)
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 3+4) // those under way
		before := countPath(srv, "assets/associate")
		report, err := op.Wait(t.Context()) // tries once more, and stops again
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.ErrorIs(t, err, appsandbooks.ErrNotSent)
		require.True(t, appsandbooks.IsAuth(err))
		require.LessOrEqual(t, countPath(srv, "assets/associate"), before+4)
		require.Equal(t, 3*25*1000, report.Succeeded)
		require.Equal(t, 17*25*1000, report.Failed)
		agree(t, srv, report)

		srv.ClearFaults() // a new token, say
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 20*25*1000, report.Succeeded)
		agree(t, srv, report)
	})
}

func TestNothingAccepted(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().SetTokenState(appsandbookstest.TokenExpired)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 1), SerialNumbers: []string{"C02"},
		})
		require.ErrorIs(t, err, appsandbooks.ErrTokenExpired)
		require.NotErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.NotNil(t, op)
		require.Equal(t, 1, op.Report().Failed)
	})
}

func TestEmptyChanges(t *testing.T) {
	c, r := recordedClient(t)
	ctx := t.Context()
	asset := []appsandbooks.AssetID{{AdamID: "1"}}
	for name, call := range map[string]func() (*appsandbooks.Operation, error){
		"nothing": func() (*appsandbooks.Operation, error) { return c.Assets.Associate(ctx, appsandbooks.AssetChange{}) },
		"no targets": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset})
		},
		"no assets": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"C"}})
		},
		"empty id": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset, SerialNumbers: []string{""}})
		},
		"no adam id": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{}}, SerialNumbers: []string{"C"}})
		},
		"not UTF-8": func() (*appsandbooks.Operation, error) { // JSON would turn it into another name
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset, ClientUserIDs: []string{"a\xff"}})
		},
		"serial not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Revoke(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"a\xff"}})
		},
		"pair not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1", SerialNumber: "\xff"}}})
		},
		"Adam ID not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "\xff"}}, SerialNumbers: []string{"C"}})
		},
		"both": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1", ClientUserID: "u", SerialNumber: "C"}}})
		},
		"neither": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1"}}})
		},
		"revoke": func() (*appsandbooks.Operation, error) { return c.Assets.Revoke(ctx, appsandbooks.AssetChange{}) },
		"create": func() (*appsandbooks.Operation, error) {
			return c.Users.Create(ctx, appsandbooks.UserChange{Users: nil})
		},
		"conflicting": func() (*appsandbooks.Operation, error) {
			return c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", Email: "a@example.com"}, {ClientUserID: "u"}}})
		},
		"retire": func() (*appsandbooks.Operation, error) {
			return c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: nil})
		},
		"no seats": func() (*appsandbooks.Operation, error) {
			return c.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{ClientUserIDs: []string{"u"}})
		},
		"no users": func() (*appsandbooks.Operation, error) {
			return c.Subscriptions.Disassociate(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{1}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			op, err := call()
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			require.Nil(t, op)
		})
	}
	require.Empty(t, r.requests)
}

func TestUsersLifecycle(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var requests []appsandbooks.UserRequest
		for _, id := range names("u", 250) {
			requests = append(requests, appsandbooks.UserRequest{ClientUserID: id, Email: id + "@example.com"})
		}
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: requests})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, countPath(srv, "users/create"))

		// A second time each fails by itself; the new one succeeds.
		op, err = c.Users.Create(t.Context(), appsandbooks.UserChange{Users: append(requests[:2:2], appsandbooks.UserRequest{ClientUserID: "new"})})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserAlreadyExists)
		require.Equal(t, 1, report.Succeeded)
		for o := range report.Problems() {
			require.Contains(t, []string{"u00000", "u00001"}, o.ClientUserID)
			require.ErrorIs(t, o.Err, appsandbooks.ErrUserAlreadyExists)
			require.NotEmpty(t, o.EventID)
		}

		op, err = c.Users.Update(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "new", Email: "new@example.com"}}})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)

		op, err = c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: names("u", 250)})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		active, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{ActiveOnly: true}))
		require.NoError(t, err)
		require.Len(t, active, 1)
		require.Equal(t, "new@example.com", active[0].Email)
		url, err := c.Users.InvitationURL(t.Context(), active[0].InviteCode)
		require.NoError(t, err)
		require.Contains(t, url, active[0].InviteCode)
		require.NotContains(t, url, "%25inviteCode%25")
	})
}

func TestSubscriptionsLifecycle(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		err := c.Subscriptions.Enable(t.Context())
		require.NoError(t, err)
		srv.Unit().AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726})
		srv.Unit().PurchaseSubscription(67890, 4, 1)
		err = c.Subscriptions.Disable(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrSubscriptionsExist)

		ids := users(srv, 5)
		op, err := c.Subscriptions.Associate(t.Context(), appsandbooks.SubscriptionChange{
			AdamIDs: []int64{67890}, ClientUserIDs: ids[:2],
			Pairs: []appsandbooks.SubscriptionPair{{AdamID: 67890, ClientUserID: ids[2]}, {AdamID: 67890, ClientUserID: ids[1]}},
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, report.Total)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, countPath(srv, "subscriptions/associate"))

		op, err = c.Subscriptions.Disassociate(t.Context(), appsandbooks.SubscriptionChange{
			AdamIDs: []int64{67890}, ClientUserIDs: ids[:1],
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		all, err := appsandbooks.Collect(c.SubscriptionAssignments.All(t.Context(), appsandbooks.SubscriptionAssignmentFilter{}))
		require.NoError(t, err)
		require.Len(t, all, 2)

		err = c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: ids[1:2]})
		require.NoError(t, err)
		admins, err := appsandbooks.Collect(c.SubscriptionAdmins.All(t.Context(), appsandbooks.SubscriptionAdminFilter{IncludeUserState: true}))
		require.NoError(t, err)
		require.Len(t, admins, 1)
		err = c.SubscriptionAdmins.Remove(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: ids[1:2]})
		require.NoError(t, err)
	})
}

func TestRevoke(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 3, 1000), SerialNumbers: names("C02", 250), ClientUserIDs: users(srv, 20),
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)

		op, err = c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{
			SerialNumbers: names("C02", 250), ClientUserIDs: names("user-", 20),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 270, report.Succeeded)
		require.Equal(t, 3, countPath(srv, "assets/revoke"))
		require.Empty(t, srv.Unit().Assignments())
	})
}

// What a revocation takes back is not known beforehand: that a notification
// names one asset of each target does not end it.
func TestRevokeIsNotDoneByNotifications(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 2, 10), SerialNumbers: []string{"C02"}})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)

		srv.Unit().HoldEvents(true)
		op, err = c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: []string{"C02"}})
		require.NoError(t, err)
		time.AfterFunc(6*time.Second, func() { // the first look was at 5 s
			c.Notify(&appsandbooks.Notification{ID: "1", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
				Assignments: []appsandbooks.Assignment{{AssetPair: appsandbooks.AssetPair{AdamID: "1000", SerialNumber: "C02"}}},
				EventResult: appsandbooks.EventResult{EventID: op.EventIDs()[0], Result: appsandbooks.NotificationSuccess},
			}})
		})
		time.AfterFunc(20*time.Second, func() { srv.Unit().HoldEvents(false) })
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, report.Succeeded)
		require.Empty(t, srv.Unit().Assignments())
	})
}

// The service accepts serial numbers that do not exist; Verify tells.
func TestVerifyFindsWhatIsNotThere(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddDevices("REAL1", "REAL2")
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 2, 10), SerialNumbers: []string{"REAL1", "BOGUS", "REAL2"},
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 6, report.Succeeded)
		report, err = op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 2, report.Failed)
		agree(t, srv, report)
	})
}

// Cancelled in the middle, saved, and taken up by another client.
func TestCancelAndResume(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(2 * time.Second)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the administrator pressed Ctrl-C")
		time.AfterFunc(7*time.Second, func() { cancel(reason) })
		op, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{
			Assets: stock(srv, 25, 100_000), SerialNumbers: names("C02", 20_000),
		})
		require.NoError(t, err) // something was accepted
		report, err := op.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		// 2 s for the limits; rounds of four until 7 s: 12 are accepted, the last
		// four after the end, in the grace they are given.
		require.Equal(t, 12, countPath(srv, "assets/associate"))
		require.Len(t, op.EventIDs(), 12)
		require.Equal(t, 8*25*1000, report.Failed)
		for o := range report.Problems() {
			if o.Status == appsandbooks.OutcomeFailed {
				require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
				break
			}
		}
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		require.NotContains(t, string(saved), srv.Unit().Token())

		other := newClient(t, srv)
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
		require.Equal(t, 20, countPath(srv, "assets/associate"))
	})
}

func TestSparsePairs(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := stock(srv, 40, 100_000)
		var pairs []appsandbooks.AssetPair
		for i, serial := range names("C02", 5000) {
			for j := range 5 {
				pairs = append(pairs, appsandbooks.AssetPair{AdamID: assets[(i%8)*5+j].AdamID, SerialNumber: serial})
			}
		}
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Pairs: append(pairs, pairs[:100]...)})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 25_000, report.Succeeded)
		require.Equal(t, 8, countPath(srv, "assets/associate"))
		agree(t, srv, report)
	})
}

// Not all that a revocation leaves is wrong: books stay. Verify says that it
// does not know, and why.
func TestVerifyRevokeOfABook(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "9999", ProductType: appsandbookstest.ProductBook, Total: 100})
		change := appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "9999"}}, ClientUserIDs: users(srv, 1)}
		op, err := c.Assets.Associate(t.Context(), change)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		op, err = c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{ClientUserIDs: change.ClientUserIDs})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		report, err := op.Verify(t.Context())
		require.Equal(t, 1, report.Unconfirmed)
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
	})
}

// With notifications an operation ends as soon as it is true.
func TestNotificationsWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *appsandbooks.Client
		receiver := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := new(appsandbooks.Notification)
			if err := decode(r, n); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			c.Notify(n)
		})
		srv := appsandbookstest.NewServer(
			appsandbookstest.WithEventDelay(12*time.Second),
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(receiver)))
		defer srv.Close()
		c = newClient(t, srv)
		defer c.Close()
		_, err := c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{
			NotificationURL: "https://mdm.example.com/n", NotificationAuthToken: appsandbooks.NewSecret("secret"),
			NotificationTypes: appsandbooks.NotificationTypes(),
		})
		require.NoError(t, err)
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 3, 1000), SerialNumbers: names("C02", 350),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1050, report.Succeeded)
		require.Equal(t, 12*time.Second, time.Since(began).Truncate(time.Millisecond))
		require.Equal(t, 1, countPath(srv, "status"))
		require.Empty(t, srv.Violations())
	})
}

func TestProgress(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var seen []appsandbooks.Progress
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 100_000), SerialNumbers: names("C02", 2500),
		}, appsandbooks.WithProgress(func(p appsandbooks.Progress) { seen = append(seen, p) }))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, appsandbooks.Progress{Requests: 3, Accepted: 3, Finished: 3, Pairs: 2500, Succeeded: 2500}, seen[len(seen)-1])
		require.Equal(t, op.Progress(), seen[len(seen)-1])
		require.True(t, slices.IsSortedFunc(seen, func(a, b appsandbooks.Progress) int {
			return a.Accepted + a.Finished - b.Accepted - b.Finished
		}))
	})
}

func TestPlanOnly(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 2, 100_000), SerialNumbers: names("C02", 1500),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		plan := op.Plan()
		require.Equal(t, 2, plan.Requests)
		require.Equal(t, 3000, plan.Pairs)
		require.Equal(t, 1500, plan.Assets[appsandbooks.AssetID{AdamID: "1000", PricingParam: "STDQ"}])
		require.Zero(t, countPath(srv, "assets/associate"))
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// An operation that is resumed by a new client keeps to the pace, too.
func TestResumedOperationKeepsThePace(t *testing.T) {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxSerialNumbers, limits.MaxRequestPerSecond = 1, 2
	virtual(t, []appsandbookstest.Option{appsandbookstest.WithLimits(limits)}, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 100), SerialNumbers: names("C02", 20),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		time.Sleep(time.Minute) // virtual
		other := newClient(t, srv)
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		require.Equal(t, "assets/associate", op.Kind())
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// Reading back that fails for a while is done again; it does not end the wait.
func TestReadingBackWaitsForBetterTimes(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Kind: appsandbookstest.FaultCutBody, Times: 12})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 3), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)

		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Status: 502, Body: "<html>"})
		op, err = c.Assets.Disassociate(t.Context(), appsandbooks.AssetChange{
			Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		began := time.Now()
		report, err = op.Wait(t.Context())
		require.Equal(t, 502, isError(t, err).StatusCode)
		require.Equal(t, 3, report.Unconfirmed)
		require.Less(t, time.Since(began), 15*time.Minute) // not for ever
	})
}
