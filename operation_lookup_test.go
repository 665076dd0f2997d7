package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twentyOnPage returns the options of a stand-in with 20 records on each page.
func twentyOnPage(more ...appsandbookstest.Option) []appsandbookstest.Option {
	return append([]appsandbookstest.Option{
		appsandbookstest.WithPageSize(20), appsandbookstest.WithCursorPageSize(20), appsandbookstest.WithEventDelay(0),
	}, more...)
}

// countPages returns how many pages of lists the stand-in sent.
func countPages(srv *appsandbookstest.Server) int {
	n := 0
	for _, r := range srv.Requests() {
		if r.Method == http.MethodGet && slices.Contains([]string{"assignments", "users", "subscriptions/assignments"}, r.Path) {
			n++
		}
	}
	return n
}

// assignmentsOf returns the assignments of each asset with each device.
func assignmentsOf(assets []appsandbooks.AssetID, devices []string) (all []appsandbookstest.Assignment) {
	for _, id := range assets {
		for _, d := range devices {
			all = append(all, appsandbookstest.Assignment{AdamID: id.AdamID, SerialNumber: d})
		}
	}
	return all
}

// usersWithEmail returns requests for users whose ids and email addresses are ids.
func usersWithEmail(ids []string) (all []appsandbooks.UserRequest) {
	for _, id := range ids {
		all = append(all, appsandbooks.UserRequest{ClientUserID: id, Email: id + "@example.com"})
	}
	return all
}

// withChangingList runs f on an organizational unit where asset 1000 is assigned to four old
// devices, with four assignments on a page. After f has called changeNextRead, another client
// removes the first assignment just before page 1 of the list is read. The first record of page 1
// then moves to page 0, which was read already, so the reader of the list misses this record.
func withChangingList(t *testing.T, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, changeNextRead func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var other *appsandbooks.Client
		changeRequested := false
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithPageSize(4), appsandbookstest.WithEventDelay(0),
			appsandbookstest.WithPageHook(func(p appsandbookstest.PageRead) {
				if changeRequested && p.Path == "assignments" && p.Index == 1 {
					changeRequested = false
					_, err := other.Assets.Disassociate(context.WithoutCancel(t.Context()), deviceChange(names("OLD", 1)))
					assert.NoError(t, err)
				}
			}))
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		other = newClient(t, srv)
		defer other.Close()
		addAssets(srv, 1, 100)
		srv.Unit().AddAssignments(deviceAssignments(names("OLD", 4))...)
		f(t, srv, c, func() { changeRequested = true })
		require.False(t, changeRequested, "the list did not change while it was read")
	})
}

// When a list changes while Verify reads it, a pair that was not found in the list does not count
// as missing: a new assignment does not fail, and a lost removal does not succeed.
func TestOperation_Verify_failsNoPairWhenListChanges(t *testing.T) {
	withChangingList(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, changeNextRead func()) {
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("NEW", 4)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		changeNextRead()
		report, err := op.Verify(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
	withChangingList(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, changeNextRead func()) {
		srv.Unit().AddAssignments(deviceAssignments(names("NEW", 4))...)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := c.Assets.Disassociate(t.Context(), deviceChange(names("NEW", 4)))
		require.NoError(t, err)
		changeNextRead()
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 4, report.Unconfirmed)
		require.Subset(t, srv.Unit().Assignments(), deviceAssignments(names("NEW", 4)))
	})
}

// An answer without a list does not count as an empty list: Verify changes no outcome after
// this answer.
func TestOperation_Verify_failsNoPairAfterAnswerWithoutList(t *testing.T) {
	for _, body := range append([]string{`{"uId":"UID"}`}, answersWithoutList...) { // with the uId of the unit
		t.Run(body, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				answerWithoutList := appsandbookstest.Fault{Path: "assignments", Status: 200, Times: 1, Body: strings.Replace(body, "UID", srv.Unit().UID(), 1)}
				addAssets(srv, 1, 100)
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 4)))
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				srv.AddFault(answerWithoutList)
				report, err := op.Verify(t.Context())
				require.NotErrorIs(t, err, appsandbooks.ErrNotVerified)
				require.Equal(t, 4, report.Succeeded)
				report, err = op.Verify(t.Context())
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, report)

				srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				srv.AddFault(answerWithoutList)
				op, err = c.Assets.Disassociate(t.Context(), deviceChange(names("C02", 1)))
				require.NoError(t, err)
				report, _ = op.Wait(t.Context())
				require.Equal(t, 1, report.Unconfirmed)
				require.Len(t, srv.Unit().Assignments(), 4)
			})
		})
	}
}

