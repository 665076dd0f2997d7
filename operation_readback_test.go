package appsandbooks_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Wait repeats a read-back that fails, and ends with the error when the read-back fails for
// longer than the stall time.
func TestOperation_Wait_repeatsFailedReadback(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Kind: appsandbookstest.FaultCutBody, Times: 12})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 3), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)

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
		require.Less(t, time.Since(began), 15*time.Minute) // the stall time is 10 minutes
	})
}

// A user who existed before, with another email address, is no proof that the service processed a
// creation whose answer was lost. The user is unconfirmed, and fails after an hour, so Undo has
// nothing to undo.
func TestUsersService_Create_existingUserDoesNotConfirmLostRequest(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "u", Email: "old@example.com", Status: appsandbookstest.UserAssociated})
		srv.AddFault(appsandbookstest.Fault{Path: "users/create", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", Email: "new@example.com"}}})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed)
		_, err = op.Undo(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUnfinished)

		time.Sleep(time.Hour) // virtual
		report, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1, report.Failed)
		_, err = op.Undo(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	})
}

// A book that stays with a retired user is no proof that the book was assigned to a new user with
// the same id.
func TestOperation_Wait_bookOfRetiredUserDoesNotConfirmAssociation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "7", ProductType: appsandbookstest.ProductBook, Total: 10, UsersOnly: true, Irrevocable: true})
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "u", Status: appsandbookstest.UserAssociated})
		associate := func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "7"}}, ClientUserIDs: []string{"u"}})
		}
		for _, start := range []func() (*appsandbooks.Operation, error){
			associate,
			func() (*appsandbooks.Operation, error) {
				return c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: []string{"u"}})
			},
			func() (*appsandbooks.Operation, error) {
				return c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u"}}})
			},
		} {
			op, err := start()
			require.NoError(t, err)
			_, err = op.Wait(t.Context())
			require.NoError(t, err)
		}
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associate()
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed)
		require.NotEmpty(t, srv.Unit().Assignments(), "the retired user keeps the book")
	})
}

// A seat that ends with the billing period is no proof that a renewing seat was assigned.
func TestSubscriptionsService_Associate_expiringSeatDoesNotConfirmRenewingOne(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "u", Status: appsandbookstest.UserAssociated})
		srv.Unit().AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 1, Expiring: 1}})
		srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "u"})
		srv.AddFault(appsandbookstest.Fault{Path: "subscriptions/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := c.Subscriptions.Associate(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: []string{"u"}})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed)
	})
}

// The lists may show a change later than the status of its event. So a finished event whose counts
// are not clear is read back one polling interval after it has ended, and not at once.
func TestOperation_Wait_readsBackOneIntervalAfterEvent(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 2)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 2, report.Succeeded)
		require.Equal(t, 1, report.Failed)
		requireLedgerAgrees(t, srv, report)
		polls := statusTimes(srv)
		require.Len(t, polls, 1)
		for _, r := range srv.Requests() {
			if r.Path == "assignments" {
				require.Equal(t, 30*time.Second, r.Time.Sub(polls[0]))
			}
		}
		require.NotZero(t, countPath(srv, "assignments"))
	})
}

// When the service refuses a resent request, the refusal shows nothing about the first one. So the
// data is read back one polling interval later, and shows the pairs that the first request made.
func TestWithResendLost_readsBackAfterRefusalOfResend(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 3)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)), appsandbooks.WithResendLost())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9602, Times: 1}) // for the resend
		time.AfterFunc(50*time.Second, func() { srv.Unit().AddAssignments(deviceAssignments(names("C02", 3))...) })
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(began), "30 s to the resend, and 30 s after it")
		require.Equal(t, 2, countPath(srv, "assets/associate"))
		requireLedgerAgrees(t, srv, report)
	})
}

// The lists may show a change up to one polling interval after its event. This also holds for the
// event of an earlier request for the same pairs: the lists are not read at once when it ends. The
// second request was refused later, or could not be sent.
func TestWithResendOverdue_readsBackOneIntervalAfterEarlierEvent(t *testing.T) {
	for _, sentAgain := range []bool{true, false} {
		var ends, startedAt time.Time
		delay := appsandbookstest.WithEventDelayFunc(func(appsandbookstest.Event) time.Duration {
			if time.Since(startedAt) < time.Minute {
				return 3 * time.Hour // the first event
			}
			return time.Second
		})
		answer := func(srv *appsandbookstest.Server, r *http.Request) (*http.Response, error) {
			events := srv.Unit().Events()
			if strings.HasSuffix(r.URL.Path, "/status") && len(events) > 1 && r.URL.Query().Get("eventId") == events[1].ID {
				return jsonAnswer(r, `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numCompleted":0,"numRequested":1,"failures":[{"errorNumber":9644,"errorMessage":"later"}]}`), nil
			}
			return emptyLists(r, ends.Add(20*time.Second)), nil
		}
		behindTransport(t, []appsandbookstest.Option{delay}, answer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			startedAt = time.Now()
			ends = startedAt.Add(3 * time.Hour)
			op, err := associateOne(t.Context(), srv, c, appsandbooks.WithResendOverdue())
			require.NoError(t, err)
			if !sentAgain {
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9622}) // for the resend
			}
			report, err := op.Wait(t.Context())
			require.Error(t, err)
			require.Equal(t, 1, report.Unconfirmed)
			srv.ClearFaults()
			time.Sleep(time.Until(ends.Add(5 * time.Second))) // virtual
			report, err = op.Wait(t.Context())
			require.NoError(t, err)
			requireLedgerAgrees(t, srv, report)
		})
	}
}

// A lost request may be carried out until six stall times are over, and the lists may show it one
// polling interval later. Only then a pair that the lists do not show has failed.
func TestOperation_Wait_lostRequestArrivesAtLastMoment(t *testing.T) {
	var lost time.Time
	answer := func(srv *appsandbookstest.Server, r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/assets/associate") {
			return nil, deliverLate(srv, r, time.Hour-5*time.Second)
		}
		return emptyLists(r, lost.Add(time.Hour+15*time.Second)), nil
	}
	behindTransport(t, []appsandbookstest.Option{appsandbookstest.WithEventDelay(0)}, answer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		lost = time.Now()
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		time.Sleep(time.Until(lost.Add(time.Hour + time.Second))) // virtual
		report, _ := op.Wait(t.Context())
		require.Zero(t, report.Failed)
		waitToEnd(t, op)
		require.Equal(t, 1, op.Report().Succeeded)
		requireLedgerAgrees(t, srv, op.Report())
	})
}
