package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// A report is never a lie: what is not known is unconfirmed.

// held are the assignments of the asset 1000 to some devices.
func held(serials []string) (all []appsandbookstest.Assignment) {
	for _, s := range serials {
		all = append(all, appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: s})
	}
	return all
}

// onDevices is a change of the asset 1000.
func onDevices(serials []string) appsandbooks.AssetChange {
	return appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: serials}
}

// tearing runs f on a unit with one asset on four old devices, in pages of four.
// Once f has armed it, somebody else takes it from the first of them before page
// 1 is read: all that follows moves up, and the first record of page 1 is on page
// 0, which was read already.
func tearing(t *testing.T, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, arm func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var other *appsandbooks.Client
		armed := false
		srv := appsandbookstest.NewServer(appsandbookstest.WithPageSize(4), appsandbookstest.WithEventDelay(0),
			appsandbookstest.WithPageHook(func(p appsandbookstest.PageRead) {
				if armed && p.Path == "assignments" && p.Index == 1 {
					armed = false
					_, err := other.Assets.Disassociate(context.WithoutCancel(t.Context()), onDevices(names("OLD", 1)))
					assert.NoError(t, err)
				}
			}))
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		other = newClient(t, srv)
		defer other.Close()
		stock(srv, 1, 100)
		srv.Unit().AddAssignments(held(names("OLD", 4))...)
		f(t, srv, c, func() { armed = true })
		require.False(t, armed, "nothing was torn")
	})
}

// A list that changed while it was read does not show that something is missing.
func TestTornListProvesNothing(t *testing.T) {
	tearing(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, arm func()) {
		op, err := c.Assets.Associate(t.Context(), onDevices(names("NEW", 4)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		arm()
		report, err := op.Verify(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
	})
	tearing(t, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, arm func()) {
		srv.Unit().AddAssignments(held(names("NEW", 4))...)
		srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := c.Assets.Disassociate(t.Context(), onDevices(names("NEW", 4)))
		require.NoError(t, err)
		arm()
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 4, report.Unconfirmed)
		require.Subset(t, srv.Unit().Assignments(), held(names("NEW", 4)))
	})
}

// noLists are answers to the reading of assignments that are no list of them.
var noLists = []string{
	`{}`, `null`, `{"status":"ok"}`, `{"assignments":null}`,
	`{"errorNumber":"INTERNAL","errorMessage":"try later"}`, `{"errorMessage":"try later","assignments":[]}`,
}

// An answer that is no list is not one without records.
func TestAnswerWithoutAListProvesNothing(t *testing.T) {
	for _, body := range append([]string{`{"uId":"UID"}`}, noLists...) { // which is the unit's own
		t.Run(body, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				noList := appsandbookstest.Fault{Path: "assignments", Status: 200, Times: 1, Body: strings.Replace(body, "UID", srv.Unit().UID(), 1)}
				stock(srv, 1, 100)
				op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 4)))
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				srv.AddFault(noList)
				report, err := op.Verify(t.Context())
				require.NotErrorIs(t, err, appsandbooks.ErrNotVerified)
				require.Equal(t, 4, report.Succeeded)
				report, err = op.Verify(t.Context())
				require.NoError(t, err)
				agree(t, srv, report)

				srv.AddFault(appsandbookstest.Fault{Path: "assets/disassociate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
				srv.AddFault(noList)
				op, err = c.Assets.Disassociate(t.Context(), onDevices(names("C02", 1)))
				require.NoError(t, err)
				report, _ = op.Wait(t.Context())
				require.Equal(t, 1, report.Unconfirmed)
				require.Len(t, srv.Unit().Assignments(), 4)
			})
		})
	}
}

// A list in the middle of which no page comes is not at its end.
func TestNoPageInTheMiddleOfAList(t *testing.T) {
	for _, body := range noLists {
		t.Run(body, func(t *testing.T) {
			options := []appsandbookstest.Option{appsandbookstest.WithPageSize(2)}
			virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.Unit().AddAssignments(held(names("C02", 8))...)
				srv.AddFault(appsandbookstest.Fault{Path: "assignments", Status: 200, Body: body, After: 2, Times: 1})
				err := drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
				require.Equal(t, 200, isError(t, err).StatusCode)
			})
		})
	}
}

