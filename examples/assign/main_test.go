package main_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
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

// The program sends the smallest possible number of requests.
func TestAssign_sendsFewestRequests(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ assets, devices, requests int }{{25, 10_000, 10}, {40, 10_000, 20}} {
		t.Run(fmt.Sprintf("%dx%d", test.assets, test.devices), func(t *testing.T) {
			env := newEnvironment(t)
			env.addAssets(test.assets, test.devices)
			env.write("in.csv", everyPair(test.assets, test.devices))
			r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			assert.Equal(t, test.requests, env.countRequests("assets/associate"))
			assert.Empty(t, env.srv.Violations())
			succeeded, _, _ := env.requireLedgerAgrees(env.output("out.csv"))
			assert.Equal(t, test.assets*test.devices, succeeded)
		})
	}
}

// Rows without a license fail with Apple's error number, and the other rows succeed.
func TestAssign_reportsFailedRows(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 3)
	env.unit.AddAsset(appsandbookstest.Asset{AdamID: "1001", Total: 100})
	env.write("in.csv", everyPair(2, 5))
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	assert.Regexp(t, `(?m)^assign: 8 of 10 pairs succeeded, 2 failed; 1 request, `, r.Stderr)
	rows := env.output("out.csv")
	succeeded, failed, _ := env.requireLedgerAgrees(rows)
	assert.Equal(t, []int{8, 2}, []int{succeeded, failed})
	for _, row := range rows {
		if row.outcome == "failed" {
			assert.Equal(t, "9709", row.number)
			assert.Contains(t, row.message, "not enough licenses")
		}
	}
	assert.NoFileExists(t, env.path("out.csv.state"), "a finished run leaves no state file")
	assert.Empty(t, env.srv.Violations())
}

// A request that the service refuses makes its rows fail with Apple's error number.
func TestAssign_reportsRefusedRequest(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 3)
	env.write("in.csv", header+"1000,,unknown-user,\n")
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	assert.Equal(t, "9609", env.output("out.csv")[0].number)
}

// With -verify, the program reports a pair as failed if the service accepted the
// pair but did not assign it.
func TestAssign_verifyFindsMissingAssignments(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 3)
	env.unit.AddDevices("SN00000") // the device SN00001 does not exist
	env.write("in.csv", everyPair(1, 2))
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	r = env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-verify")
	require.Equal(t, cli.Failed, r.Code, r.Stderr)
	rows := env.output("out.csv")
	succeeded, failed, _ := env.requireLedgerAgrees(rows)
	assert.Equal(t, []int{1, 1}, []int{succeeded, failed})
	assert.Contains(t, rows[1].message, "verification did not find the change")
}

// Invalid flags and files that cannot be opened are reported before anything is sent.
func TestAssign_invalidFlags(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.write("good.csv", everyPair(1, 1))
	env.write("old.state", "")
	for message, args := range map[string][]string{
		"-action is missing":           {"-in", "good.csv", "-out", "out.csv"},
		"-action must be":              {"-action", "delete", "-in", "good.csv", "-out", "out.csv"},
		"-in is missing":               {"-action", "associate", "-out", "out.csv"},
		"-out is missing":              {"-action", "associate", "-in", "good.csv"},
		"the same file":                {"-action", "associate", "-in", "good.csv", "-out", "good.csv"},
		"cannot be used together":      {"-plan", "-resume", "x"},
		"remove -state":                {"-resume", "x", "-state", "y", "-out", "out.csv"},
		"old.state exists":             {"-action", "associate", "-in", "good.csv", "-out", "out.csv", "-state", "old.state"},
		"nothing in it can be read":    {"-resume", "old.state", "-out", "out.csv"},
		"reading the input":            {"-action", "associate", "-in", "missing.csv", "-out", "out.csv"},
		"creating the output":          {"-action", "associate", "-in", "good.csv", "-out", "missing/out.csv"},
		"flag provided but not define": {"-no-such-flag"},
	} {
		t.Run(message, func(t *testing.T) {
			r := env.run(args...)
			assert.Contains(t, []int{cli.Usage, cli.Aborted}, r.Code)
			assert.Contains(t, r.Stderr, message)
		})
	}
	env.requireOnlyReads()
}

// A run that has finished has no state file: -resume says so, and sends nothing.
func TestAssign_missingStateFile(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	r := env.run("-resume", "missing.state", "-out", "out.csv")
	require.Equal(t, cli.Usage, r.Code)
	assert.Contains(t, r.Stderr, "there is no state file missing.state: a run that has finished removes it\n")
	assert.NoFileExists(t, env.path("out.csv"))
	env.requireOnlyReads()
}

