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

// effect states what a fault means for a request.
type effect int

const (
	// temporary means that the service certainly did not process the request, and that a retry
	// may succeed.
	temporary effect = iota
	// refused means that the service did not process the request, unless resultUnknown is set.
	// The client does not retry.
	refused
	// lost means that the answer to the request is missing. A read is retried.
	lost
	// unusable means that the answer cannot be decoded or is too large. A retry does not help.
	unusable
	// empty means that the answer has no content. This is enough for a read. A write needs the
	// event in its answer.
	empty
	// usable means that the answer is unusual, but valid.
	usable
)

// A matrixFault is a fault with which the fault matrix tests every method.
type matrixFault struct {
	name   string
	effect effect
	fault  appsandbookstest.Fault

	wantErr       error // the error of a refusal, which errors.Is must find
	resultUnknown bool  // true if the refusal does not prove that the service did nothing
	large         bool  // true if the answer has tens of megabytes
	wrongTypes    bool  // true if the answer is JSON with values of wrong types
}

// withHeader returns a fault that answers with an error number and a header field.
func withHeader(number int, key, value string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Number: number, Header: http.Header{key: {value}}}
}

// redirectTo returns a fault that redirects the request to another location.
func redirectTo(status int, location string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Status: status, Body: " ", Header: http.Header{"Location": {location}}}
}

// okAnswer returns a fault that answers with status 200 and a body.
func okAnswer(body string) appsandbookstest.Fault {
	return appsandbookstest.Fault{Status: 200, Body: body}
}