// An operation that is taken up with the token of another unit changes nothing
// there, and concludes nothing from what is there.
func TestOtherUnitsAnswersProveNothing(t *testing.T) {
	for name, begin := range map[string]func(ctx context.Context, srv *appsandbookstest.Server, c *appsandbooks.Client, journal appsandbooks.OperationOption) (*appsandbooks.Operation, error){
		"associate": func(ctx context.Context, _ *appsandbookstest.Server, c *appsandbooks.Client, journal appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, onDevices([]string{"C02"}), journal)
		},
		"disassociate": func(ctx context.Context, srv *appsandbookstest.Server, c *appsandbooks.Client, journal appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
			srv.Unit().AddAssignments(held([]string{"C02"})...)
			return c.Assets.Disassociate(ctx, onDevices([]string{"C02"}), journal)
		},
	} {
		for _, journaled := range []bool{false, true} {
			options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(time.Hour)}
			virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				stock(srv, 1, 5)
				var journal bytes.Buffer
				op, err := begin(t.Context(), srv, c, appsandbooks.WithJournal(func(_ context.Context, entry []byte) error {
					_, err := journal.Write(entry)
					return err
				}))
				require.NoError(t, err)
				before := srv.Unit().Assignments()
				saved, err := op.MarshalJSON()
				require.NoError(t, err)
				if journaled {
					saved = journal.Bytes()
				}

				other := srv.NewUnit("other")
				other.AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 5})
				wrong, err := appsandbooks.NewClient(other.Token(), appsandbooks.WithHTTPClient(srv.Client()))
				require.NoError(t, err)
				defer wrong.Close()
				op, err = wrong.Resume(saved, appsandbooks.WithResend())
				require.NoError(t, err)
				for _, report := range []func(context.Context) (*appsandbooks.Report, error){op.Wait, op.Verify} {
					r, err := report(t.Context())
					require.ErrorIs(t, err, appsandbooks.ErrOtherUnit)
					require.Equal(t, 1, r.Unconfirmed)
				}
				require.Empty(t, other.Assignments())
				require.Equal(t, before, srv.Unit().Assignments())
				require.Equal(t, 1, countPath(srv, "assets/"+name))

				op, err = c.Resume(saved) // where it belongs it goes on
				require.NoError(t, err)
				time.Sleep(2 * time.Hour) // virtual
				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, report.Succeeded)
			})
		}
	}
}

// A token source that goes over to another unit in the middle ends the
// operation before anything is concluded.
func TestTokenOfAnotherUnitInTheMiddle(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		other := srv.NewUnit("other")
		other.AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 5000})
		token := srv.Unit().Token()
		c := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
		defer c.Close()
		stock(srv, 1, 5000)
		op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 1000)), appsandbooks.WithResend())
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
		agree(t, srv, report)
	})
}

// An answer that names another unit than the operation's is not concluded from,
// even if it is a list.
func TestListOfAnotherUnitProvesNothing(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		stock(srv, 1, 5)
		op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 3)))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{
			Path: "assignments", Status: 200, Times: 1,
			Body: `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1,"versionId":"v","uId":"x"}`,
		})
		report, err := op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrOtherUnit)
		agree(t, srv, report)
	})
}

// What a stalled event has not done yet is unconfirmed, also after reading
// back; a look when it has finished settles it.
func TestStalledEventThatFinishesLate(t *testing.T) {
	for name, settle := range map[string]func(*testing.T, *appsandbooks.Client, *appsandbooks.Operation) (*appsandbooks.Report, error){
		"Wait": func(t *testing.T, _ *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Wait(t.Context())
		},
		"Verify": func(t *testing.T, _ *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			return op.Verify(t.Context())
		},
		"Resume": func(t *testing.T, c *appsandbooks.Client, op *appsandbooks.Operation) (*appsandbooks.Report, error) {
			saved, err := op.MarshalJSON()
			require.NoError(t, err)
			op, err = c.Resume(saved)
			require.NoError(t, err)
			return op.Wait(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				stock(srv, 1, 3)
				srv.Unit().HoldEvents(true)
				op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 3)))
				require.NoError(t, err)
				for _, report := range []func(context.Context) (*appsandbooks.Report, error){op.Wait, op.Verify} {
					r, err := report(t.Context())
					require.ErrorIs(t, err, appsandbooks.ErrStalled)
					require.Equal(t, 3, r.Unconfirmed)
				}
				srv.Unit().HoldEvents(false)
				time.Sleep(time.Hour) // virtual
				agree(t, srv, op.Report())
				report, err := settle(t, c, op)
				require.NoError(t, err)
				require.Equal(t, 3, report.Succeeded)
				agree(t, srv, report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// Reading back while a request of unknown fate may still be on its way settles
// nothing for ever, and is no reason to send it again.
func TestVerifyBeforeItsTime(t *testing.T) {
	for _, test := range []struct {
		delay  time.Duration // of the events
		resend bool
		wait   int // succeeded, by Wait right after
	}{
		{delay: 20 * time.Second, wait: 3},
		{delay: 20 * time.Second, resend: true, wait: 3},
		{delay: 90 * time.Second},
		{delay: 5 * time.Minute},
	} {
		t.Run(fmt.Sprint(test.delay, test.resend), func(t *testing.T) {
			options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(test.delay)}
			virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				stock(srv, 1, 3)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Times: 1})
				var opts []appsandbooks.OperationOption
				if test.resend {
					opts = append(opts, appsandbooks.WithResend())
				}
				op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 3)), opts...)
				require.NoError(t, err)
				report, err := op.Verify(t.Context()) // an impatient caller
				require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Equal(t, 3, report.Unconfirmed)
				report, _ = op.Wait(t.Context())
				require.Equal(t, test.wait, report.Succeeded)
				require.Equal(t, 3-test.wait, report.Unconfirmed)
				report, _ = op.Verify(t.Context())
				require.Equal(t, 3-test.wait, report.Unconfirmed)

				time.Sleep(10 * time.Minute) // virtual
				agree(t, srv, report)
				report, err = op.Verify(t.Context())
				require.NoError(t, err)
				require.Equal(t, 3, report.Succeeded)
				agree(t, srv, report)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// What a list that lags behind the event does not show is found by the next look.
