package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
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

// A saved operation: one asset, two devices; one part is planned, one has an event.
const savedSample = `{"version":1,"id":"X","kind":"assets/associate","assets":[{"adamId":"1000","pricingParam":"STDQ"}],
"devices":["C0","C1"],"parts":[
{"part":0,"state":"planned","assets":[[0,1]],"devices":[[0,1]],"outcome":"failed","error":{"text":"not sent","marks":["notSent"]}},
{"part":1,"state":"submitted","eventId":"E","assets":[[0,1]],"devices":[[1,1]],"outcome":"unconfirmed","error":{"text":"pending","marks":["pending"]}}]}`

// What an operation is saved as may be formatted anew on its way through other
// stores of JSON.
func TestResumeOfIndentedJSON(t *testing.T) {
	c, _ := recordedClient(t)
	op, err := c.Resume([]byte(savedSample))
	require.NoError(t, err)
	require.Equal(t, 2, op.Report().Total)
	indented, err := json.MarshalIndent(op, "", "  ")
	require.NoError(t, err)
	op, err = c.Resume(indented)
	require.NoError(t, err)
	require.Equal(t, []string{"E"}, op.EventIDs())
}

// A journal cannot go on behind indented JSON as if it were its own first entry.
func TestContinueBehindIndentedJSON(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 3), SerialNumbers: names("C02", 3),
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

// No operation can have been saved like that: carried on, it would lose a
// pair, count one twice, report what is not so, or never end.
func TestResumeRefuses(t *testing.T) {
	one := strings.ReplaceAll(savedSample, "\n", "")
	for name, change := range map[string][]string{
		"done before it is sent":  {`"outcome":"failed","error":{"text":"not sent","marks":["notSent"]}`, `"outcome":"succeeded"`},
		"unknown, but done":       {`"state":"submitted","eventId":"E"`, `"state":"unknown"`, `"outcome":"unconfirmed","error":{"text":"pending","marks":["pending"]}`, `"outcome":"succeeded"`},
		"exceptions before sent":  {`"marks":["notSent"]}`, `"marks":["notSent"]},"odd":[{"pairs":[[0,1]],"outcome":"succeeded"}]`},
		"no reason":               {`,"error":{"text":"pending","marks":["pending"]}`, ``},
		"a pair in two parts":     {`"devices":[[1,1]]`, `"devices":[[0,2]]`},
		"a pair twice in a part":  {`"devices":[[1,1]]`, `"devices":[[1,1],[1,1]]`},
		"an asset twice":          {`[[0,1]],"devices":[[1,1]]`, `[[0,1],[0,1]],"devices":[[1,1]]`},
		"a device twice":          {`["C0","C1"]`, `["C0","C0"]`},
		"a nameless device":       {`["C0","C1"]`, `["C0",""]`},
		"number out of range":     {`"devices":[[1,1]]`, `"devices":[[9223372036854775807,9223372036854775807]]`},
		"negative number":         {`"devices":[[1,1]]`, `"devices":[[-1,1]]`},
		"an unknown kind":         {`assets/associate`, `assets/steal`},
		"a kind without devices":  {`assets/associate`, `subscriptions/associate`},
		"an odd subscription":     {`assets/associate`, `subscriptions/associate`, `"devices":["C0"`, `"users":["C0"`, `"devices":`, `"users":`, `1000`, `x`},
		"another operation":       {`}}]}`, `}}]}` + "\n" + strings.Replace(one, `"X"`, `"Y"`, 1)},
		"a part that is nowhere":  {`"part":1`, `"part":2`},
		"a version of the future": {`"version":1`, `"version":2`},
	} {
		t.Run(name, func(t *testing.T) {
			text := one
			for ; len(change) > 0; change = change[2:] {
				text = strings.ReplaceAll(text, change[0], change[1])
			}
			require.NotEqual(t, one, text)
			c, _ := recordedClient(t)
			_, err := c.Resume([]byte(text))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
		})
	}
}

// Whatever it is given, Resume refuses, or gives an operation that accounts for
// each pair once and saves itself as what it is.
func FuzzResume(f *testing.F) {
	f.Add([]byte(savedSample))
	f.Add([]byte(strings.ReplaceAll(savedSample, "\n", "") + "\n" +
		`[{"part":0,"state":"superseded","outcome":"unconfirmed","error":{"text":"x"}},` +
		`{"part":2,"state":"sending","assets":[[0,1]],"devices":[[0,1]],"outcome":"unconfirmed","error":{"text":"x","marks":["pending"]}}]` + "\n" +
		`[{"part":2,"state":"finished","eventId":"F","outcome":"failed","error":{"text":"x","status":400,"number":9709}}]` + "\n[{"))
	c, err := appsandbooks.NewClient(stoken)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		op, err := c.Resume(data)
		if err != nil {
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			return
		}
		report := op.Report()
		if report.Total > 1<<16 {
			return
		}
		seen := map[appsandbooks.Assignment]bool{}
		for o := range report.Outcomes() {
			a := appsandbooks.Assignment{AssetPair: appsandbooks.AssetPair{AdamID: o.AdamID, PricingParam: o.PricingParam, ClientUserID: o.ClientUserID, SerialNumber: o.SerialNumber}}
			require.False(t, seen[a], "two outcomes for %v", a)
			seen[a] = true
			require.Equal(t, o.Status == appsandbooks.OutcomeSucceeded, o.Err == nil)
		}
		require.Len(t, seen, report.Total)
		require.Equal(t, report.Total, report.Succeeded+report.Failed+report.Unconfirmed)
		require.Equal(t, report.Total, op.Progress().Pairs)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		again, err := c.Resume(saved)
		require.NoError(t, err, "%s", saved)
		require.Equal(t, report.String(), again.Report().String())
	})
}

// An operation that was saved while the clock was wrong does not wait for a
// time that is years away.
func TestResumeAfterAClockThatWasWrong(t *testing.T) {
	virtual(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		saved, err := op.MarshalJSON()
		require.NoError(t, err)
		for _, later := range []string{"2031-02-03T04:05:06Z", "9999-12-31T23:59:59Z"} {
			wrong := regexp.MustCompile(`"nextLook":"[^"]*"`).ReplaceAll(saved, []byte(`"nextLook":"`+later+`","floor":"`+later+`"`))
			op, err = c.Resume(wrong)
			require.NoError(t, err)
			began := time.Now()
			_, err = op.Wait(t.Context())
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), 6*time.Minute)
		}
	})
}
