package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// FuzzResumeAndWait checks that Wait returns for every operation that Resume accepts, as often as
// Next says that there is more, and that the number of pairs stays the same. The service refuses
// every request of the operation; the unit is the operation's.
func FuzzResumeAndWait(f *testing.F) {
	for _, blob := range savedOperations(f) {
		f.Add(blob)
	}
	for _, s := range []string{
		``, "\n", `null`, `[]`, `{}`, `{"version":2}`, `{"version":3}`,
		`{"version":2,"kind":"users/retire","users":["a"],"ledger":{"rules":{"stall":1},"requests":[{"phase":"queued","assets":[[0,1]],"users":[[0,1]]}]}}`,
		`{"version":2,"kind":"users/create","uId":"u","users":["a"],"userRequests":[{"clientUserId":"a"}],"ledger":{"rules":{"stall":1,"resendLost":true},"requests":[{"phase":"lost","assets":[[0,1]],"users":[[0,1]],"outcome":"unconfirmed","why":{"text":"x"}}]}}`,
		`{"version":2,"kind":"users/create","users":["a"],"devices":["b"],"userRequests":[{}],"ledger":{"rules":{"stall":1},"requests":[{"phase":"queued","assets":[[0,1]],"devices":[[0,1]]}]}}`,
		`{"version":2,"kind":"subscriptions/associate","assets":[{"adamId":"x"}],"users":["a","a"],"ledger":{"rules":{"stall":1},"requests":[{"phase":"sending","assets":[[0,1]],"users":[[0,2],[0,2]]}]}}`,
		`{"version":2,"kind":"assets/associate","assets":[{"adamId":"1"}],"devices":["b"],"ledger":{"rules":{"stall":1},"requests":[{"phase":"settled","outcome":"failed","why":{},"assets":[[0,9223372036854775807]],"devices":[[0,1]]}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		synctest.Test(t, func(t *testing.T) {
			var op *appsandbooks.Operation
			rt := roundTripper(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "client/config") {
					unit, err := json.Marshal(op.Unit())
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(`{"uId":` + string(unit) + `}`)}, err
				}
				return &http.Response{StatusCode: 400, Header: http.Header{}, Body: readCloser(`{"errorNumber":9602}`)}, nil
			})
			c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), appsandbooks.WithLimiter(unlimitedRate{}))
			require.NoError(t, err)
			defer c.Close()
			op, err = c.Resume(blob)
			if err != nil {
				require.ErrorIs(t, err, appsandbooks.ErrInvalid)
				return
			}
			report := op.Report()
			if report.Total > 100_000 {
				return
			}
			for range 5 {
				final, err := op.Wait(t.Context())
				require.Equal(t, report.Total, final.Total)
				require.Equal(t, final.Total, final.Succeeded+final.Failed+final.Unconfirmed+final.Unsent)
				require.Equal(t, err == nil, final.Succeeded == final.Total, "%v", err)
				require.NotContains(t, fmt.Sprint(err), "a bug in the SDK")
				at, more := op.Next()
				if !more || time.Until(at) > 24*time.Hour {
					break
				}
				time.Sleep(time.Until(at)) // virtual
			}
		})
	})
}

// savedOperations returns the saved forms of operations of several kinds, planned, in progress,
// or with a lost answer, and one journal.
func savedOperations(t testing.TB) (blobs [][]byte) {
	t.Helper()
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	defer srv.Close()
	assets, users := addAssets(srv, 3, 4), addUsers(srv, 3)
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, After: 1, Times: 1})
	c := newClient(t, srv)
	defer c.Close()
	change := appsandbooks.AssetChange{Assets: assets, ClientUserIDs: users, SerialNumbers: names("C02", 3)}
	save := func(op *appsandbooks.Operation, err error) {
		require.NoError(t, err)
		blob, err := op.Save()
		require.NoError(t, err)
		blobs = append(blobs, blob)
	}
	save(c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly()))
	save(c.Assets.Associate(t.Context(), change))
	save(c.Assets.Associate(t.Context(), change)) // its answer is lost
	save(c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: names("C02", 2)}))
	save(c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "a"}, {ClientUserID: "b", Email: "b@example.com"}}}))
	var journal bytes.Buffer
	op, err := c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: users[:1]}, appsandbooks.WithJournal(func(_ context.Context, entry []byte) error {
		_, err := journal.Write(entry)
		return err
	}))
	require.NoError(t, err)
	require.NotNil(t, op)
	return append(blobs, journal.Bytes())
}

// When an operation is canceled while it sends its requests, and is then saved, another client
// can resume and finish it. No request is sent twice.
func TestClient_Resume_finishesCanceledOperation(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(2 * time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the administrator stopped the program")
		time.AfterFunc(9*time.Second, func() { cancel(reason) })
		op, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{
			Assets: addAssets(srv, 25, 100_000), SerialNumbers: names("C02", 20_000),
		})
		require.NoError(t, err)
		report, err := op.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		// Reading the limits and the unit takes 4 s, and four requests take 2 s. When the context
		// ends after 9 s, the third group of four requests is in progress. This group gets 5 s
		// more.
		require.Equal(t, 12, countPath(srv, "assets/associate"))
		require.Len(t, op.EventIDs(), 12)
		require.Equal(t, 8*25*1000, report.Unsent)
		require.Equal(t, 12*25*1000, report.Unconfirmed)
		for o := range report.Problems() {
			if o.Status == appsandbooks.OutcomeUnsent {
				require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
				break
			}
		}
		saved, err := op.Save()
		require.NoError(t, err)
		require.NotContains(t, string(saved), srv.Unit().Token())

		other := newClient(t, srv)
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
		require.Equal(t, 20, countPath(srv, "assets/associate"))
	})
}

// A new client that resumes an operation respects the service's maxRequestPerSecond.
func TestClient_Resume_keepsRequestRate(t *testing.T) {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxSerialNumbers, limits.MaxRequestPerSecond = 1, 2
	inVirtualTime(t, []appsandbookstest.Option{appsandbookstest.WithLimits(limits)}, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 1, 100), SerialNumbers: names("C02", 20),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		time.Sleep(time.Minute) // virtual
		other := newClient(t, srv)
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		require.Equal(t, "assets/associate", op.Kind())
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// An operation that is resumed with the token of another organizational unit changes nothing in
// that unit, and takes no outcome from the data of that unit. The pair stays unconfirmed, and the
// right client finishes the operation.
func TestClient_Resume_changesNothingInOtherUnit(t *testing.T) {
	for name, start := range map[string]func(ctx context.Context, srv *appsandbookstest.Server, c *appsandbooks.Client, journal appsandbooks.OperationOption) (*appsandbooks.Operation, error){
		"associate": func(ctx context.Context, _ *appsandbookstest.Server, c *appsandbooks.Client, journal appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, deviceChange([]string{"C02"}), journal)
		},
		"disassociate": func(ctx context.Context, srv *appsandbookstest.Server, c *appsandbooks.Client, journal appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
			srv.Unit().AddAssignments(deviceAssignments([]string{"C02"})...)
			return c.Assets.Disassociate(ctx, deviceChange([]string{"C02"}), journal)
		},
	} {
		for _, journaled := range []bool{false, true} {
			options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(time.Hour)}
			inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				addAssets(srv, 1, 5)
				var journal bytes.Buffer
				op, err := start(t.Context(), srv, c, appsandbooks.WithJournal(func(_ context.Context, entry []byte) error {
					_, err := journal.Write(entry)
					return err
				}))
				require.NoError(t, err)
				before := srv.Unit().Assignments()
				saved, err := op.Save()
				require.NoError(t, err)
				if journaled {
					saved = journal.Bytes()
				}

				other := srv.NewUnit("other")
				other.AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 5})
				wrongClient, err := appsandbooks.NewClient(other.Token(), appsandbooks.WithHTTPClient(srv.Client()))
				require.NoError(t, err)
				defer wrongClient.Close()
				op, err = wrongClient.Resume(saved, appsandbooks.WithResendLost(), appsandbooks.WithResendOverdue())
				require.NoError(t, err)
				for _, report := range []func(context.Context) (*appsandbooks.Report, error){op.Wait, op.Verify} {
					r, err := report(t.Context())
					require.ErrorIs(t, err, appsandbooks.ErrOtherUnit)
					require.Equal(t, 1, r.Unconfirmed)
				}
				require.Empty(t, other.Assignments())
				require.Equal(t, before, srv.Unit().Assignments())
				require.Equal(t, 1, countPath(srv, "assets/"+name))

				op, err = c.Resume(saved) // the client of the right unit
				require.NoError(t, err)
				time.Sleep(2 * time.Hour) // virtual
				report, err := op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, report.Succeeded)
			})
		}
	}
}

// When a journal is cut off at any place, or its lines are damaged, Resume refuses the journal or
// returns an operation whose report counts each pair once.
func TestClient_Resume_refusesDamagedJournal(t *testing.T) {
	const pairs = 2 * (2 + 1 + 2)
	checkCounts := func(t *testing.T, op *appsandbooks.Operation) {
		t.Helper()
		r, n := op.Report(), 0
		require.Equal(t, r.Total, r.Succeeded+r.Failed+r.Unconfirmed+r.Unsent)
		if r.Total > 1<<16 { // the damage made the number of pairs so large that the loop would take too long
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
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var journal bytes.Buffer
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 100), ClientUserIDs: append(addUsers(srv, 2), "unknown"), SerialNumbers: names("D", 2),
		}, appsandbooks.WithBisection(), appsandbooks.WithJournal(func(_ context.Context, entry []byte) error { journal.Write(entry); return nil }))
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserNotFound)
		whole := journal.Bytes()
		// The first line of the journal contains the plan. plan is the length of this line.
		plan := 1 + bytes.IndexByte(whole[1:], '\n')
		for i := 0; i <= len(whole); i += 3 {
			op, err := c.Resume(whole[:i])
			if i < plan {
				require.ErrorIs(t, err, appsandbooks.ErrInvalid)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, pairs, op.Report().Total)
			checkCounts(t, op)
		}
		_, err = c.Resume(append(bytes.Clone(whole[:len(whole)-7]), append([]byte("\n"), whole...)...))
		// Resume accepts the journal, because a complete journal follows a line that was cut off.
		require.NoError(t, err)

		lines := strings.SplitAfter(strings.TrimSpace(string(whole)), "\n")
		r := rand.New(rand.NewPCG(1, 1))
		accepted := 0
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
			accepted++
			checkCounts(t, op)
		}
		require.NotZero(t, accepted)
	})
}

// After a client has used the token of another unit, it can still resume and finish an operation
// with the token of the right unit.
func TestClient_Resume_worksAfterTokenOfOtherUnit(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5), SerialNumbers: []string{"C02"}}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		token := srv.NewUnit("another").Token()
		other := newClient(t, srv, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
		defer other.Close()
		_, err = other.Config.ClientConfig(t.Context())
		require.NoError(t, err)
		token = srv.Unit().Token()
		saved, err := op.Save()
		require.NoError(t, err)
		op, err = other.Resume(saved)
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// When an operation is resumed during an outage of the service, Wait continues after the outage,
// here after three minutes.
func TestClient_Resume_waitsForEndOfOutage(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		other := newClient(t, srv)
		defer other.Close()
		op, err = other.Resume(saved)
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Status: 503, Body: "<html>"})
		time.AfterFunc(3*time.Minute, srv.ClearFaults)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, report)
	})
}

// savedSample is the saved form of an operation for one asset and two devices. It has one queued
// request and one request with an event.
const savedSample = `{"version":2,"id":"X","kind":"assets/associate","uId":"U","assets":[{"adamId":"1000","pricingParam":"STDQ"}],
"devices":["C0","C1"],"ledger":{"rules":{"stall":600000000000},"facts":2,"requests":[
{"id":0,"assets":[[0,1]],"devices":[[0,1]],"phase":"queued","at":"2026-01-02T03:04:05Z","due":"2026-01-02T03:04:05Z"},
{"id":1,"assets":[[0,1]],"devices":[[1,1]],"phase":"pending","event":"E","at":"2026-01-02T03:04:05Z","due":"2026-01-02T03:04:10Z"}]}}`

// Resume accepts a saved operation that a database or another program has indented.
func TestClient_Resume_acceptsIndentedJSON(t *testing.T) {
	c, _ := recordedClient(t)
	op, err := c.Resume([]byte(savedSample))
	require.NoError(t, err)
	require.Equal(t, 2, op.Report().Total)
	require.Equal(t, 1, op.Report().Unsent)
	saved, err := op.Save()
	require.NoError(t, err)
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, saved, "", "  "))
	op, err = c.Resume(indented.Bytes())
	require.NoError(t, err)
	require.Equal(t, []string{"E"}, op.EventIDs())
	again, err := op.Save()
	require.NoError(t, err)
	jsonEqual(t, string(saved), string(again))
}

// Resume refuses a saved state that no operation can have. Such an operation would lose a pair,
// count a pair twice, report a wrong outcome, or never finish.
func TestClient_Resume_refusesImpossibleState(t *testing.T) {
	original := strings.ReplaceAll(savedSample, "\n", "")
	const pending = `"phase":"pending","event":"E"`
	for name, change := range map[string][]string{
		"queued but succeeded":             {`"phase":"queued"`, `"phase":"queued","outcome":"succeeded"`},
		"queued with other outcomes":       {`"phase":"queued"`, `"phase":"queued","pairs":[{"pairs":[[0,1]],"outcome":"succeeded"}]`},
		"lost but failed":                  {pending, `"phase":"lost","outcome":"failed","why":{"text":"x"}`},
		"settled but unsent":               {pending, `"phase":"settled","event":"E","outcome":"unsent","why":{"text":"x"}`},
		"settled without an outcome":       {pending, `"phase":"settled","event":"E"`},
		"failed without a reason":          {pending, `"phase":"settled","event":"E","outcome":"failed"`},
		"succeeded with a reason":          {pending, `"phase":"settled","event":"E","outcome":"succeeded","why":{"text":"x"}`},
		"pending without an event":         {pending, `"phase":"pending"`},
		"overdue without an event":         {pending, `"phase":"overdue","outcome":"unconfirmed","why":{"text":"x"}`},
		"open, but not replaced":           {pending, pending + `,"open":true`},
		"an unknown phase":                 {`"phase":"queued"`, `"phase":"flying"`},
		"a negative age":                   {pending, pending + `,"age":-1`},
		"a negative number of tries":       {pending, pending + `,"tries":-1`},
		"no stall time":                    {`"stall":600000000000`, `"stall":0`},
		"a negative number of facts":       {`"facts":2`, `"facts":-2`},
		"a learned limit of 0":             {`"facts":2`, `"facts":2,"learned":{"Assets":0,"Users":1,"Devices":1}`},
		"a doubt about itself":             {pending, pending + `,"doubts":[{"request":1}]`},
		"a doubt about a queued request":   {pending, pending + `,"doubts":[{"request":0}]`},
		"an origin that does not exist":    {pending, pending + `,"origin":7`},
		"two outcomes of a pair":           {pending, `"phase":"lost","outcome":"unconfirmed","why":{"text":"x"},"pairs":[{"pairs":[[0,1]],"outcome":"succeeded"},{"pairs":[[0,1]],"outcome":"succeeded"}]`},
		"an outcome of an unknown pair":    {pending, `"phase":"lost","outcome":"unconfirmed","why":{"text":"x"},"pairs":[{"pairs":[[1,1]],"outcome":"succeeded"}]`},
		"a pair in two requests":           {`"devices":[[1,1]]`, `"devices":[[0,2]]`},
		"a pair twice in a request":        {`"devices":[[1,1]]`, `"devices":[[1,1],[1,1]]`},
		"an asset twice in a request":      {`[[0,1]],"devices":[[1,1]]`, `[[0,1],[0,1]],"devices":[[1,1]]`},
		"a request without pairs":          {`"devices":[[1,1]],`, ``},
		"a device listed twice":            {`["C0","C1"]`, `["C0","C0"]`},
		"an empty serial number":           {`["C0","C1"]`, `["C0",""]`},
		"an index out of range":            {`"devices":[[1,1]]`, `"devices":[[9223372036854775807,9223372036854775807]]`},
		"an index without a device":        {`"devices":[[1,1]]`, `"devices":[[2,1]]`},
		"a negative index":                 {`"devices":[[1,1]]`, `"devices":[[-1,1]]`},
		"an unknown kind":                  {`assets/associate`, `assets/steal`},
		"devices of a subscription":        {`assets/associate`, `subscriptions/associate`},
		"an invalid subscription ID":       {`assets/associate`, `subscriptions/associate`, `"devices":["C0"`, `"users":["C0"`, `"devices":`, `"users":`, `1000`, `x`},
		"two operations":                   {`}]}}`, `}]}}` + "\n" + strings.Replace(original, `"X"`, `"Y"`, 1)},
		"an unknown request number":        {`"id":1`, `"id":2`},
		"no ledger":                        {original[strings.Index(original, `,"ledger"`):], `}`},
		"an earlier version":               {`"version":2`, `"version":1`},
		"a later version":                  {`"version":2`, `"version":3`},
		"an unknown fact":                  {`}]}}`, `}]}}` + "\n" + `[{"fact":"danced","request":0}]`},
		"a fact of an unknown request":     {`}]}}`, `}]}}` + "\n" + `[{"fact":"begun","request":2}]`},
		"a fact of another phase":          {`}]}}`, `}]}}` + "\n" + `[{"fact":"accepted","request":0,"event":"F"}]`},
		"an acceptance without an event":   {`}]}}`, `}]}}` + "\n" + `[{"fact":"begun","request":0},{"fact":"accepted","request":0}]`},
		"an end without an outcome":        {`}]}}`, `}]}}` + "\n" + `[{"fact":"ended","request":1}]`},
		"pieces that do not have all":      {`}]}}`, `}]}}` + "\n" + `[{"fact":"cut","request":0,"pieces":[{"assets":[[0,1]],"devices":[[1,1]]}]}]`},
		"a resend that is not allowed":     {`}]}}`, `}]}}` + "\n" + `[{"fact":"tooLong","request":1,"why":{"text":"x"}},{"fact":"resent","request":1,"pieces":[{"assets":[[0,1]],"devices":[[1,1]]}]}]`},
		"a retry of an unfinished one":     {`}]}}`, `}]}}` + "\n" + `[{"fact":"retried","to":"Z"}]`},
		"facts before the whole operation": {original, `[{"fact":"begun","request":0}]` + "\n" + original},
	} {
		t.Run(name, func(t *testing.T) {
			text := original
			for ; len(change) > 0; change = change[2:] {
				text = strings.ReplaceAll(text, change[0], change[1])
			}
			require.NotEqual(t, original, text)
			c, _ := recordedClient(t)
			op, err := c.Resume([]byte(text))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			require.Nil(t, op)
		})
	}
}

// FuzzResume checks that Resume either refuses its input, or returns an operation whose report
// counts each pair once. The report must be the same after the operation is saved and resumed
// again.
func FuzzResume(f *testing.F) {
	f.Add([]byte(savedSample))
	f.Add([]byte(strings.ReplaceAll(savedSample, "\n", "") + "\n" +
		`[{"fact":"begun","request":0,"at":"2026-01-02T03:05:00Z"}]` + "\n" +
		`[{"fact":"cut","request":0,"at":"2026-01-02T03:05:01Z","pieces":[{"assets":[[0,1]],"devices":[[0,1]]}],"learned":{"Assets":1,"Users":1,"Devices":1}},` +
		`{"fact":"begun","request":2,"at":"2026-01-02T03:05:02Z"}]` + "\n" +
		`[{"fact":"refused","request":2,"at":"2026-01-02T03:05:03Z","why":{"text":"x","errors":[{"status":400,"number":9709}]}}]` + "\n" +
		`[{"fact":"ended","request":1,"rest":{"outcome":"succeeded"}}]` + "\n[{"))
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
			require.False(t, seen[a], "%v has two outcomes", a)
			seen[a] = true
			require.Equal(t, o.Status == appsandbooks.OutcomeSucceeded, o.Err == nil)
		}
		require.Len(t, seen, report.Total)
		require.Equal(t, report.Total, report.Succeeded+report.Failed+report.Unconfirmed+report.Unsent)
		require.Equal(t, report.Total, op.Progress().Pairs)
		saved, err := op.Save()
		require.NoError(t, err)
		resumed, err := c.Resume(saved)
		require.NoError(t, err, "%s", saved)
		require.Equal(t, report.String(), resumed.Report().String())
	})
}

// When all saved times are years in the future, because the clock was wrong, the resumed operation
// waits at most 6 minutes.
func TestClient_Resume_ignoresPollTimesFarInFuture(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		saved, err := op.Save()
		require.NoError(t, err)
		for _, year := range []string{"2031", "9999"} {
			changed := regexp.MustCompile(`"(at|due|notBefore)":"\d{4}-`).ReplaceAll(saved, []byte(`"$1":"`+year+`-`))
			require.NotEqual(t, saved, changed)
			other := newClient(t, srv)
			defer other.Close()
			op, err = other.Resume(changed)
			require.NoError(t, err)
			began := time.Now()
			_, err = op.Wait(t.Context())
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), 6*time.Minute)
		}
	})
}

// When two machines whose clocks differ hand an operation to and fro within a few seconds, the
// difference does not count as time that has passed: a lost request has not failed.
func TestClient_Resume_toleratesClocksThatDiffer(t *testing.T) {
	saved := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrAmbiguous)
		for range 10 {
			blob, err := op.Save()
			require.NoError(t, err)
			blob = saved.ReplaceAllFunc(blob, func(b []byte) []byte { // as saved by a machine that is behind
				at, err := time.Parse(time.RFC3339Nano, string(b))
				require.NoError(t, err)
				return []byte(at.Add(-20 * time.Minute).Format(time.RFC3339Nano))
			})
			op, err = c.Resume(blob)
			require.NoError(t, err)
			_ = op.Step(t.Context())
			require.Equal(t, 1, op.Report().Unconfirmed)
		}
	})
}