func TestVerifyOfAListThatLags(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		stock(srv, 1, 3)
		op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 3)))
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
		agree(t, srv, report)
	})
}

// A report that is made while parts are split accounts for each pair once.
func TestReportsWhilePartsAreSplit(t *testing.T) {
	const latency = 100 * time.Millisecond
	limits := appsandbookstest.DefaultLimits()
	limits.MaxClientUserIDs, limits.MaxRequestPerSecond = 2, 1000
	options := []appsandbookstest.Option{
		appsandbookstest.WithoutErrorInfo(), appsandbookstest.WithLimits(limits), appsandbookstest.WithLatency(latency),
	}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 2, 100), ClientUserIDs: append(names("ghost", 20), users(srv, 10)...),
		}, appsandbooks.WithBisection(), appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		ctx, done := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				for range 30 { // at the moment when answers come
					r := op.Report()
					require.Equal(t, 60, r.Total)
					require.Equal(t, 60, r.Succeeded+r.Failed+r.Unconfirmed)
				}
				saved, err := op.MarshalJSON()
				require.NoError(t, err)
				again, err := c.Resume(saved)
				require.NoError(t, err)
				require.Equal(t, 60, again.Report().Total)
				time.Sleep(latency) // virtual
			}
		})
		err = op.Submit(t.Context())
		done()
		wg.Wait()
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 40, report.Failed)
		agree(t, srv, report)
	})
}

// Items that are refused one at a time are left out one at a time, also with
// limits that shrink after that.
func TestNamedOneAtATime(t *testing.T) {
	for name, test := range map[string]struct {
		people, bad int
		limit       int
		opts        []appsandbooks.OperationOption
	}{
		"few, and a limit": {people: 20, bad: 4, limit: 10},
		"many":             {people: 60, bad: 40, opts: []appsandbooks.OperationOption{appsandbooks.WithBisection()}},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: stock(srv, 1, 100), ClientUserIDs: users(srv, test.people),
				}, append(test.opts, appsandbooks.WithPlanOnly())...)
				require.NoError(t, err)
				for i := range test.bad {
					srv.AddFault(appsandbookstest.Fault{
						Path: "assets/associate", Status: 400, Times: 1,
						Body: fmt.Sprintf(`{"errorNumber":9609,"errorMessage":"x","errorInfo":{"clientUserIds":["user-%05d"]}}`, i),
					})
				}
				if test.limit > 0 {
					srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxClientUserIDs = test.limit })
				}
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
				require.Equal(t, test.bad, report.Failed)
				agree(t, srv, report)
			})
		})
	}
}

// That nothing was accepted is said only when that is certain.
func TestNothingAcceptedIsCertain(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.NoError(t, op.Submit(t.Context()), "its fate is unknown")
	})
	for name, first := range map[string]func(*appsandbookstest.Server){
		"no answer": func(srv *appsandbookstest.Server) {
			srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		},
		"PENDING": func(srv *appsandbookstest.Server) { srv.Unit().HoldEvents(true) },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				first(srv)
				op, err := associateOne(t.Context(), srv, c, appsandbooks.WithResend())
				require.NoError(t, err)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9601}) // when it is sent again
				report, err := op.Wait(t.Context())
				require.ErrorIs(t, err, appsandbooks.ErrLoginRequired)
				require.NotContains(t, err.Error(), "nothing was accepted")
				require.Equal(t, 1, report.Unconfirmed)
				require.NoError(t, op.Submit(t.Context()))
			})
		})
	}
}

