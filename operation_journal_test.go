package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// An operation finishes when each of its steps runs in another process that has only the journal.
// The same holds when a process crashes after it has written an entry of the journal.
func TestWithContinuedJournal_finishesOperationAcrossProcesses(t *testing.T) {
	// Each string marks the journal entry after which the process crashes. The empty string means
	// no crash.
	for _, crashAfter := range []string{"", `"begun"`, `"accepted"`, `"polling"`} {
		t.Run("crash after "+crashAfter, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, first *appsandbooks.Client) {
				var journal [][]byte
				var stopProcess context.CancelFunc
				crashed := false
				limiter := appsandbooks.NewLimiter() // the processes keep the pace together
				write := func(ctx context.Context, entry []byte) error {
					if crashAfter != "" && !crashed && len(journal) > 0 && bytes.Contains(journal[len(journal)-1], []byte(crashAfter)) {
						stopProcess()
						return context.Canceled // a crashed process writes no further entry to the journal
					}
					journal = append(journal, bytes.Clone(entry))
					return nil
				}
				op, err := first.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, 25, 10_000), SerialNumbers: names("C02", 3000),
				}, appsandbooks.WithPlanOnly())
				require.NoError(t, err)
				saved, err := op.Save()
				require.NoError(t, err)
				journal = append(journal, append(saved, '\n'))

				for steps := 0; ; steps++ {
					require.Less(t, steps, 50)
					ctx, cancel := context.WithCancel(t.Context())
					stopProcess = cancel
					c := newClient(t, srv, appsandbooks.WithLimiter(limiter)) // of another process
					op, err = c.Resume(bytes.Join(journal, nil), appsandbooks.WithContinuedJournal(write))
					require.NoError(t, err)
					err = op.Step(ctx)
					cancel()
					c.Close()
					next, more := op.Next()
					if errors.Is(err, context.Canceled) {
						crashed = true // only one process crashes
						time.Sleep(30 * time.Second)
						continue
					}
					if !more {
						break
					}
					require.NoError(t, err)
					time.Sleep(time.Until(next))
				}
				operationEntries := 0
				for _, entry := range journal {
					if bytes.HasPrefix(entry, []byte("{")) {
						operationEntries++
					}
				}
				require.Equal(t, 1, operationEntries)
				r := op.Report()
				// A pair fails after six stall times when the journal has the fact "begun" for its
				// request, but the request was not sent before the crash. Without WithResendLost,
				// the request is not sent again.
				require.Equal(t, r.Total, r.Succeeded+r.Failed)
				for o := range r.Problems() {
					require.ErrorIs(t, o.Err, appsandbooks.ErrNotVerified)
					require.ErrorIs(t, o.Err, appsandbooks.ErrAmbiguous)
				}
				if crashAfter == "" || crashAfter == `"polling"` {
					require.Zero(t, r.Failed)
				}
				requireLedgerAgrees(t, srv, r)
				require.Empty(t, srv.Violations())
			})
		})
	}
}

// When the last line of the journal is incomplete, the resumed operation first writes an entry
// with its complete state.
func TestWithContinuedJournal_startsAgainWhenJournalIsIncomplete(t *testing.T) {
	// The journal ends without a newline, or with a line that was cut off.
	for _, ending := range []string{"", "\n[{"} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
				Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3),
			}, appsandbooks.WithPlanOnly())
			require.NoError(t, err)
			saved, err := op.Save()
			require.NoError(t, err)
			var first []byte
			op, err = c.Resume(append(saved, ending...), appsandbooks.WithContinuedJournal(func(_ context.Context, entry []byte) error {
				if first == nil {
					first = bytes.Clone(entry)
				}
				return nil
			}))
			require.NoError(t, err)
			require.NoError(t, op.Step(t.Context()))
			require.True(t, bytes.HasPrefix(first, []byte("\n{")))
		})
	}
}

