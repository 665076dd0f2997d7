package main_test

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// world is a service and a directory with files.
type world struct {
	t    *testing.T
	srv  *appsandbookstest.Server
	unit *appsandbookstest.Unit
	dir  string
}

func newWorld(t *testing.T, opts ...appsandbookstest.Option) *world {
	t.Helper()
	srv, err := appsandbookstest.NewServer(opts...)
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	return &world{t, srv, srv.Unit(), t.TempDir()}
}

func (w *world) command(args ...string) clitest.Command {
	// The service of the test is quick, and so is the first look at its events.
	args = append(args, "-first-look", "300ms")
	return clitest.Command{Args: args, Unit: w.unit, URL: w.srv.URL(), Dir: w.dir}
}

func (w *world) run(args ...string) clitest.Result {
	w.t.Helper()
	return clitest.Run(w.t, w.command(args...))
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.path(name), []byte(text), 0o600))
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(w.path(name))
	require.NoError(w.t, err)
	return string(text)
}

// writes are the requests of a path that were answered with success.
func (w *world) writes(path string) (n int) {
	for _, r := range w.srv.Requests() {
		if r.Path == path {
			n++
		}
	}
	return n
}

const header = "adamId,pricingParam,clientUserId,serialNumber\n"

// product is the input of every asset with every device.
func product(assets, devices int) string {
	var b strings.Builder
	b.WriteString(header)
	for d := range devices {
		for a := range assets {
			fmt.Fprintf(&b, "%d,STDQ,,SN%05d\n", 1000+a, d)
		}
	}
	return b.String()
}

func (w *world) addAssets(n, licences int) {
	for a := range n {
		w.unit.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(1000 + a), Total: licences})
	}
}

// row is a line of an output without columns of its own.
type row struct {
	pair    appsandbookstest.Assignment
	outcome string
	number  string
	message string
}

func (w *world) output(name string) []row {
	w.t.Helper()
	records, err := csv.NewReader(strings.NewReader(w.read(name))).ReadAll()
	require.NoError(w.t, err)
	require.Equal(w.t, strings.TrimSpace(header)+",outcome,errorNumber,errorMessage", strings.Join(records[0], ","))
	var rows []row
	for _, r := range records[1:] {
		pair := appsandbookstest.Assignment{AdamID: r[0], PricingParam: r[1], ClientUserID: r[2], SerialNumber: r[3]}
		rows = append(rows, row{pair, r[4], r[5], r[6]})
	}
	return rows
}

// requireTruth compares an output with the ledger, pair by pair.
func (w *world) requireTruth(rows []row) (succeeded, failed, unconfirmed int) {
	w.t.Helper()
	for _, r := range rows {
		there := w.unit.HasAssignment(r.pair)
		switch r.outcome {
		case "succeeded":
			succeeded++
			require.True(w.t, there, "%v", r)
		case "failed":
			failed++
			require.False(w.t, there, "%v", r)
			require.NotEmpty(w.t, r.message)
		case "unconfirmed":
			unconfirmed++
			require.NotEmpty(w.t, r.message)
		default:
			w.t.Fatalf("outcome %q", r.outcome)
		}
	}
	require.LessOrEqual(w.t, len(w.unit.Assignments()), succeeded+unconfirmed, "more is assigned than was asked for")
	return succeeded, failed, unconfirmed
}

func TestOutputKeepsRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(2, 10)
	w.unit.AddUser(appsandbookstest.User{ClientUserID: "user-1"})
	w.write("in.csv", "\ufeffserialNumber,Name,adamId, PricingParam,clientUserId,outcome\r\n"+
		"SN1,\"Doe, Jane\",1000,,,failed\r\n"+
		",,1001,STDQ,user-1,\r\n"+
		"\r\n"+
		"SN1 ,again,1000,STDQ,,\r\n")
	r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, "serialNumber,Name,adamId,\" PricingParam\",clientUserId,outcome,errorNumber,errorMessage\n"+
		"SN1,\"Doe, Jane\",1000,,,succeeded,,\n"+
		",,1001,STDQ,user-1,succeeded,,\n"+
		"SN1 ,again,1000,STDQ,,succeeded,,\n", w.read("out.csv"))
	assert.Empty(t, r.Stdout)
	assert.Regexp(t, `(?m)^assign: 2 of 2 pairs succeeded; 2 requests, \d+ms\n\z`, r.Stderr)
	assert.Len(t, w.unit.Assignments(), 2)
	assert.NoFileExists(t, w.path("out.csv.state"))
	assert.NoFileExists(t, w.path("out.csv.partial"))
	assert.Empty(t, w.srv.Violations())

	// The output is an input.
	r = w.run("-action", "disassociate", "-in", "out.csv", "-out", "back.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, w.read("out.csv"), w.read("back.csv"))
	assert.Empty(t, w.unit.Assignments())
}

func TestStandardStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(1, 10)
	c := w.command("-action", "associate", "-in", "-", "-out", "-")
	c.Stdin = "adamId,serialNumber\n1000,SN1\n"
	r := clitest.Run(t, c)
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, "adamId,serialNumber,outcome,errorNumber,errorMessage\n1000,SN1,succeeded,,\n", r.Stdout)
	assert.NoFileExists(t, w.path("assign.state"))
}

func TestFewestRequests(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ assets, devices, requests int }{{25, 10_000, 10}, {40, 10_000, 20}} {
		t.Run(fmt.Sprintf("%dx%d", test.assets, test.devices), func(t *testing.T) {
			w := newWorld(t)
			w.addAssets(test.assets, test.devices)
			w.write("in.csv", product(test.assets, test.devices))
			r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			assert.Equal(t, test.requests, w.writes("assets/associate"))
			assert.Empty(t, w.srv.Violations())
			succeeded, _, _ := w.requireTruth(w.output("out.csv"))
			assert.Equal(t, test.assets*test.devices, succeeded)
		})
	}
}

func TestPartialFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(1, 3)
	w.unit.AddAsset(appsandbookstest.Asset{AdamID: "1001", Total: 100})
	w.write("in.csv", product(2, 5))
	r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	assert.Regexp(t, `(?m)^assign: 8 of 10 pairs succeeded, 2 failed; 1 request, `, r.Stderr)
	rows := w.output("out.csv")
	succeeded, failed, _ := w.requireTruth(rows)
	assert.Equal(t, []int{8, 2}, []int{succeeded, failed})
	for _, row := range rows {
		if row.outcome == "failed" {
			assert.Equal(t, "9709", row.number)
			assert.Contains(t, row.message, "not enough licenses")
		}
	}
	assert.NoFileExists(t, w.path("out.csv.state"), "there is nothing to resume")
	assert.Empty(t, w.srv.Violations())
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(1, 3)
	w.write("in.csv", header+"1000,,nobody,\n")
	r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	assert.Equal(t, "9609", w.output("out.csv")[0].number)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(1, 3)
	w.unit.AddDevices("SN00000") // so that SN00001 does not exist
	w.write("in.csv", product(1, 2))
	r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	r = w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-verify")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	rows := w.output("out.csv")
	succeeded, failed, _ := w.requireTruth(rows)
	assert.Equal(t, []int{1, 1}, []int{succeeded, failed})
	assert.Contains(t, rows[1].message, "reading back does not show it done")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(2, 4)
	w.unit.AddAsset(appsandbookstest.Asset{AdamID: "2000", Unlimited: true})
	w.unit.AddAsset(appsandbookstest.Asset{AdamID: "3000", Total: 100, UsersOnly: true})
	w.unit.AddUser(appsandbookstest.User{ClientUserID: "user-1"})
	w.unit.AddAssignments(appsandbookstest.Assignment{AdamID: "1001", SerialNumber: "SN00000"})
	w.write("good.csv", product(2, 4)+"2000,,user-1,\n2000,STDQ,user-1,\n")
	w.write("bad.csv", product(3, 5)+"3000,,,SN00000\n")

	r := w.run("-action", "associate", "-in", "good.csv", "-plan")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, `ADAM ID  PRICING  PAIRS  NEEDED  AVAILABLE
1000     STDQ     4      4       4
1001     STDQ     4      3       3
2000     STDQ     1      1       unlimited

9 pairs of 3 assets with 5 users and devices (1 row repeated)
2 requests, each an event
`, r.Stdout)

	r = w.run("-action", "associate", "-in", "bad.csv", "-plan")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	assert.Equal(t, `ADAM ID  PRICING  PAIRS  NEEDED  AVAILABLE
1000     STDQ     5      5       4    1 short
1001     STDQ     5      4       3    1 short
1002     STDQ     5      5       0    not in the library
3000     STDQ     1      1       100  cannot be assigned to devices

16 pairs of 4 assets with 5 users and devices
2 requests, each an event
rows of 4 assets would fail
`, r.Stdout)

	r = w.run("-action", "disassociate", "-in", "good.csv", "-plan")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Contains(t, r.Stdout, "1001     STDQ     4      1\n")

	for _, request := range w.srv.Requests() {
		assert.Equal(t, http.MethodGet, request.Method, request.Path)
	}
	files, err := os.ReadDir(w.dir)
	require.NoError(t, err)
	assert.Len(t, files, 2, "only the inputs")
	assert.Empty(t, w.srv.Violations())
}

