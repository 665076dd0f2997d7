package appsandbooks_test

import (
	"context"
	"fmt"
	"net/http"
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
		require.Equal(t, 6, op.Report().Succeeded, "Verify does not change what the operation has done")
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "no pair of the operation has failed")
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

// While the service may still process a request whose answer was lost, the pairs stay unconfirmed
// and the request is not sent again. A later Verify confirms the pairs.
func TestOperation_Verify_leavesPairsUnconfirmedWhileRequestMayArrive(t *testing.T) {
	for _, test := range []struct {
		delay     time.Duration // the time from the acceptance of a request to the end of its event
		resend    bool          // with WithResendLost
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
					opts = append(opts, appsandbooks.WithResendLost())
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

// outdatedList is a fault that answers the next read of the assignments with an empty list.
func outdatedList(srv *appsandbookstest.Server) appsandbookstest.Fault {
	return appsandbookstest.Fault{
		Path: "assignments", Status: 200, Times: 1,
		Body: `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1,"versionId":"old","uId":"` + srv.Unit().UID() + `"}`,
	}
}

// The lists may show a change later than the status of its event. A pair that Verify does not
// find sooner than one polling interval after that does not count as missing: Verify reads again.
func TestOperation_Verify_readsAgainSoonAfterEvent(t *testing.T) {
	for after, wait := range map[time.Duration]time.Duration{0: 30 * time.Second, 20 * time.Second: 10 * time.Second} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			addAssets(srv, 1, 3)
			op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
			require.NoError(t, err)
			_, err = op.Wait(t.Context())
			require.NoError(t, err)
			time.Sleep(after) // virtual
			srv.AddFault(outdatedList(srv))
			began := time.Now()
			report, err := op.Verify(t.Context())
			require.NoError(t, err)
			require.Equal(t, wait, time.Since(began))
			requireLedgerAgrees(t, srv, report)
		})
	}
}

// Verify shows what another program has changed since, and does not make Retry change it again.
func TestOperation_Verify_doesNotUndoChangesOfOthers(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 3)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		other, err := c.Assets.Disassociate(t.Context(), deviceChange(names("C02", 1)))
		require.NoError(t, err)
		_, err = other.Wait(t.Context())
		require.NoError(t, err)
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1, report.Failed)
		requireLedgerAgrees(t, srv, report)

		require.Equal(t, 3, op.Report().Succeeded)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, report.Succeeded)
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
		report, err = saveAndResume(t, c, op).Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, report.Succeeded)
	})
}

// A pair that reading back did not find becomes succeeded when Verify finds it later, also in the
// operation.
func TestOperation_Verify_recordsPairsThatItFinds(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		time.Sleep(2 * time.Hour) // virtual
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1, report.Failed)
		srv.Unit().AddAssignments(deviceAssignments([]string{"C02"})...)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, op.Report().Succeeded)
		requireLedgerAgrees(t, srv, saveAndResume(t, c, op).Report())
		_, err = op.Retry(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	})
}

// When Verify reads an outdated list and fails pairs in its report because of it, the next Verify
// shows their right outcomes. The operation keeps its outcomes.
func TestOperation_Verify_correctsResultOfOutdatedList(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 3)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute) // virtual
		srv.AddFault(outdatedList(srv))
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 3, report.Failed)
		require.Equal(t, 3, op.Report().Succeeded)
		report, err = op.Verify(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// When the answer to a request was lost, Verify and Wait fail the pairs of the request that the
// service does not list one hour (six stall times) after the request was sent. Before that, these
// pairs stay unconfirmed. After that, Retry can send them again.
func TestOperation_Verify_failsLostRequestAfterLongTime(t *testing.T) {
	for name, look := range map[string]func(ctx context.Context, op *appsandbooks.Operation) (*appsandbooks.Report, error){
		"Verify": func(ctx context.Context, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Verify(ctx)
		},
		"Wait": func(ctx context.Context, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Wait(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				op, err := associateOne(t.Context(), srv, c)
				require.NoError(t, err)
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Equal(t, 1, report.Unconfirmed)
				for range 2 {
					_, err = op.Retry(t.Context())
					require.ErrorIs(t, err, appsandbooks.ErrUnfinished)
					time.Sleep(25 * time.Minute) // virtual
					report, err = look(t.Context(), op)
					require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
					require.Equal(t, 1, report.Unconfirmed, "the service may still process the request")
					_, more := op.Next()
					require.True(t, more)
				}
				time.Sleep(10 * time.Minute) // virtual
				report, err = look(t.Context(), op)
				require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
				require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Equal(t, 1, report.Failed)
				require.Equal(t, 1, op.Report().Failed)
				_, more := op.Next()
				require.False(t, more)
				op, err = op.Retry(t.Context())
				require.NoError(t, err)
				report, err = op.Wait(t.Context())
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, report)
			})
		})
	}
}

// Verify right after a lost removal reads lists that may show what was before the assignment. A
// pair that is absent so soon is not taken for removed.
func TestOperation_Verify_doesNotTrustListsRightAfterLostRemoval(t *testing.T) {
	var began time.Time
	answer := func(_ *appsandbookstest.Server, r *http.Request) (*http.Response, error) {
		return emptyLists(r, began.Add(20*time.Second)), nil
	}
	behindTransport(t, []appsandbookstest.Option{appsandbookstest.WithEventDelay(0)}, answer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		began = time.Now()
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err = c.Assets.Disassociate(t.Context(), deviceChange([]string{"C02"}))
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute) // virtual
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Len(t, srv.Unit().Assignments(), 1)
		require.Zero(t, report.Succeeded)
	})
}
