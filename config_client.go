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
	DefaultPlatform             Platform           `json:"defaultPlatform,omitzero"`
	LocationName                string             `json:"locationName,omitzero"`
	NotificationURL             string             `json:"notificationUrl,omitzero"`
	NotificationAuthToken       Secret             `json:"notificationAuthToken,omitzero"`
	SubscribedNotificationTypes []NotificationType `json:"subscribedNotificationTypes,omitzero"`
	WebsiteURL                  string             `json:"websiteURL,omitzero"`
	Meta
}

// Platform is a content platform for metadata lookups.
type Platform string

// Platforms.
const (
	PlatformEducation  Platform = "volumestore"
	PlatformEnterprise Platform = "enterprisestore"
)

// ClientConfigUpdate registers a device management service. Whether the
// service clears or keeps what an update leaves out is not documented: send
// everything, and compare the answer.
type ClientConfigUpdate struct {
	// MDMInfo claims the organizational unit. It silently replaces any other
	// service's claim.
	MDMInfo *MDMInfo
	// NotificationURL receives the notifications: https, host and path only,
	// at most Limits.MaxNotificationLength long. It goes with NotificationAuthToken.
	NotificationURL string
	// NotificationAuthToken comes back as the bearer token of each notification.
	NotificationAuthToken Secret
	// NotificationTypes is the complete set: it replaces the earlier one.
	NotificationTypes []NotificationType
}

// Client reads the client configuration. It is also the cheapest way to learn
// whether the token works.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-71glv
func (s *ConfigService) Client(ctx context.Context) (*ClientConfig, error) {
	config := new(ClientConfig)
	err := s.client.do(ctx, request{method: http.MethodGet, path: "client/config", key: "clientConfig"}, config)
	if err != nil {
		return nil, err
	}
	return config, nil
}

// SetClient registers this device management service and where it receives
// notifications. The service delivers a TEST_NOTIFICATION to the URL before it
// answers, and refuses the whole configuration when that fails
// ([ErrNotificationURLUnreachable]): the receiver must be up, with the new
// secret, before the call. [ConfigService.Register] checks and explains.
//
// Synchronous. Retried like a read: the same configuration twice is the same.
//
// https://developer.apple.com/documentation/devicemanagement/client-config-4szk1
func (s *ConfigService) SetClient(ctx context.Context, u ClientConfigUpdate) (*ClientConfig, error) {
	return s.setClient(ctx, u, false)
}

func (s *ConfigService) setClient(ctx context.Context, u ClientConfigUpdate, claim bool) (*ClientConfig, error) {
	if err := s.client.opts.guard.check(u.MDMInfo); err != nil {
		return nil, err
	}
	secret := u.NotificationAuthToken.Reveal()
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
	}{u.MDMInfo, u.NotificationURL, secret, u.NotificationTypes}
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
