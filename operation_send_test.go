package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// When the answer to a request has no event id, a very long event id, or the event id of an
// earlier request, the result of the request is unknown: its pairs are unconfirmed with
// ErrAmbiguous.
func TestAssetsService_Associate_invalidEventIDIsAmbiguous(t *testing.T) {
	for name, event := range map[string]string{"same ID twice": "e", "very long ID": strings.Repeat("e", 1<<10), "no ID": ""} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 1 })
				assets := addAssets(srv, 1, 5)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Status: 200, Body: `{"eventId":"` + event + `"}`, Times: 2})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{"C02", "C03"}})
				require.NoError(t, err)
				ambiguous := 0
				for o := range op.Report().Outcomes() {
					require.Equal(t, appsandbooks.OutcomeUnconfirmed, o.Status)
					if errors.Is(o.Err, appsandbooks.ErrAmbiguous) {
						ambiguous++
					}
				}
				want := 2
				if event == "e" { // only the first request with the event id "e" is valid
					want = 1
				}
				require.Equal(t, want, ambiguous)
			})
		})
	}
}

// When the answer to a write is lost, the operation reads the assignments back. It sends the
// write again only with WithResendLost, and only if the service did not process the first one.
func TestWithResendLost_repeatsOnlyWritesThatWereNotProcessed(t *testing.T) {
	for _, test := range []struct {
		kind      appsandbookstest.FaultKind
		resend    bool // with WithResendLost
		posts     int  // the number of requests that the stand-in received
		succeeded int  // pairs, out of six
	}{
		{appsandbookstest.FaultResetAfter, false, 1, 6},
		{appsandbookstest.FaultResetAfter, true, 1, 6},
		{appsandbookstest.FaultCutBody, false, 1, 6},
		{appsandbookstest.FaultEOF, false, 1, 6},
		{appsandbookstest.FaultResetBefore, false, 1, 0},
		{appsandbookstest.FaultResetBefore, true, 2, 6},
	} {
		t.Run(fmt.Sprintf("%s resend=%t", test.kind, test.resend), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: test.kind, Times: 1})
				var opts []appsandbooks.OperationOption
				opts = append(opts, appsandbooks.WithResendOverdue()) // changes nothing here: no event is overdue
				if test.resend {
					opts = append(opts, appsandbooks.WithResendLost())
				}
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, 2, 3), SerialNumbers: names("C02", 3),
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
				requireLedgerAgrees(t, srv, report)
			})
		})
	}
}

// When the resend of a user's creation fails because the service has processed the first request
// late, after the read-back, the user succeeds.
func TestWithResendLost_succeedsWhenFirstRequestIsProcessedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(50 * time.Second))
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, Times: 1})
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "a"}, {ClientUserID: "b"}}}, appsandbooks.WithResendLost())
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, report.Succeeded)
		require.Equal(t, 2, countPath(srv, "users/create"))
		require.Len(t, srv.Unit().Users(), 2)
	})
}

// When a resend fails, the pairs stay unconfirmed, because the service may still process the
// first request. The next Wait sends them again.
func TestWithResendOverdue_leavesPairsUnconfirmedWhenResendFails(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 5), SerialNumbers: names("C02", 3),
		}, appsandbooks.WithResendOverdue())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9646})
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
		saved, err := op.Save()
		require.NoError(t, err)
		resumed, err := c.Resume(saved)
		require.NoError(t, err)
		srv.Unit().HoldEvents(false)
		time.Sleep(time.Second) // virtual
		require.Len(t, srv.Unit().Assignments(), 3)
		for _, op := range []*appsandbooks.Operation{op, resumed} {
			report := op.Report()
			require.Equal(t, 3, report.Unconfirmed)
			requireLedgerAgrees(t, srv, report)
			require.Equal(t, 1, op.Progress().Requests)
			require.Equal(t, 0, op.Progress().Accepted)
			require.Equal(t, 3, op.Progress().Unconfirmed)
			_, more := op.Next()
			require.True(t, more)
			for o := range report.Outcomes() {
				require.ErrorIs(t, o.Err, appsandbooks.ErrStalled)
				require.NotErrorIs(t, o.Err, appsandbooks.ErrNotSent)
			}
		}
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUnfinished)
	})
}