// With a revoked token nothing is planned, and no file is written.
func TestAssign_revokedToken(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 3)
	env.unit.SetTokenState(appsandbookstest.TokenRevoked)
	env.write("in.csv", everyPair(1, 1))
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	assert.Equal(t, cli.Aborted, r.Code)
	assert.Contains(t, r.Stderr, "nothing was changed: ")
	assert.Contains(t, r.Stderr, "the content token was revoked (9625)")
	assert.NoFileExists(t, env.path("out.csv.state"))
	assert.NoFileExists(t, env.path("out.csv"))
	env.requireOnlyReads()
}

// If the service refuses the token for the first request, the run stops, reports that nothing
// was changed, and leaves no state file. Its rows are unsent.
func TestAssign_tokenRefusedForFirstRequest(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 3)
	env.srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9625})
	env.write("in.csv", everyPair(1, 2))
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv")
	assert.Equal(t, cli.Aborted, r.Code)
	assert.Contains(t, r.Stderr, "0 of 2 pairs succeeded, 2 unsent; ")
	assert.Contains(t, r.Stderr, "nothing was changed: ")
	assert.Contains(t, r.Stderr, "the content token was revoked (9625)")
	assert.NoFileExists(t, env.path("out.csv.state"))
	rows := env.output("out.csv")
	env.requireLedgerAgrees(rows)
	assert.Equal(t, "unsent", rows[0].outcome)
	assert.Equal(t, "9625", rows[0].number)
}

// An interrupted run writes its output, and -resume completes it without sending a
// request twice.
func TestAssign_resumesAfterInterrupt(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted on Windows")
	}
	const requests = 40
	event, reached := onEvent(8)
	env := newEnvironment(t, event, smallRequests(), appsandbookstest.WithLatency(50*time.Millisecond))
	env.addAssets(2, 1000)
	env.write("in.csv", everyPair(2, 5*requests))
	p := clitest.Start(t, env.command("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-state", "my.state"))
	<-reached
	p.Signal(os.Interrupt)
	r := p.Wait()
	require.Equal(t, cli.Aborted, r.Code, r.Stderr)
	assert.Regexp(t, `assign: 0 of 400 pairs succeeded, \d+ unconfirmed, \d+ unsent; 40 requests, `, r.Stderr)
	assert.Contains(t, r.Stderr, "interrupted (signal: interrupt); to continue, run with -resume my.state")
	assert.Less(t, env.countRequests("assets/associate"), requests)
	env.unit.FinishEvents()
	rows := env.output("out.csv")
	require.Len(t, rows, 2*5*requests)
	unsent := 0
	for _, row := range rows {
		if row.outcome == "unsent" {
			unsent++
			require.True(t, strings.HasPrefix(row.message, "not sent"), row.message)
			require.False(t, env.unit.HasAssignment(row.pair))
		}
	}
	assert.Positive(t, unsent)

	t.Run("other input", func(t *testing.T) {
		env.write("other.csv", everyPair(2, 3))
		r := env.run("-resume", "my.state", "-in", "other.csv", "-out", "out.csv")
		assert.Equal(t, cli.Usage, r.Code)
		assert.Contains(t, r.Stderr, "the input has 6 different pairs, and the run has 400")
		env.write("other.csv", strings.Replace(everyPair(2, 5*requests), "SN00000", "SN99999", 1))
		r = env.run("-resume", "my.state", "-in", "other.csv", "-out", "out.csv")
		assert.Equal(t, cli.Usage, r.Code)
		assert.Contains(t, r.Stderr, "1 of the run's 400 pairs are not in the input")
	})
	t.Run("other action", func(t *testing.T) {
		r := env.run("-resume", "my.state", "-action", "disassociate", "-out", "out.csv")
		assert.Equal(t, cli.Usage, r.Code)
		assert.Contains(t, r.Stderr, "the run in my.state has -action associate")
	})

	r = env.run("-resume", "my.state", "-in", "in.csv", "-out", "out.csv")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	assert.Equal(t, requests, env.countRequests("assets/associate"), "each request is sent once")
	succeeded, _, _ := env.requireLedgerAgrees(env.output("out.csv"))
	assert.Equal(t, 2*5*requests, succeeded)
	assert.Len(t, env.unit.Assignments(), 2*5*requests)
	assert.NoFileExists(t, env.path("my.state"))
}

// A run that stops because the token is revoked can be resumed with a valid token.
func TestAssign_resumesAfterRevokedToken(t *testing.T) {
	t.Parallel()
	const requests = 40
	event, reached := onEvent(8)
	env := newEnvironment(t, event, smallRequests(), appsandbookstest.WithLatency(50*time.Millisecond))
	env.addAssets(2, 1000)
	env.write("in.csv", everyPair(2, 5*requests))
	p := clitest.Start(t, env.command("-action", "associate", "-in", "in.csv", "-out", "out.csv"))
	<-reached
	env.unit.SetTokenState(appsandbookstest.TokenRevoked)
	r := p.Wait()
	require.Equal(t, cli.Aborted, r.Code, r.Stderr)
	assert.Contains(t, r.Stderr, "the content token was revoked (9625)")
	assert.Contains(t, r.Stderr, "; to continue, run with -resume out.csv.state\n")

	env.unit.SetTokenState(appsandbookstest.TokenValid)
	r = env.run("-resume", "out.csv.state", "-in", "in.csv", "-out", "out.csv", "-poll", "1s")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	env.requireLedgerAgrees(env.output("out.csv"))
	for _, v := range env.srv.Violations() {
		assert.NotEqual(t, appsandbookstest.RuleRepeatedWrite, v.Rule, v)
	}
}