// For the error of an outcome, errors.Is reports the same before an operation is saved and after
// Resume.
func TestOperation_Save_keepsErrorsOfOutcomes(t *testing.T) {
	saveAndResume := func(t *testing.T, c *appsandbooks.Client, op *appsandbooks.Operation) *appsandbooks.Operation {
		t.Helper()
		saved, err := op.Save()
		require.NoError(t, err)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		return op
	}
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("the caller canceled"))
		_, err = op.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		for _, op := range []*appsandbooks.Operation{op, saveAndResume(t, c, op)} {
			for o := range op.Report().Outcomes() {
				require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
			}
		}
	})
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 3)
		op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 2)))
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: `{"eventStatus":"FAILED","eventType":"ASSOCIATE",
			"numRequested":2,"numCompleted":0,"failures":[{"errorNumber":9609,"errorMessage":"a"},{"errorNumber":9709,"errorMessage":"b"}]}`})
		_, err = op.Wait(t.Context())
		for range 2 {
			require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
			require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
			_, err = saveAndResume(t, c, op).Wait(t.Context())
		}
	})
}

// When the journal function fails at one entry and then works again, every later state of the
// journal can be resumed, and the report counts each pair once.
func TestWithJournal_canBeResumedAfterFailureAtAnyEntry(t *testing.T) {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxSerialNumbers, limits.MaxClientUserIDs = 3, 3
	options := []appsandbookstest.Option{appsandbookstest.WithLimits(limits), appsandbookstest.WithEventDelay(8 * time.Second)}
	// The functions return the part of the failed entry that the journal stores.
	storedBytes := map[string]func([]byte) []byte{
		"nothing": func([]byte) []byte { return nil },
		"half":    func(entry []byte) []byte { return entry[:len(entry)/2] },
		"all":     func(entry []byte) []byte { return entry },
	}
	for amount, stored := range storedBytes {
		allEntriesTried := false
		for failAt := 0; !allEntriesTried; failAt++ {
			t.Run(fmt.Sprintf("%s of entry %d is stored", amount, failAt), func(t *testing.T) {
				// The rules of conduct are not checked: an old state of the journal is resumed
				// after the operation has finished, so the requests of the operation are sent
				// twice.
				synctest.Test(t, func(t *testing.T) {
					srv, err := appsandbookstest.NewServer(options...)
					require.NoError(t, err)
					defer srv.Close()
					c := newClient(t, srv)
					defer c.Close()
					change := appsandbooks.AssetChange{
						Assets: addAssets(srv, 2, 5), SerialNumbers: names("C02", 4), ClientUserIDs: append(addUsers(srv, 3), "unknown-user"),
					}
					srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, After: 2, Times: 1})
					srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetBefore, After: 3, Times: 1})
					var journal bytes.Buffer
					var states [][]byte
					entries := 0
					write := appsandbooks.WithJournal(func(_ context.Context, entry []byte) (err error) {
						if entries == failAt {
							entry, err = stored(entry), errCrash
						}
						entries++
						journal.Write(entry)
						if entries > failAt {
							states = append(states, bytes.Clone(journal.Bytes()))
						}
						return err
					})
					op, err := c.Assets.Associate(t.Context(), change, write, appsandbooks.WithResendLost(), appsandbooks.WithResendOverdue())
					if op == nil {
						require.Error(t, err)
						return
					}
					for range 3 {
						_, err = op.Wait(t.Context())
					}
					require.NotErrorIs(t, err, errCrash)
					requireLedgerAgrees(t, srv, op.Report())
					allEntriesTried = entries <= failAt

					states = append(states[:min(len(states), 4)], journal.Bytes())
					for i, saved := range states {
						c := newClient(t, srv) // of another process
						defer c.Close()
						op, err := c.Resume(saved)
						if i == 0 && failAt == 0 && amount != "all" {
							// The journal does not contain a complete operation yet, so Resume
							// fails.
							require.Error(t, err)
							continue
						}
						require.NoError(t, err, "state %d of the journal:\n%s", i, saved)
						_, _ = op.Wait(t.Context())
						report, _ := op.Verify(t.Context())
						require.Equal(t, 16, report.Total)
						requireLedgerAgrees(t, srv, report)
					}
				})
			})
		}
	}
}

