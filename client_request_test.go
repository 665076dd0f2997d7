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

// The client refuses an answer with more than a million empty JSON objects, because the
// decoded objects need much more memory than the JSON.
func TestClient_limitsNumberOfDecodedObjects(t *testing.T) {
	c := clientWithAnswer(t, 200, nil, `{"users":[{}`+strings.Repeat(",{}", 1<<20)+`]}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.ErrorContains(t, err, "objects")
}

// A read is retried only after temporary failures. Each case states the attempts that the
// service must see and the virtual time that the call may take.
func TestClient_Do_retriesReads(t *testing.T) {
	header := func(v string) http.Header { return http.Header{"Retry-After": {v}} }
	for name, test := range map[string]struct {
		fault    appsandbookstest.Fault
		attempts int // the number of attempts that reach the service
		ok       bool
		min, max time.Duration
	}{
		"reset twice":                  {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 2}, attempts: 3, ok: true, max: 2 * time.Second},
		"cut body twice":               {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody, Times: 2}, attempts: 3, ok: true, max: 2 * time.Second},
		"reset always":                 {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore}, attempts: 5, max: 8 * time.Second},
		"9603":                         {fault: appsandbookstest.Fault{Number: 9603, Times: 1}, attempts: 2, ok: true, max: time.Second},
		"9646":                         {fault: appsandbookstest.Fault{Number: 9646, Times: 4}, attempts: 5, ok: true, max: 8 * time.Second},
		"9603 inside 200":              {fault: appsandbookstest.Fault{Status: 200, Number: 9603, Times: 1}, attempts: 2, ok: true, max: time.Second},
		"HTML 502":                     {fault: appsandbookstest.Fault{Status: 502, Body: "<html>", Times: 1}, attempts: 2, ok: true, max: time.Second},
		"501":                          {fault: appsandbookstest.Fault{Status: 501, Body: "no", Times: 1}, attempts: 1},
		"404":                          {fault: appsandbookstest.Fault{Status: 404, Body: "no", Times: 1}, attempts: 1},
		"400":                          {fault: appsandbookstest.Fault{Number: 9602, Times: 1}, attempts: 1},
		"expired token":                {fault: appsandbookstest.Fault{Number: 9621, Times: 1}, attempts: 1},
		"500 with seconds":             {fault: appsandbookstest.Fault{Number: 9603, Header: header("120"), Times: 1}, attempts: 2, ok: true, min: 120 * time.Second, max: 120 * time.Second},
		"502 with seconds":             {fault: appsandbookstest.Fault{Status: 502, Header: header(" 7 "), Times: 1}, attempts: 2, ok: true, min: 7 * time.Second, max: 7 * time.Second},
		"503 with date":                {fault: appsandbookstest.Fault{Number: 9729, Header: header("Sat, 01 Jan 2000 00:01:30 GMT"), Times: 1}, attempts: 2, ok: true, min: 90 * time.Second, max: 90 * time.Second},
		"503 with RFC 850 date":        {fault: appsandbookstest.Fault{Number: 9729, Header: header("Saturday, 01-Jan-00 00:01:30 GMT"), Times: 1}, attempts: 2, ok: true, min: 90 * time.Second, max: 90 * time.Second},
		"date in the past":             {fault: appsandbookstest.Fault{Number: 9729, Header: header("Fri, 31 Dec 1999 23:59:59 GMT"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"pause above the maximum":      {fault: appsandbookstest.Fault{Number: 9729, Header: header("3600"), Times: 1}, attempts: 1},
		"seconds of the largest int64": {fault: appsandbookstest.Fault{Number: 9729, Header: header("9223372036854775807"), Times: 1}, attempts: 1},
		"seconds above int64":          {fault: appsandbookstest.Fault{Number: 9729, Header: header("99999999999999999999"), Times: 1}, attempts: 1},
		"text instead of seconds":      {fault: appsandbookstest.Fault{Number: 9729, Header: header("foo"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"negative seconds":             {fault: appsandbookstest.Fault{Number: 9729, Header: header("-5"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"fraction of seconds":          {fault: appsandbookstest.Fault{Number: 9729, Header: header("1.5"), Times: 1}, attempts: 2, ok: true, max: time.Second},
		"429 with seconds":             {fault: appsandbookstest.Fault{Number: 9646, Header: header("9"), Times: 1}, attempts: 2, ok: true, min: 9 * time.Second, max: 9 * time.Second},
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

// A write is sent again only when it is certain that the service did not process it.
func TestClient_Do_retriesOnlyWritesThatWereNotCarriedOut(t *testing.T) {
	for name, test := range map[string]struct {
		fault     appsandbookstest.Fault
		attempts  int
		ok        bool
		ambiguous bool
	}{
		// The two attempts with a failed connection did not reach the service.
		"failed connection":  {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultDial, Times: 2}, attempts: 1, ok: true},
		"reset before":       {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore, Times: 1}, attempts: 1, ambiguous: true},
		"reset after":        {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter, Times: 1}, attempts: 1, ambiguous: true},
		"cut body":           {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody, Times: 1}, attempts: 1, ambiguous: true},
		"huge body":          {fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultHugeBody, Size: 33 << 20, Process: true, Times: 1}, attempts: 1, ambiguous: true},
		"empty 200":          {fault: appsandbookstest.Fault{Status: 200, Body: " ", Times: 1}, attempts: 1, ambiguous: true},
		"HTML 200":           {fault: appsandbookstest.Fault{Status: 200, Body: "<html>", Times: 1}, attempts: 1, ambiguous: true},
		"HTML 502":           {fault: appsandbookstest.Fault{Status: 502, Body: "<html>", Times: 1}, attempts: 1, ambiguous: true},
		"9603":               {fault: appsandbookstest.Fault{Number: 9603, Times: 2}, attempts: 3, ok: true},
		"9603 in 200":        {fault: appsandbookstest.Fault{Status: 200, Number: 9603, Times: 2}, attempts: 3, ok: true},
		"9644":               {fault: appsandbookstest.Fault{Number: 9644, Status: 500, Times: 1}, attempts: 2, ok: true},
		"9646":               {fault: appsandbookstest.Fault{Number: 9646, Times: 1}, attempts: 2, ok: true},
		"429 without number": {fault: appsandbookstest.Fault{Status: 429, Body: "slow down", Times: 1}, attempts: 2, ok: true},
		"9729":               {fault: appsandbookstest.Fault{Number: 9729, Times: 1}, attempts: 2, ok: true},
		"9709":               {fault: appsandbookstest.Fault{Number: 9709, Status: 400, Times: 1}, attempts: 1},
		"307":                {fault: appsandbookstest.Fault{Status: 307, Header: http.Header{"Location": {"http://elsewhere.example.com/"}}, Body: " ", Times: 1}, attempts: 1},
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
				for _, r := range srv.Requests() { // each attempt sends the whole body
					require.Equal(t, `{"users":[{"clientUserId":"u"}]}`, string(r.Body))
				}
			})
		})
	}
}

// The client stops retrying when its retry budget is spent, so that retries do not make an
// outage worse.
func TestClient_stopsRetriesWhenBudgetIsSpent(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9603})
		const calls = 60
		began := time.Now()
		for range calls {
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.ErrorIs(t, err, appsandbooks.ErrInternal)
		}
		// The retry budget grows by one retry every ten seconds.
		earned := int(time.Since(began) / (10 * time.Second))
		require.Less(t, earned, 15)
		require.Equal(t, calls+100+earned, countPath(srv, "users"))

		srv.ResetRequests()
		time.Sleep(time.Hour) // the budget has grown again
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrInternal)
		require.Equal(t, 5, countPath(srv, "users"))
	})
}

// Clients whose requests fail at the same moment retry at different (random) moments.
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
		// The service receives retries in each of the ten intervals of 50 ms in the first
		// 500 ms.
		require.Len(t, buckets, 10)
	})
}

// The error of a canceled call contains the cause of the cancellation and the error of
// the last attempt.
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
		require.ErrorIs(t, err, appsandbooks.ErrInternal) // the error of the last attempt
		require.Equal(t, 1, isError(t, err).Attempts)

		// A call does not begin a pause that ends after the call's deadline.
		ctx2, cancel2 := context.WithTimeout(t.Context(), 41*time.Second)
		defer cancel2()
		began = time.Now()
		_, err = c.Users.List(ctx2, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrInternal)
		// The call waited for the rest of the first pause, but not for the second pause.
		require.Equal(t, 40*time.Second, time.Since(began))
	})
}

// A canceled write still waits for its answer. It does not wait for a pause that the answer
// asks for, because no attempt can follow.
func TestClient_endsGracePeriodWhenNoAttemptCanFollow(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(2 * time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Number: 9729, Header: http.Header{"Retry-After": {"60"}}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err = op.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

// A failure to verify the server's certificate is not retried, because the next attempt
// would fail, too.
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

// A write that is canceled during a pause ends at once. The client waits up to five seconds
// for the answer to a canceled write only if a request is in progress.
func TestClient_endsPauseOfWriteWhenCanceled(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Number: 9729, Header: http.Header{"Retry-After": {"60"}}})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		began := time.Now()
		op, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: addAssets(srv, 1, 10), SerialNumbers: names("C02", 3)})
		require.NoError(t, err)
		require.Equal(t, 20*time.Second, time.Since(began))
		_, err = op.Wait(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable) // the error of the last attempt
	})
}

// A write is retried after a failed connection, because the service did not receive it.
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

// Each attempt has one Authorization header and the whole body, also when the transport
// changed the header of the previous attempt.
func TestClient_Do_sendsWholeRequestOnEachAttempt(t *testing.T) {
	var seen []string
	c := clientWithTransport(t, func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		seen = append(seen, fmt.Sprint(r.Header["Authorization"], r.Header["Content-Type"], r.ContentLength, string(body)))
		r.Header.Set("Authorization", "changed by the transport")
		return &http.Response{StatusCode: 500, Header: http.Header{}, Body: readCloser(`{"errorNumber":9603}`)}, nil
	}, appsandbooks.WithRetry(3, 0, 0))
	require.ErrorIs(t, c.Do(t.Context(), "POST", "users/create", nil, map[string]int{"a": 1}, nil), appsandbooks.ErrInternal)
	want := "[Bearer " + stoken + `] [application/json] 7{"a":1}`
	require.Equal(t, []string{want, want, want}, seen)
}

// A call whose context has already ended sends no request.
func TestClient_sendsNothingAfterContextEnds(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		reason := errors.New("the caller has stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		_, err := c.Users.List(ctx, appsandbooks.UserFilter{})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{})), reason)
		_, err = associateOne(ctx, srv, c)
		require.ErrorIs(t, err, reason)
		synctest.Wait()
		// The client still reads the service's limits, because all callers share them.
		for _, r := range srv.Requests() {
			require.Equal(t, "service/config", r.Path)
		}
	})
}

// When an HTTP proxy refuses the connection, the error contains the proxy's status, the
// proxy receives no content token, and the write is not ambiguous.
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

// When a write gets no answer on a reused connection, neither the client nor net/http sends
// the write again.
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

// When all retries fail, the error has the status and the body of the last attempt, and its
// field Attempts counts all attempts.
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

// The client reads an answer with missing, null or unknown fields. An answer with an
// identifier of a wrong type is an error.
func TestClient_readsAnswersWithMissingOrUnknownFields(t *testing.T) {
	for name, body := range map[string]string{
		"empty object":     `{}`,
		"nulls":            `{"users":null,"nextPageIndex":null,"versionId":null,"uId":null,"tokenExpirationDate":null,"mdmInfo":null}`,
		"unreadable date":  `{"users":[],"tokenExpirationDate":"next year"}`,
		"date is a number": `{"users":[],"tokenExpirationDate":1893456000}`,
		"new fields":       `{"users":[{"clientUserId":"a","status":"Registered","age":7}],"brandNew":{"x":[1]}}`,
		"date in RFC 3339": `{"users":[],"tokenExpirationDate":"2031-02-03T04:05:06.789Z"}`,
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
