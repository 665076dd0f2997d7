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

// tearing runs f on a unit with one asset on four old devices, in pages of four.
// Once f has armed it, somebody else takes it from the first of them before page
// 1 is read: all that follows moves up, and the first record of page 1 is on page
// 0, which was read already.
func withChangingList(t *testing.T, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, arm func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var other *appsandbooks.Client
		armed := false
		srv, err := appsandbookstest.NewServer(appsandbookstest.WithPageSize(4), appsandbookstest.WithEventDelay(0),
			appsandbookstest.WithPageHook(func(p appsandbookstest.PageRead) {
				if armed && p.Path == "assignments" && p.Index == 1 {
					armed = false
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
		f(t, srv, c, func() { armed = true })
		require.False(t, armed, "nothing was torn")
	})
}

// A list that changed while it was read does not show that something is missing.
func TestOperation_Verify_distrustsListThatChangedWhileRead(t *testing.T) {
	withChangingList(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, arm func()) {
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("NEW", 4)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		arm()
		report, err := op.Verify(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
	withChangingList(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, arm func()) {
		srv.Unit().AddAssignments(deviceAssignments(names("NEW", 4))...)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := c.Assets.Disassociate(t.Context(), deviceChange(names("NEW", 4)))
		require.NoError(t, err)
		arm()
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 4, report.Unconfirmed)
		require.Subset(t, srv.Unit().Assignments(), deviceAssignments(names("NEW", 4)))
	})
}

// An answer that is no list is not one without records.
func TestOperation_Verify_distrustsAnswerWithoutList(t *testing.T) {
	for _, body := range append([]string{`{"uId":"UID"}`}, answersWithoutList...) { // which is the unit's own
		t.Run(body, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				noList := appsandbookstest.Fault{Path: "assignments", Status: 200, Times: 1, Body: strings.Replace(body, "UID", srv.Unit().UID(), 1)}
				addAssets(srv, 1, 100)
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 4)))
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				srv.AddFault(noList)
				report, err := op.Verify(t.Context())
				require.NotErrorIs(t, err, appsandbooks.ErrNotVerified)
				require.Equal(t, 4, report.Succeeded)
				report, err = op.Verify(t.Context())
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, report)

				srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				srv.AddFault(noList)
				op, err = c.Assets.Disassociate(t.Context(), deviceChange(names("C02", 1)))
				require.NoError(t, err)
				report, _ = op.Wait(t.Context())
				require.Equal(t, 1, report.Unconfirmed)
				require.Len(t, srv.Unit().Assignments(), 4)
			})
		})
	}
}

// An answer that names another unit than the operation's is not concluded from,
// even if it is a list.
func TestOperation_Verify_distrustsListOfOtherUnit(t *testing.T) {
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

// While others change the list all the time, what is there and what is not is
// found out nevertheless.
func TestOperation_Verify_succeedsWhileOthersChangeList(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(50 * time.Millisecond)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 10_000)
		devices := names("C02", 5000)
		op, err := c.Assets.Associate(t.Context(), deviceChange(devices))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		gone, err := c.Assets.Disassociate(t.Context(), deviceChange(devices[:300]))
		require.NoError(t, err)
		_, err = gone.Wait(t.Context())
		require.NoError(t, err)

		ctx, stop := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				time.Sleep(20 * time.Millisecond) // virtual
				srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: fmt.Sprint("Z", i)})
			}
		})
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 300, report.Failed)
		report, err = gone.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 300, report.Succeeded)
		stop()
		others.Wait()
	})
}