func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("good.csv", product(1, 1))
	w.write("old.state", "")
	bad := map[string]struct{ text, message string }{
		"empty":            {"", "first line must name the columns"},
		"no rows":          {header, "no rows"},
		"no header":        {"1000,STDQ,,SN1\n", "no column adamId"},
		"content token":    {w.unit.Token(), "no column adamId"},
		"semicolons":       {"adamId;serialNumber\n1000;SN1\n", "separated by commas"},
		"no target column": {"adamId,device\n1000,SN1\n", "neither a column"},
		"column twice":     {"adamId,serialNumber,SerialNumber\n1000,SN1,SN2\n", "serialNumber is there twice"},
		"no target":        {header + "1000,,,SN1\n1000,,,\n", "line 3: neither clientUserId nor serialNumber"},
		"two targets":      {header + "\n1000,,user-1,SN1\n", "line 3: both clientUserId and serialNumber"},
		"no asset":         {header + ",,,SN1\n", "line 2: adamId"},
		"odd asset":        {header + "1.0E+9,,,SN1\n", `line 2: adamId must be a number, not "1.0E+9"`},
		"several":          {header + "x,,,SN1\n1000,,,SN1\ny,,,SN2\n", "line 4: adamId"},
		"missing field":    {header + "1000,,SN1\n", "line 2: wrong number of fields"},
		"stray quote":      {header + "1000,,,S\"N\n", "line 2"},
	}
	for name, test := range bad {
		t.Run(name, func(t *testing.T) {
			file := strings.ReplaceAll(name, " ", "-") + ".csv"
			w.write(file, test.text)
			r := w.run("-action", "associate", "-in", file, "-out", "out.csv")
			assert.Equal(t, cli.Usage, r.Code)
			assert.Contains(t, r.Stderr, test.message)
			assert.NotContains(t, r.Stderr, w.unit.Token()[:20])
			assert.NotContains(t, r.Stderr, "SN1", "who has what")
			assert.NoFileExists(t, w.path("out.csv"))
		})
	}
	for message, args := range map[string][]string{
		"-action is missing":           {"-in", "good.csv", "-out", "out.csv"},
		"-action must be":              {"-action", "delete", "-in", "good.csv", "-out", "out.csv"},
		"-in is missing":               {"-action", "associate", "-out", "out.csv"},
		"-out is missing":              {"-action", "associate", "-in", "good.csv"},
		"the same file":                {"-action", "associate", "-in", "good.csv", "-out", "good.csv"},
		"exclude each other":           {"-plan", "-resume", "x"},
		"leave -state out":             {"-resume", "x", "-state", "y", "-out", "out.csv"},
		"old.state exists":             {"-action", "associate", "-in", "good.csv", "-out", "out.csv", "-state", "old.state"},
		"nothing in it can be read":    {"-resume", "old.state", "-out", "out.csv"},
		"reading the input":            {"-action", "associate", "-in", "missing.csv", "-out", "out.csv"},
		"creating the output":          {"-action", "associate", "-in", "good.csv", "-out", "missing/out.csv"},
		"flag provided but not define": {"-no-such-flag"},
	} {
		t.Run(message, func(t *testing.T) {
			r := w.run(args...)
			assert.Contains(t, []int{cli.Usage, cli.Aborted}, r.Code)
			assert.Contains(t, r.Stderr, message)
		})
	}
	for _, request := range w.srv.Requests() {
		assert.Equal(t, http.MethodGet, request.Method, request.Path)
	}
}

func TestTokenRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(1, 3)
	w.unit.SetTokenState(appsandbookstest.TokenRevoked)
	w.write("in.csv", product(1, 1))
	r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	assert.Equal(t, cli.Aborted, r.Code)
	assert.Contains(t, r.Stderr, "nothing was changed: ")
	assert.Contains(t, r.Stderr, "the content token was revoked (9625)")
	assert.NoFileExists(t, w.path("out.csv.state"))
	assert.Equal(t, "failed", w.output("out.csv")[0].outcome)
}

