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

// When the token source changes to the token of another unit, Wait stops with ErrOtherUnit,
// changes nothing in that unit, and leaves all pairs unconfirmed.
func TestOperation_Wait_stopsWhenTokenSourceSwitchesUnit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		other := srv.NewUnit("other")
		other.AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 5000})
		token := srv.Unit().Token()
		c := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
		defer c.Close()
		addAssets(srv, 1, 5000)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 1000)), appsandbooks.WithResendLost(), appsandbooks.WithResendOverdue())
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

// A caller who calls Operation.Step whenever it is due gets to the end of the operation, or to an
// error, within 60 steps and an hour, also when polls or reads fail permanently.
func TestOperation_Step_endsAfterFewStepsDespiteFaults(t *testing.T) {
	for name, fault := range map[string]appsandbookstest.Fault{
		"no fault":      {Path: "nothing"},
		"9603":          {Path: "status", Number: 9603},
		"lost answer":   {Path: "status", Kind: appsandbookstest.FaultResetAfter},
		"unknown event": {Path: "status", Number: 9708},
		"failed read":   {Path: "assignments", Status: 502, Body: "x"},
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
					beforeStep := time.Now()
					err := op.Step(t.Context())
					require.Equal(t, beforeStep, time.Now(), "Step does not sleep")
					next, more := op.Next()
					if !more || err != nil {
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

// A token source that fails for 20 s does not end Wait.
func TestOperation_Wait_continuesAfterTokenSourceFails(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		var unavailable atomic.Bool
		c := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) {
			if unavailable.Load() {
				return "", errors.New("the token store is unavailable")
			}
			return srv.Unit().Token(), nil
		}))
		defer c.Close()
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		unavailable.Store(true)
		time.AfterFunc(20*time.Second, func() { unavailable.Store(false) })
		began := time.Now()
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Greater(t, time.Since(began), 20*time.Second)
	})
}

// Step does each thing once and never sleeps. Where Wait would pause and try again, Step makes one
// attempt, and Next says when the next one is due. After as many attempts as Wait makes, Step
// returns the error.
func TestOperation_Step_makesOneAttempt(t *testing.T) {
	for name, test := range map[string]struct {
		fault appsandbookstest.Fault
		pause time.Duration // the shortest time until the next attempt
	}{
		"rate":          {appsandbookstest.Fault{Path: "assets/associate", Number: 9646}, 0},
		"pause":         {appsandbookstest.Fault{Path: "assets/associate", Number: 9729, Header: http.Header{"Retry-After": {"60"}}}, time.Minute},
		"no connection": {appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultDial}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(test.fault)
				op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
				require.NoError(t, err)
				for attempt := range 5 {
					at, more := op.Next()
					require.True(t, more)
					time.Sleep(time.Until(at)) // virtual
					began := time.Now()
					err := op.Step(t.Context())
					require.Zero(t, time.Since(began))
					require.Equal(t, 1, op.Report().Unsent)
					if attempt == 4 {
						var stopped *appsandbooks.OperationError
						require.ErrorAs(t, err, &stopped)
						require.True(t, appsandbooks.IsRetryable(stopped.Cause), "%v", stopped.Cause)
						break
					}
					require.NoError(t, err)
					at, more = op.Next()
					require.True(t, more)
					require.GreaterOrEqual(t, at, time.Now().Add(test.pause))
					require.LessOrEqual(t, at, time.Now().Add(test.pause+30*time.Second))
				}
				srv.ClearFaults()
				time.Sleep(time.Minute) // virtual: the pause of the last answer
				for more := true; more; _, more = op.Next() {
					at, _ := op.Next()
					time.Sleep(time.Until(at)) // virtual
					require.NoError(t, op.Step(t.Context()))
				}
				requireLedgerAgrees(t, srv, op.Report())
				require.Equal(t, 1, op.Report().Succeeded)
			})
		})
	}
}