// Verify returns an error when each answer lacks a list, or is another page than the first.
func TestOperation_Verify_failsWithoutFirstPage(t *testing.T) {
	for body, isExpected := range map[string]func(error) bool{
		`{"uId":"UID"}`: func(err error) bool {
			var e *appsandbooks.Error
			return errors.As(err, &e) && e.StatusCode == http.StatusOK
		},
		`{"assignments":[],"currentPageIndex":3,"size":0,"totalPages":4,"versionId":"v","uId":"UID"}`: func(err error) bool {
			return errors.Is(err, appsandbooks.ErrNoProgress)
		},
	} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			addAssets(srv, 1, 100)
			op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 4)))
			require.NoError(t, err)
			_, err = op.Wait(t.Context())
			require.NoError(t, err)
			srv.AddFault(appsandbookstest.Fault{Path: "assignments", Status: 200, Body: strings.Replace(body, "UID", srv.Unit().UID(), 1)})
			report, err := op.Verify(t.Context())
			require.True(t, isExpected(err), "%v", err)
			require.Equal(t, 4, report.Succeeded)
		})
	}
}

// When the second of two pages does not exist any more, Verify reads the list of each device.
func TestOperation_Verify_readsAgainWhenSecondPageVanishes(t *testing.T) {
	inVirtualTime(t, twentyOnPage(), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 100)
		srv.Unit().AddAssignments(deviceAssignments(names("OLD", 18))...)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 4)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Number: int(appsandbooks.ErrInvalidPageIndex), After: 1, Times: 1})
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2+2, countPages(srv)) // two pages of the broad list, and two devices that its first page did not show
	})
}

// Verify returns ErrOtherUnit when the list has the uId of another organizational unit, and
// changes no outcome.
func TestOperation_Verify_refusesListOfOtherUnit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 5)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{
			Path: "assignments", Status: 200, Times: 1,
			Body: `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1,"versionId":"v","uId":"x"}`,
		})
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrOtherUnit)
		requireLedgerAgrees(t, srv, report)
	})
}

// Verify finds out which pairs are present, even while another client changes the list
// continually.
func TestOperation_Verify_succeedsWhileOthersChangeList(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(50 * time.Millisecond)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 10_000)
		devices := names("C02", 5000)
		op, err := c.Assets.Associate(t.Context(), deviceChange(devices))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		removal, err := c.Assets.Disassociate(t.Context(), deviceChange(devices[:300]))
		require.NoError(t, err)
		_, err = removal.Wait(t.Context())
		require.NoError(t, err)

		ctx, stop := context.WithCancel(t.Context())
		var otherChanges sync.WaitGroup
		otherChanges.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				time.Sleep(20 * time.Millisecond) // virtual
				srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: fmt.Sprint("Z", i)})
			}
		})
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 300, report.Failed)
		report, err = removal.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 300, report.Succeeded)
		stop()
		otherChanges.Wait()
	})
}

