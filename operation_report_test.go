package appsandbooks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A report counts each pair once, also while an operation divides requests because the service
// refused them. The same holds for an operation that is saved and resumed at that time.
func TestOperation_Report_countsEachPairOnceDuringSplits(t *testing.T) {
	const latency = 100 * time.Millisecond
	limits := appsandbookstest.DefaultLimits()
	limits.MaxClientUserIDs, limits.MaxRequestPerSecond = 2, 1000
	options := []appsandbookstest.Option{
		appsandbookstest.WithoutErrorInfo(), appsandbookstest.WithLimits(limits), appsandbookstest.WithLatency(latency),
	}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 100), ClientUserIDs: append(names("unknown-", 20), addUsers(srv, 10)...),
		}, appsandbooks.WithBisection(), appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		ctx, stopReports := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				for range 30 { // The test reads several reports at the time when answers arrive.
					r := op.Report()
					require.Equal(t, 60, r.Total)
					require.Equal(t, 60, r.Succeeded+r.Failed+r.Unconfirmed+r.Unsent)
				}
				saved, err := op.Save()
				require.NoError(t, err)
				resumed, err := c.Resume(saved)
				require.NoError(t, err)
				require.Equal(t, 60, resumed.Report().Total)
				time.Sleep(latency) // virtual
			}
		})
		report, err := op.Wait(t.Context())
		stopReports()
		wg.Wait()
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		require.Equal(t, 40, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}

// Reasons has each reason of the pairs that did not succeed once, with the number of its pairs.
// The numbers add up to the counts of the report.
func TestReport_Reasons_countsPairs(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers, l.MaxClientUserIDs = 4, 2 })
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, After: 3, Times: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 5), ClientUserIDs: []string{"unknown-1", "unknown-2"}, SerialNumbers: names("C02", 12),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		reasonsOf := func(r *appsandbooks.Report) map[appsandbooks.OutcomeStatus][]int {
			all := map[appsandbooks.OutcomeStatus][]int{}
			texts := map[string]bool{}
			for reason := range r.Reasons() {
				require.Error(t, reason.Err)
				require.False(t, texts[reason.Err.Error()+string(reason.Status)], "%v comes twice", reason.Err)
				texts[reason.Err.Error()+string(reason.Status)] = true
				all[reason.Status] = append(all[reason.Status], reason.Pairs)
			}
			sums := map[appsandbooks.OutcomeStatus]int{
				appsandbooks.OutcomeFailed: r.Failed, appsandbooks.OutcomeUnconfirmed: r.Unconfirmed, appsandbooks.OutcomeUnsent: r.Unsent,
			}
			for status, counts := range all {
				for _, n := range counts {
					sums[status] -= n
				}
			}
			for status, rest := range sums {
				require.Zero(t, rest, status)
			}
			return all
		}
		require.Equal(t, map[appsandbooks.OutcomeStatus][]int{appsandbooks.OutcomeUnsent: {14}}, reasonsOf(op.Report()))
		report, err := op.Wait(t.Context())
		require.Error(t, err)
		reasons := reasonsOf(report)
		require.NotEmpty(t, reasons[appsandbooks.OutcomeFailed])
		require.NotEmpty(t, reasons[appsandbooks.OutcomeUnconfirmed])
		for reason := range report.Reasons() {
			require.ErrorContains(t, err, reason.Err.Error())
			break // the loop can be left
		}

		problems := 0
		for o := range report.Problems() {
			require.NotEqual(t, appsandbooks.OutcomeSucceeded, o.Status)
			problems++
		}
		require.Equal(t, report.Total-report.Succeeded, problems)
		saved := saveAndResume(t, c, op).Report()
		require.Equal(t, reasons, reasonsOf(saved))
		require.Equal(t, report.String(), saved.String())
	})
}

