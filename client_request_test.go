package appsandbooks_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A page of nothing but braces is small on its way, and large in memory.
func TestClient_limitsNumberOfDecodedObjects(t *testing.T) {
	c := clientWithAnswer(t, 200, nil, `{"users":[{}`+strings.Repeat(",{}", 1<<20)+`]}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.ErrorContains(t, err, "objects")
}

// When a read is repeated, and when not: attempts seen by the service, and the
// virtual time that went by.
func TestClient_Do_retriesReads(t *testing.T) {
	header := func(v string) http.Header { return http.Header{"Retry-After": {v}} }
	for name, test := range map[string]struct {
		fault    appsandbookstest.Fault
		attempts int // that reach the service
		ok       bool
		min, max time.Duration
	}{
		"reset before":        {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 2}, attempts: 3, ok: true, max: 2 * time.Second},
		"cut body":            {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody, Times: 2}, attempts: 3, ok: true, max: 2 * time.Second},
		"for ever":            {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore}, attempts: 5, max: 8 * time.Second},
		"9603":                {fault: appsandbookstest.Fault{Number: 9603, Times: 1}, attempts: 2, ok: true, max: time.Second},
		"9646":                {fault: appsandbookstest.Fault{Number: 9646, Times: 4}, attempts: 5, ok: true, max: 8 * time.Second},
		"9603 inside 200":     {fault: appsandbookstest.Fault{Status: 200, Number: 9603, Times: 1}, attempts: 2, ok: true, max: time.Second},
		"HTML 502":            {fault: appsandbookstest.Fault{Status: 502, Body: "<html>", Times: 1}, attempts: 2, ok: true, max: time.Second},
		"501":                 {fault: appsandbookstest.Fault{Status: 501, Body: "no", Times: 1}, attempts: 1},
		"404":                 {fault: appsandbookstest.Fault{Status: 404, Body: "no", Times: 1}, attempts: 1},
		"400":                 {fault: appsandbookstest.Fault{Number: 9602, Times: 1}, attempts: 1},
		"expired":             {fault: appsandbookstest.Fault{Number: 9621, Times: 1}, attempts: 1},
		"500 seconds":         {fault: appsandbookstest.Fault{Number: 9603, Header: header("120"), Times: 1}, attempts: 2, ok: true, min: 120 * time.Second, max: 120 * time.Second},
		"502 seconds":         {fault: appsandbookstest.Fault{Status: 502, Header: header(" 7 "), Times: 1}, attempts: 2, ok: true, min: 7 * time.Second, max: 7 * time.Second},
		"503 date":            {fault: appsandbookstest.Fault{Number: 9729, Header: header("Sat, 01 Jan 2000 00:01:30 GMT"), Times: 1}, attempts: 2, ok: true, min: 90 * time.Second, max: 90 * time.Second},
		"503 RFC 850 date":    {fault: appsandbookstest.Fault{Number: 9729, Header: header("Saturday, 01-Jan-00 00:01:30 GMT"), Times: 1}, attempts: 2, ok: true, min: 90 * time.Second, max: 90 * time.Second},
		"past date":           {fault: appsandbookstest.Fault{Number: 9729, Header: header("Fri, 31 Dec 1999 23:59:59 GMT"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"above the cap":       {fault: appsandbookstest.Fault{Number: 9729, Header: header("3600"), Times: 1}, attempts: 1},
		"overflowing seconds": {fault: appsandbookstest.Fault{Number: 9729, Header: header("9223372036854775807"), Times: 1}, attempts: 1},
		"more than an int":    {fault: appsandbookstest.Fault{Number: 9729, Header: header("99999999999999999999"), Times: 1}, attempts: 1},
		"junk":                {fault: appsandbookstest.Fault{Number: 9729, Header: header("foo"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"negative":            {fault: appsandbookstest.Fault{Number: 9729, Header: header("-5"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"fraction":            {fault: appsandbookstest.Fault{Number: 9729, Header: header("1.5"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"429 seconds":         {fault: appsandbookstest.Fault{Number: 9646, Header: header("9"), Times: 1}, attempts: 2, ok: true, min: 9 * time.Second, max: 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(test.fault)
				began := time.Now()
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				took := time.Since(began)
				require.Equal(t, test.attempts, countPath(srv, "users"))
				if test.ok {
					require.NoError(t, err)
				} else {
					e := isError(t, err)
					require.Equal(t, test.attempts, e.Attempts)
					require.Equal(t, "users", e.Path)
					require.False(t, e.Ambiguous)
				}
				require.GreaterOrEqual(t, took, test.min)
				require.LessOrEqual(t, took, test.max)
			})
		})
	}
}

// A write is repeated only when it was certainly not carried out.
func TestClient_Do_retriesOnlyWritesThatWereNotCarriedOut(t *testing.T) {
	for name, test := range map[string]struct {
		fault     appsandbookstest.Fault
		attempts  int
		ok        bool
		ambiguous bool
	}{
		"dial":           {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultDial, Times: 2}, attempts: 1, ok: true}, // the two never arrived
		"reset before":   {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 1}, attempts: 1, ambiguous: true},
		"reset after":    {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter, Times: 1}, attempts: 1, ambiguous: true},
		"cut body":       {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody, Times: 1}, attempts: 1, ambiguous: true},
		"huge body":      {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultHugeBody, Size: 33 << 20, Process: true, Times: 1}, attempts: 1, ambiguous: true},
		"empty 200":      {fault: appsandbookstest.Fault{Status: 200, Body: " ", Times: 1}, attempts: 1, ambiguous: true},
		"HTML 200":       {fault: appsandbookstest.Fault{Status: 200, Body: "<html>", Times: 1}, attempts: 1, ambiguous: true},
		"HTML 502":       {fault: appsandbookstest.Fault{Status: 502, Body: "<html>", Times: 1}, attempts: 1, ambiguous: true},
		"9603":           {fault: appsandbookstest.Fault{Number: 9603, Times: 2}, attempts: 3, ok: true},
		"9603 in 200":    {fault: appsandbookstest.Fault{Status: 200, Number: 9603, Times: 2}, attempts: 3, ok: true},
		"9644":           {fault: appsandbookstest.Fault{Number: 9644, Status: 500, Times: 1}, attempts: 2, ok: true},
		"9646":           {fault: appsandbookstest.Fault{Number: 9646, Times: 1}, attempts: 2, ok: true},
		"429 without it": {fault: appsandbookstest.Fault{Status: 429, Body: "slow down", Times: 1}, attempts: 2, ok: true},
		"9729":           {fault: appsandbookstest.Fault{Number: 9729, Times: 1}, attempts: 2, ok: true},
		"9709":           {fault: appsandbookstest.Fault{Number: 9709, Status: 400, Times: 1}, attempts: 1},
		"307":            {fault: appsandbookstest.Fault{Status: 307, Header: http.Header{"Location": {"http://elsewhere.example.com/"}}, Body: " ", Times: 1}, attempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				test.fault.Method = "POST"
				srv.AddFault(test.fault)
				var out map[string]any
				in := map[string]any{"users": []map[string]string{{"clientUserId": "u"}}}
				err := c.Do(t.Context(), http.MethodPost, "users/create", nil, in, &out)
				require.Equal(t, test.attempts, countPath(srv, "users/create"))
				if test.ok {
					require.NoError(t, err)
					require.NotEmpty(t, out["eventId"])
				} else {
					require.Error(t, err)
				}
				require.Equal(t, test.ambiguous, errors.Is(err, appsandbooks.ErrAmbiguous))
				require.Equal(t, name == "307", errors.Is(err, appsandbooks.ErrRedirect))
				if test.ambiguous {
					require.False(t, appsandbooks.IsRetryable(err))
				}
				for _, r := range srv.Requests() { // each attempt is whole
					require.Equal(t, `{"users":[{"clientUserId":"u"}]}`, string(r.Body))
				}
			})
		})
	}
}

// An outage is not made worse: retries end when the budget is spent.
func TestClient_stopsRetriesWhenBudgetIsSpent(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9603})
		const calls = 60
		began := time.Now()
		for range calls {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.ErrorIs(t, err, appsandbooks.ErrInternal)
		}
		earned := int(time.Since(began) / (10 * time.Second)) // one for each ten seconds
		require.Less(t, earned, 15)
		require.Equal(t, calls+100+earned, countPath(srv, "users"))

		srv.ResetRequests()
		time.Sleep(time.Hour) // the outage is forgotten
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrInternal)
		require.Equal(t, 5, countPath(srv, "users"))
	})
}

// Clients that fail together do not come back together.
func TestClient_spreadsRetriesOfManyClients(t *testing.T) {
	inVirtualTime(t, []appsandbookstest.Option{appsandbookstest.WithLimits(func() appsandbookstest.Limits {
		l := appsandbookstest.DefaultLimits()
		l.MaxRequestPerSecond = 0
		return l
	}())}, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9603, Times: 200})
		began := time.Now()
		done := make(chan error)
		for range 200 {
			c := newClient(t, srv)
			defer c.Close()
			go func() {
				_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
				done <- err
			}()
		}
		for range 200 {
			require.NoError(t, <-done)
		}
		buckets := map[time.Duration]int{}
		for _, r := range srv.Requests()[200:] {
			buckets[r.Time.Sub(began)/(50*time.Millisecond)]++
		}
		require.Len(t, buckets, 10) // of 0 to 500 ms
	})
}

func TestClient_keepsCauseOfCancellation(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9603, Header: http.Header{"Retry-After": {"60"}}})
		reason := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Second, func() { cancel(reason) })
		began := time.Now()
		_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
		require.Equal(t, 20*time.Second, time.Since(began))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, err, appsandbooks.ErrInternal) // what happened before
		require.Equal(t, 1, isError(t, err).Attempts)

		// A wait that the deadline does not leave room for is not begun.
		ctx2, cancel2 := context.WithTimeout(t.Context(), 41*time.Second)
		defer cancel2()
		began = time.Now()
		_, err = c.Users.List(ctx2, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrInternal)
		require.Equal(t, 40*time.Second, time.Since(began)) // the gate; then the answer, and no further wait
	})
}

// The grace of a cancelled write is for its answer, not for a wait that no
// attempt can follow.
func TestClient_endsGracePeriodWhenNoAttemptCanFollow(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(2 * time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Number: 9729, Header: http.Header{"Retry-After": {"60"}}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err = c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: addAssets(srv, 1, 1), SerialNumbers: []string{"C02"}})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

// What a certificate error means does not change by asking again.
func TestClient_doesNotRetryCertificateErrors(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
	var cert *tls.CertificateVerificationError
	require.ErrorAs(t, err, &cert)
	require.Equal(t, 1, isError(t, err).Attempts)
}

// The five seconds for an answer on its way are not spent on a pause in which
// no answer is on its way.
func TestClient_endsPauseOfWriteWhenCanceled(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9729, Header: http.Header{"Retry-After": {"60"}}})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		began := time.Now()
		_, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable) // what happened before
		require.Equal(t, 20*time.Second, time.Since(began))
	})
}

// A connection that was never made proves that nothing was started.
func TestClient_retriesWriteAfterFailedConnection(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultDial, Times: 4})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 3), SerialNumbers: names("C02", 3),
		})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
	})
}

// Each attempt has one Authorization header and the whole body, whatever became
// of the last.
func TestClient_Do_sendsWholeRequestOnEachAttempt(t *testing.T) {
	var seen []string
	c := clientWithTransport(t, func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		seen = append(seen, fmt.Sprint(r.Header["Authorization"], r.Header["Content-Type"], r.ContentLength, string(body)))
		r.Header.Set("Authorization", "spoiled by a transport")
		return &http.Response{StatusCode: 500, Header: http.Header{}, Body: readCloser(`{"errorNumber":9603}`)}, nil
	}, appsandbooks.WithRetry(3, 0, 0))
	require.ErrorIs(t, c.Do(t.Context(), "POST", "users/create", nil, map[string]int{"a": 1}, nil), appsandbooks.ErrInternal)
	want := "[Bearer " + stoken + `] [application/json] 7{"a":1}`
	require.Equal(t, []string{want, want, want}, seen)
}

// A call whose context has ended already sends nothing.
func TestClient_sendsNothingAfterContextEnds(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		reason := errors.New("the caller went home")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{})), reason)
		_, err = associateOne(ctx, srv, c)
		require.ErrorIs(t, err, reason)
		synctest.Wait()
		for _, r := range srv.Requests() { // the limits are everybody's
			require.Equal(t, "service/config", r.Path)
		}
	})
}

// A proxy that refuses is told apart from the service, gets no token, and no
// write has left.
func TestClient_Do_reportsProxyRefusalWithoutSendingToken(t *testing.T) {
	var seen atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(fmt.Sprint(r.Method, r.Header["Authorization"], r.Header["Proxy-Authorization"]))
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	tr := &http.Transport{Proxy: http.ProxyURL(address)}
	defer tr.CloseIdleConnections()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: tr}), appsandbooks.WithRetry(1, 0, 0))
	require.NoError(t, err)
	defer c.Close()
	err = c.Do(t.Context(), "POST", "users/create", nil, map[string]int{}, nil)
	require.ErrorContains(t, err, "Proxy Authentication Required")
	require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
	require.Equal(t, "CONNECT[] []", seen.Load())
}

// A write that the service took on a kept connection and did not answer is not
// sent again, not by net/http either.
func TestClient_Do_doesNotRepeatWriteWithoutAnswer(t *testing.T) {
	var writes atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if writes.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"eventId":"e"}`)
	}))
	defer srv.Close()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
	require.NoError(t, err)
	defer c.Close()
	write := func() error { return c.Do(t.Context(), "POST", "users/create", nil, map[string]int{"a": 1}, nil) }
	require.NoError(t, write())
	require.ErrorIs(t, write(), appsandbooks.ErrAmbiguous)
	require.EqualValues(t, 2, writes.Load())
	require.NoError(t, write())
}