// A resend that could not be sent at once is not sent blindly later: when the first event has
// made the change in the meantime, the pairs succeed without a second request.
func TestWithResendOverdue_looksAgainBeforeLaterResend(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithResendOverdue())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9646})
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
		srv.ClearFaults()
		srv.Unit().HoldEvents(false)
		time.Sleep(time.Hour) // virtual
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// After a request fails because the token is revoked, the operation sends no further requests.
// Each later Wait tries again, and finishes the operation when the token is accepted.
func TestOperation_Wait_stopsSendingWhenTokenIsRevoked(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 25, 100_000)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, After: 3})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 20_000)})
		require.NoError(t, err)
		// Four requests were in progress when the token was revoked.
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 3+4)
		for attempt := range 2 { // the first Wait sends nothing; the second one tries again, and stops again
			before := countPath(srv, "assets/associate")
			report, err := op.Wait(t.Context())
			require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
			require.ErrorIs(t, err, appsandbooks.ErrNotSent)
			require.True(t, appsandbooks.IsAuth(err))
			require.LessOrEqual(t, countPath(srv, "assets/associate"), before+4*attempt)
			require.Equal(t, 3*25*1000, report.Succeeded)
			require.Equal(t, 17*25*1000, report.Unsent)
			requireLedgerAgrees(t, srv, report)
		}

		srv.ClearFaults() // the token is accepted again
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 20*25*1000, report.Succeeded)
		requireLedgerAgrees(t, srv, report)
	})
}

// When the service accepts no request of the operation, Associate returns the operation without
// an error. The first Wait or Step returns the reason, and sends nothing; the second one sends.
func TestAssetsService_Associate_leavesRefusalToWait(t *testing.T) {
	for name, next := range map[string]func(ctx context.Context, op *appsandbooks.Operation) error{
		"Wait": func(ctx context.Context, op *appsandbooks.Operation) error { return errorOf(op.Wait(ctx)) },
		"Step": func(ctx context.Context, op *appsandbooks.Operation) error { return op.Step(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9621, Times: 1})
				op, err := associateOne(t.Context(), srv, c)
				require.NoError(t, err)
				requireNotSent := func(report *appsandbooks.Report) {
					require.Equal(t, 1, report.Unsent)
					for o := range report.Outcomes() {
						require.Equal(t, appsandbooks.OutcomeUnsent, o.Status)
						require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
						require.ErrorIs(t, o.Err, appsandbooks.ErrTokenExpired)
					}
				}
				requireNotSent(op.Report())
				err = next(t.Context(), op)
				var failed *appsandbooks.OperationError
				require.ErrorAs(t, err, &failed)
				require.ErrorIs(t, failed.Cause, appsandbooks.ErrTokenExpired)
				require.Same(t, op, failed.Operation)
				require.NotErrorIs(t, err, appsandbooks.ErrTokenRevoked)
				requireNotSent(failed.Report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))

				at, more := op.Next()
				require.True(t, more)
				require.WithinDuration(t, time.Now(), at, 31*time.Second)
				for more {
					require.NoError(t, next(t.Context(), op))
					if at, more = op.Next(); more {
						time.Sleep(time.Until(at)) // virtual
					}
				}
				require.Equal(t, 2, countPath(srv, "assets/associate"))
				requireLedgerAgrees(t, srv, op.Report())
				require.Equal(t, 1, op.Report().Succeeded)
			})
		})
	}
}

// Whatever stops the sending during Associate is the cause of the error of the first Wait: an
// ended context, a failed connection, or a journal that fails.
func TestOperation_Wait_returnsWhatStoppedSending(t *testing.T) {
	for name, test := range map[string]struct {
		fault appsandbookstest.Fault
		opts  []appsandbooks.OperationOption
		want  error
	}{
		"no connection": {fault: appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultDial}},
		"maintenance":   {fault: appsandbookstest.Fault{Path: "assets/associate", Number: 9729}, want: appsandbooks.ErrServiceUnavailable},
		"long pause": {
			fault: appsandbookstest.Fault{Path: "assets/associate", Number: 9729, Header: http.Header{"Retry-After": {"3600"}}},
			want:  appsandbooks.ErrServiceUnavailable,
		},
		"ended context": {
			fault: appsandbookstest.Fault{Path: "assets/associate", Number: 9729, Header: http.Header{"Retry-After": {"200"}}},
			want:  context.Canceled,
		},
		"journal": {want: errCrash, opts: []appsandbooks.OperationOption{appsandbooks.WithJournal(func(context.Context, []byte) error { return errCrash })}},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				if test.fault.Path != "" {
					srv.AddFault(test.fault)
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(3*time.Minute, cancel)
				change := appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5000), SerialNumbers: names("C02", 900)}
				op, err := c.Assets.Associate(ctx, change, test.opts...)
				require.NoError(t, err)
				sent := countPath(srv, "assets/associate")
				report, err := op.Wait(t.Context())
				var failed *appsandbooks.OperationError
				require.ErrorAs(t, err, &failed)
				require.Error(t, failed.Cause)
				if test.want != nil {
					require.ErrorIs(t, failed.Cause, test.want)
				}
				require.Equal(t, sent, countPath(srv, "assets/associate"), "the first Wait sends nothing")
				require.Equal(t, 900, report.Unsent)
				requireLedgerAgrees(t, srv, report)
			})
		})
	}
}

