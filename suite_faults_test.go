package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// effect is what a fault means to a request.
type effect int

const (
	// passes: the service certainly did nothing, and may do it a moment later.
	passes effect = iota
	// refused: the service certainly did nothing, and will not.
	refused
	// lost: an answer is missing. A read asks again.
	lost
	// useless: there is an answer that nobody can use, and no better one to be had.
	useless
	// bare: an answer without its content. Enough for a read; an accepted
	// write without its event is of no use.
	bare
	// fine: odd, but good.
	fine
)

type matrixFault struct {
	name   string
	effect effect
	fault  appsandbookstest.Fault
	is     error // what the error of a refusal is
	unsure bool  // a refusal that does not prove that nothing was done
	heavy  bool  // tens of megabytes
	typed  bool  // JSON, with parts of another type
}

func withHeader(number int, key, value string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Number: number, Header: http.Header{key: {value}}}
}

func redirectTo(status int, location string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Status: status, Body: " ", Header: http.Header{"Location": {location}}}
}

func okAnswer(body string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Status: 200, Body: body}
}

var matrixFaults = []matrixFault{
	{name: "dial error", effect: passes, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultDial}},
	{name: "reset before", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore}},
	{name: "reset after", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter}},
	{name: "EOF in the header", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultEOF}},
	{name: "EOF in the body", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody}},
	{name: "truncated gzip", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultTruncatedGzip}},
	{name: "body too slow", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour}},
	{name: "slow body", effect: fine, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: 20 * time.Second}},
	{name: "huge body", effect: useless, heavy: true, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultHugeBody, Size: 33 << 20}},
	{name: "decompression bomb", effect: useless, heavy: true, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultGzipBomb, Size: 33 << 20}},

	{name: "HTML 502", effect: lost, fault: appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}},
	{name: "HTML 502, processed", effect: lost, fault: appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>", Process: true}},
	{name: "empty 504", effect: lost, fault: appsandbookstest.Fault{Status: 504, Body: " "}},
	{name: "HTML 200", effect: useless, fault: okAnswer("<html>Sign in to this network</html>")},
	{name: "empty 200", effect: useless, fault: okAnswer(" ")},
	{name: "cut JSON 200", effect: useless, fault: okAnswer(`{"eventId":"e","eventStatus":"COMPL`)},
	{name: "200 with an unreadable error number", effect: useless, fault: okAnswer(`{"errorNumber":"E-9602","errorMessage":"no","uId":"u"}`)},
	{name: "200 with an error message only", effect: useless, fault: okAnswer(`{"errorMessage":"no","users":[],"eventId":"e","uId":"u"}`)},
	{name: "429 without a body", effect: passes, fault: appsandbookstest.Fault{Status: 429, Body: " "}},
	{name: "429/9646", effect: passes, fault: appsandbookstest.Fault{Number: 9646}},
	{name: "500/9603", effect: passes, fault: appsandbookstest.Fault{Number: 9603}},
	{name: "200/9603", effect: passes, fault: appsandbookstest.Fault{Status: 200, Number: 9603}},
	{name: "500/9644", effect: passes, fault: appsandbookstest.Fault{Status: 500, Number: 9644}},
	{name: "500/9603, Retry-After in seconds", effect: passes, fault: withHeader(9603, "Retry-After", "60")},
	{name: "503/9729, Retry-After in seconds", effect: passes, fault: withHeader(9729, "Retry-After", "40")},
	{name: "503/9729, Retry-After as a date", effect: passes, fault: withHeader(9729, "Retry-After", "Sat, 01 Jan 2000 00:01:30 GMT")},
	{name: "503/9729, Retry-After in the past", effect: passes, fault: withHeader(9729, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")},
	{name: "503/9729, huge Retry-After", effect: refused, is: appsandbooks.ErrServiceUnavailable, fault: withHeader(9729, "Retry-After", "99999999999999999999")},
	{name: "503/9729, Retry-After of a day", effect: refused, is: appsandbooks.ErrServiceUnavailable, fault: withHeader(9729, "Retry-After", "86400")},
	{name: "503/9729, junk Retry-After", effect: passes, fault: withHeader(9729, "Retry-After", "soon")},

	{name: "401 expired", effect: refused, is: appsandbooks.ErrTokenExpired, fault: appsandbookstest.Fault{Number: 9621}},
	{name: "401 revoked", effect: refused, is: appsandbooks.ErrTokenRevoked, fault: appsandbookstest.Fault{Number: 9625}},
	{name: "401 malformed", effect: refused, is: appsandbooks.ErrTokenMalformed, fault: appsandbookstest.Fault{Status: 401, Number: 9622}},
	{name: "200 malformed", effect: refused, is: appsandbooks.ErrTokenMalformed, fault: appsandbookstest.Fault{Status: 200, Number: 9622}},
	{name: "401 without a body", effect: refused, fault: appsandbookstest.Fault{Status: 401, Body: " "}},
	{name: "403/9637", effect: refused, is: appsandbooks.ErrForbiddenFacilitator, fault: appsandbookstest.Fault{Status: 403, Number: 9637}},
	{name: "400 of an unknown number", effect: refused, is: appsandbooks.ErrorNumber(12345), fault: appsandbookstest.Fault{Status: 400, Number: 12345}},
	{name: "501", effect: refused, unsure: true, fault: appsandbookstest.Fault{Status: 501, Body: "no"}},
	{name: "302 to another host", effect: refused, is: appsandbooks.ErrRedirect, fault: redirectTo(302, "https://thief.example.com/")},
	{name: "307 to another host", effect: refused, is: appsandbooks.ErrRedirect, fault: redirectTo(307, "https://thief.example.com/")},
	{name: "308 from https to http", effect: refused, is: appsandbooks.ErrRedirect, fault: redirectTo(308, "http://vpp.itunes.apple.com/mdm/v2/users")},

	{name: "missing fields", effect: bare, fault: okAnswer(`{}`)},
	{name: "nulls", effect: bare, fault: okAnswer(`{"eventId":null,"eventStatus":null,"failures":null,"users":null,"assets":null,"unlimitedAssets":null,
		"assignments":null,"subscriptions":null,"admins":null,"nextPageIndex":null,"nextCursor":null,"versionId":null,"uId":null,
		"tokenExpirationDate":null,"mdmInfo":null,"limits":null,"urls":null,"subscriptionManagement":null}`)},
	{name: "unknown enums and fields", effect: fine, fault: okAnswer(`{"eventId":"e","eventStatus":"COMPLETE","eventType":"NEW","numCompleted":2,"numRequested":2,
		"users":[{"clientUserId":"canary-user","status":"New"}],"assets":[{"adamId":"1","productType":"New","pricingParam":"NEW"}],
		"subscriptions":[{"adamId":1,"status":"NEW"}],"admins":[{"adamId":1,"userStatus":"New"}],"urls":{"invitationEmail":"https://x.example.com/%25inviteCode%25"},
		"limits":{"maxNew":7},"notificationTypes":["NEW"],"brandNew":{"x":[1]},"subscriptionManagement":true,"versionId":"v"}`)},
	{name: "ids of the wrong type", effect: useless, typed: true, fault: okAnswer(`{"eventId":5,"eventStatus":5,"users":[{"clientUserId":5}],"assets":[{"adamId":5}],
		"assignments":[{"adamId":5}],"subscriptions":[{"adamId":"x"}],"admins":[{"adamId":"x"}],"limits":5,"uId":5}`)},
}

func TestFaultMatrix(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			for _, f := range matrixFaults {
				if f.heavy && testing.Short() || f.effect == fine && e.kind == settles { // an event that does not exist
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					withServerFor(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
						meetFault(t, e, f, 1, srv, c, events)
					})
				})
				if f.heavy || f.effect == fine {
					continue // once says it all
				}
				t.Run(f.name+", for ever", func(t *testing.T) {
					withServerFor(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
						meetFault(t, e, f, 0, srv, c, events)
					})
				})
			}
		})
	}
}

