package appsandbooks_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// A journal that fails at any one entry, in any way, and then works again: what
// it holds can be resumed at each later moment, and accounts for each pair once.
func TestJournalFailsAtAnyEntry(t *testing.T) {
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
					srv := appsandbookstest.NewServer(options...)
					defer srv.Close()
					c := newClient(t, srv)
					defer c.Close()
					change := appsandbooks.AssetChange{
						Assets: stock(srv, 2, 5), SerialNumbers: names("C02", 4), ClientUserIDs: append(users(srv, 3), "stranger"),
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
					agree(t, srv, op.Report())
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
						agree(t, srv, report)
					}
				})
			})
		}
	}
}
