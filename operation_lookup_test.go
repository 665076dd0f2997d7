package appsandbooks_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
