package appsandbooks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Verify fails the pairs of a serial number that does not exist. The service accepts such a
// serial number and reports success.
func TestOperation_Verify_findsMissingPairs(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddDevices("REAL1", "REAL2")
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 10), SerialNumbers: []string{"REAL1", "MISSING", "REAL2"},
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 6, report.Succeeded)
		report, err = op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 2, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}

// After the revocation of a user's assignments, Verify leaves the user unconfirmed with
// ErrNotVerified when a book remains: a book stays with its user.
func TestOperation_Verify_cannotConfirmRevocationOfBook(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "9999", ProductType: appsandbookstest.ProductBook, Total: 100})
		change := appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "9999"}}, ClientUserIDs: addUsers(srv, 1)}
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

// While the service may still process a request whose answer was lost, the pairs stay unconfirmed
// and the request is not sent again. A later Verify confirms the pairs.
func TestOperation_Verify_leavesPairsUnconfirmedWhileRequestMayArrive(t *testing.T) {
	for _, test := range []struct {
		delay     time.Duration // the time from the acceptance of a request to the end of its event
		resend    bool          // with WithResend
		succeeded int           // the number of pairs that Wait confirms
	}{
		{delay: 20 * time.Second, succeeded: 3},
		{delay: 20 * time.Second, resend: true, succeeded: 3},
		{delay: 90 * time.Second},
		{delay: 5 * time.Minute},
	} {
		t.Run(fmt.Sprintf("%v resend=%t", test.delay, test.resend), func(t *testing.T) {
			options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(test.delay)}
			inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				addAssets(srv, 1, 3)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Times: 1})
				var opts []appsandbooks.OperationOption
				if test.resend {
					opts = append(opts, appsandbooks.WithResend())
				}
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)), opts...)
				require.NoError(t, err)
				report, err := op.Verify(t.Context()) // too early
				require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Equal(t, 3, report.Unconfirmed)
				report, _ = op.Wait(t.Context())
				require.Equal(t, test.succeeded, report.Succeeded)
				require.Equal(t, 3-test.succeeded, report.Unconfirmed)
				report, _ = op.Verify(t.Context())
				require.Equal(t, 3-test.succeeded, report.Unconfirmed)

				time.Sleep(10 * time.Minute) // virtual
				requireLedgerAgrees(t, srv, report)
				report, err = op.Verify(t.Context())
				require.NoError(t, err)
				require.Equal(t, 3, report.Succeeded)
				requireLedgerAgrees(t, srv, report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// When Verify reads an outdated list and fails pairs because of it, the next Verify corrects
// their outcomes.
func TestOperation_Verify_correctsResultOfOutdatedList(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 3)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{
			Path: "assignments", Status: 200, Times: 1,
			Body: `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1,"versionId":"old","uId":"` + srv.Unit().UID() + `"}`,
		})
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 3, report.Failed)
		report, err = op.Verify(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// A user who existed before, with another email address, is no proof that the service processed a
// creation whose answer was lost. The user stays unconfirmed, so Undo has nothing to undo.
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

// When the answer to a request was lost, Verify fails the pairs of the request that the service
// does not list one hour after the request was sent. Before that, these pairs stay unconfirmed.
// After that, Retry can send them again.
func TestOperation_Verify_failsLostRequestAfterLongTime(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed)
		time.Sleep(30 * time.Minute) // virtual
		report, err = op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed, "the service may still process the request")
		time.Sleep(30 * time.Minute) // virtual
		report, err = op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1, report.Failed)
		op, err = op.Retry(t.Context())
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}
