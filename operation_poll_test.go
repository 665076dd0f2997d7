package appsandbooks_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A waiter does not sit out a pause that no call of its client would.
func TestOperation_Wait_givesUpOnLongPause(t *testing.T) {
	for _, pause := range []string{"3600", "99999999999999999999"} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3)})
			require.NoError(t, err)
			srv.AddFault(appsandbookstest.Fault{Path: "status", Number: 9729, Header: http.Header{"Retry-After": {pause}}})
			began := time.Now()
			_, err = op.Wait(t.Context())
			require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
			require.GreaterOrEqual(t, isError(t, err).RetryAfter, time.Hour)
			_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
			require.NotZero(t, isError(t, err).RetryAfter)
			require.Equal(t, 10*time.Second, time.Since(began)) // one early look each
		})
	}
}

// Notifications that were kept while nobody carried the operation.
func TestOperation_Notify_finishesResumedOperation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		_, err = op.Step(t.Context())
		require.NoError(t, err)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		time.Sleep(time.Second)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		n := &appsandbooks.Notification{ID: "n", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
			EventResult: appsandbooks.EventResult{EventID: op.EventIDs()[0], Result: appsandbooks.NotificationSuccess},
		}}
		for o := range op.Report().Outcomes() {
			n.AssetManagement.Assignments = append(n.AssetManagement.Assignments, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: o.AdamID, SerialNumber: o.SerialNumber}})
		}
		op.Notify(nil)
		op.Notify(n)
		next, err := op.Step(t.Context()) // before the first look was due
		require.NoError(t, err)
		require.True(t, next.IsZero())
		require.Equal(t, 3, op.Report().Succeeded)
	})
}

// Events are asked for after 5 s and then not sooner than 30 s after PENDING.
func TestOperation_Wait_pollsAfterFiveThenEveryThirtySeconds(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(80 * time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3),
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
func TestOperation_Wait_keepsPollIntervalAfterCancellation(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(20 * time.Second), appsandbookstest.WithLatency(2 * time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3)})
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
func TestOperation_Wait_stopsAtLongPauseAndContinuesAfterIt(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3)})
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
func TestOperation_Wait_pollsOldEventAgainAfterBrokenConnection(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 2), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		time.Sleep(24 * time.Hour) // virtual
		srv.AddFault(appsandbookstest.Fault{Path: "status", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.NotErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}

func TestOperation_Wait_givesUpOnStalledEvent(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 3), SerialNumbers: names("C02", 3),
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
		requireLedgerAgrees(t, srv, report)
	})
}

// A token source that goes over to another unit in the middle ends the
// operation before anything is concluded.
func TestOperation_Wait_stopsWhenTokenSourceSwitchesUnit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		other := srv.NewUnit("other")
		other.AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 5000})
		token := srv.Unit().Token()
		c := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
		defer c.Close()
		addAssets(srv, 1, 5000)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 1000)), appsandbooks.WithResend())
		require.NoError(t, err)
		token = other.Token()
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrOtherUnit)
		require.Equal(t, 1000, report.Unconfirmed)
		require.Empty(t, other.Assignments())
		require.Len(t, srv.Unit().Assignments(), 1000)

		token = srv.Unit().Token()
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// What a stalled event has not done yet is unconfirmed, also after reading
// back; a look when it has finished settles it.
func TestOperation_Wait_confirmsStalledEventThatFinishesLate(t *testing.T) {
	for name, settle := range map[string]func(*testing.T, *appsandbooks.Client, *appsandbooks.Operation) (*appsandbooks.Report, error){
		"Wait": func(t *testing.T, _ *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Wait(t.Context())
		},
		"Verify": func(t *testing.T, _ *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Verify(t.Context())
		},
		"Resume": func(t *testing.T, c *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			saved, err := op.MarshalJSON()
			require.NoError(t, err)
			op, err = c.Resume(saved)
			require.NoError(t, err)
			return op.Wait(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				addAssets(srv, 1, 3)
				srv.Unit().HoldEvents(true)
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
				require.NoError(t, err)
				for _, report := range []func(context.Context) (*appsandbooks.Report, error){op.Wait, op.Verify} {
					r, err := report(t.Context())
					require.ErrorIs(t, err, appsandbooks.ErrStalled)
					require.Equal(t, 3, r.Unconfirmed)
				}
				srv.Unit().HoldEvents(false)
				time.Sleep(time.Hour) // virtual
				requireLedgerAgrees(t, srv, op.Report())
				report, err := settle(t, c, op)
				require.NoError(t, err)
				require.Equal(t, 3, report.Succeeded)
				requireLedgerAgrees(t, srv, report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// What is known of an operation stays known when its event is asked for again in vain.
func TestOperation_Wait_keepsKnownOutcomesWhenPollFails(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 5)
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Associate(t.Context(), deviceChange([]string{"A1", "B2"}))
		require.NoError(t, err)
		srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: "A1"})
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Succeeded)
		srv.AddFault(appsandbookstest.Fault{Status: 503, Body: "<html>"})
		time.Sleep(time.Hour)
		report, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Succeeded)
	})
}

