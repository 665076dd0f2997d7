package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// An operation that a job engine carries: each step in another process, which
// knows nothing but the journal.
func TestWithContinuedJournal_carriesOperationAcrossProcesses(t *testing.T) {
	for _, crash := range []string{"", `"sending"`, `"submitted"`, `"asking"`} {
		t.Run("crash after "+crash, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				var journal [][]byte
				var stop context.CancelFunc
				write := func(ctx context.Context, entry []byte) error {
					if crash != "" && len(journal) > 0 && bytes.Contains(journal[len(journal)-1], []byte(crash)) {
						stop()
						return context.Canceled // dead from the moment after
					}
					journal = append(journal, bytes.Clone(entry))
					return nil
				}
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, 25, 10_000), SerialNumbers: names("C02", 3000),
				}, appsandbooks.WithPlanOnly())
				require.NoError(t, err)
				first, err := op.MarshalJSON()
				require.NoError(t, err)
				journal = append(journal, append(first, '\n'))

				for steps := 0; ; steps++ {
					require.Less(t, steps, 50)
					ctx, cancel := context.WithCancel(t.Context())
					stop = cancel
					op, err = c.Resume(bytes.Join(journal, nil), appsandbooks.WithContinuedJournal(write))
					require.NoError(t, err)
					next, err := op.Step(ctx)
					cancel()
					if err != nil {
						require.ErrorIs(t, err, context.Canceled)
						crash = "" // once
						time.Sleep(30 * time.Second)
						continue
					}
					if next.IsZero() {
						break
					}
					time.Sleep(time.Until(next))
				}
				whole := 0
				for _, entry := range journal {
					if bytes.HasPrefix(entry, []byte("{")) {
						whole++
					}
				}
				require.Equal(t, 1, whole)
				r := op.Report()
				require.Equal(t, r.Total, r.Succeeded+r.Unconfirmed) // an unconfirmed pair was never sent
				requireLedgerAgrees(t, srv, r)
				require.Empty(t, srv.Violations())
			})
		})
	}
}

// What was not kept whole is begun again.
func TestWithContinuedJournal_startsAgainWhenJournalIsIncomplete(t *testing.T) {
	for _, end := range []string{"", "\n[{"} {
		inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
				Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3),
			}, appsandbooks.WithPlanOnly())
			require.NoError(t, err)
			saved, err := op.MarshalJSON()
			require.NoError(t, err)
			var first []byte
			op, err = c.Resume(append(saved, end...), appsandbooks.WithContinuedJournal(func(_ context.Context, entry []byte) error {
				if first == nil {
					first = bytes.Clone(entry)
				}
				return nil
			}))
			require.NoError(t, err)
			_, err = op.Step(t.Context())
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(first, []byte("\n{")))
		})
	}
}

// What errors.Is tells of an outcome is the same after Resume.
func TestOperation_MarshalJSON_keepsErrorsOfOutcomes(t *testing.T) {
	again := func(t *testing.T, c *appsandbooks.Client, op *appsandbooks.Operation) *appsandbooks.Operation {
		t.Helper()
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		return op
	}
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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
			_, err = again(t, c, op).Wait(t.Context())
		}
	})
}

// A journal that fails at any one entry, in any way, and then works again: what
// it holds can be resumed at each later moment, and accounts for each pair once.
func TestWithJournal_canBeResumedAfterFailureAtAnyEntry(t *testing.T) {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxSerialNumbers, limits.MaxClientUserIDs = 3, 3
	options := []appsandbookstest.Option{appsandbookstest.WithLimits(limits), appsandbookstest.WithEventDelay(8 * time.Second)}
	ways := map[string]func([]byte) []byte{
		"nothing": func([]byte) []byte { return nil },
		"half":    func(entry []byte) []byte { return entry[:len(entry)/2] },
		"all":     func(entry []byte) []byte { return entry },
	}
	for way, kept := range ways {
		done := false
		for bad := 0; !done; bad++ {
			t.Run(fmt.Sprintf("%s of %d", way, bad), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // no rules of conduct: what is resumed was carried out in the meantime
					srv, err := appsandbookstest.NewServer(options...)
					require.NoError(t, err)
					defer srv.Close()
					c := newClient(t, srv)
					defer c.Close()
					change := appsandbooks.AssetChange{
						Assets: addAssets(srv, 2, 5), SerialNumbers: names("C02", 4), ClientUserIDs: append(addUsers(srv, 3), "stranger"),
					}
					srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetAfter, After: 2, Times: 1})
					srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetBefore, After: 3, Times: 1})
					var journal bytes.Buffer
					var moments [][]byte
					entries := 0
					write := appsandbooks.WithJournal(func(_ context.Context, entry []byte) (err error) {
						if entries == bad {
							entry, err = kept(entry), errCrash
						}
						entries++
						journal.Write(entry)
						if entries > bad {
							moments = append(moments, bytes.Clone(journal.Bytes()))
						}
						return err
					})
					op, err := c.Assets.Associate(t.Context(), change, write, appsandbooks.WithResend())
					if op == nil {
						require.Error(t, err)
						return
					}
					for range 3 {
						_, err = op.Wait(t.Context())
					}
					require.NotErrorIs(t, err, errCrash)
					requireLedgerAgrees(t, srv, op.Report())
					done = entries <= bad

					moments = append(moments[:min(len(moments), 4)], journal.Bytes())
					for i, saved := range moments {
						op, err := c.Resume(saved)
						if i == 0 && bad == 0 && way != "all" {
							require.Error(t, err) // there is nothing yet
							continue
						}
						require.NoError(t, err, "moment %d:\n%s", i, saved)
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

// A journal cannot go on behind indented JSON as if it were its own first entry.
func TestWithContinuedJournal_startsAgainAfterIndentedJSON(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 3), SerialNumbers: names("C02", 3),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		indented, err := json.MarshalIndent(op, "", "  ")
		require.NoError(t, err)
		journal := bytes.NewBuffer(append(indented, '\n'))
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

// A journal may look at the operation that it keeps.
func TestWithJournal_mayReadItsOperation(t *testing.T) {
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
		require.GreaterOrEqual(t, entries, 4) // the plan, sending, its event, its outcome
	})
}