// meetFault states what must hold when a method meets a fault.
func meetFault(t *testing.T, e endpoint, f matrixFault, times int, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
	fault := f.fault
	fault.Path, fault.Times = e.path, times
	if e.path == "client/config" || e.path == "subscriptions" { // which have a sibling or children
		fault.Method = http.MethodGet
		if e.kind == repeats {
			fault.Method = http.MethodPost
		}
	}
	srv.AddFault(fault)
	began := time.Now()
	err := e.call(t.Context(), c, srv)
	took := time.Since(began)
	attempts := 0
	for _, r := range srv.Requests() {
		if r.Path == e.path {
			attempts++
		}
	}
	accepted := 0
	for _, ev := range srv.Unit().Events()[events:] {
		if ev.Path == e.path {
			accepted++
		}
	}
	once, write := times == 1, e.kind == writes || e.kind == writesOnce || e.kind == settles
	operation := strings.HasPrefix(e.method, "Operation.")

	// Enable and Disable succeed only if the answer shows the setting.
	if setting := map[string]string{"Subscriptions.Enable": `"subscriptionManagement":true`, "Subscriptions.Disable": `"subscriptionManagement":false`}[e.method]; setting != "" &&
		(f.effect == bare || f.effect == fine && fault.Body != "") && !strings.Contains(fault.Body, setting) {
		require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		return
	}

	// What holds of any error.
	if err != nil {
		var apple *appsandbooks.Error
		require.True(t, errors.As(err, &apple) || errors.Is(err, appsandbooks.ErrStalled) || errors.Is(err, appsandbooks.ErrNotVerified),
			"%T is no *Error: %v", err, err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %q", err, err, err)} {
			require.NotContains(t, text, srv.Unit().Token())
			require.NotContains(t, strings.ToLower(text), "canary", "ids are personal data")
		}
	}

	// Whether it succeeds, and what it says if not.
	var good, ambiguous bool
	switch f.effect {
	case fine:
		good = e.method != "Operation.Verify" || fault.Kind == appsandbookstest.FaultSlowBody
	case passes:
		good = once
	case lost:
		good = once && !write
		ambiguous = write
	case useless:
		good = once && e.kind == polls ||
			f.typed && e.path == "service/config" && e.method != "Users.InvitationURL" // which is read part by part
		ambiguous = write
	case bare:
		ambiguous = e.kind == writes || e.kind == settles
		good = !ambiguous && e.kind != walks && (once || e.kind != polls) &&
			e.method != "Users.InvitationURL" // which misses what it looks for
	case refused:
		ambiguous = f.unsure && write
		require.Error(t, err)
		if f.is != nil {
			require.ErrorIs(t, err, f.is)
		}
	}
	switch {
	case f.effect == refused:
	case e.kind == polls && operation:
		good = true // in the end, the data that it reads back is the truth
	case e.kind == settles && ambiguous:
		good = accepted == 1
		ambiguous = !good
	}
	require.Equal(t, good, err == nil, "%v", err)
	require.Equal(t, ambiguous, errors.Is(err, appsandbooks.ErrAmbiguous), "%v", err)

	// How often it asked, and how long that took.
	switch {
	case e.kind == polls:
		require.LessOrEqual(t, attempts, 5*21) // ten minutes of looks
		require.LessOrEqual(t, took, 30*time.Minute)
	case f.effect == refused || write && f.effect != passes:
		require.LessOrEqual(t, attempts, 1)
	default:
		require.LessOrEqual(t, attempts, 5)
		require.LessOrEqual(t, took, 10*time.Minute)
	}

	// A write was done once, or not at all; and if it fails for certain, it was not.
	if write && e.kind != writesOnce {
		require.LessOrEqual(t, accepted, 1)
		if err != nil && !ambiguous {
			require.Zero(t, accepted, "%v", err)
		}
		if err == nil && f.effect != fine {
			require.Equal(t, 1, accepted)
		}
	}

	require.Empty(t, srv.Violations())
}

