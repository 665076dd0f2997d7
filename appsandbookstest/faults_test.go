package appsandbookstest_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// both runs a test in memory and over TCP.
func both(t *testing.T, test func(t *testing.T, srv *fake.Server, c *caller)) {
	t.Run("memory", func(t *testing.T) {
		srv, _, c := inMemory(t)
		test(t, srv, c)
	})
	t.Run("tcp", func(t *testing.T) {
		srv, _, c := inMemory(t)
		require.NoError(t, srv.Listen("localhost:0"))
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		c.client = &http.Client{Transport: tr}
		test(t, srv, c)
	})
}

// A trip is what a client sees of a request.
type trip struct {
	hooks   []string
	status  int
	body    string
	err     error // of the round trip
	bodyErr error // of reading the body
}

// travel sends a request and records everything about it.
func (c *caller) travel(method, path string, body any) trip {
	c.t.Helper()
	var out trip
	req := c.request(method, path, body)
	hook := func(name string) { out.hooks = append(out.hooks, name) }
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn:              func(string) { hook("GetConn") },
		GotConn:              func(httptrace.GotConnInfo) { hook("GotConn") },
		WroteHeaders:         func() { hook("WroteHeaders") },
		WroteRequest:         func(httptrace.WroteRequestInfo) { hook("WroteRequest") },
		GotFirstResponseByte: func() { hook("GotFirstResponseByte") },
	}))
	resp, err := c.client.Do(req)
	if err != nil {
		out.err = err
		return out
	}
	defer resp.Body.Close()
	out.status = resp.StatusCode
	raw, err := io.ReadAll(resp.Body)
	out.body, out.bodyErr = string(raw), err
	return out
}

func TestFaults(t *testing.T) {
	create := users("a")
	processed := func(t *testing.T, srv *fake.Server, n int) {
		t.Helper()
		require.Len(t, srv.Unit().Events(), n)
	}
	for _, tt := range []struct {
		kind      fake.FaultKind
		processed int
		check     func(t *testing.T, got trip, inMemory bool)
	}{
		{fake.FaultDial, 0, func(t *testing.T, got trip, inMemory bool) {
			require.Error(t, got.err)
			if inMemory {
				require.ErrorIs(t, got.err, syscall.ECONNREFUSED)
				require.Equal(t, []string{"GetConn"}, got.hooks)
			}
		}},
		{fake.FaultResetBefore, 0, func(t *testing.T, got trip, inMemory bool) {
			require.Error(t, got.err)
			require.Contains(t, got.hooks, "WroteHeaders")
			if inMemory {
				require.ErrorIs(t, got.err, syscall.ECONNRESET)
				require.Equal(t, []string{"GetConn", "GotConn", "WroteHeaders", "WroteRequest"}, got.hooks)
			}
		}},
		{fake.FaultResetAfter, 1, func(t *testing.T, got trip, inMemory bool) {
			require.Error(t, got.err)
			require.Contains(t, got.hooks, "WroteRequest")
			if inMemory {
				require.ErrorIs(t, got.err, syscall.ECONNRESET)
			}
		}},
		{fake.FaultEOF, 1, func(t *testing.T, got trip, _ bool) {
			require.ErrorContains(t, got.err, "EOF")
		}},
		{fake.FaultCutBody, 1, func(t *testing.T, got trip, _ bool) {
			require.NoError(t, got.err)
			require.Equal(t, 200, got.status)
			require.ErrorIs(t, got.bodyErr, io.ErrUnexpectedEOF)
			require.NotEmpty(t, got.body)
		}},
		{fake.FaultSlowBody, 1, func(t *testing.T, got trip, _ bool) {
			require.NoError(t, got.bodyErr)
			require.Contains(t, got.body, "eventId")
		}},
		{fake.FaultTruncatedGzip, 1, func(t *testing.T, got trip, _ bool) {
			require.Equal(t, 200, got.status)
			require.ErrorIs(t, got.bodyErr, io.ErrUnexpectedEOF)
		}},
		{fake.FaultHugeBody, 1, func(t *testing.T, got trip, _ bool) {
			require.NoError(t, got.bodyErr)
			require.Len(t, strings.TrimLeft(got.body, " "), len(got.body)-(3<<20+7))
		}},
		{fake.FaultGzipBomb, 1, func(t *testing.T, got trip, _ bool) {
			require.NoError(t, got.bodyErr)
			require.Len(t, strings.TrimLeft(got.body, " "), len(got.body)-(3<<20+7))
			require.Contains(t, got.body, "eventId")
		}},
		{fake.FaultRespond, 0, func(t *testing.T, got trip, _ bool) {
			require.Equal(t, 500, got.status)
			require.Empty(t, got.body)
			require.Contains(t, got.hooks, "GotFirstResponseByte")
		}},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			both(t, func(t *testing.T, srv *fake.Server, c *caller) {
				srv.AddFault(fake.Fault{
					Method: "POST", Path: "/users/", Kind: tt.kind, Times: 1, Size: 3<<20 + 7, Delay: time.Millisecond,
				})
				c.get("users") // another method
				got := c.travel(http.MethodPost, "users/create", create)
				tt.check(t, got, !strings.HasPrefix(srv.URL(), "http://"))
				processed(t, srv, tt.processed)
				c.post("users/create", users("b"))
				processed(t, srv, tt.processed+1)

				var kinds []fake.FaultKind
				for _, r := range srv.Requests() {
					if r.Method == http.MethodPost {
						kinds = append(kinds, r.Fault)
						if r.Fault == fake.FaultResetAfter || r.Fault == fake.FaultEOF {
							require.Zero(t, r.Status)
						}
					}
				}
				if tt.kind == fake.FaultDial {
					require.Equal(t, []fake.FaultKind{""}, kinds, "it never arrived")
				} else {
					require.Equal(t, []fake.FaultKind{tt.kind, ""}, kinds)
				}
			})
		})
	}
}

