package appsandbooks

import (
	"context"
	"net/http"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// ClientConfig is what the service knows about the management of the
// organizational unit. All fields are optional.
type ClientConfig struct {
	CountryISO2ACode            string             `json:"countryISO2ACode,omitzero"`
	DefaultPlatform             string             `json:"defaultPlatform,omitzero"` // volumestore (education) or enterprisestore
	LocationName                string             `json:"locationName,omitzero"`
	NotificationURL             string             `json:"notificationUrl,omitzero"`
	NotificationAuthToken       Secret             `json:"notificationAuthToken,omitzero"`
	SubscribedNotificationTypes []NotificationType `json:"subscribedNotificationTypes,omitzero"`
	WebsiteURL                  string             `json:"websiteURL,omitzero"`
	Meta
}

// ClientConfig reads the client configuration. It is also the cheapest way to learn
// whether the token works.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-71glv
func (s *ConfigService) ClientConfig(ctx context.Context) (*ClientConfig, error) {
	config := new(ClientConfig)
	err := s.client.do(ctx, request{method: http.MethodGet, path: "client/config", key: "clientConfig"}, config)
	if err != nil {
		return nil, err
	}
	return config, nil
}

// UpdateClientConfig registers this device management service and where it receives
// notifications. The service delivers a TEST_NOTIFICATION to the URL before it
// answers, and refuses the whole configuration when that fails
// ([ErrNotificationURLUnreachable]): the receiver must be up, with the new
// secret, before the call. [ConfigService.Register] checks and explains.
//
// Synchronous. Retried like a read: the same configuration twice is the same.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) UpdateClientConfig(ctx context.Context, r Registration) (*ClientConfig, error) {
	if r.Handler != nil {
		return nil, invalidf("UpdateClientConfig takes no Handler; Register does")
	}
	return s.updateClientConfig(ctx, r, false)
}

func (s *ConfigService) updateClientConfig(ctx context.Context, r Registration, claim bool) (*ClientConfig, error) {
	if err := s.client.opts.guard.checkClaim(r.MDMInfo); err != nil {
		return nil, err
	}
	secret := r.NotificationAuthToken.Reveal()
	switch {
	case secret == redacted:
		return nil, invalidf("the NotificationAuthToken is %s: JSON and text of a Secret do not hold it", redacted)
	case secret != "" && !bearerForm.MatchString(secret):
		return nil, invalidf("the NotificationAuthToken is no bearer token: it must consist of letters, digits and -._~+/, with = at the end")
	}
	in := struct {
		MDMInfo               *MDMInfo           `json:"mdmInfo,omitzero"`
		NotificationURL       string             `json:"notificationUrl,omitzero"`
		NotificationAuthToken string             `json:"notificationAuthToken,omitzero"`
		NotificationTypes     []NotificationType `json:"notificationTypes,omitzero"`
	}{r.MDMInfo, r.NotificationURL, secret, r.NotificationTypes}
	config := new(ClientConfig)
	err := s.client.do(ctx, request{
		method: http.MethodPost, path: "client/config", key: "clientConfig",
		in: in, class: transport.Repeatable, secret: secret, claim: claim,
	}, config)
	if err != nil {
		return nil, err
	}
	return config, nil
}
