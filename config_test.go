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

// If the client cannot read a field of the service configuration, the field counts as
// missing, and the other fields are read.
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

// The client requests the service's limits once for all callers, uses them for five
// minutes, then refreshes them in the background, and keeps them when the refresh fails.
func TestConfigService_ServiceConfig_isCachedForAllCallers(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLatency(time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets := addAssets(srv, 1, 1000)
		plan := func(ctx context.Context) (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: assets, SerialNumbers: names("C02", 1000)}, appsandbooks.WithPlanOnly())
		}
		shortCtx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		errs := make(chan error)
		go func() { _, err := plan(shortCtx); errs <- err }()
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
		require.Equal(t, 1, failed, "the deadline of one caller must not end the request for the others")
		require.Equal(t, 1, countPath(srv, "service/config"))

		srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSerialNumbers = 100 })
		requests := func() int {
			op, err := plan(t.Context())
			require.NoError(t, err)
			return op.Plan().Requests
		}
		time.Sleep(4 * time.Minute) // all sleeps of this test are in virtual time
		require.Equal(t, 1, requests())
		time.Sleep(2 * time.Minute)
		began := time.Now()
		require.Equal(t, 1, requests()) // the operation uses the old limits, without waiting
		require.Zero(t, time.Since(began))
		time.Sleep(2 * time.Second)
		require.Equal(t, 10, requests())
		require.Equal(t, 2, countPath(srv, "service/config"))

		srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 500, Body: "<html>"})
		time.Sleep(time.Hour)
		require.Equal(t, 10, requests()) // the client keeps the limits from the last successful request
		_, err := c.Config.ServiceConfig(t.Context())
		require.Error(t, err) // ServiceConfig itself returns the error of the refresh
	})
}

// ConfigService.ServiceConfig waits for the end of a pause like any other call.
func TestConfigService_ServiceConfig_waitsForPause(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Number: 9729, Header: http.Header{"Retry-After": {"200"}}, Times: 1})
		began := time.Now()
		_, err := c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		require.Equal(t, 200*time.Second, time.Since(began))
	})
}

// The time limit of the read that all callers share does not look like a deadline of a caller.
func TestConfigService_ServiceConfig_timeLimitIsNotTheCallers(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
		c := newClient(t, srv, appsandbooks.WithMaxPause(0))
		defer c.Close()
		srv.AddFault(appsandbookstest.Fault{Path: "service/config", Kind: appsandbookstest.FaultSlowBody, Delay: time.Hour})
		began := time.Now()
		_, err := c.Config.ServiceConfig(t.Context())
		require.Equal(t, 2*time.Minute, time.Since(began))
		require.Equal(t, "service/config", isError(t, err).Path)
		require.True(t, appsandbooks.IsRetryable(err))
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	})
}

// ConfigService.ServiceConfig returns a copy: a change that the caller makes to it has no
// effect on the client.
func TestConfigService_ServiceConfig_returnsCopy(t *testing.T) {
	c, _ := recordedClient(t, `{"errorCodes":[{"errorNumber":9601,"errorMessage":"x"},null],"limits":{"maxNew":1},"urls":{"a":"b"},"notificationTypes":["ASSET_COUNT"]}`)
	first, err := c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	first.ErrorCodes[0].Message = "changed"
	first.ErrorCodes[1].Message = "changed"
	first.Limits.Other["maxNew"] = 2
	first.URLs["a"] = "changed"
	first.NotificationTypes[0] = "CHANGED"
	second, err := c.Config.ServiceConfig(t.Context()) // from memory
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.Error{{Number: appsandbooks.ErrLoginRequired, Message: "x"}, {}}, second.ErrorCodes)
	require.Equal(t, map[string]int{"maxNew": 1}, second.Limits.Other)
	require.Equal(t, map[string]string{"a": "b"}, second.URLs)
	require.Equal(t, []appsandbooks.NotificationType{appsandbooks.NotificationAssetCount}, second.NotificationTypes)
}
