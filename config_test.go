package appsandbooks_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// What is odd in the service configuration counts as not sent, and takes nothing
// else with it.
func TestConfigService_ServiceConfig_ignoresUnreadableParts(t *testing.T) {
	for _, part := range []string{
		`"errorCodes":{}`, `"errorCodes":[{"errorNumber":"E1","errorMessage":"m"}]`, `"notificationTypes":[5]`, `"urls":[]`, `"urls":{"getUsers":5}`, `"uId":5`, `"mdmInfo":"x"`,
	} {
		c := clientWithAnswer(t, 200, nil, `{"limits":{"maxAssets":7},`+part+`}`)
		config, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err, part)
		require.Equal(t, 7, config.Limits.MaxAssets, part)
	}
	c := clientWithAnswer(t, 200, nil, `{"limits":[],"urls":{"getUsers":"https://vpp.itunes.apple.com/x"}}`)
	config, err := c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.Zero(t, config.Limits)
	require.Len(t, config.URLs, 1)
	_, err = clientWithAnswer(t, 200, nil, `[]`).Config.ServiceConfig(t.Context())
	require.Error(t, err)
}

// The limits come from one request for all callers, are used for five minutes,
// then refreshed behind the callers' backs, and survive an outage.
func TestConfigService_ServiceConfig_isCachedForAllCallers(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 1, 1000)
		plan := func(ctx context.Context) (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 1000)}, appsandbooks.WithPlanOnly())
		}
		hasty, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		errs := make(chan error)
		go func() { _, err := plan(hasty); errs <- err }()
		for range 9 {
			go func() { _, err := plan(t.Context()); errs <- err }()
		}
		failed := 0
		for range 10 {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				failed++
			}
		}
		require.Equal(t, 1, failed, "one caller's impatience is not the others'")
		require.Equal(t, 1, countPath(srv, "service/config"))

		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 100 })
		requests := func() int {
			op, err := plan(t.Context())
			require.NoError(t, err)
			return op.Plan().Requests
		}
		time.Sleep(4 * time.Minute) // virtual, as all below
		require.Equal(t, 1, requests())
		time.Sleep(2 * time.Minute)
		began := time.Now()
		require.Equal(t, 1, requests()) // stale, but at once
		require.Zero(t, time.Since(began))
		time.Sleep(2 * time.Second)
		require.Equal(t, 10, requests())
		require.Equal(t, 2, countPath(srv, "service/config"))

		srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 500, Body: "<html>"})
		time.Sleep(time.Hour)
		require.Equal(t, 10, requests()) // the last good ones
		_, err := c.Config.ServiceConfig(t.Context())
		require.Error(t, err) // who asks for the configuration itself is told
	})
}

// A pause that any other call would wait for is waited for.
func TestConfigService_ServiceConfig_waitsForPause(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
		began := time.Now()
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		require.Equal(t, 200*time.Second, time.Since(began))
	})
}
