package appsandbooks_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client accepts TLS 1.2 and TLS 1.3, and refuses older versions.
func TestNewClient_refusesOldTLSVersions(t *testing.T) {
	for version, accepted := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		srv.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
		srv.StartTLS()
		c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithBaseURL(srv.URL), appsandbooks.WithRetry(1, 0, 0))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.Error(t, err)
		// With an accepted TLS version the handshake fails later, because of the
		// certificate.
		require.Equal(t, accepted, strings.Contains(err.Error(), "certificate"), "%x: %v", version, err)
		c.Close()
		srv.Close()
	}
}

// Calls of a closed client, and calls in progress while the client is closed, fail with
// ErrClosed and not with context.Canceled.
func TestClient_Close_endsCallsWithErrClosed(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, time.Second, 5050 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			inVirtualTime(t, slowPages(100*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
				fillPages(srv, 0, 20)
				assets := addAssets(srv, 1, 100)
				c := newClient(t, srv)
				calls := map[string]func() error{
					"list":   func() error { return drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{})) },
					"config": func() error { return errorOf(c.Config.ServiceConfig(t.Context())) },
					"operation": func() error {
						op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{"C02"}})
						if err != nil {
							return err
						}
						return errorOf(op.Wait(t.Context()))
					},
				}
				var wg sync.WaitGroup
				for name, call := range calls {
					wg.Go(func() {
						err := call()
						if err == nil { // the call returned before Close was called
							return
						}
						assert.ErrorIs(t, err, appsandbooks.ErrClosed, name)
						assert.NotErrorIs(t, err, context.Canceled, name)
					})
				}
				time.Sleep(after) // virtual
				for range 3 {
					wg.Go(c.Close)
				}
				wg.Wait()
				c.Close()
				for name, call := range calls {
					if name == "config" && after >= 150*time.Millisecond {
						continue // the client's cache holds the service configuration
					}
					err := call()
					require.ErrorIs(t, err, appsandbooks.ErrClosed, name)
					require.NotErrorIs(t, err, context.Canceled, name)
				}
			})
		})
	}
}

// Close ends a wait for an event, and a wait for the end of a pause, at once.
func TestClient_Close_endsWaiting(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, c *appsandbooks.Client, event string) error{
		"Status.Wait": func(ctx context.Context, c *appsandbooks.Client, event string) error {
			return errorOf(c.Status.Wait(ctx, event))
		},
		"pause of a Retry-After": func(ctx context.Context, c *appsandbooks.Client, _ string) error {
			return errorOf(c.Users.List(ctx, appsandbooks.UserFilter{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
				c := newClient(t, srv, appsandbooks.WithPolling(time.Second, 2*time.Hour), appsandbooks.WithStallTime(24*time.Hour))
				op, err := associateOne(t.Context(), srv, c)
				require.NoError(t, err)
				srv.Unit().HoldEvents(true)
				srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9729, Header: http.Header{"Retry-After": {"240"}}})
				ended := make(chan error, 1)
				go func() { ended <- call(t.Context(), c, op.EventIDs()[0]) }()
				time.Sleep(time.Minute) // virtual
				c.Close()
				closed := time.Now()
				err = <-ended
				require.ErrorIs(t, err, appsandbooks.ErrClosed)
				require.NotErrorIs(t, err, context.Canceled)
				require.Zero(t, time.Since(closed))
			})
		})
	}
}

// Close does not cancel a request in progress. Its answer counts, and no further request follows.
func TestClient_Close_keepsRequestInProgress(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(10 * time.Second), appsandbookstest.WithEventDelay(0)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		c := newClient(t, srv)
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		time.AfterFunc(6*time.Second, c.Close) // the first poll begins after 5 s
		status, err := c.Status.Wait(t.Context(), op.EventIDs()[0])
		require.NoError(t, err)
		require.Equal(t, appsandbooks.EventComplete, status.State)

		c = newClient(t, srv)
		srv.AddFault(appsandbookstest.Fault{Path: "users", Number: 9729})
		time.AfterFunc(time.Second, c.Close)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrClosed)
		require.ErrorIs(t, err, appsandbooks.ErrServiceUnavailable)
		require.Equal(t, 1, countPath(srv, "users"))
	})
}

// A hook can close the client, also a hook that runs while the service configuration is read
// for all callers.
func TestClient_Close_inHook(t *testing.T) {
	for name, option := range map[string]func(c **appsandbooks.Client) appsandbooks.Option{
		"WithTrace": func(c **appsandbooks.Client) appsandbooks.Option {
			return appsandbooks.WithTrace(func(context.Context, appsandbooks.Attempt) { (*c).Close() })
		},
		"WithOwner": func(c **appsandbooks.Client) appsandbooks.Option {
			return appsandbooks.WithOwner(ourMDM, func(*appsandbooks.TakeoverError) { (*c).Close() })
		},
		"WithTokenSource": func(c **appsandbooks.Client) appsandbooks.Option {
			return appsandbooks.WithTokenSource(func(context.Context) (string, error) { (*c).Close(); return stoken, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c *appsandbooks.Client
				rt := roundTripper(func(*http.Request) (*http.Response, error) {
					body := `{"limits":{},"mdmInfo":{"id":"other","name":"n","metadata":"m"}}`
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
				})
				c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), option(&c))
				require.NoError(t, err)
				_, _ = c.Config.ServiceConfig(t.Context())
				_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
				require.ErrorIs(t, err, appsandbooks.ErrClosed)
			})
		})
	}
}

// Nil arguments and zero values cause errors or have no effect, but never cause a panic.
func TestClient_nilAndZeroValuesDoNotPanic(t *testing.T) {
	c := clientWithTransport(t, func(*http.Request) (*http.Response, error) { return nil, errors.New("no") }, appsandbooks.WithRetry(1, 0, 0))
	for name, f := range map[string]func() error{
		"nil Option": func() error { return errorOf(appsandbooks.NewClient(stoken, nil)) },
		"nil OperationOption": func() error {
			return errorOf(c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: []string{"a"}}, nil))
		},
		"nil journal": func() error {
			return errorOf(c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: []string{"a"}}, appsandbooks.WithJournal(nil)))
		},
		"nil sequence":        func() error { return errorOf(appsandbooks.Collect[int](nil)) },
		"zero OperationError": func() error { return &appsandbooks.OperationError{} },
		"zero EventError":     func() error { return &appsandbooks.EventError{} },
		"nil Error":           func() error { return (*appsandbooks.Error)(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NotPanics(t, func() {
				err := f()
				require.Error(t, err)
				require.NotEmpty(t, err.Error())
				require.NotErrorIs(t, err, context.Canceled)
				require.False(t, appsandbooks.IsAuth(err))
			})
		})
	}
	require.NotPanics(t, func() {
		var report appsandbooks.Report
		for range report.Outcomes() {
			t.Error("a zero Report has an outcome")
		}
		_ = report.String()
		require.Empty(t, appsandbooks.Secret{}.Reveal())
		new(appsandbooks.Client).Close()
		require.Empty(t, (*appsandbooks.Notification)(nil).EventID())
		require.GreaterOrEqual(t, post(new(appsandbooks.NotificationHandler), notificationRequest(assetCountNotification("1", "u"))).Code, 400)
	})
}
