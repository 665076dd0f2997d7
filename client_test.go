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