// Verify reads the pages that are fewest: of lists with many pairs, or of lists of one target. The
// stand-in has 20 records on a page.
func TestOperation_Verify_readsFewestPages(t *testing.T) {
	type start func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error)
	// associate assigns asset 1000 to new devices, after the records of old devices.
	associate := func(old, devices int) start {
		return func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			addAssets(srv, 1, 5000)
			srv.Unit().AddAssignments(deviceAssignments(names("OLD", old))...)
			return c.Assets.Associate(t.Context(), deviceChange(names("C02", devices)))
		}
	}
	revoke := func(old, users int) start {
		return func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			srv.Unit().AddAssignments(deviceAssignments(names("OLD", old))...)
			return c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{ClientUserIDs: addUsers(srv, users)})
		}
	}
	update := func(old, users int) start {
		return func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			for _, id := range names("old-", old) {
				srv.Unit().AddUser(appsandbookstest.User{ClientUserID: id})
			}
			return c.Users.Update(t.Context(), appsandbooks.UserChange{Users: usersWithEmail(addUsers(srv, users))})
		}
	}
	seats := func(old, users int) start {
		return func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			srv.Unit().AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 5000}})
			for _, id := range names("old-", old) {
				srv.Unit().AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
				srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: id, Renewing: true})
			}
			return c.Subscriptions.Associate(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: addUsers(srv, users)})
		}
	}
	for _, test := range []struct {
		name  string
		start start
		pages int
	}{
		{"one pair in 51 pages", associate(1010, 1), 1},
		{"three pairs in one page", associate(0, 3), 1},
		{"20 pairs in 51 pages", associate(1000, 20), 1 + 20},
		{"200 pairs in 10 pages", associate(0, 200), 10},
		{"1,000 pairs in 50 pages", associate(0, 1000), 50},
		{"ten assets of three devices", func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			assets := addAssets(srv, 10, 5000)
			srv.Unit().AddAssignments(assignmentsOf(assets, names("OLD", 100))...)
			return c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 3)})
		}, 3},
		{"ten assets of twelve devices, in 6 pages each", func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			assets := addAssets(srv, 10, 5000)
			srv.Unit().AddAssignments(assignmentsOf(assets, names("OLD", 100))...)
			return c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 12)})
		}, 1 + 12},
		{"one pair in 51 pages, and 40 pairs in two pages", func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			addAssets(srv, 2, 5000)
			srv.Unit().AddAssignments(deviceAssignments(names("OLD", 1010))...)
			pairs := []appsandbooks.AssetPair{{AdamID: "1000", SerialNumber: "A"}}
			for _, d := range names("C02", 40) {
				pairs = append(pairs, appsandbooks.AssetPair{AdamID: "1001", SerialNumber: d})
			}
			return c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Pairs: pairs})
		}, 1 + 1 + 2},
		{"two assets of a device with 102 assets", func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) (*appsandbooks.Operation, error) {
			assets := addAssets(srv, 102, 5000)
			srv.Unit().AddAssignments(assignmentsOf(assets[:100], []string{"A"})...)
			return c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets[100:], SerialNumbers: []string{"A"}})
		}, 1 + 2},
		{"five users revoked in a unit of 51 pages", revoke(1010, 5), 5},
		{"six users revoked in a unit of 51 pages", revoke(1010, 6), 1 + 6},
		{"six users revoked in a unit of three pages", revoke(60, 6), 3},
		{"five users in a unit of one page", update(0, 5), 5},
		{"ten users in a unit of two pages", update(25, 10), 2},
		{"ten users in a unit of 51 pages", update(1010, 10), 1 + 10},
		{"one seat in 51 pages", seats(1010, 1), 1},
		{"ten seats in three pages", seats(50, 10), 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			inVirtualTime(t, twentyOnPage(), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := test.start(t, srv, c)
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				require.Zero(t, countPages(srv))
				_, err = op.Verify(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.pages, countPages(srv))
			})
		})
	}
}

// A list by cursor does not announce its number of pages. Verify leaves such a list when it has read
// more pages than there are users, and costs about twice as many pages as users.
func TestOperation_Verify_leavesLongListByCursor(t *testing.T) {
	inVirtualTime(t, twentyOnPage(), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 1, Total: appsandbookstest.Seats{Renewing: 5000}})
		for _, id := range names("old-", 1010) {
			srv.Unit().AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
			srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: id, Renewing: true})
		}
		op, err := c.Subscriptions.Associate(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: addUsers(srv, 10)})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, countPages(srv), 11+1+10) // one page is read ahead
	})
}

// When a broad list changes once, Verify reads it again, or reads one list for each device if
// these are not much more than its pages.
func TestOperation_Verify_readsChangedListOnceMore(t *testing.T) {
	for _, test := range []struct {
		devices, pages int
	}{
		{devices: 25, pages: 10 + 25},
		{devices: 100, pages: 10 + 10},
	} {
		t.Run(fmt.Sprint(test.devices, " devices"), func(t *testing.T) {
			changed := true
			hook := appsandbookstest.WithPageHook(func(p appsandbookstest.PageRead) {
				if p.Path == "assignments" && p.Index == 1 && !changed {
					changed = true
					p.Unit.AddAssignments(deviceAssignments([]string{"NEW"})...)
				}
			})
			inVirtualTime(t, twentyOnPage(hook), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				addAssets(srv, 1, 5000)
				srv.Unit().AddDevices("none of the others")
				srv.Unit().AddAssignments(deviceAssignments(names("OLD", 195))...)
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", test.devices)))
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				time.Sleep(time.Minute) // virtual, so that Verify does not read again for late changes
				changed = false
				report, err := op.Verify(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
				require.Equal(t, test.devices, report.Failed)
				require.Equal(t, test.pages, countPages(srv))
			})
		})
	}
}