// matrixFaults are the faults with which the fault matrix tests every method.
var matrixFaults = []matrixFault{
	{name: "dial error", effect: temporary, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultDial}},
	{name: "reset before", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetBefore}},
	{name: "reset after", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter}},
	{name: "EOF in the header", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultEOF}},
	{name: "EOF in the body", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultCutBody}},
	{name: "truncated gzip", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultTruncatedGzip}},
	{name: "body too slow", effect: lost, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour}},
	{name: "slow body", effect: usable, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultSlowBody, Delay: 20 * time.Second}},
	{name: "huge body", effect: unusable, large: true, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultHugeBody, Size: 33 << 20}},
	{name: "decompression bomb", effect: unusable, large: true, fault: appsandbookstest.Fault{Kind: appsandbookstest.FaultGzipBomb, Size: 33 << 20}},

	{name: "HTML 502", effect: lost, fault: appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}},
	{name: "HTML 502, processed", effect: lost, fault: appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>", Process: true}},
	{name: "empty 504", effect: lost, fault: appsandbookstest.Fault{Status: 504, Body: " "}},
	{name: "HTML 200", effect: unusable, fault: okAnswer("<html>Sign in to this network</html>")},
	{name: "empty 200", effect: unusable, fault: okAnswer(" ")},
	{name: "200 with cut-off JSON", effect: unusable, fault: okAnswer(`{"eventId":"e","eventStatus":"COMPL`)},
	{name: "200 with an unreadable error number", effect: unusable, fault: okAnswer(`{"errorNumber":"E-9602","errorMessage":"no","uId":"u"}`)},
	{name: "200 with an error message only", effect: unusable, fault: okAnswer(`{"errorMessage":"no","users":[],"eventId":"e","uId":"u"}`)},
	{name: "429 without a body", effect: temporary, fault: appsandbookstest.Fault{Status: 429, Body: " "}},
	{name: "429/9646", effect: temporary, fault: appsandbookstest.Fault{Number: 9646}},
	{name: "500/9603", effect: temporary, fault: appsandbookstest.Fault{Number: 9603}},
	{name: "200/9603", effect: temporary, fault: appsandbookstest.Fault{Status: 200, Number: 9603}},
	{name: "500/9644", effect: temporary, fault: appsandbookstest.Fault{Status: 500, Number: 9644}},
	{name: "500/9603, Retry-After in seconds", effect: temporary, fault: withHeader(9603, "Retry-After", "60")},
	{name: "503/9729, Retry-After in seconds", effect: temporary, fault: withHeader(9729, "Retry-After", "40")},
	{name: "503/9729, Retry-After as a date", effect: temporary, fault: withHeader(9729, "Retry-After", "Sat, 01 Jan 2000 00:01:30 GMT")},
	{name: "503/9729, Retry-After in the past", effect: temporary, fault: withHeader(9729, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")},
	{name: "503/9729, huge Retry-After", effect: refused, wantErr: appsandbooks.ErrServiceUnavailable, fault: withHeader(9729, "Retry-After", "99999999999999999999")},
	{name: "503/9729, Retry-After of a day", effect: refused, wantErr: appsandbooks.ErrServiceUnavailable, fault: withHeader(9729, "Retry-After", "86400")},
	{name: "503/9729, unreadable Retry-After", effect: temporary, fault: withHeader(9729, "Retry-After", "soon")},

	{name: "401 expired", effect: refused, wantErr: appsandbooks.ErrTokenExpired, fault: appsandbookstest.Fault{Number: 9621}},
	{name: "401 revoked", effect: refused, wantErr: appsandbooks.ErrTokenRevoked, fault: appsandbookstest.Fault{Number: 9625}},
	{name: "401 malformed", effect: refused, wantErr: appsandbooks.ErrTokenMalformed, fault: appsandbookstest.Fault{Status: 401, Number: 9622}},
	{name: "200 malformed", effect: refused, wantErr: appsandbooks.ErrTokenMalformed, fault: appsandbookstest.Fault{Status: 200, Number: 9622}},
	{name: "401 without a body", effect: refused, fault: appsandbookstest.Fault{Status: 401, Body: " "}},
	{name: "403/9637", effect: refused, wantErr: appsandbooks.ErrForbiddenFacilitator, fault: appsandbookstest.Fault{Status: 403, Number: 9637}},
	{name: "400 of an unknown number", effect: refused, wantErr: appsandbooks.ErrorNumber(12345), fault: appsandbookstest.Fault{Status: 400, Number: 12345}},
	{name: "501", effect: refused, resultUnknown: true, fault: appsandbookstest.Fault{Status: 501, Body: "no"}},
	{name: "301 to another host", effect: refused, resultUnknown: true, wantErr: appsandbooks.ErrRedirect, fault: redirectTo(301, "https://attacker.example.com/")},
	{name: "302 to another host", effect: refused, resultUnknown: true, wantErr: appsandbooks.ErrRedirect, fault: redirectTo(302, "https://attacker.example.com/")},
	{name: "303 to another host", effect: refused, resultUnknown: true, wantErr: appsandbooks.ErrRedirect, fault: redirectTo(303, "https://attacker.example.com/")},
	{name: "307 to another host", effect: refused, wantErr: appsandbooks.ErrRedirect, fault: redirectTo(307, "https://attacker.example.com/")},
	{name: "308 from https to http", effect: refused, wantErr: appsandbooks.ErrRedirect, fault: redirectTo(308, "http://vpp.itunes.apple.com/mdm/v2/users")},

	{name: "missing fields", effect: empty, fault: okAnswer(`{}`)},
	{name: "null fields", effect: empty, fault: okAnswer(`{"eventId":null,"eventStatus":null,"failures":null,"users":null,"assets":null,"unlimitedAssets":null,
		"assignments":null,"subscriptions":null,"admins":null,"nextPageIndex":null,"nextCursor":null,"versionId":null,"uId":null,
		"tokenExpirationDate":null,"mdmInfo":null,"limits":null,"urls":null,"subscriptionManagement":null}`)},
	{name: "unknown enums and fields", effect: usable, fault: okAnswer(`{"eventId":"e","eventStatus":"COMPLETE","eventType":"NEW","numCompleted":2,"numRequested":2,
		"users":[{"clientUserId":"canary-user","status":"New"}],"assets":[{"adamId":"1","productType":"New","pricingParam":"NEW"}],
		"subscriptions":[{"adamId":1,"status":"NEW"}],"admins":[{"adamId":1,"userStatus":"New"}],"urls":{"invitationEmail":"https://x.example.com/%25inviteCode%25"},
		"limits":{"maxNew":7},"notificationTypes":["NEW"],"brandNew":{"x":[1]},"subscriptionManagement":true,"versionId":"v"}`)},
	{name: "ids of the wrong type", effect: unusable, wrongTypes: true, fault: okAnswer(`{"eventId":5,"eventStatus":5,"users":[{"clientUserId":5}],"assets":[{"adamId":5}],
		"assignments":[{"adamId":5}],"subscriptions":[{"adamId":"x"}],"admins":[{"adamId":"x"}],"limits":5,"uId":5}`)},
}

// Every method behaves as [checkFault] describes for each fault, when the fault occurs once and
// when it is permanent.
func TestFaultMatrix(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			for _, f := range matrixFaults {
				// The answer of a usable fault names an event that does not exist.
				if f.large && testing.Short() || f.effect == usable && e.kind == writesAndReadsBack {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					withServerFor(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
						checkFault(t, e, f, 1, srv, c, events)
					})
				})
				if f.large || f.effect == usable {
					continue // A fault of this kind occurs only once in the matrix.
				}
				t.Run(f.name+", permanent", func(t *testing.T) {
					withServerFor(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
						checkFault(t, e, f, 0, srv, c, events)
					})
				})
			}
		})
	}
}