// A user who was there before, with another address, does not show that a
// creation was carried out; nothing is undone.
func TestCreationOfWhoIsThere(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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

// A book stays with a retired user: it does not show that another user of the
// same id has it.
func TestBookOfARetiredUser(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "7", ProductType: appsandbookstest.ProductBook, Total: 10, UsersOnly: true, Irrevocable: true})
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "u", Status: appsandbookstest.UserAssociated})
		associate := func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "7"}}, ClientUserIDs: []string{"u"}})
		}
		for _, begin := range []func() (*appsandbooks.Operation, error){
			associate,
			func() (*appsandbooks.Operation, error) {
				return c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: []string{"u"}})
			},
			func() (*appsandbooks.Operation, error) {
				return c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u"}}})
			},
		} {
			op, err := begin()
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
		require.NotEmpty(t, srv.Unit().Assignments(), "the book of the retired user")
	})
}

// What errors.Is tells of an outcome is the same after Resume.
func TestReasonsOutliveTheProcess(t *testing.T) {
	again := func(t *testing.T, c *appsandbooks.Client, op *appsandbooks.Operation) *appsandbooks.Operation {
		t.Helper()
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		return op
	}
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		_, err = op.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		for _, op := range []*appsandbooks.Operation{op, again(t, c, op)} {
			for o := range op.Report().Outcomes() {
				require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
			}
		}
	})
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		stock(srv, 1, 3)
		op, err := c.Assets.Associate(t.Context(), onDevices(names("C02", 2)))
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: `{"eventStatus":"FAILED","eventType":"ASSOCIATE",
			"numRequested":2,"numCompleted":0,"failures":[{"errorNumber":9609,"errorMessage":"a"},{"errorNumber":9709,"errorMessage":"b"}]}`})
		_, err = op.Wait(t.Context())
		for range 2 {
			require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
			require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
			_, err = again(t, c, op).Wait(t.Context())
		}
	})
}

// Notifications that name some assignments do not end the wait for a
// revocation, of which nobody knows how many there are.
func TestStatusWaitOfARevocation(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		stock(srv, 2, 5)
		srv.Unit().AddAssignments(
			appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: "C02"},
			appsandbookstest.Assignment{AdamID: "1001", PricingParam: "STDQ", SerialNumber: "C02"},
			appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: "C03"},
		)
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: []string{"C02", "C03"}})
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: `{"eventStatus":"PENDING","eventType":"REVOKE","numRequested":2,"numCompleted":0}`})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		time.AfterFunc(time.Minute, func() {
			c.Notify(&appsandbooks.Notification{ID: "n", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
				EventResult: appsandbooks.EventResult{EventID: op.EventIDs()[0], Result: appsandbooks.NotificationSuccess},
				Assignments: []appsandbooks.Assignment{
					{AssetPair: appsandbooks.AssetPair{AdamID: "1000", SerialNumber: "C02"}}, {AssetPair: appsandbooks.AssetPair{AdamID: "1001", SerialNumber: "C02"}},
				},
			}})
		})
		_, err = c.Status.Wait(ctx, op.EventIDs()[0])
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, srv.Unit().Assignments(), 3)
	})
}

