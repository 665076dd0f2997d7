package appsandbooks_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// An operation that a job engine carries: each step in another process, which
// knows nothing but the journal.
func TestWithContinuedJournal(t *testing.T) {
	for _, crash := range []string{"", `"sending"`, `"submitted"`, `"asking"`} {
		t.Run("crash after "+crash, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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
					Assets: stock(srv, 25, 10_000), SerialNumbers: names("C02", 3000),
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
				agree(t, srv, r)
				require.Empty(t, srv.Violations())
			})
		})
	}
}

// What was not kept whole is begun again.
func TestWithContinuedJournalNeedsAWholeOne(t *testing.T) {
	for _, end := range []string{"", "\n[{"} {
		virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
				Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3),
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

// Notifications that were kept while nobody carried the operation.
func TestNotifyAResumedOperation(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		_, err = op.Step(t.Context())
		require.NoError(t, err)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		time.Sleep(time.Second)
		op, err = c.Resume(saved)
		require.NoError(t, err)
		n := &appsandbooks.Notification{ID: "n", Type: appsandbooks.NotificationAssetManagement, AssetManagement: &appsandbooks.AssetManagement{
			EventResult: appsandbooks.EventResult{EventID: op.EventIDs()[0], Result: appsandbooks.NotificationSuccess},
		}}
		for o := range op.Report().Outcomes() {
			n.AssetManagement.Assignments = append(n.AssetManagement.Assignments, appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: o.AdamID, SerialNumber: o.SerialNumber}})
		}
		op.Notify(nil)
		op.Notify(n)
		next, err := op.Step(t.Context()) // before the first look was due
		require.NoError(t, err)
		require.True(t, next.IsZero())
		require.Equal(t, 3, op.Report().Succeeded)
	})
}