// A token that is replaced between two attempts.
func TestFaultMatrixTokenReplaced(t *testing.T) {
	for _, e := range endpoints {
		if e.path == "service/config" {
			continue // which does not ask for one
		}
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			for _, source := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					srv := newServerFor(t, e)
					defer srv.Close()
					token := srv.Unit().Token()
					replaced := false
					rt := roundTripper(func(r *http.Request) (*http.Response, error) {
						if strings.HasSuffix(r.URL.Path, "/"+e.path) && !replaced {
							replaced = true
							token = srv.Unit().ReplaceToken()
							srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9603, Times: 1})
						}
						return srv.Transport().RoundTrip(r)
					})
					opts := []appsandbooks.Option{appsandbooks.WithHTTPClient(&http.Client{Transport: rt})}
					if source {
						opts = append(opts, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
					}
					first := token
					c, err := appsandbooks.NewClient(first, opts...)
					require.NoError(t, err)
					defer c.Close()
					if e.path == "status" && e.method != "Operation.Wait" && e.method != "Operation.Step" {
						_, err := c.Assets.Associate(t.Context(), matrixAssets)
						require.NoError(t, err)
					}
					err = e.call(t.Context(), c, srv)
					require.True(t, replaced)
					if source {
						require.NoError(t, err)
						return
					}
					require.ErrorIs(t, err, appsandbooks.ErrTokenRevoked)
					require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
					require.NotContains(t, err.Error(), first)
				})
			}
		})
	}
}