// A journal that is cut anywhere, or whose lines are damaged, is refused, or
// accounts for each pair once.
func TestDamagedJournals(t *testing.T) {
	const pairs = 2 * (2 + 1 + 2)
	accounted := func(t *testing.T, op *appsandbooks.Operation) {
		t.Helper()
		r, n := op.Report(), 0
		require.Equal(t, r.Total, r.Succeeded+r.Failed+r.Unconfirmed)
		if r.Total > 1<<16 { // a number became a large one
			return
		}
		for range r.Outcomes() {
			n++
		}
		require.Equal(t, r.Total, n)
	}
	limits := appsandbookstest.DefaultLimits()
	limits.MaxClientUserIDs = 2
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo(), appsandbookstest.WithLimits(limits)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var journal bytes.Buffer
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 2, 100), ClientUserIDs: append(users(srv, 2), "ghost"), SerialNumbers: names("D", 2),
		}, appsandbooks.WithBisection(), appsandbooks.WithJournal(func(_ context.Context, entry []byte) error { journal.Write(entry); return nil }))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		whole := journal.Bytes()
		plan := 1 + bytes.IndexByte(whole[1:], '\n') // the first line is the whole plan
		for i := 0; i <= len(whole); i += 3 {
			op, err := c.Resume(whole[:i])
			if i < plan {
				require.ErrorIs(t, err, appsandbooks.ErrInvalid)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, pairs, op.Report().Total)
			accounted(t, op)
		}
		_, err = c.Resume(append(bytes.Clone(whole[:len(whole)-7]), append([]byte("\n"), whole...)...))
		require.NoError(t, err) // it was begun again

		lines := strings.SplitAfter(strings.TrimSpace(string(whole)), "\n")
		r := rand.New(rand.NewPCG(1, 1))
		taken := 0
		for range 300 {
			damaged := append([]string{}, lines...)
			for range 1 + r.IntN(3) {
				a, b := r.IntN(len(damaged)), r.IntN(len(damaged))
				switch r.IntN(4) {
				case 0:
					damaged[a], damaged[b] = damaged[b], damaged[a]
				case 1:
					damaged = append(damaged, damaged[a])
				case 2:
					if at := r.IntN(len(damaged[a]) + 1); at < len(damaged[a]) {
						damaged[a] = damaged[a][:at] + string([]byte{byte(r.IntN(256))}) + damaged[a][at+1:]
					}
				case 3:
					damaged[a] = damaged[a][:r.IntN(len(damaged[a])+1)]
				}
			}
			op, err := c.Resume([]byte(strings.Join(damaged, "")))
			if err != nil {
				require.ErrorIs(t, err, appsandbooks.ErrInvalid)
				continue
			}
			taken++
			accounted(t, op)
		}
		require.NotZero(t, taken)
	})
}

// A page that tells nothing but whose unit it is of does not end a list.
func TestPageOfNothingButAUnit(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithPageSize(2)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAssignments(held(names("C02", 8))...)
		srv.AddFault(appsandbookstest.Fault{
			Path: "assignments", Status: 200, After: 2, Times: 1,
			Body: fmt.Sprintf(`{"uId":%q}`, srv.Unit().UID()),
		})
		require.Error(t, drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{})))
	})
}

// A seat that ends with the period is not the renewing one that was asked for.
func TestSeatOfAnotherKindProvesNothing(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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

// A wrong token for a moment, or one odd answer, does not keep an operation from
// being carried out in its own unit.
func TestUnitOfAnotherForAMoment(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 5), SerialNumbers: []string{"C02"}}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		token := srv.NewUnit("another").Token()
		d := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
		defer d.Close()
		_, err = d.Config.ClientConfig(t.Context())
		require.NoError(t, err)
		token = srv.Unit().Token()
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		op, err = d.Resume(saved)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
	})
}

// An operation that was resumed during an outage waits it out, as any other.
func TestResumedDuringAnOutage(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		d := newClient(t, srv)
		defer d.Close()
		op, err = d.Resume(saved)
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Status: 503, Body: "<html>"})
		time.AfterFunc(3*time.Minute, srv.ClearFaults)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
	})
}

// While others change the list all the time, what is there and what is not is
// found out nevertheless.
func TestReadingBackInABusyUnit(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(50 * time.Millisecond)}
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		stock(srv, 1, 10_000)
		devices := names("C02", 5000)
		op, err := c.Assets.Associate(t.Context(), onDevices(devices))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		gone, err := c.Assets.Disassociate(t.Context(), onDevices(devices[:300]))
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

// What is known of an operation stays known when its event is asked for again in vain.
func TestLookingAgainForgetsNothing(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		stock(srv, 1, 5)
		srv.Unit().HoldEvents(true)
		op, err := c.Assets.Associate(t.Context(), onDevices([]string{"A1", "B2"}))
		require.NoError(t, err)
		srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: "A1"})
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Succeeded)
		srv.AddFault(appsandbookstest.Fault{Status: 503, Body: "<html>"})
		time.Sleep(time.Hour)
		report, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrStalled)
		require.Equal(t, 1, report.Succeeded)
	})
}

// A request that got lost, and that nothing shows long after, was not carried out.
func TestLostForGood(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed)
		time.Sleep(30 * time.Minute)
		report, err = op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		require.Equal(t, 1, report.Unconfirmed, "it may still come")
		time.Sleep(30 * time.Minute)
		report, err = op.Verify(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotVerified)
		require.Equal(t, 1, report.Failed)
		op, err = op.Retry(t.Context())
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		agree(t, srv, report)
	})
}
