package appsandbooks_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// When the service requests a pause of an hour or more, Wait returns the error at once instead of
// waiting.
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
			// Each of the two waits sends its first poll after 5 s.
			require.Equal(t, 10*time.Second, time.Since(began))
		})
	}
}

// A notification that arrived before the operation was resumed finishes the operation when the
// caller passes it to Operation.Notify.
func TestOperation_Notify_finishesResumedOperation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		require.NoError(t, op.Step(t.Context()))
		saved, err := op.Save()
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
		require.NoError(t, op.Step(t.Context())) // before the first poll was due
		_, more := op.Next()
		require.False(t, more)
		require.Equal(t, 3, op.Report().Succeeded)
	})
}

// Wait polls an event after 5 s, and then at least 30 s after each PENDING.
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
		var polls []time.Duration
		for _, at := range statusTimes(srv) {
			polls = append(polls, at.Sub(began))
		}
		require.Len(t, polls, 4) // the polls are sent after 5, 35, 65 and 95 s; each interval can be up to 3 s longer
		require.Equal(t, 5*time.Second, polls[0])
		for i := 1; i < len(polls); i++ {
			require.GreaterOrEqual(t, polls[i]-polls[i-1], 30*time.Second)
			require.LessOrEqual(t, polls[i]-polls[i-1], 33*time.Second)
		}
	})
}

// statusTimes returns the times of the polls of events that the stand-in received.
func statusTimes(srv *appsandbookstest.Server) (times []time.Time) {
	for _, r := range srv.Requests() {
		if r.Path == "status" {
			times = append(times, r.Time)
		}
	}
	return times
}

// After a poll was canceled, the next Wait polls at least 30 s later, because the service may
// have answered PENDING.
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
		polls := statusTimes(srv)
		require.Len(t, polls, 2)
		require.GreaterOrEqual(t, polls[1].Sub(polls[0]), 30*time.Second)
	})
}

// A pause that is longer than the client accepts ends Wait with an error that has RetryAfter. A
// Wait after the pause finishes the operation.
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

// When one poll of an old event fails, the event does not count as stalled: Wait polls it again.
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

// Wait gives up after 10 minutes when an event stays PENDING: the pairs of the event are
// unconfirmed with ErrStalled. Verify gives them an outcome when the event has finished.
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

// The pairs of a stalled event stay unconfirmed, also after Verify. When the event has
// finished, the next Wait, Verify or Resume confirms them.
func TestOperation_Wait_confirmsStalledEventThatFinishesLate(t *testing.T) {
	for name, confirm := range map[string]func(*testing.T, *appsandbooks.Client, *appsandbooks.Operation) (*appsandbooks.Report, error){
		"Wait": func(t *testing.T, _ *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Wait(t.Context())
		},
		"Verify": func(t *testing.T, _ *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Verify(t.Context())
		},
		"Resume": func(t *testing.T, c *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			saved, err := op.Save()
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
				report, err := confirm(t, c, op)
				require.NoError(t, err)
				require.Equal(t, 3, report.Succeeded)
				requireLedgerAgrees(t, srv, report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// When a later poll of a stalled event fails, the outcomes that Wait found before do not change.
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
		time.Sleep(time.Hour) // virtual
		report, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Succeeded)
	})
}

// After the token is revoked, reading a list and waiting for an event end after one request, and
// waiting for an operation with 40 events ends after at most four.
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
		require.LessOrEqual(t, len(srv.Requests()), 2+4, "at most four polls were in progress")
	})
}

// When the service refuses a poll without an error number, Wait ends after this poll. The next
// Wait finishes the operation.
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

