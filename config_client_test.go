package appsandbooks_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// ConfigService.ClientConfig reads all settings of the organizational unit, and returns the
// notification secret as a Secret.
func TestConfigService_ClientConfig_readsAllSettings(t *testing.T) {
	c, r := recordedClient(t, `{"countryISO2ACode":"US","defaultPlatform":"enterprisestore","locationName":"HQ","uId":"204",
		"notificationUrl":"https://mdm.example.com/n","notificationAuthToken":"s3cret","subscribedNotificationTypes":["ASSET_COUNT"]}`)
	config, err := c.Config.ClientConfig(t.Context())
	require.NoError(t, err)
	require.Equal(t, "/base/mdm/v2/client/config", r.requests[0].URL.Path)
	require.Equal(t, "s3cret", config.NotificationAuthToken.Reveal())
	config.NotificationAuthToken = appsandbooks.Secret{}
	require.Equal(t, &appsandbooks.ClientConfig{
		CountryISO2ACode: "US", DefaultPlatform: "enterprisestore", LocationName: "HQ", NotificationURL: "https://mdm.example.com/n",
		SubscribedNotificationTypes: []appsandbooks.NotificationType{appsandbooks.NotificationAssetCount}, Meta: appsandbooks.Meta{UID: "204"},
	}, config)
}

// UpdateClientConfig sends only the fields that the caller has set.
func TestConfigService_UpdateClientConfig_sendsOnlyWhatIsSet(t *testing.T) {
	for body, registration := range map[string]appsandbooks.Registration{
		`{}`: {},
		`{"mdmInfo":{"id":"i","name":"n","metadata":"m"}}`: {MDMInfo: &appsandbooks.MDMInfo{ID: "i", Name: "n", Metadata: "m"}},
		`{"notificationTypes":[]}`:                         {NotificationTypes: []appsandbooks.NotificationType{}},
	} {
		c, r := recordedClient(t, `{"uId":"204"}`)
		_, err := c.Config.UpdateClientConfig(t.Context(), registration)
		require.NoError(t, err)
		jsonEqual(t, body, r.bodies[0])
	}
}

// UpdateClientConfig refuses a Handler (only Register can use a Handler) and a secret that
// is not a valid bearer token. In both cases it sends nothing.
func TestConfigService_UpdateClientConfig_refusesInvalidInput(t *testing.T) {
	c, r := recordedClient(t)
	handler, err := appsandbooks.NewNotificationHandler(nil, appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret("s3cret")))
	require.NoError(t, err)
	for _, registration := range []appsandbooks.Registration{
		{Handler: handler},
		{NotificationAuthToken: appsandbooks.NewSecret("pass word")},
		{NotificationAuthToken: appsandbooks.NewSecret("[REDACTED]")},
	} {
		_, err := c.Config.UpdateClientConfig(t.Context(), registration)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	}
	require.Empty(t, r.requests)
}