// onEvent is an option that tells a channel of the n-th event.
func onEvent(n int) (appsandbookstest.Option, <-chan struct{}) {
	reached := make(chan struct{})
	seen := 0
	return appsandbookstest.WithEventDelayFunc(func(appsandbookstest.Event) time.Duration {
		if seen++; seen == n {
			close(reached)
		}
		return 50 * time.Millisecond
	}), reached
}

// smallRequests makes an input into many requests, of at most 5 devices, which
// may follow each other quickly.
func smallRequests() appsandbookstest.Option {
	l := appsandbookstest.DefaultLimits()
	l.MaxSerialNumbers, l.MaxRequestPerSecond = 5, 100
	return appsandbookstest.WithLimits(l)
}

func TestInterruptAndResume(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there")
	}
	const requests = 40
	event, reached := onEvent(8)
	w := newWorld(t, event, smallRequests(), appsandbookstest.WithLatency(50*time.Millisecond))
	w.addAssets(2, 1000)
	w.write("in.csv", product(2, 5*requests))
	p := clitest.Start(t, w.command("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-state", "my.state"))
	<-reached
	p.Signal(os.Interrupt)
	r := p.Wait()
	require.Equal(t, cli.Aborted, r.Code, r.Stderr)
	assert.Regexp(t, `assign: 0 of 400 pairs succeeded, \d+ not sent, \d+ unconfirmed; 40 requests, `, r.Stderr)
	assert.Contains(t, r.Stderr, "interrupted: interrupt; go on with -resume my.state")
	assert.Less(t, w.writes("assets/associate"), requests)
	w.unit.FinishEvents()
	rows := w.output("out.csv")
	require.Len(t, rows, 2*5*requests)
	unsent := 0
	for _, row := range rows {
		if strings.HasPrefix(row.message, "not sent") {
			unsent++
			require.Equal(t, "failed", row.outcome)
			require.False(t, w.unit.HasAssignment(row.pair))
		}
	}
	assert.Positive(t, unsent)

	t.Run("wrong input", func(t *testing.T) {
		w.write("other.csv", product(2, 3))
		r := w.run("-resume", "my.state", "-in", "other.csv", "-out", "out.csv")
		assert.Equal(t, cli.Usage, r.Code)
		assert.Contains(t, r.Stderr, "it has 6 different pairs, not 400")
		w.write("other.csv", strings.Replace(product(2, 5*requests), "SN00000", "SN99999", 1))
		r = w.run("-resume", "my.state", "-in", "other.csv", "-out", "out.csv")
		assert.Equal(t, cli.Usage, r.Code)
		assert.Contains(t, r.Stderr, "it lacks 1 of the 400 pairs")
	})
	t.Run("wrong action", func(t *testing.T) {
		r := w.run("-resume", "my.state", "-action", "disassociate", "-out", "out.csv")
		assert.Equal(t, cli.Usage, r.Code)
		assert.Contains(t, r.Stderr, "holds a run with -action associate")
	})

	r = w.run("-resume", "my.state", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, requests, w.writes("assets/associate"), "none twice")
	succeeded, _, _ := w.requireTruth(w.output("out.csv"))
	assert.Equal(t, 2*5*requests, succeeded)
	assert.Len(t, w.unit.Assignments(), 2*5*requests)
	assert.NoFileExists(t, w.path("my.state"))
}

func TestTokenRevokedAmidst(t *testing.T) {
	t.Parallel()
	const requests = 40
	event, reached := onEvent(8)
	w := newWorld(t, event, smallRequests(), appsandbookstest.WithLatency(50*time.Millisecond))
	w.addAssets(2, 1000)
	w.write("in.csv", product(2, 5*requests))
	p := clitest.Start(t, w.command("-action", "associate", "-in", "in.csv", "-out", "out.csv"))
	<-reached
	w.unit.SetTokenState(appsandbookstest.TokenRevoked)
	r := p.Wait()
	require.Equal(t, cli.Aborted, r.Code, r.Stderr)
	assert.Contains(t, r.Stderr, "the content token was revoked (9625)")
	assert.Contains(t, r.Stderr, "; go on with -resume out.csv.state\n")

	w.unit.SetTokenState(appsandbookstest.TokenValid)
	r = w.run("-resume", "out.csv.state", "-in", "in.csv", "-out", "out.csv", "-poll", "1s")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	w.requireTruth(w.output("out.csv"))
	for _, v := range w.srv.Violations() {
		assert.NotEqual(t, appsandbookstest.RuleRepeatedWrite, v.Rule, v)
	}
}