// Step polls once: a temporary error of a poll does not end the operation, and does not make Step
// sleep.
func TestOperation_Step_pollsOnce(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		at, more := op.Next()
		require.True(t, more)
		require.Equal(t, 5*time.Second, time.Until(at))
		require.NoError(t, op.Step(t.Context()))
		require.Zero(t, countPath(srv, "status"), "the poll was not due")
		time.Sleep(time.Until(at)) // virtual
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 503, Body: "<html>", Times: 1})
		began := time.Now()
		require.NoError(t, op.Step(t.Context()))
		require.Zero(t, time.Since(began))
		require.Equal(t, 1, countPath(srv, "status"))
		at, more = op.Next()
		require.True(t, more)
		require.GreaterOrEqual(t, time.Until(at), 30*time.Second)
		time.Sleep(time.Until(at)) // virtual
		require.NoError(t, op.Step(t.Context()))
		_, more = op.Next()
		require.False(t, more)
		require.Equal(t, 1, op.Report().Succeeded)

		n := len(srv.Requests())
		require.NoError(t, op.Step(t.Context()), "the operation is at its end")
		require.Len(t, srv.Requests(), n)
	})
}

// At the end Step returns what Wait returns, each time: an *OperationError if a pair has failed.
func TestOperation_Step_endsAsWaitEnds(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 1)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 2)))
		require.NoError(t, err)
		time.Sleep(5 * time.Second) // virtual
		for range 2 {
			err := op.Step(t.Context())
			var failed *appsandbooks.OperationError
			require.ErrorAs(t, err, &failed)
			require.NoError(t, failed.Cause)
			require.Same(t, op, failed.Operation)
			require.Equal(t, 1, failed.Report.Failed)
			require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
			_, waitErr := op.Wait(t.Context())
			require.EqualError(t, waitErr, err.Error())
		}
	})
}

// The pieces of a request that was cut are sent in the next Step.
func TestOperation_Step_sendsPiecesInNextStep(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 100)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 10)), appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 5 })
		require.NoError(t, op.Step(t.Context()))
		require.Equal(t, 1, countPath(srv, "assets/associate"))
		require.Equal(t, 2, op.Plan().Requests)
		require.Equal(t, 10, op.Report().Unsent)
		at, more := op.Next()
		require.True(t, more)
		require.False(t, at.After(time.Now()))
		require.NoError(t, op.Step(t.Context()))
		require.Equal(t, 3, countPath(srv, "assets/associate"))
		require.Len(t, op.EventIDs(), 2)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// Wait returns when only more than a stall time could show more. Next says when to call it again.
// In the end, a request that got lost has failed.
func TestOperation_Next_saysWhenToWaitAgain(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		began := time.Now()
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		at, more := op.Next()
		require.True(t, more)
		require.Equal(t, 30*time.Second, time.Until(at), "a lost request is read back after 30 s")
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed)
		require.Equal(t, 30*time.Second, time.Since(began))
		waits := 0
		for at, more = op.Next(); more; at, more = op.Next() {
			require.Equal(t, 10*time.Minute, time.Until(at))
			time.Sleep(time.Until(at)) // virtual
			report, err = op.Wait(t.Context())
			waits++
		}
		require.Equal(t, 6, waits)
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1, report.Failed)
		require.Equal(t, 1, countPath(srv, "assets/associate"))
	})
}

// An hour that passes in one process counts in full: one Wait after it settles a lost request. For
// a saved operation only the time counts that its processes have seen, because the clock of
// another process may be wrong.
func TestOperation_Wait_countsTimeOfThisProcess(t *testing.T) {
	for _, saved := range []bool{false, true} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
			op, err := associateOne(t.Context(), srv, c)
			require.NoError(t, err)
			_, err = op.Wait(t.Context())
			require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
			if saved {
				op = saveAndResume(t, c, op)
			}
			time.Sleep(time.Hour) // virtual
			report, err := op.Wait(t.Context())
			require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
			if saved {
				require.Equal(t, 1, report.Unconfirmed)
			} else {
				require.Equal(t, 1, report.Failed)
			}
			requireLedgerAgrees(t, srv, report)
		})
	}
}