func TestAnswersOnDemand(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  fake.Fault
		status int
		body   string
		header http.Header
	}{
		{"number", fake.Fault{Number: 9646}, 429, `"errorNumber":9646`, nil},
		{"number and header", fake.Fault{Number: 9603, Header: http.Header{"retry-after": {"120"}}}, 500, "9603", http.Header{"Retry-After": {"120"}}},
		{"maintenance", fake.Fault{Number: 9729}, 503, "9729", nil},
		{"unknown number", fake.Fault{Number: 12345}, 400, "12345", nil},
		{"number in a 200", fake.Fault{Number: 9622, Status: 200}, 200, "9622", nil},
		{"proxy", fake.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}, 502, "Bad Gateway", http.Header{"Content-Type": {"text/html; charset=utf-8"}}},
		{"JSON", fake.Fault{Status: 200, Body: `{"new":1}`}, 200, `{"new":1}`, http.Header{"Content-Type": {"application/json;charset=UTF-8"}}},
		{"redirect", fake.Fault{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example/"}}}, 307, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, srv *fake.Server, c *caller) {
				srv.AddFault(tt.fault)
				c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				resp, err := c.client.Do(c.request(http.MethodGet, "assets", nil))
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, tt.status, resp.StatusCode)
				require.Contains(t, string(body), tt.body)
				for name, values := range tt.header {
					require.Equal(t, values, resp.Header[name])
				}
				r := srv.Requests()[0]
				require.Equal(t, tt.fault.Number, r.ErrorNumber)
				require.Equal(t, tt.status, r.Status)
				srv.ClearFaults()
				c.get("assets")
			})
		})
	}
}

func TestALostAnswerOfAProcessedRequest(t *testing.T) {
	srv, u, c := inMemory(t)
	srv.AddFault(fake.Fault{Status: 502, Process: true})
	status, _ := c.do(http.MethodPost, "users/create", users("a"))
	require.Equal(t, 502, status)
	u.FinishEvents()
	require.Len(t, u.Users(), 1)
}

func TestFaultsChooseTheirRequests(t *testing.T) {
	srv, u, c := inMemory(t)
	other := srv.NewUnit("other")
	outcomes := func(n int, path string) string {
		var out strings.Builder
		for range n {
			status, _ := c.do(http.MethodGet, path, nil)
			fmt.Fprint(&out, status/100)
		}
		return out.String()
	}
	srv.AddFault(fake.Fault{Path: "assets", Number: 9603, After: 2, Times: 2})
	require.Equal(t, "225522", outcomes(6, "assets"))
	srv.ClearFaults()

	srv.AddFault(fake.Fault{Path: "subscriptions", Number: 9603})
	require.Equal(t, "5", outcomes(1, "subscriptions/assignments"))
	require.Equal(t, "2", outcomes(1, "assignments"))
	srv.ClearFaults()

	srv.AddFault(fake.Fault{Path: "ass", Number: 9603})
	require.Equal(t, "2", outcomes(1, "assets"), "not a parent of the path")
	srv.ClearFaults()

	srv.AddFault(fake.Fault{Unit: other, Number: 9603})
	require.Equal(t, "2", outcomes(1, "assets"))
	c.token = other.Token()
	require.Equal(t, "5", outcomes(1, "assets"))
	c.token = u.Token()
	srv.ClearFaults()

	srv.AddFault(fake.Fault{Number: 9603, Probability: 0.5})
	first := outcomes(200, "assets")
	require.InDelta(t, 100, strings.Count(first, "5"), 30)
	again, _, c2 := inMemory(t)
	again.AddFault(fake.Fault{Number: 9603, Probability: 0.5})
	c = c2
	require.Equal(t, first, outcomes(200, "assets"), "the seed decides")
}

