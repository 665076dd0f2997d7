package appsandbooks_test

import (
	"errors"
	"fmt"
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
// write again only with WithResend, and only if the service did not process the first one.
func TestWithResend_repeatsOnlyWritesThatWereNotProcessed(t *testing.T) {
	for _, test := range []struct {
		kind      appsandbookstest.FaultKind
		resend    bool // with WithResend
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
				if test.resend {
					opts = append(opts, appsandbooks.WithResend())
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
func TestWithResend_succeedsWhenFirstRequestIsProcessedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(50 * time.Second))
		require.NoError(t, err)
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

// When a resend fails, the pairs stay unconfirmed, because the service may still process the
// first request.
func TestWithResend_leavesPairsUnconfirmedWhenResendFails(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 5), SerialNumbers: names("C02", 3),
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
			requireLedgerAgrees(t, srv, report)
			require.Equal(t, 1, op.Progress().Requests)
			require.Equal(t, 0, op.Progress().Accepted)
			for o := range report.Outcomes() {
				require.ErrorIs(t, o.Err, appsandbooks.ErrStalled)
				require.NotErrorIs(t, o.Err, appsandbooks.ErrNotSent)
			}
		}
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid) // no pair has failed
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
		before := countPath(srv, "assets/associate")
		report, err := op.Wait(t.Context()) // tries again, and stops again
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.ErrorIs(t, err, appsandbooks.ErrNotSent)
		require.True(t, appsandbooks.IsAuth(err))
		require.LessOrEqual(t, countPath(srv, "assets/associate"), before+4)
		require.Equal(t, 3*25*1000, report.Succeeded)
		require.Equal(t, 17*25*1000, report.Failed)
		requireLedgerAgrees(t, srv, report)

		srv.ClearFaults() // the token is accepted again
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 20*25*1000, report.Succeeded)
		requireLedgerAgrees(t, srv, report)
	})
}

// When the service accepts no request of the operation, Associate returns the reason together
// with the operation.
func TestAssetsService_Associate_returnsErrorWhenNothingIsAccepted(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().SetTokenState(appsandbookstest.TokenExpired)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 1), SerialNumbers: []string{"C02"},
		})
		require.ErrorIs(t, err, appsandbooks.ErrTokenExpired)
		require.NotErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		require.NotNil(t, op)
		require.Equal(t, 1, op.Report().Failed)
	})
}

// Submit returns an error only if it is certain that the service accepted no request. When the
// result of a request is unknown, Submit returns nil, also when the resend of this request is
// refused.
func TestOperation_Submit_reportsNothingAcceptedOnlyWhenCertain(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.NoError(t, op.Submit(t.Context()), "the result of the request is unknown")
	})
	for name, makeUnknown := range map[string]func(*appsandbookstest.Server){
		"lost request": func(srv *appsandbookstest.Server) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		},
		"PENDING": func(srv *appsandbookstest.Server) { srv.Unit().HoldEvents(true) },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				makeUnknown(srv)
				op, err := associateOne(t.Context(), srv, c, appsandbooks.WithResend())
				require.NoError(t, err)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9601}) // for the resend
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrLoginRequired)
				require.NotContains(t, err.Error(), "nothing was accepted")
				require.Equal(t, 1, report.Unconfirmed)
				require.NoError(t, op.Submit(t.Context()))
			})
		})
	}
}

// When the service refuses every request because of its rate limit, the operation gives up after
// at most 20 requests, and all pairs fail with ErrNotSent.
func TestAssetsService_Associate_givesUpOnLastingRateLimit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 1, 100_000)
		srv.AddFault(appsandbookstest.Fault{Path: "assets", Number: 9646})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 50_000)})
		require.ErrorIs(t, err, appsandbooks.ErrTooManyRequests)
		require.LessOrEqual(t, countPath(srv, "assets/associate"), 4*5, "four requests at a time with five attempts each")
		require.Equal(t, 50_000, op.Report().Failed)
		for o := range op.Report().Problems() {
			require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
		}
	})
}