// A token that is refused ends a walk, a waiter and an operation with many
// events after a look or a few.
func TestOperation_Wait_sendsFewRequestsAfterTokenIsRevoked(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 30)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 90_000), SerialNumbers: names("C02", 40_000)})
		require.NoError(t, err)
		require.Len(t, op.EventIDs(), 40)
		srv.AddFault(appsandbookstest.Fault{Number: 9625})
		srv.ResetRequests()
		err = drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.NotErrorIs(t, err, appsandbooks.ErrTokenExpired)
		require.Len(t, srv.Requests(), 1)
		_, err = c.Status.Wait(t.Context(), op.EventIDs()[0])
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.Len(t, srv.Requests(), 2)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.LessOrEqual(t, len(srv.Requests()), 2+4, "those under way")
	})
}

// A refusal that is not the service's own ends a wait at once, and the
// operation is as good as before.
func TestOperation_Wait_stopsAtRefusalAndCanContinue(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 410, 451} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := associateOne(t.Context(), srv, c)
			require.NoError(t, err)
			srv.AddFault(appsandbookstest.Fault{Path: "status", Status: status, Body: "<html>no"})
			_, err = op.Wait(t.Context())
			require.Equal(t, status, isError(t, err).StatusCode)
			require.Equal(t, 1, countPath(srv, "status"))
			srv.ClearFaults()
			r, err := op.Wait(t.Context())
			require.NoError(t, err)
			requireLedgerAgrees(t, srv, r)
		})
	}
}

// Steps that a job engine makes never ask to be called again at once for ever.
func TestOperation_Step_endsAfterFewStepsDespiteFaults(t *testing.T) {
	for name, fault := range map[string]appsandbookstest.Fault{
		"none":          {Path: "nothing"},
		"9603":          {Path: "status", Number: 9603},
		"no answer":     {Path: "status", Kind: appsandbookstest.FaultResetAfter},
		"unknown event": {Path: "status", Number: 9708},
		"no reading":    {Path: "assignments", Status: 502, Body: "x"},
		"unknown state": {Path: "status", Status: 200, Body: `{"eventStatus":"THINKING"}`},
		"no state":      {Path: "status", Status: 200, Body: `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 100), SerialNumbers: names("C02", 3)})
				require.NoError(t, err)
				srv.AddFault(fault)
				began, steps := time.Now(), 0
				for {
					next, err := op.Step(t.Context())
					if next.IsZero() || err != nil {
						break
					}
					steps++
					require.Less(t, steps, 60)
					time.Sleep(time.Until(next)) // virtual
				}
				require.Less(t, time.Since(began), time.Hour)
			})
		})
	}
}

// A token source that fails for a moment does not end the wait for an operation.
func TestOperation_Wait_continuesAfterTokenSourceFails(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		var away atomic.Bool
		c := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) {
			if away.Load() {
				return "", errors.New("the vault is away")
			}
			return srv.Unit().Token(), nil
		}))
		defer c.Close()
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		away.Store(true)
		time.AfterFunc(20*time.Second, func() { away.Store(false) })
		began := time.Now()
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Greater(t, time.Since(began), 20*time.Second)
	})
}
