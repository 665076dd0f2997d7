package appsandbookstest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Each kind of fault has the documented effect on the client and on the ledger,
// in memory and over TCP.
func TestServer_AddFault_kinds(t *testing.T) {
	create := usersBody("a")
	processed := func(t *testing.T, srv *fake.Server, n int) {
		t.Helper()
		require.Len(t, srv.Unit().Events(), n)
	}
	for _, tt := range []struct {
		kind      fake.FaultKind
		processed int
		check     func(t *testing.T, got observedRequest, inMemory bool)
	}{
		{fake.FaultDial, 0, func(t *testing.T, got observedRequest, inMemory bool) {
			require.Error(t, got.err)
			if inMemory {
				require.ErrorIs(t, got.err, syscall.ECONNREFUSED)
				require.Equal(t, []string{"GetConn"}, got.hooks)
			}
		}},
		{fake.FaultResetBefore, 0, func(t *testing.T, got observedRequest, inMemory bool) {
			require.Error(t, got.err)
			require.Contains(t, got.hooks, "WroteHeaders")
			if inMemory {
				require.ErrorIs(t, got.err, syscall.ECONNRESET)
				require.Equal(t, []string{"GetConn", "GotConn", "WroteHeaders", "WroteRequest"}, got.hooks)
			}
		}},
		{fake.FaultResetAfter, 1, func(t *testing.T, got observedRequest, inMemory bool) {
			require.Error(t, got.err)
			require.Contains(t, got.hooks, "WroteRequest")
			if inMemory {
				require.ErrorIs(t, got.err, syscall.ECONNRESET)
			}
		}},
		{fake.FaultEOF, 1, func(t *testing.T, got observedRequest, _ bool) {
			require.ErrorContains(t, got.err, "EOF")
		}},
		{fake.FaultCutBody, 1, func(t *testing.T, got observedRequest, _ bool) {
			require.NoError(t, got.err)
			require.Equal(t, 200, got.status)
			require.ErrorIs(t, got.bodyErr, io.ErrUnexpectedEOF)
			require.NotEmpty(t, got.body)
		}},
		{fake.FaultSlowBody, 1, func(t *testing.T, got observedRequest, _ bool) {
			require.NoError(t, got.bodyErr)
			require.Contains(t, got.body, "eventId")
		}},
		{fake.FaultTruncatedGzip, 1, func(t *testing.T, got observedRequest, _ bool) {
			require.Equal(t, 200, got.status)
			require.ErrorIs(t, got.bodyErr, io.ErrUnexpectedEOF)
		}},
		{fake.FaultHugeBody, 1, func(t *testing.T, got observedRequest, _ bool) {
			require.NoError(t, got.bodyErr)
			require.Len(t, strings.TrimLeft(got.body, " "), len(got.body)-(3<<20+7))
		}},
		{fake.FaultGzipBomb, 1, func(t *testing.T, got observedRequest, _ bool) {
			require.NoError(t, got.bodyErr)
			require.Len(t, strings.TrimLeft(got.body, " "), len(got.body)-(3<<20+7))
			require.Contains(t, got.body, "eventId")
		}},
		{fake.FaultRespond, 0, func(t *testing.T, got observedRequest, _ bool) {
			require.Equal(t, 500, got.status)
			require.Empty(t, got.body)
			require.Contains(t, got.hooks, "GotFirstResponseByte")
		}},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			inMemoryAndTCP(t, func(t *testing.T, srv *fake.Server, c *caller) {
				srv.AddFault(fake.Fault{
					Method: "POST", Path: "/users/", Kind: tt.kind, Times: 1, Size: 3<<20 + 7, Delay: time.Millisecond,
				})
				c.get("users") // another method
				got := c.observe(http.MethodPost, "users/create", create)
				tt.check(t, got, !strings.HasPrefix(srv.URL(), "http://"))
				processed(t, srv, tt.processed)
				c.post("users/create", usersBody("b"))
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
					require.Equal(t, []fake.FaultKind{""}, kinds, "the request did not reach the server")
				} else {
					require.Equal(t, []fake.FaultKind{tt.kind, ""}, kinds)
				}
			})
		})
	}
}

// FaultRespond sends the given status, header and body, or the error with the
// given number.
func TestServer_AddFault_respond(t *testing.T) {
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
			inMemoryAndTCP(t, func(t *testing.T, srv *fake.Server, c *caller) {
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

// If Process is set, the request takes effect although the client gets the
// answer of the fault.
func TestServer_AddFault_respondAfterProcessing(t *testing.T) {
	srv, u, c := newServer(t)
	srv.AddFault(fake.Fault{Status: 502, Process: true})
	status, _ := c.do(http.MethodPost, "users/create", usersBody("a"))
	require.Equal(t, 502, status)
	u.FinishEvents()
	require.Len(t, u.Users(), 1)
}

// The fields Path, Unit, After, Times and Probability select the requests of a
// fault.
func TestServer_AddFault_selectsRequests(t *testing.T) {
	srv, u, c := newServer(t)
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
	again, _, c2 := newServer(t)
	again.AddFault(fake.Fault{Number: 9603, Probability: 0.5})
	c = c2
	require.Equal(t, first, outcomes(200, "assets"), "the seed determines which requests fail")
}