func TestKillAndResume(t *testing.T) {
	t.Parallel()
	const requests = 40
	for _, at := range []int{1, 9, requests - 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			event, reached := onEvent(at)
			w := newWorld(t, event, smallRequests(), appsandbookstest.WithLatency(50*time.Millisecond))
			w.addAssets(2, 1000)
			w.write("in.csv", product(2, 5*requests))
			p := clitest.Start(t, w.command("-action", "associate", "-in", "in.csv", "-out", "out.csv"))
			<-reached
			p.Signal(os.Kill)
			r := p.Wait()
			require.Equal(t, -1, r.Code, r.Stderr)
			assert.NoFileExists(t, w.path("out.csv"))

			r = w.run("-resume", "out.csv.state", "-out", "out.csv", "-poll", "500ms")
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			succeeded, _, _ := w.requireTruth(w.output("out.csv"))
			assert.Equal(t, 2*5*requests, succeeded)
			assert.NoFileExists(t, w.path("out.csv.state"))
			for _, v := range w.srv.Violations() {
				assert.NotEqual(t, appsandbookstest.RuleRepeatedWrite, v.Rule, v)
			}
		})
	}
}

func TestUnconfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addAssets(1, 3)
	w.unit.HoldEvents(true)
	w.srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter})
	w.write("in.csv", product(1, 2))
	r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-poll", "200ms")
	require.Equal(t, cli.Unconfirmed, r.Code, r.Stderr)
	assert.Contains(t, r.Stderr, "0 of 2 pairs succeeded, 2 unconfirmed")
	assert.Contains(t, r.Stderr, "out.csv.state is kept")
	assert.Equal(t, "unconfirmed", w.output("out.csv")[0].outcome)

	w.unit.FinishEvents()
	r = w.run("-resume", "out.csv.state", "-in", "in.csv", "-out", "out.csv", "-verify")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	w.requireTruth(w.output("out.csv"))
	assert.NoFileExists(t, w.path("out.csv.state"))
}

func TestTruthUnderFaults(t *testing.T) {
	t.Parallel()
	const requests, licences = 60, 250 // for 300 devices
	for name, faults := range map[string][]appsandbookstest.Fault{
		"resets": {{Kind: appsandbookstest.FaultResetBefore}, {Kind: appsandbookstest.FaultResetAfter}},
		"answers": {
			{Number: 9646, Status: 429},
			{Number: 9729, Status: 503, Header: http.Header{"Retry-After": {"1"}}, Probability: 0.02},
			{Status: 200, Number: 9603},
		},
		"everything": {
			{Kind: appsandbookstest.FaultResetBefore},
			{Kind: appsandbookstest.FaultResetAfter},
			{Kind: appsandbookstest.FaultCutBody},
			{Number: 9646, Status: 429},
			{Status: 503, Body: "<html>busy</html>", Process: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, smallRequests(), appsandbookstest.WithPageSize(100))
			w.addAssets(2, licences)
			for _, f := range faults {
				f.Probability = cmp.Or(f.Probability, 0.1)
				w.srv.AddFault(f)
			}
			w.write("in.csv", product(2, 5*requests))
			r := w.run("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-poll", "1s")
			require.Contains(t, []int{cli.Failed, cli.Unconfirmed}, r.Code, r.Stderr)
			rows := w.output("out.csv")
			require.Len(t, rows, 2*5*requests)
			succeeded, failed, unconfirmed := w.requireTruth(rows)
			t.Logf("%d succeeded, %d failed, %d unconfirmed", succeeded, failed, unconfirmed)
			assert.Len(t, w.unit.Assignments(), 2*licences)
			if r.Code == cli.Failed {
				assert.Zero(t, unconfirmed)
				return
			}

			w.srv.ClearFaults()
			r = w.run("-resume", "out.csv.state", "-in", "in.csv", "-out", "out.csv", "-verify")
			require.Equal(t, cli.Failed, r.Code, r.Stderr)
			succeeded, failed, _ = w.requireTruth(w.output("out.csv"))
			assert.Equal(t, []int{2 * licences, 2 * (5*requests - licences)}, []int{succeeded, failed})
			for _, v := range w.srv.Violations() {
				assert.NotEqual(t, appsandbookstest.RuleRepeatedWrite, v.Rule, v)
			}
		})
	}
}