// An operation that was saved as indented JSON, and continues in the same journal, first writes
// an entry with its complete state, because indented JSON is not an entry.
func TestWithContinuedJournal_startsAgainAfterIndentedJSON(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 3), SerialNumbers: names("C02", 3),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		journal := new(bytes.Buffer)
		require.NoError(t, json.Indent(journal, saved, "", "  "))
		journal.WriteByte('\n')
		op, err = c.Resume(journal.Bytes(), appsandbooks.WithContinuedJournal(func(_ context.Context, entry []byte) error {
			journal.Write(entry)
			return nil
		}))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		op, err = c.Resume(journal.Bytes())
		require.NoError(t, err)
		require.Equal(t, 3, op.Report().Succeeded)
	})
}

// The journal function may call the read methods of its operation without a deadlock.
func TestWithJournal_writeFunctionMayReadOperation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var op *appsandbooks.Operation
		entries := 0
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly(), appsandbooks.WithJournal(func(context.Context, []byte) error {
			entries++
			require.NotEmpty(t, op.ID())
			require.Equal(t, 1, op.Report().Total)
			require.Equal(t, 1, op.Plan().Pairs)
			require.Equal(t, 1, op.Progress().Requests)
			return nil
		}))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		// The journal has an entry for the plan, the sending, the event and the outcome.
		require.GreaterOrEqual(t, entries, 4)
	})
}

// A store may keep an entry of a journal twice: Resume skips the second one. Without one of the
// entries the journal is invalid.
func TestWithJournal_entryMayBeStoredTwiceButNotMissing(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var entries [][]byte
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithJournal(func(_ context.Context, entry []byte) error {
			entries = append(entries, bytes.Clone(entry))
			return nil
		}))
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Greater(t, len(entries), 3)
		for i, entry := range entries {
			twice := slices.Insert(slices.Clone(entries), i, entry)
			resumed, err := c.Resume(bytes.Join(twice, nil))
			require.NoError(t, err, "entry %d twice", i)
			require.Equal(t, report.String(), resumed.Report().String())
			if i == len(entries)-1 {
				break // without the last entry it is an older journal
			}
			missing := slices.Delete(slices.Clone(entries), i, i+1)
			_, err = c.Resume(bytes.Join(missing, nil))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid, "without entry %d", i)
		}
	})
}

// The journal may store an entry and return an error, because the answer of a database got lost. The
// next entry may be torn. Everything that was stored can be resumed after each call, and denies
// nothing that was done.
func TestWithJournal_storedEntriesMayBeReportedAsFailed(t *testing.T) {
	for at := 1; at < 14; at++ {
		for _, tearsNext := range []bool{false, true} {
			inVirtualTime(t, []appsandbookstest.Option{oneDevicePerRequest()}, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				addAssets(srv, 1, 10)
				var journal []byte
				n := 0
				write := func(_ context.Context, entry []byte) error {
					n++
					if tearsNext && n == at+1 {
						journal = append(journal, entry[:len(entry)/2]...)
						return errors.New("torn")
					}
					journal = append(journal, entry...)
					if n == at {
						return errors.New("stored, but the answer got lost")
					}
					return nil
				}
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 3)), appsandbooks.WithJournal(write))
				require.NoError(t, err)
				canBeResumed := func() {
					other := newClient(t, srv)
					defer other.Close()
					resumed, err := other.Resume(journal)
					require.NoError(t, err, "entry %d, the next is torn: %v", at, tearsNext)
					require.Equal(t, 3, resumed.Report().Total)
					requireNothingDenied(t, srv, resumed.Report())
				}
				canBeResumed()
				for range 6 {
					_, err = op.Wait(t.Context())
					canBeResumed()
				}
				require.NoError(t, err)
				requireLedgerAgrees(t, srv, op.Report())
				require.Equal(t, 3, countPath(srv, "assets/associate"))
			})
		}
	}
}