// One answer that there is no such event does not end the wait: the event may be new. When all
// answers say so for the stall time, the data is read back.
func TestOperation_Wait_oneUnknownEventIsNotFinal(t *testing.T) {
	for _, times := range []int{1, 0} { // once, and always
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			srv.AddFault(appsandbookstest.Fault{Path: "status", Number: 9708, Times: times})
			began := time.Now()
			op, err := associateOne(t.Context(), srv, c)
			require.NoError(t, err)
			report, err := op.Wait(t.Context())
			require.NoError(t, err)
			requireLedgerAgrees(t, srv, report)
			if times == 1 {
				require.Less(t, time.Since(began), time.Minute)
				require.Zero(t, countPath(srv, "assignments"))
			} else {
				require.GreaterOrEqual(t, time.Since(began), 10*time.Minute)
				require.Less(t, time.Since(began), 12*time.Minute)
			}
			require.Equal(t, 1, countPath(srv, "assets/associate"))
		})
	}
}

// Two operations that wait for events, and StatusService.Wait, keep the interval between polls of
// one event together.
func TestOperation_Wait_sharesPollsWithStatus(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(3 * time.Minute)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		status := make(chan error, 1)
		go func() {
			_, err := c.Status.Wait(t.Context(), op.EventIDs()[0])
			status <- err
		}()
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, <-status)
		requireLedgerAgrees(t, srv, report)
		polls := statusTimes(srv)
		for i := 1; i < len(polls)-1; i++ {
			require.GreaterOrEqual(t, polls[i].Sub(polls[i-1]), 30*time.Second)
		}
	})
}

// A notification of another kind of change than the operation's settles no pair, as with a status of
// another event type.
func TestClient_Notify_ignoresOtherKindOfChange(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(appsandbookstest.Never)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		time.Sleep(6 * time.Second) // virtual
		require.NoError(t, op.Step(t.Context()))
		c.Notify(successOf(appsandbooks.EventDisassociate, op.EventIDs()[0], "C02"))
		op.Notify(successOf(appsandbooks.EventDisassociate, op.EventIDs()[0], "C02"))
		require.NoError(t, op.Step(t.Context()))
		require.Equal(t, 1, op.Report().Unconfirmed)
	})
}

// successOf returns a notification that asset 1000 was changed for a device.
func successOf(e appsandbooks.EventType, eventID, serial string) *appsandbooks.Notification {
	return &appsandbooks.Notification{ID: "n", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
		EventResult: appsandbooks.EventResult{EventID: eventID, Type: e, Result: appsandbooks.NotificationSuccess},
		Assignments: []appsandbooks.Assignment{{AssetPair: appsandbooks.AssetPair{AdamID: "1000", PricingParam: "STDQ", SerialNumber: serial}}},
	}}
}

// A notification may settle a stalled request in the same step in which the request is due to be
// read back. Then the step does not read it back.
func TestClient_Notify_settlesRequestThatIsDueToBeReadBack(t *testing.T) {
	for range 10 { // the order of two polls is random
		var onPoll atomic.Pointer[func()]
		answer := func(_ *appsandbookstest.Server, r *http.Request) (*http.Response, error) {
			if f := onPoll.Load(); f != nil && strings.HasSuffix(r.URL.Path, "/status") {
				(*f)()
			}
			return nil, nil
		}
		options := []appsandbookstest.Option{oneDevicePerRequest(), appsandbookstest.WithEventDelay(appsandbookstest.Never)}
		behindTransport(t, options, answer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			addAssets(srv, 1, 10)
			op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 2)))
			require.NoError(t, err)
			stalled := ""
			for stalled == "" {
				at, more := op.Next()
				require.True(t, more)
				time.Sleep(time.Until(at)) // virtual
				require.NoError(t, op.Step(t.Context()))
				for o := range op.Report().Outcomes() {
					if errors.Is(o.Err, appsandbooks.ErrStalled) {
						stalled = o.SerialNumber
					}
				}
			}
			event := op.EventIDs()[0]
			if stalled == "C0200001" {
				event = op.EventIDs()[1]
			}
			notify := func() { c.Notify(successOf(appsandbooks.EventAssociate, event, stalled)) }
			onPoll.Store(&notify)
			time.Sleep(28 * time.Second) // virtual
			require.NoError(t, op.Step(t.Context()))
		})
	}
}