// When the context of Wait ends, the report is the state so far, and the error has the cause of
// the context. Closing the client ends Wait with ErrClosed. The operation can go on after both.
func TestOperation_Wait_endsWithContextOrClient(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		reason := errors.New("the administrator stopped the program")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(reason) })
		began := time.Now()
		report, err := op.Wait(ctx)
		require.Equal(t, time.Minute, time.Since(began))
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, report.Unconfirmed)
		for o := range report.Outcomes() {
			require.ErrorIs(t, o.Err, appsandbooks.ErrPending)
		}

		other := newClient(t, srv)
		op = saveAndResume(t, other, op)
		time.AfterFunc(time.Minute, other.Close)
		began = time.Now()
		report, err = op.Wait(t.Context())
		require.Equal(t, time.Minute, time.Since(began))
		require.ErrorIs(t, err, appsandbooks.ErrClosed)
		require.Equal(t, 1, report.Unconfirmed)
		time.Sleep(time.Minute) // virtual: the next poll is due
		require.ErrorIs(t, op.Step(t.Context()), appsandbooks.ErrClosed)

		srv.Unit().HoldEvents(false)
		report, err = saveAndResume(t, c, op).Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// A Wait or a Step that its context ended does not keep the next one from sending.
func TestOperation_Wait_sendsAfterCanceledCall(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, op *appsandbooks.Operation) error{
		"Wait": func(ctx context.Context, op *appsandbooks.Operation) error { return errorOf(op.Wait(ctx)) },
		"Step": func(ctx context.Context, op *appsandbooks.Operation) error { return op.Step(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
				require.NoError(t, err)
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				require.ErrorIs(t, call(ended, op), context.Canceled)
				require.Equal(t, 1, op.Report().Unsent)
				require.Zero(t, countPath(srv, "assets/associate"))
				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, report)
			})
		})
	}
}

// When a callback panics, the caller of Wait gets the value of the panic. The next call goes on: a
// request that was being sent counts as lost, and is read back, not sent again.
func TestOperation_Wait_goesOnAfterPanicInCallback(t *testing.T) {
	for _, inJournal := range []bool{true, false} {
		for at := 1; at <= 6; at++ { // the first entry of the journal is the plan
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				calls, isStarted := 0, false
				callback := func(wanted bool) {
					if !wanted || !isStarted {
						return
					}
					if calls++; calls == at {
						panic("no more paper")
					}
				}
				op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly(),
					appsandbooks.WithProgress(func(appsandbooks.Progress) { callback(!inJournal) }),
					appsandbooks.WithJournal(func(context.Context, []byte) error {
						callback(inJournal)
						return nil
					}))
				require.NoError(t, err)
				isStarted = true
				wait := func() (panicked any) {
					defer func() { panicked = recover() }()
					_, _ = op.Wait(t.Context())
					return nil
				}
				if panicked := wait(); panicked != nil || calls >= at {
					require.Equal(t, "no more paper", panicked)
				}
				waitToEnd(t, op)
				requireLedgerAgrees(t, srv, op.Report())
				require.LessOrEqual(t, countPath(srv, "assets/associate"), 1)
				_, more := op.Next()
				require.False(t, more)
			})
		}
	}
}

// When the operation has stopped and nothing that was sent needs a call, Next is one polling interval
// after the stop. Resuming the operation does not change it.
func TestOperation_Next_isOneIntervalAfterStop(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.True(t, appsandbooks.IsAuth(err))
		stopped := time.Now()
		for _, op := range []*appsandbooks.Operation{op, saveAndResume(t, c, op)} {
			at, more := op.Next()
			require.True(t, more)
			require.WithinDuration(t, stopped.Add(30*time.Second), at, time.Second)
		}
		time.Sleep(20 * time.Second) // virtual
		at, _ := op.Next()
		require.WithinDuration(t, stopped.Add(30*time.Second), at, time.Second)
	})
}