// steps counts what happens to requests, and ends a context at one of them.
type stepCounter struct {
	next http.RoundTripper

	mu     sync.Mutex
	n      int
	at     int // -1: never
	cancel func()
}

func (s *stepCounter) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == s.at {
		s.cancel()
	}
	s.n++
}

func (s *stepCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	s.step() // about to be sent
	resp, err := s.next.RoundTrip(r)
	s.step() // headers
	if err != nil {
		return nil, err
	}
	resp.Body = &steppedBody{ReadCloser: resp.Body, s: s}
	return resp, nil
}

type steppedBody struct {
	io.ReadCloser
	s    *stepCounter
	once sync.Once
}

func (b *steppedBody) Read(p []byte) (int, error) {
	b.once.Do(b.s.step) // amid the body
	return b.ReadCloser.Read(p)
}

var errLeaving = errors.New("the caller is leaving")

// A context that ends at any step ends the call promptly, with its cause.
func TestFaultMatrixCanceled(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			run := func(at int, began *time.Time) (total int, err error) {
				synctest.Test(t, func(t *testing.T) {
					srv := newServerFor(t, e)
					defer srv.Close()
					ctx, cancel := context.WithCancelCause(t.Context())
					s := &stepCounter{next: srv.Transport(), at: -1, cancel: func() { *began = time.Now(); cancel(errLeaving) }}
					c, cerr := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
					require.NoError(t, cerr)
					defer c.Close()
					if e.path == "status" {
						_, aerr := c.Assets.Associate(t.Context(), matrixAssets)
						require.NoError(t, aerr)
					}
					// The pause after a refusal is a step of its own.
					srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9603, Times: 1})
					s.mu.Lock()
					s.n, s.at = 0, at
					s.mu.Unlock()
					err = e.call(ctx, c, srv)
					s.mu.Lock() // a flight for all callers may go on without this one
					total = s.n
					took := time.Since(*began)
					s.mu.Unlock()
					if at >= 0 {
						require.LessOrEqual(t, took, 6*time.Second, "step %d", at) // the grace of a write
					}
					if err != nil && at >= 0 {
						require.ErrorIs(t, err, context.Canceled, "step %d", at)
						require.ErrorIs(t, err, errLeaving, "step %d", at)
					}
					cancel(nil)
				})
				return total, err
			}
			var at time.Time
			total, err := run(-1, &at)
			require.NoError(t, err)
			require.Greater(t, total, 3)
			for step := range total {
				_, _ = run(step, &at)
			}
		})
	}
}

// A context that ends in a pause ends it at once, and one that has ended
// already sends nothing.
func TestFaultMatrixCanceledInPause(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			withServerFor(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, _ int) {
				gone, cancel := context.WithCancelCause(t.Context())
				cancel(errLeaving)
				srv.ResetRequests()
				err := e.call(gone, c, srv)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, errLeaving)
				if e.path != "service/config" {
					require.Zero(t, countPath(srv, e.path))
				}

				srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9729, Header: http.Header{"Retry-After": {"200"}}})
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var at time.Time
				go func() {
					for ctx.Err() == nil && countPath(srv, e.path) == 0 {
						time.Sleep(time.Second)
					}
					time.Sleep(30 * time.Second)
					at = time.Now()
					cancel(errLeaving)
				}()
				err = e.call(ctx, c, srv)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, errLeaving)
				require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Zero(t, time.Since(at))
			})
		})
	}
}
