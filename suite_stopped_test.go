package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// After the context of a Wait has ended, the next Wait sends the rest.
func TestOperation_Wait_sendsAgainAfterCanceledContext(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10_000), SerialNumbers: names("C02", 3000),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = op.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// When the service refuses the token after the first request, the steps until the end of that
// request come at its polls: they neither spin nor send the refused requests again and again.
func TestOperation_Next_afterStoppedSending(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		t.Run(fmt.Sprint("resumed ", resumed), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625, After: 1})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, 1, 10_000), SerialNumbers: names("C02", 3000),
				}, appsandbooks.WithPlanOnly())
				require.NoError(t, err)
				steps := 0
				for err == nil {
					steps++
					require.Less(t, steps, 5)
					if resumed {
						saved, err := op.Save()
						require.NoError(t, err)
						op, err = c.Resume(saved)
						require.NoError(t, err)
					}
					if err = op.Step(t.Context()); err == nil {
						next, more := op.Next()
						require.True(t, more)
						require.True(t, next.After(time.Now()))
						time.Sleep(time.Until(next))
					}
				}
				require.True(t, appsandbooks.IsAuth(err))
				r := op.Report()
				require.Equal(t, []int{1000, 2000}, []int{r.Succeeded, r.Unsent})
				next, more := op.Next()
				require.True(t, more)
				require.WithinDuration(t, time.Now(), next, 31*time.Second, "the rest can be sent")
			})
		})
	}
}

// When some pairs are unconfirmed and nothing can be learned of them now, a step is no failure: it
// returns nil, and Next returns when the lists are read again.
func TestOperation_Step_unconfirmedIsNotTheEnd(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 10),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		steps := 0
		for next, more := op.Next(); more; next, more = op.Next() {
			steps++
			require.Less(t, steps, 20)
			time.Sleep(time.Until(next))
			err = op.Step(t.Context())
			if _, more := op.Next(); more {
				require.NoError(t, err)
			}
		}
		require.Error(t, err)
		require.Equal(t, 10, op.Report().Failed)
	})
}

// When the journal could not be written, Step says so, and the same client continues the
// operation from what the journal has.
func TestClient_Resume_afterJournalFailed(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 10),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		journal, err := op.Save()
		require.NoError(t, err)
		journal = append(journal, '\n')
		full := errors.New("the disk is full")
		write := appsandbooks.WithContinuedJournal(func(_ context.Context, entry []byte) error {
			if full != nil && bytes.Contains(entry, []byte(`"accepted"`)) {
				return full
			}
			journal = append(journal, entry...)
			return nil
		})
		op, err = c.Resume(journal, write)
		require.NoError(t, err)
		require.ErrorIs(t, op.Step(t.Context()), full)

		full = nil
		op, err = c.Resume(journal, write)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 10, report.Succeeded)
		require.Empty(t, srv.Violations())
	})
}
