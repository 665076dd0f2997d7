package appsandbooks_test

import (
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Limits of the service configuration that are missing, zero, negative or huge cause
// neither an endless loop nor additional requests.
func TestLimits_unusableValuesCauseNoExtraRequests(t *testing.T) {
	for _, limits := range []string{
		`{}`, `{"limits":null}`,
		`{"limits":{"maxAssets":0,"maxSerialNumbers":0,"maxClientUserIds":0,"maxRequestPerSecond":0}}`,
		`{"limits":{"maxAssets":-1,"maxSerialNumbers":-1000,"maxClientUserIds":-9223372036854775808,"maxRequestPerSecond":-15}}`,
		`{"limits":{"maxAssets":9223372036854775807,"maxSerialNumbers":9223372036854775807,"maxRequestPerSecond":9223372036854775807}}`,
	} {
		t.Run(limits, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "service/config", Status: 200, Body: limits})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 25, 10), SerialNumbers: []string{"C02"}})
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, countPath(srv, "assets/associate"))
			})
		})
	}
}

// The client ignores a limit of the service configuration that has an invalid value, and
// reads the other limits.
func TestLimits_ignoreInvalidValues(t *testing.T) {
	c, _ := recordedClient(t, `{"limits":{"maxAssets":7,"maxUsers":"many","maxClientUserIds":1e30,"maxSerialNumbers":null,"perUser":{"x":1},"newLimit":3}}`)
	config, err := c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.Equal(t, appsandbooks.Limits{MaxAssets: 7, Other: map[string]int{"newLimit": 3}}, config.Limits)
}