// The last answer counts, after whatever came before: its number, its status
// and what it says.
func TestClient_returnsLastErrorAfterRetries(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 4})
		srv.AddFault(appsandbookstest.Fault{Status: 503, Body: "<html>maintenance page</html>"})
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		e := isError(t, err)
		require.Equal(t, []any{503, 5, "<html>maintenance page</html>"}, []any{e.StatusCode, e.Attempts, e.Excerpt})
		require.True(t, appsandbooks.IsRetryable(err))
	})
}

// Missing fields, nulls and unknown ones are no reason to lose an answer.
func TestClient_readsAnswersWithMissingOrUnknownFields(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":    `{}`,
		"nulls":      `{"users":null,"nextPageIndex":null,"versionId":null,"uId":null,"tokenExpirationDate":null,"mdmInfo":null}`,
		"odd date":   `{"users":[],"tokenExpirationDate":"next year"}`,
		"date type":  `{"users":[],"tokenExpirationDate":1893456000}`,
		"new fields": `{"users":[{"clientUserId":"a","status":"Registered","age":7}],"brandNew":{"x":[1]}}`,
		"RFC 3339":   `{"users":[],"tokenExpirationDate":"2031-02-03T04:05:06.789Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := recordedClient(t, body)
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.NoError(t, err)
		})
	}
	c, _ := recordedClient(t, `{"users":[{"clientUserId":5}]}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	var wrong *json.UnmarshalTypeError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, 200, isError(t, err).StatusCode)
}