func TestCompressedAnswersAreLeftAloneOnDemand(t *testing.T) {
	both(t, func(t *testing.T, srv *fake.Server, c *caller) {
		srv.AddFault(fake.Fault{Kind: fake.FaultGzipBomb, Size: 5 << 20})
		req := c.request(http.MethodGet, "assets", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
		require.False(t, resp.Uncompressed)
		n := &counter{r: resp.Body}
		zr, err := gzip.NewReader(n)
		require.NoError(t, err)
		expanded, err := io.Copy(io.Discard, zr)
		require.NoError(t, err)
		require.Greater(t, expanded, int64(5<<20))
		require.Less(t, n.n, int64(100<<10))

		req.Header.Del("Accept-Encoding")
		resp, err = c.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.True(t, resp.Uncompressed)
		require.EqualValues(t, -1, resp.ContentLength)
		require.Empty(t, resp.Header.Get("Content-Encoding"))
	})
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func TestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, u, c := inMemory(t, fake.WithLatency(time.Second))
		send := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			resp, err := c.client.Do(c.request(http.MethodPost, "users/create", users(fmt.Sprint(timeout))).WithContext(ctx))
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
		start := time.Now()
		require.ErrorIs(t, send(499*time.Millisecond), context.DeadlineExceeded)
		require.Empty(t, u.Events(), "it was not processed")
		require.Equal(t, 499*time.Millisecond, time.Since(start))
		require.ErrorIs(t, send(999*time.Millisecond), context.DeadlineExceeded)
		require.Len(t, u.Events(), 1, "it was")
		start = time.Now()
		require.NoError(t, send(1001*time.Millisecond))
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, send(0), context.DeadlineExceeded)
		require.Len(t, srv.Requests(), 3, "a dead context sends nothing")

		// The body is read under the context, too.
		srv.AddFault(fake.Fault{Kind: fake.FaultSlowBody, Delay: time.Minute})
		ctx, cancel := context.WithCancelCause(t.Context())
		resp, err := c.client.Do(c.request(http.MethodGet, "users", nil).WithContext(ctx))
		require.NoError(t, err)
		reason := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(reason) })
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, reason)
		_, err = resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, reason)
		require.NoError(t, resp.Body.Close())
		_, err = resp.Body.Read(make([]byte, 1))
		require.Error(t, err)

		start = time.Now()
		srv.ClearFaults()
		srv.AddFault(fake.Fault{Kind: fake.FaultSlowBody, Delay: time.Minute})
		c.get("users")
		require.Equal(t, time.Minute+time.Second, time.Since(start))

		// Closing the server ends what is waiting.
		time.AfterFunc(100*time.Millisecond, srv.Close)
		_, err = c.client.Do(c.request(http.MethodGet, "users", nil))
		require.ErrorIs(t, err, http.ErrServerClosed)
		_, err = c.client.Do(c.request(http.MethodGet, "users", nil))
		require.ErrorIs(t, err, http.ErrServerClosed)
	})
}

// body tells whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func TestRequestBodiesAreReadAndClosed(t *testing.T) {
	srv, _, c := inMemory(t)
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		kind fake.FaultKind
		read bool
	}{
		{"success", t.Context(), "", true},
		{"dial", t.Context(), fake.FaultDial, false},
		{"reset", t.Context(), fake.FaultResetBefore, true},
		{"dead", dead, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv.ClearFaults()
			if tt.kind != "" {
				srv.AddFault(fake.Fault{Kind: tt.kind})
			}
			content := strings.NewReader(`{"users":[{"clientUserId":"a"}]}`)
			b := &body{Reader: content}
			req := c.request(http.MethodPost, "users/create", nil).WithContext(tt.ctx)
			req.Body = b
			resp, err := srv.Transport().RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			require.True(t, b.closed)
			require.Equal(t, tt.read, content.Len() == 0)
		})
	}
	srv.ClearFaults()
	b := &body{Reader: errReader{}}
	req := c.request(http.MethodPost, "users/create", nil)
	req.Body = b
	_, err := srv.Transport().RoundTrip(req)
	require.ErrorIs(t, err, errBody)
	require.True(t, b.closed)

	req = c.request(http.MethodGet, "users", nil)
	req.Method = ""
	resp, err := srv.Transport().RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	resp.Body.Close()
	req.URL.Host = ""
	_, err = srv.Transport().RoundTrip(req)
	require.Error(t, err)
}