// inBusyUnit runs f on an organizational unit where the list of assignments changes before each page
// is sent. There, asset 1000 is assigned to 3,000 devices; 300 assignments are on a page.
func inBusyUnit(t *testing.T, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client)) {
	var changes atomic.Int32
	options := []appsandbookstest.Option{
		appsandbookstest.WithPageSize(300), appsandbookstest.WithEventDelay(0), appsandbookstest.WithRequestLog(5000),
		appsandbookstest.WithPageHook(func(p appsandbookstest.PageRead) {
			p.Unit.AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: fmt.Sprint("BUSY", changes.Add(1))})
		}),
	}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 10_000)
		srv.Unit().AddAssignments(deviceAssignments(names("OLD", 3000))...)
		f(t, srv, c)
		require.LessOrEqual(t, countPages(srv), 1500+100)
	})
}

// In a unit that changes all the time, Verify finds out which of 2,000 pairs are missing, although
// more than 1,000 are.
func TestOperation_Verify_endsInBusyUnit(t *testing.T) {
	inBusyUnit(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		devices := names("C02", 2000)
		srv.Unit().AddDevices(devices[:500]...) // the service assigns nothing to the others, and reports success
		op, err := c.Assets.Associate(t.Context(), deviceChange(devices))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute) // virtual, so that Verify does not read again for late changes
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1500, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}

// In a unit that changes all the time, Wait confirms a removal of 1,500 pairs whose answers were
// lost.
func TestOperation_Wait_endsInBusyUnit(t *testing.T) {
	inBusyUnit(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		devices := names("C02", 1500)
		srv.Unit().AddAssignments(deviceAssignments(devices)...)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetAfter, Times: 2})
		op, err := c.Assets.Disassociate(t.Context(), deviceChange(devices))
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1500, report.Succeeded)
		require.False(t, slices.ContainsFunc(srv.Unit().Assignments(), func(a appsandbookstest.Assignment) bool {
			return strings.HasPrefix(a.SerialNumber, "C02")
		}))
	})
}

// The list of users does not show whose account a Managed Apple Account is. So it does not confirm
// an update that was lost, but it can show that the update was not carried out.
func TestOperation_Verify_listDoesNotShowManagedAppleID(t *testing.T) {
	const old, other = "old@example.com", "other@example.com"
	for _, test := range []struct {
		name    string
		before  appsandbookstest.User
		request appsandbooks.UserRequest
		want    appsandbooks.OutcomeStatus
	}{
		{"another account", appsandbookstest.User{ManagedAppleID: old}, appsandbooks.UserRequest{ManagedAppleID: other}, appsandbooks.OutcomeUnconfirmed},
		{"the same email", appsandbookstest.User{ManagedAppleID: old, Email: old}, appsandbooks.UserRequest{ManagedAppleID: other, Email: old}, appsandbooks.OutcomeUnconfirmed},
		{"another email", appsandbookstest.User{ManagedAppleID: old, Email: old}, appsandbooks.UserRequest{ManagedAppleID: other, Email: other}, appsandbooks.OutcomeFailed},
		{"no account", appsandbookstest.User{Email: old}, appsandbooks.UserRequest{ManagedAppleID: other, Email: old}, appsandbooks.OutcomeFailed},
		{"a retired user", appsandbookstest.User{Status: appsandbookstest.UserRetired}, appsandbooks.UserRequest{ManagedAppleID: other}, appsandbooks.OutcomeFailed},
		{"without a ManagedAppleID", appsandbookstest.User{Email: old}, appsandbooks.UserRequest{Email: old}, appsandbooks.OutcomeSucceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				test.before.ClientUserID, test.request.ClientUserID = "u", "u"
				srv.Unit().AddUser(test.before)
				srv.AddFault(appsandbookstest.Fault{Path: "users/update", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				op, err := c.Users.Update(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{test.request}})
				require.NoError(t, err)
				_, _ = op.Wait(t.Context())
				time.Sleep(2 * time.Hour) // virtual; after one hour a lost request can fail
				report, _ := op.Verify(t.Context())
				for o := range report.Outcomes() {
					require.Equal(t, test.want, o.Status)
				}
			})
		})
	}
}

// Verify leaves a creation with a ManagedAppleID succeeded, although the list does not show it.
func TestOperation_Verify_keepsCreationWithManagedAppleID(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", ManagedAppleID: "u@example.com"}}})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
	})
}