// After the program is killed, -resume completes the run without sending a request
// twice.
func TestAssign_resumesAfterKill(t *testing.T) {
	t.Parallel()
	const requests = 40
	for _, at := range []int{1, 9, requests - 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			event, reached := onEvent(at)
			env := newEnvironment(t, event, smallRequests(), appsandbookstest.WithLatency(50*time.Millisecond))
			env.addAssets(2, 1000)
			env.write("in.csv", everyPair(2, 5*requests))
			p := clitest.Start(t, env.command("-action", "associate", "-in", "in.csv", "-out", "out.csv"))
			<-reached
			p.Signal(os.Kill)
			r := p.Wait()
			require.Equal(t, -1, r.Code, r.Stderr)
			assert.NoFileExists(t, env.path("out.csv"))

			r = env.run("-resume", "out.csv.state", "-out", "out.csv", "-poll", "500ms")
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			succeeded, _, _ := env.requireLedgerAgrees(env.output("out.csv"))
			assert.Equal(t, 2*5*requests, succeeded)
			assert.NoFileExists(t, env.path("out.csv.state"))
			for _, v := range env.srv.Violations() {
				assert.NotEqual(t, appsandbookstest.RuleRepeatedWrite, v.Rule, v)
			}
		})
	}
}

// Rows whose result is unknown are unconfirmed, and -resume with -verify finds their
// result.
func TestAssign_keepsStateOfUnconfirmedRows(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.addAssets(1, 3)
	env.unit.HoldEvents(true)
	env.srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter})
	env.write("in.csv", everyPair(1, 2))
	r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-poll", "200ms")
	require.Equal(t, cli.Unconfirmed, r.Code, r.Stderr)
	assert.Contains(t, r.Stderr, "0 of 2 pairs succeeded, 2 unconfirmed")
	assert.Regexp(t, `to check them again, run with -verify -resume out\.csv\.state after \d\d:\d\d:\d\d\n`, r.Stderr)
	assert.Equal(t, "unconfirmed", env.output("out.csv")[0].outcome)

	env.unit.FinishEvents()
	r = env.run("-resume", "out.csv.state", "-in", "in.csv", "-out", "out.csv", "-verify")
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	env.requireLedgerAgrees(env.output("out.csv"))
	assert.NoFileExists(t, env.path("out.csv.state"))
}

// The outcomes that the program writes agree with the stand-in's record, even if the
// stand-in injects faults.
func TestAssign_outcomesAgreeWithLedger(t *testing.T) {
	t.Parallel()
	const requests, licenses = 60, 250 // the 300 devices of the input need 60 requests
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
			env := newEnvironment(t, smallRequests(), appsandbookstest.WithPageSize(100))
			env.addAssets(2, licenses)
			for _, f := range faults {
				f.Probability = cmp.Or(f.Probability, 0.1)
				env.srv.AddFault(f)
			}
			env.write("in.csv", everyPair(2, 5*requests))
			r := env.run("-action", "associate", "-in", "in.csv", "-out", "out.csv", "-poll", "1s")
			require.Contains(t, []int{cli.Failed, cli.Unconfirmed}, r.Code, r.Stderr)
			rows := env.output("out.csv")
			require.Len(t, rows, 2*5*requests)
			succeeded, failed, unconfirmed := env.requireLedgerAgrees(rows)
			t.Logf("%d succeeded, %d failed, %d unconfirmed", succeeded, failed, unconfirmed)
			assert.Len(t, env.unit.Assignments(), 2*licenses)
			if r.Code == cli.Failed {
				assert.Zero(t, unconfirmed)
				return
			}

			// A row without a license stays unconfirmed for an hour if its first request was lost
			// and the second was refused: the service may still carry out the first one.
			env.srv.ClearFaults()
			r = env.run("-resume", "out.csv.state", "-in", "in.csv", "-out", "out.csv", "-verify")
			succeeded, failed, unconfirmed = env.requireLedgerAgrees(env.output("out.csv"))
			assert.Equal(t, []int{2 * licenses, 2 * (5*requests - licenses)}, []int{succeeded, failed + unconfirmed})
			if unconfirmed > 0 {
				require.Equal(t, cli.Unconfirmed, r.Code, r.Stderr)
			} else {
				require.Equal(t, cli.Failed, r.Code, r.Stderr)
			}
			for _, v := range env.srv.Violations() {
				assert.NotEqual(t, appsandbookstest.RuleRepeatedWrite, v.Rule, v)
			}
		})
	}
}
