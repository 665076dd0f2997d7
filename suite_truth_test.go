package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// behindTransport runs f in virtual time with a stand-in in memory and a client whose requests go
// through answer. If answer returns neither an answer nor an error, the stand-in answers. The
// stand-in's rules of conduct are not checked: it cannot know what the client has not received.
func behindTransport(t *testing.T, options []appsandbookstest.Option, answer func(*appsandbookstest.Server, *http.Request) (*http.Response, error), f func(*testing.T, *appsandbookstest.Server, *appsandbooks.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(options...)
		require.NoError(t, err)
		defer srv.Close()
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := answer(srv, r)
			if resp == nil && err == nil {
				return srv.Transport().RoundTrip(r)
			}
			return resp, err
		})
		c := newClient(t, srv, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
		defer c.Close()
		f(t, srv, c)
	})
}

// emptyLists answers the requests for assignments with an empty list until a time, as a service does
// whose lists show a change later than its event. It returns nil for other requests.
func emptyLists(r *http.Request, until time.Time) *http.Response {
	if !strings.HasSuffix(r.URL.Path, "/assignments") || !time.Now().Before(until) {
		return nil
	}
	return jsonAnswer(r, `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1,"versionId":"before"}`)
}

// jsonAnswer returns an answer with status 200.
func jsonAnswer(r *http.Request, body string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: readCloser(body), Request: r}
}

// deliverLate passes a request to the stand-in after a delay, and returns the error of a connection
// that breaks before.
func deliverLate(srv *appsandbookstest.Server, r *http.Request, delay time.Duration) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	late := r.Clone(context.Background())
	late.Body = io.NopCloser(bytes.NewReader(body))
	time.AfterFunc(delay, func() {
		if resp, err := srv.Transport().RoundTrip(late); err == nil {
			resp.Body.Close()
		}
	})
	return errors.New("connection reset")
}

// oneDevicePerRequest returns the option of a stand-in that accepts one device per request.
func oneDevicePerRequest() appsandbookstest.Option {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxSerialNumbers = 1
	return appsandbookstest.WithLimits(limits)
}

// journalTo returns the option WithJournal with a function that appends to journal.
func journalTo(journal *[]byte) appsandbooks.OperationOption {
	return appsandbooks.WithJournal(func(_ context.Context, entry []byte) error {
		*journal = append(*journal, entry...)
		return nil
	})
}

// waitToEnd calls Wait whenever it is due, until the operation is at its end.
func waitToEnd(t *testing.T, op *appsandbooks.Operation) {
	t.Helper()
	waits := 0
	for at, more := op.Next(); more; at, more = op.Next() {
		waits++
		require.Less(t, waits, 30)
		time.Sleep(time.Until(at)) // virtual
		_, _ = op.Wait(t.Context())
	}
}

// requireNothingDenied requires that no pair that the report calls unsent or failed is in the
// stand-in's ledger.
func requireNothingDenied(t *testing.T, srv *appsandbookstest.Server, r *appsandbooks.Report) {
	t.Helper()
	for o := range r.Outcomes() {
		if o.Status == appsandbooks.OutcomeUnsent || o.Status == appsandbooks.OutcomeFailed {
			a := appsandbookstest.Assignment{AdamID: o.AdamID, PricingParam: string(o.PricingParam), SerialNumber: o.SerialNumber}
			require.False(t, srv.Unit().HasAssignment(a), "%v is %s, but is in the ledger", a, o.Status)
		}
	}
}

// Whenever the client is closed or the context ends, Wait returns within the five seconds that a
// request in progress has, and denies nothing that was done. Another client finishes the operation
// and sends no pair again.
func TestOperation_Wait_canEndAtEveryMoment(t *testing.T) {
	options := []appsandbookstest.Option{
		oneDevicePerRequest(), appsandbookstest.WithLatency(2 * time.Second), appsandbookstest.WithEventDelay(20 * time.Second),
	}
	for _, cancels := range []bool{false, true} {
		for at := time.Duration(0); at < 75*time.Second; at += 1300 * time.Millisecond {
			noAnswer := func(*appsandbookstest.Server, *http.Request) (*http.Response, error) { return nil, nil }
			behindTransport(t, options, noAnswer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				addAssets(srv, 1, 100)
				srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Times: 1})
				srv.AddFault(appsandbookstest.Fault{Path: "status", Number: 9729, Header: http.Header{"Retry-After": {"7"}}, Times: 1})
				op, err := c.Assets.Associate(t.Context(), deviceChange(names("C02", 6)), appsandbooks.WithPlanOnly())
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stop := c.Close
				if cancels {
					stop = cancel
				}
				time.AfterFunc(at, stop)
				began := time.Now()
				report, err := op.Wait(ctx)
				require.LessOrEqual(t, time.Since(began), at+5*time.Second, "cancels %v at %s: %v", cancels, at, err)
				requireNothingDenied(t, srv, report)
				other := newClient(t, srv)
				defer other.Close()
				report, err = saveAndResume(t, other, op).Wait(t.Context())
				require.NoError(t, err, "cancels %v at %s", cancels, at)
				requireLedgerAgrees(t, srv, report)
				require.Equal(t, 6, countPath(srv, "assets/associate"))
			})
		}
	}
}