// checkFault calls a method while a fault occurs. It checks the error of the call, the number of
// attempts, the time, and the events that the stand-in accepted. times is how often the fault
// occurs; zero means always. events is the number of events that the unit had before.
func checkFault(t *testing.T, e endpoint, f matrixFault, times int, srv *appsandbookstest.Server, c *appsandbooks.Client, events int) {
	fault := f.fault
	fault.Path, fault.Times = e.path, times
	// Other endpoints have the same path, or a path that begins with this one.
	if e.path == "client/config" || e.path == "subscriptions" {
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
	once, write := times == 1, e.kind == writesWithoutEvent || e.kind == writesAndReadsBack
	operation := strings.HasPrefix(e.method, "Operation.")

	// Subscriptions.Enable and Disable succeed only if the answer shows the new setting.
	if setting := map[string]string{"Subscriptions.Enable": `"subscriptionManagement":true`, "Subscriptions.Disable": `"subscriptionManagement":false`}[e.method]; setting != "" &&
		(f.effect == empty || f.effect == usable && fault.Body != "") && !strings.Contains(fault.Body, setting) {
		require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		return
	}

	// The error of a call has a known type, and contains neither the token nor personal data.
	if err != nil {
		var apple *appsandbooks.Error
		require.True(t, errors.As(err, &apple) || errors.Is(err, appsandbooks.ErrStalled) || errors.Is(err, appsandbooks.ErrNotVerified),
			"unexpected type %T of the error: %v", err, err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %q", err, err, err)} {
			require.NotContains(t, text, srv.Unit().Token())
			require.NotContains(t, strings.ToLower(text), "canary", "an error must not contain personal data")
		}
	}

	// The test calculates whether the call must succeed, and whether its error must be ambiguous.
	var succeeds, ambiguous bool
	switch f.effect {
	case usable:
		succeeds = true // Verify reads the list again when it does not show a pair soon after the event
	case temporary:
		succeeds = once
		// An operation does not rely on the denial of an internal error.
		ambiguous = !once && fault.Number == 9603 && e.kind == writesAndReadsBack
	case lost:
		succeeds = once && !write
		ambiguous = write
	case unusable:
		succeeds = once && e.kind == polls ||
			// The client decodes each part of the service configuration separately.
			f.wrongTypes && e.path == "service/config" && e.method != "Users.InvitationURL"
		ambiguous = write
	case empty:
		ambiguous = e.kind == writesAndReadsBack
		succeeds = !ambiguous && e.kind != readsList && (once || e.kind != polls) &&
			e.method != "Users.InvitationURL" // it needs a URL of the answer
	case refused:
		ambiguous = f.resultUnknown && write
		require.Error(t, err)
		if f.wantErr != nil {
			require.ErrorIs(t, err, f.wantErr)
		}
	}
	switch {
	case f.effect == refused:
	case e.kind == polls && operation:
		succeeds = true // Wait reads the assignments back after the failed polls
	case e.kind == writesAndReadsBack && ambiguous:
		succeeds = accepted == 1
		ambiguous = !succeeds
	}
	require.Equal(t, succeeds, err == nil, "%v", err)
	require.Equal(t, ambiguous, errors.Is(err, appsandbooks.ErrAmbiguous), "%v", err)

	// The number of attempts and the time of the call are limited.
	switch {
	case e.kind == polls:
		require.LessOrEqual(t, attempts, 5*21) // the polls of ten minutes, with up to five attempts for each poll
		// A failed poll counts as the interval, or as its Retry-After. Five attempts with their pauses
		// take longer than that.
		require.LessOrEqual(t, took, time.Hour)
	case f.effect == refused || write && f.effect != temporary:
		require.LessOrEqual(t, attempts, 1)
	default:
		require.LessOrEqual(t, attempts, 5)
		require.LessOrEqual(t, took, 10*time.Minute)
	}

	// The service processes a write at most once, and not at all if the write fails with an error
	// that is not ambiguous.
	if write && e.kind != writesWithoutEvent {
		require.LessOrEqual(t, accepted, 1)
		if err != nil && !ambiguous {
			require.Zero(t, accepted, "%v", err)
		}
		if err == nil && f.effect != usable {
			require.Equal(t, 1, accepted)
		}
	}

	require.Empty(t, srv.Violations())
}

// When the token is replaced between two attempts of a call, a client with a token source
// succeeds with the new token. A client without a token source fails with ErrTokenRevoked.
func TestFaultMatrixTokenReplaced(t *testing.T) {
	for _, e := range endpoints {
		if e.path == "service/config" {
			continue // this endpoint needs no token
		}
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			for _, withSource := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					srv := newServerFor(t, e)
					defer srv.Close()
					token := srv.Unit().Token()
					replaced := false
					rt := roundTripper(func(r *http.Request) (*http.Response, error) {
						if strings.HasSuffix(r.URL.Path, "/"+e.path) && !replaced {
							replaced = true
							token = srv.Unit().ReplaceToken()
							srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9644, Times: 1})
						}
						return srv.Transport().RoundTrip(r)
					})
					opts := []appsandbooks.Option{appsandbooks.WithHTTPClient(&http.Client{Transport: rt})}
					if withSource {
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
					if withSource {
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

// stepCounter is an http.RoundTripper that counts the steps of all requests: before a request is
// sent, after its answer has arrived, and at the first read of the body. At one of these steps it
// calls cancel.
type stepCounter struct {
	next http.RoundTripper

	mu       sync.Mutex
	count    int
	cancelAt int // the number of the step that calls cancel, from zero; -1 for none
	cancel   func()
}

func (s *stepCounter) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == s.cancelAt {
		s.cancel()
	}
	s.count++
}

func (s *stepCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	s.step() // before the request is sent
	resp, err := s.next.RoundTrip(r)
	s.step() // This step is after the header of the answer, or after an error.
	if err != nil {
		return nil, err
	}
	resp.Body = &steppedBody{ReadCloser: resp.Body, counter: s}
	return resp, nil
}

// steppedBody is the body of an answer. The first read of the body is a step.
type steppedBody struct {
	io.ReadCloser
	counter *stepCounter
	once    sync.Once
}

func (b *steppedBody) Read(p []byte) (int, error) {
	b.once.Do(b.counter.step)
	return b.ReadCloser.Read(p)
}

// errCallerCanceled is the cause of the canceled context in the tests.
var errCallerCanceled = errors.New("the caller canceled")

// When the context of a call is canceled at any step of its requests, the call returns within 6
// s. If the call fails, its error wraps context.Canceled and the cause.
func TestFaultMatrixCanceled(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			run := func(cancelAt int, canceledAt *time.Time) (total int, err error) {
				synctest.Test(t, func(t *testing.T) {
					srv := newServerFor(t, e)
					defer srv.Close()
					ctx, cancel := context.WithCancelCause(t.Context())
					s := &stepCounter{next: srv.Transport(), cancelAt: -1, cancel: func() { *canceledAt = time.Now(); cancel(errCallerCanceled) }}
					c, cerr := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
					require.NoError(t, cerr)
					defer c.Close()
					if e.path == "status" {
						_, aerr := c.Assets.Associate(t.Context(), matrixAssets)
						require.NoError(t, aerr)
					}
					// The first attempt gets error 9603, so that there are also steps of a retry.
					srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9603, Times: 1})
					s.mu.Lock()
					s.count, s.cancelAt = 0, cancelAt
					s.mu.Unlock()
					err = e.call(ctx, c, srv)
					// A request for the configuration that all callers share may still be in
					// progress.
					s.mu.Lock()
					total = s.count
					took := time.Since(*canceledAt)
					s.mu.Unlock()
					if cancelAt >= 0 {
						require.LessOrEqual(t, took, 6*time.Second, "step %d", cancelAt) // a write may go on for 5 s
					}
					if err != nil && cancelAt >= 0 {
						require.ErrorIs(t, err, context.Canceled, "step %d", cancelAt)
						require.ErrorIs(t, err, errCallerCanceled, "step %d", cancelAt)
					}
					cancel(nil)
				})
				return total, err
			}
			var canceledAt time.Time
			total, err := run(-1, &canceledAt)
			require.NoError(t, err)
			require.Greater(t, total, 3)
			for step := range total {
				_, _ = run(step, &canceledAt)
			}
		})
	}
}

// A call with a canceled context sends no request. When the context is canceled during a pause of
// the service, the call ends at once.
func TestFaultMatrixCanceledInPause(t *testing.T) {
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			t.Parallel()
			withServerFor(t, e, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, _ int) {
				canceled, cancel := context.WithCancelCause(t.Context())
				cancel(errCallerCanceled)
				srv.ResetRequests()
				err := e.call(canceled, c, srv)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, errCallerCanceled)
				if e.path != "service/config" {
					require.Zero(t, countPath(srv, e.path))
				}

				srv.AddFault(appsandbookstest.Fault{Path: e.path, Number: 9729, Header: http.Header{"Retry-After": {"200"}}})
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var canceledAt time.Time
				go func() {
					for ctx.Err() == nil && countPath(srv, e.path) == 0 {
						time.Sleep(time.Second)
					}
					time.Sleep(30 * time.Second)
					canceledAt = time.Now()
					cancel(errCallerCanceled)
				}()
				err = e.call(ctx, c, srv)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, errCallerCanceled)
				require.NotErrorIs(t, err, appsandbooks.ErrAmbiguous)
				require.Zero(t, time.Since(canceledAt))
			})
		})
	}
}
