package main_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

// environment is a stand-in and a directory for the files of a test.
type environment struct {
	t    *testing.T
	srv  *appsandbookstest.Server
	unit *appsandbookstest.Unit
	dir  string
}

func newEnvironment(t *testing.T, opts ...appsandbookstest.Option) *environment {
	t.Helper()
	srv, err := appsandbookstest.NewServer(opts...)
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	return &environment{t, srv, srv.Unit(), t.TempDir()}
}

// command returns the command that runs the program with the stand-in.
func (env *environment) command(args ...string) clitest.Command {
	// The stand-in finishes events early, so the program polls them early, too.
	args = append(args, "-first-poll", "300ms")
	return clitest.Command{Args: args, Unit: env.unit, URL: env.srv.URL(), Dir: env.dir}
}

func (env *environment) run(args ...string) clitest.Result {
	env.t.Helper()
	return clitest.Run(env.t, env.command(args...))
}

func (env *environment) path(name string) string { return filepath.Join(env.dir, name) }

func (env *environment) write(name, text string) {
	env.t.Helper()
	require.NoError(env.t, os.WriteFile(env.path(name), []byte(text), 0o600))
}

func (env *environment) read(name string) string {
	env.t.Helper()
	text, err := os.ReadFile(env.path(name))
	require.NoError(env.t, err)
	return string(text)
}

// countRequests returns the number of requests with this path that the stand-in
// received.
func (env *environment) countRequests(path string) (n int) {
	for _, r := range env.srv.Requests() {
		if r.Path == path {
			n++
		}
	}
	return n
}

// header is the first line of an input file.
const header = "adamId,pricingParam,clientUserId,serialNumber\n"

// everyPair returns an input file with a row for each pair of one of the assets and
// one of the devices.
func everyPair(assets, devices int) string {
	var b strings.Builder
	b.WriteString(header)
	for d := range devices {
		for a := range assets {
			fmt.Fprintf(&b, "%d,STDQ,,SN%05d\n", 1000+a, d)
		}
	}
	return b.String()
}

// addAssets adds n assets to the stand-in's unit, with the Adam IDs 1000, 1001, ….
func (env *environment) addAssets(n, licenses int) {
	for a := range n {
		env.unit.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(1000 + a), Total: licenses})
	}
}

// row is a line of an output file, if the input file has the columns of header.
type row struct {
	pair    appsandbookstest.Assignment
	outcome string
	number  string
	message string
}

// output returns the rows of an output file.
func (env *environment) output(name string) []row {
	env.t.Helper()
	records, err := csv.NewReader(strings.NewReader(env.read(name))).ReadAll()
	require.NoError(env.t, err)
	require.Equal(env.t, strings.TrimSpace(header)+",outcome,errorNumber,errorMessage", strings.Join(records[0], ","))
	var rows []row
	for _, r := range records[1:] {
		pair := appsandbookstest.Assignment{AdamID: r[0], PricingParam: r[1], ClientUserID: r[2], SerialNumber: r[3]}
		rows = append(rows, row{pair, r[4], r[5], r[6]})
	}
	return rows
}

// requireLedgerAgrees requires that each row of an output file agrees with the
// stand-in's record. It returns the number of rows with each outcome.
func (env *environment) requireLedgerAgrees(rows []row) (succeeded, failed, unconfirmed int) {
	env.t.Helper()
	for _, r := range rows {
		assigned := env.unit.HasAssignment(r.pair)
		switch r.outcome {
		case "succeeded":
			succeeded++
			require.True(env.t, assigned, "%v", r)
		case "failed":
			failed++
			require.False(env.t, assigned, "%v", r)
			require.NotEmpty(env.t, r.message)
		case "unconfirmed":
			unconfirmed++
			require.NotEmpty(env.t, r.message)
		case "unsent":
			require.False(env.t, assigned, "%v", r)
			require.Contains(env.t, r.message, "not sent")
		default:
			env.t.Fatalf("outcome %q", r.outcome)
		}
	}
	require.LessOrEqual(env.t, len(env.unit.Assignments()), succeeded+unconfirmed, "the stand-in has assignments that are not in the output")
	return succeeded, failed, unconfirmed
}

// requireOnlyReads requires that the program sent the stand-in only requests that
// read.
func (env *environment) requireOnlyReads() {
	env.t.Helper()
	for _, request := range env.srv.Requests() {
		require.Equal(env.t, http.MethodGet, request.Method, request.Path)
	}
}

// onEvent returns an option for the stand-in, and a channel that is closed when the
// stand-in creates the n-th event.
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

// smallRequests returns an option for the stand-in: a request has at most 5 devices,
// and 100 requests a second are allowed.
func smallRequests() appsandbookstest.Option {
	l := appsandbookstest.DefaultLimits()
	l.MaxSerialNumbers, l.MaxRequestPerSecond = 5, 100
	return appsandbookstest.WithLimits(l)
}