// When the service refuses every request because of its rate limit, the operation gives up after
// at most 20 requests, and all pairs are unsent.
func TestAssetsService_Associate_givesUpOnLastingRateLimit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 1, 100_000)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9646})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 50_000)})
		require.NoError(t, err)
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 4*5, "four requests at a time with five attempts each")
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
		require.Equal(t, 50_000, report.Unsent)
		for o := range report.Problems() {
			require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
			require.ErrorIs(t, o.Err, appsandbooks.ErrTooManyRequests)
		}
	})
}

// When a resend is refused, the pairs stay unconfirmed, because the first request may still be
// carried out, and Wait returns the refusal.
func TestOperation_Wait_keepsDoubtsWhenResendIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		makeUnknown func(*appsandbookstest.Server)
		resend      appsandbooks.OperationOption
	}{
		"lost request": {func(srv *appsandbookstest.Server) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		}, appsandbooks.WithResendLost()},
		"PENDING": {func(srv *appsandbookstest.Server) { srv.Unit().HoldEvents(true) }, appsandbooks.WithResendOverdue()},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				test.makeUnknown(srv)
				op, err := associateOne(t.Context(), srv, c, test.resend)
				require.NoError(t, err)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9601}) // for the resend
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrLoginRequired)
				require.Equal(t, 1, report.Unconfirmed)
				require.Zero(t, report.Unsent)
				_, more := op.Next()
				require.True(t, more)
			})
		})
	}
}

// A redirect in the answer to a write is no proof that nothing began: servers also redirect after
// a write that succeeded.
func TestOperation_Wait_redirectOfWriteIsAmbiguous(t *testing.T) {
	for _, status := range []int{301, 302, 303} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Status: status, Header: http.Header{"Location": {"https://example.com/"}}, Times: 1})
			op, err := associateOne(t.Context(), srv, c)
			require.NoError(t, err)
			report, err := op.Wait(t.Context())
			require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
			require.ErrorIs(t, err, appsandbooks.ErrRedirect)
			require.Equal(t, 1, report.Unconfirmed)
			require.Equal(t, 1, countPath(srv, "assets/associate"))
		})
	}
}

// The number 9603 does not show that nothing began. While the service answers every attempt with it,
// the pairs are unconfirmed, and never unsent or failed. When it works again, a later Wait settles
// them.
func TestOperation_Wait_internalErrorDeniesNothing(t *testing.T) {
	for _, done := range []bool{true, false} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9603, Process: done})
			op, err := associateOne(t.Context(), srv, c)
			require.NoError(t, err)
			time.Sleep(time.Minute) // virtual
			require.Equal(t, done, len(srv.Unit().Assignments()) == 1)
			for range 2 {
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrInternal)
				require.Equal(t, 1, report.Unconfirmed)
				for o := range report.Outcomes() {
					require.ErrorIs(t, o.Err, appsandbooks.ErrAmbiguous)
				}
			}
			srv.ClearFaults()
			waitToEnd(t, op)
			require.Equal(t, 1, op.Report().Succeeded)
			requireLedgerAgrees(t, srv, op.Report())
		})
	}
}

// After the number 9603, a connection that fails does not make a pair unsent.
func TestUsersService_Create_internalErrorIsNeverUnsent(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users/create", Number: 9603, Process: true, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "users/create", Kind: appsandbookstest.FaultDial})
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u"}}})
		require.NoError(t, err)
		time.Sleep(time.Minute) // virtual
		require.Len(t, srv.Unit().Users(), 1)
		require.Zero(t, op.Report().Unsent)
		require.Equal(t, 1, op.Report().Unconfirmed)
	})
}

// When an attempt was answered with 9603 and the next one is refused, the first may still be
// carried out: its pairs are unconfirmed while its event is pending, and not failed.
func TestOperation_Wait_refusalAfterInternalErrorIsNotFinal(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9603, Process: true, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9609, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.Error(t, err)
		require.Len(t, srv.Unit().Events(), 1, "the first attempt is pending")
		require.Equal(t, 1, report.Unconfirmed)
		_, more := op.Next()
		require.True(t, more)
		require.ErrorIs(t, errorOf(op.Retry(t.Context())), appsandbooks.ErrUnfinished)

		srv.Unit().HoldEvents(false)
		srv.Unit().FinishEvents()
		waitToEnd(t, op)
		require.Equal(t, 1, op.Report().Succeeded)
		requireLedgerAgrees(t, srv, op.Report())
	})
}