// An OperationError has the operation, and errors.Is, errors.As and the predicates find the cause
// and the reasons of all pairs. Its text has at most three reasons.
func TestOperationError_findsCauseAndAllReasons(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 1 })
		numbers := []appsandbooks.ErrorNumber{9602, 9603, 9644, 9709, 9610}
		for i, number := range numbers {
			srv.Unit().FailTarget(names("C02", 5)[i], int(number))
		}
		// One of the five requests is refused. Which one is that depends on the order in which they arrive.
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, After: 4})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 5)})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		var failed *appsandbooks.OperationError
		require.ErrorAs(t, fmt.Errorf("the job: %w", err), &failed)
		require.Same(t, op, failed.Operation)
		require.Same(t, report, failed.Report)
		require.ErrorIs(t, failed.Cause, appsandbooks.ErrTokenRevoked)
		require.ErrorIs(t, errors.Unwrap(err), appsandbooks.ErrTokenRevoked)
		found, shown := 0, 0
		for _, number := range numbers {
			if errors.Is(err, number) {
				found++
			}
			shown += strings.Count(err.Error(), fmt.Sprintf("(%d)", number))
		}
		require.Equal(t, 4, found)
		require.Equal(t, 3, shown, err)
		require.ErrorIs(t, err, appsandbooks.ErrNotSent)
		require.NotErrorIs(t, err, appsandbooks.ErrTokenExpired)
		require.True(t, appsandbooks.IsAuth(err))
		require.True(t, appsandbooks.IsRetryable(err), "the reason of at least one pair is temporary")
		require.Equal(t, appsandbooks.ErrTokenRevoked, isError(t, err).Number, "errors.As finds the cause first")
		require.ErrorContains(t, err, "assets/associate: 0 of 5 succeeded, 4 failed, 1 unsent; stopped: ")

		failed.Cause = nil
		var event *appsandbooks.Error
		require.ErrorAs(t, failed, &event, "without a cause, errors.As finds the reason of a pair")
		empty := new(appsandbooks.OperationError)
		require.NotEmpty(t, empty.Error())
		require.NotErrorIs(t, empty, appsandbooks.ErrNotSent)
	})
}

// A report as JSON has the counts. They add up, and are the same as those of Progress.
func TestReport_encodesCounts(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 2 })
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, After: 1, Times: 1})
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, After: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 1), SerialNumbers: names("C02", 6)})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
		text, err := json.Marshal(report)
		require.NoError(t, err)
		jsonEqual(t, `{"total":6,"succeeded":1,"failed":1,"unconfirmed":2,"unsent":2}`, string(text))
		p := op.Progress()
		require.Equal(t, appsandbooks.Progress{Requests: 3, Accepted: 1, Finished: 1, Pairs: 6, Succeeded: 1, Failed: 1, Unconfirmed: 2, Unsent: 2}, p)
		text, err = json.Marshal(p)
		require.NoError(t, err)
		jsonEqual(t, `{"requests":3,"accepted":1,"finished":1,"pairs":6,"succeeded":1,"failed":1,"unconfirmed":2,"unsent":2}`, string(text))
	})
}

// The text of a reason is one line, also if the reason has several causes: a stalled event whose
// polls fail, a lost request that the lists do not show, and a request that was not sent.
func TestOutcome_Err_isOneLine(t *testing.T) {
	for name, faults := range map[string][]appsandbookstest.Fault{
		"stalled":      {{Path: "status", Status: 502, Body: "<html>\nBad\n</html>"}},
		"lost":         {{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1}},
		"refused":      {{Path: "assets/associate", Number: 9625}},
		"two attempts": {{Path: "assets/associate", Number: 9603}},
	} {
		t.Run(name, func(t *testing.T) {
			options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(appsandbookstest.Never)}
			inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				for _, f := range faults {
					srv.AddFault(f)
				}
				op, err := associateOne(t.Context(), srv, c)
				require.NoError(t, err)
				waits := 8
				if name == "stalled" {
					waits = 1 // while polls fail, a later Wait goes on polling
				}
				for range waits {
					report, err := op.Wait(t.Context())
					require.Error(t, err)
					for o := range report.Outcomes() {
						require.Error(t, o.Err)
						require.NotContains(t, o.Err.Error(), "\n")
					}
					at, more := op.Next()
					if !more {
						break
					}
					time.Sleep(time.Until(at)) // virtual
				}
			})
		})
	}
}
