package appsandbooks

import (
	"context"
	"net/http"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// ClientConfig is the client configuration: what the service has stored about the
// organizational unit and the device management service. All fields are optional.
type ClientConfig struct {
	CountryISO2ACode string `json:"countryISO2ACode,omitzero"`
	// DefaultPlatform is "volumestore" (education) or "enterprisestore".
	DefaultPlatform             string             `json:"defaultPlatform,omitzero"`
	LocationName                string             `json:"locationName,omitzero"`
	NotificationURL             string             `json:"notificationUrl,omitzero"`
	NotificationAuthToken       Secret             `json:"notificationAuthToken,omitzero"`
	SubscribedNotificationTypes []NotificationType `json:"subscribedNotificationTypes,omitzero"`
	WebsiteURL                  string             `json:"websiteURL,omitzero"`
	Meta
}

// ClientConfig reads the client configuration. It is also the cheapest call that shows
// whether the content token is valid.
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

// UpdateClientConfig sends the fields of r that are set. Before the service answers, it
// delivers a TEST_NOTIFICATION to the notification URL. If the delivery fails, the
// service rejects the whole configuration ([ErrNotificationURLUnreachable]). So the
// receiver must run, and accept the new secret, before the call.
// [ConfigService.Register] also checks r and the answer, and its errors give advice.
//
// UpdateClientConfig is retried like a read: the same configuration sent twice has the
// same result.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) UpdateClientConfig(ctx context.Context, r Registration) (*ClientConfig, error) {
	if r.Handler != nil {
		return nil, invalidf("UpdateClientConfig does not use the Handler; call Register instead")
	}
	return s.updateClientConfig(ctx, r, false)
}

// updateClientConfig sends the registration r. With claim, it sends r even after a
// takeover.
func (s *ConfigService) updateClientConfig(ctx context.Context, r Registration, claim bool) (*ClientConfig, error) {
	if err := s.client.opts.guard.checkClaim(r.MDMInfo); err != nil {
		return nil, err
	}
	secret := r.NotificationAuthToken.Reveal()
	switch {
	case secret == redacted:
		return nil, invalidf("the NotificationAuthToken is %s: a Secret is lost when it is written as text or JSON; set it with NewSecret", redacted)
	case secret != "" && !bearerForm.MatchString(secret):
		return nil, invalidf("the NotificationAuthToken is not a valid bearer token: use letters, digits and -._~+/ only, and = only at the end")
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
