package appsandbookstest_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// With WithoutErrorInfo, refusals and failures have no errorInfo.
func TestWithoutErrorInfo(t *testing.T) {
	_, u, c := newServer(t, fake.WithoutErrorInfo())
	require.NotContains(t, c.refused(400, 9609, http.MethodPost, "users/update", usersBody("who")), "errorInfo")

	u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
	status := c.finish(u, "assets/associate", assetsBody([]string{"1"}, nil, []string{"A", "B", "C"}))
	require.Equal(t, "FAILED", status["eventStatus"])
	failures := items(t, status, "failures")
	require.Len(t, failures, 1)
	require.NotContains(t, failures[0], "errorInfo")
}

// NewServer refuses an option with an invalid value. The error names the
// option and the value.
func TestNewServer_invalidOptions(t *testing.T) {
	negative := fake.DefaultLimits()
	negative.MaxUsers = -3
	notifications := func(o fake.NotificationOptions) fake.Option { return fake.WithNotifications(o) }
	for want, opt := range map[string]fake.Option{
		"NewServer: option 2 of 2 is nil":                        nil,
		"WithLimits(maxUsers: -3): a limit must not be negative": fake.WithLimits(negative),
		"WithPageSize(0): the size must be at least 1":           fake.WithPageSize(0),
		"WithCursorPageSize(-1): the size must be at least 1":    fake.WithCursorPageSize(-1),
		"WithEventDelay(-2s): ":                                  fake.WithEventDelay(-2 * time.Second),
		"WithEventDelayFunc: the argument is nil":                fake.WithEventDelayFunc(nil),
		"WithLatency(-1ms): ":                                    fake.WithLatency(-time.Millisecond),
		"WithNotifications(Loss: 1.5): ":                         notifications(fake.NotificationOptions{Loss: 1.5}),
		"WithNotifications(Duplicate: -0.1): ":                   notifications(fake.NotificationOptions{Duplicate: -0.1}),
		"WithNotifications(Reorder: NaN): ":                      notifications(fake.NotificationOptions{Reorder: math.NaN()}),
		"WithNotifications(Forge: 2): ":                          notifications(fake.NotificationOptions{Forge: 2}),
		"WithNotifications(Delay: -1s): ":                        notifications(fake.NotificationOptions{Delay: -time.Second}),
		"WithNotifications(ReorderWindow: -1s): ":                notifications(fake.NotificationOptions{ReorderWindow: -time.Second}),
		"WithNotifications(RetryInterval: -1s): ":                notifications(fake.NotificationOptions{RetryInterval: -time.Second}),
		"WithNotifications(Timeout: -1s): ":                      notifications(fake.NotificationOptions{Timeout: -time.Second}),
		"WithNotifications(Attempts: -1): ":                      notifications(fake.NotificationOptions{Attempts: -1}),
		"WithNotificationTransport: the argument is nil":         fake.WithNotificationTransport(nil),
		"WithRequestLog(-1): the number must not be negative":    fake.WithRequestLog(-1),
		"WithMalformedTokenStatus(99): ":                         fake.WithMalformedTokenStatus(99),
		"WithTokenLifetime(0s): the lifetime must be positive":   fake.WithTokenLifetime(0),
		"WithEmptyPages: the argument is nil":                    fake.WithEmptyPages(nil),
		"WithPageHook: the argument is nil":                      fake.WithPageHook(nil),
	} {
		srv, err := fake.NewServer(fake.WithSeed(7), opt)
		require.ErrorContains(t, err, "appsandbookstest: "+want)
		require.Nil(t, srv)
	}
}

// NewServer accepts the smallest valid values of the options.
func TestNewServer_smallestValues(t *testing.T) {
	_, err := fake.NewServer(
		fake.WithLimits(fake.Limits{}), fake.WithPageSize(1), fake.WithCursorPageSize(1),
		fake.WithEventDelay(0), fake.WithEventDelay(fake.Never), fake.WithLatency(0),
		fake.WithNotifications(fake.NotificationOptions{}), fake.WithSeed(0), fake.WithRequestLog(0),
		fake.WithMalformedTokenStatus(200), fake.WithTokenLifetime(1),
	)
	require.NoError(t, err)
}
