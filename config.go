package appsandbooks

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// Meta is what the service adds to its answers.
type Meta struct {
	// UID identifies the organizational unit's library. Tokens that different
	// content managers downloaded can belong to the same library.
	UID string `json:"uId,omitzero"`
	// TokenExpirationDate is when the content token expires. Apple promises it
	// only in the last 15 days; zero when it is absent.
	TokenExpirationDate Time `json:"tokenExpirationDate,omitzero"`
	// MDMInfo is who manages the organizational unit; nil until somebody has
	// said so with [ConfigService.SetClient], and in answers that never carry it.
	MDMInfo *MDMInfo `json:"mdmInfo,omitzero"`
}

func (m *Meta) meta() *Meta { return m }

// MDMInfo identifies a device management service. All three parts are needed.
type MDMInfo struct {
	ID       string `json:"id"`       // unique to the organization's service; at most Limits.MaxMDMIDLength long
	Name     string `json:"name"`     // for people; at most Limits.MaxMDMNameLength long
	Metadata string `json:"metadata"` // free form; at most Limits.MaxMDMMetadataLength long
}

// ServiceConfig says what the service allows and where it is. Limits and URLs
// change without notice.
type ServiceConfig struct {
	ErrorCodes        []ErrorCode        `json:"errorCodes,omitzero"` // not complete in Apple's samples
	Limits            Limits             `json:"limits"`
	NotificationTypes []NotificationType `json:"notificationTypes,omitzero"`
	URLs              map[string]string  `json:"urls,omitzero"` // by Apple's key, such as "invitationEmail"
	Meta
}

// UnmarshalJSON reads each part by itself: one of an unexpected type counts as
// not sent, and keeps nobody from using the others.
func (c *ServiceConfig) UnmarshalJSON(data []byte) error {
	var in struct {
		ErrorCodes        json.RawMessage `json:"errorCodes"`
		Limits            json.RawMessage `json:"limits"`
		NotificationTypes json.RawMessage `json:"notificationTypes"`
		URLs              json.RawMessage `json:"urls"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*c = ServiceConfig{}
	read(in.ErrorCodes, &c.ErrorCodes)
	read(in.Limits, &c.Limits)
	read(in.NotificationTypes, &c.NotificationTypes)
	read(in.URLs, &c.URLs)
	read(data, &c.Meta)
	return nil
}

// read decodes a part of an answer, or leaves it at its zero value.
func read[T any](data []byte, part *T) {
	var v T
	if json.Unmarshal(data, &v) == nil {
		*part = v
	}
}

// ErrorCode is an entry of the service's own list of errors.
type ErrorCode struct {
	Number  ErrorNumber `json:"errorNumber"`
	Message string      `json:"errorMessage"`
}

// Limits are the largest sizes of a request, as the service sent them: 0 where
// it sent none. The SDK then uses the values of Apple's documentation.
type Limits struct {
	MaxAssets                    int // distinct assets of associate and disassociate
	MaxClientUserIDs             int // distinct users of associate and disassociate
	MaxSerialNumbers             int // distinct devices of associate and disassociate
	MaxRevokeClientUserIDs       int // distinct users of revoke
	MaxRevokeSerialNumbers       int // distinct devices of revoke
	MaxUsers                     int // users of create, update and retire
	MaxSubscriptions             int // distinct subscriptions of a subscription request
	MaxSubscriptionClientUserIDs int // distinct users of a subscription request
	MaxNotificationLength        int // length of the notification URL, and of its token
	MaxMDMIDLength               int
	MaxMDMNameLength             int
	MaxMDMMetadataLength         int
	MaxRequestPerSecond          int // of all requests for the organizational unit

	Other map[string]int // limits that the SDK has no field for, by Apple's key
}

// defaultLimits are the values of Apple's samples.
var defaultLimits = Limits{
	MaxAssets: 25, MaxClientUserIDs: 1000, MaxSerialNumbers: 1000,
	MaxRevokeClientUserIDs: 100, MaxRevokeSerialNumbers: 100, MaxUsers: 100,
	MaxSubscriptions: 25, MaxSubscriptionClientUserIDs: 1000,
	MaxNotificationLength: 512, MaxMDMIDLength: 100, MaxMDMNameLength: 100, MaxMDMMetadataLength: 255,
	MaxRequestPerSecond: 15,
}

// fields pairs each field with Apple's key.
func (l *Limits) fields() map[string]*int {
	return map[string]*int{
		"maxAssets":                    &l.MaxAssets,
		"maxClientUserIds":             &l.MaxClientUserIDs,
		"maxSerialNumbers":             &l.MaxSerialNumbers,
		"maxRevokeClientUserIds":       &l.MaxRevokeClientUserIDs,
		"maxRevokeSerialNumbers":       &l.MaxRevokeSerialNumbers,
		"maxUsers":                     &l.MaxUsers,
		"maxSubscriptions":             &l.MaxSubscriptions,
		"maxSubscriptionClientUserIds": &l.MaxSubscriptionClientUserIDs,
		"maxNotificationLength":        &l.MaxNotificationLength,
		"maxMdmIdLength":               &l.MaxMDMIDLength,
		"maxMdmNameLength":             &l.MaxMDMNameLength,
		"maxMdmMetadataLength":         &l.MaxMDMMetadataLength,
		"maxRequestPerSecond":          &l.MaxRequestPerSecond,
	}
}

// UnmarshalJSON keeps limits that the SDK does not know in Other. What is not
// an integer counts as not sent.
func (l *Limits) UnmarshalJSON(data []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*l = Limits{}
	fields := l.fields()
	for key, text := range all {
		value, err := strconv.Atoi(string(text))
		if err != nil {
			continue
		}
		if field, ok := fields[key]; ok {
			*field = value
			continue
		}
		if l.Other == nil {
			l.Other = map[string]int{}
		}
		l.Other[key] = value
	}
	return nil
}

// MarshalJSON writes the limits that are set.
func (l Limits) MarshalJSON() ([]byte, error) {
	all := maps.Clone(l.Other)
	if all == nil {
		all = map[string]int{}
	}
	for key, field := range l.fields() {
		if *field != 0 {
			all[key] = *field
		}
	}
	return json.Marshal(all)
}

// orDefaults fills what the service did not send, or sent without sense.
func (l Limits) orDefaults() Limits {
	defaults := defaultLimits
	from := defaults.fields()
	for key, field := range l.fields() {
		if *field < 1 {
			*field = *from[key]
		}
	}
	return l
}

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

// Secret is a string that prints as [REDACTED] with every fmt verb, in slog
// and in JSON. Only [Secret.Reveal] gives it away.
type Secret struct{ reveal func() string }

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{func() string { return s }} }

// Reveal returns the string.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero tells whether the secret is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// UnmarshalText reads a secret as the service sends it.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// MarshalText writes [REDACTED], and so does JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format implements [fmt.Formatter], for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// ConfigService reads the service's configuration, and registers this client
// with it.
type ConfigService struct {
	service
	cached atomic.Pointer[cachedConfig]
	tried  atomic.Int64 // when keepFresh last began a refresh, in Unix nanoseconds
	flight singleflight.Group
}

type cachedConfig struct {
	config *ServiceConfig
	at     time.Time
}

const (
	configFresh = 5 * time.Minute  // Apple: sync every 5 minutes
	configStale = 30 * time.Minute // beyond that, limits are no better than guesses
)

// Service reads the service configuration: limits and URLs. It is answered
// from memory for five minutes. It needs no credentials, so success says
// nothing about the token; [ConfigService.Client] does.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/service-config
func (s *ConfigService) Service(ctx context.Context) (*ServiceConfig, error) {
	c := s.cached.Load()
	if c == nil || time.Since(c.at) >= configFresh {
		var err error
		if c, err = s.refresh(ctx); err != nil {
			return nil, err
		}
	}
	return c.config.clone(), nil
}

func (c *ServiceConfig) clone() *ServiceConfig {
	d := *c
	d.ErrorCodes = slices.Clone(c.ErrorCodes)
	d.NotificationTypes = slices.Clone(c.NotificationTypes)
	d.Limits.Other = maps.Clone(c.Limits.Other)
	d.URLs = maps.Clone(c.URLs)
	return &d
}

// limits are the live limits for internal use: never older than half an hour
// while the service can be reached, the last good ones while it cannot.
func (s *ConfigService) limits(ctx context.Context) (Limits, error) {
	c := s.cached.Load()
	switch {
	case c == nil:
		var err error
		if c, err = s.refresh(ctx); err != nil {
			return Limits{}, err
		}
	case time.Since(c.at) >= configStale:
		if fresh, err := s.refresh(ctx); err == nil {
			c = fresh
		} else if ctx.Err() != nil {
			return Limits{}, err
		}
	case time.Since(c.at) >= configFresh:
		s.refreshSoon()
	}
	return c.config.Limits.orDefaults(), nil
}

// keepFresh refreshes in the background what is not known or no longer fresh,
// beginning once a minute at most.
func (s *ConfigService) keepFresh() {
	if c := s.cached.Load(); c != nil && time.Since(c.at) < configFresh {
		return
	}
	last, now := s.tried.Load(), time.Now().UnixNano()
	if now-last >= int64(time.Minute) && s.tried.CompareAndSwap(last, now) {
		s.refreshSoon()
	}
}

// refreshSoon refreshes in the background, unless that is already under way.
func (s *ConfigService) refreshSoon() { s.startRefresh(context.Background()) }

// refresh reads the configuration now, one flight for all callers: a caller
// that gives up does not end it for the others.
func (s *ConfigService) refresh(ctx context.Context) (*cachedConfig, error) {
	select {
	case r := <-s.startRefresh(ctx):
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*cachedConfig), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("reading the service configuration: %w", contextError(ctx))
	}
}

func (s *ConfigService) startRefresh(ctx context.Context) <-chan singleflight.Result {
	return s.flight.DoChan("", func() (any, error) {
		longest := s.client.opts.maxPause + 2*time.Minute // nobody may be left who would end it
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
		defer cancel()
		defer context.AfterFunc(s.client.life, cancel)()
		config := new(ServiceConfig)
		err := s.client.do(ctx, request{method: http.MethodGet, path: "service/config", public: true}, config)
		if err != nil && s.client.life.Err() != nil {
			return nil, fmt.Errorf("reading the service configuration: %w", ErrClosed)
		}
		if err != nil {
			return nil, err
		}
		c := &cachedConfig{config, time.Now()}
		s.cached.Store(c)
		s.client.limiter.SetRate(config.Limits.orDefaults().MaxRequestPerSecond)
		return c, nil
	})
}

// join waits for a refresh under way.
func (s *ConfigService) join() {
	_, _, _ = s.flight.Do("", func() (any, error) { return nil, ErrClosed })
}

// discovered is the URL that the service configuration gives for a key, when
// it has been read and the URL is safe to send the token to: same scheme and
// host as the base URL, or https and Apple's while the base URL is Apple's.
func (s *ConfigService) discovered(key string) *url.URL {
	c := s.cached.Load()
	if key == "" || c == nil {
		return nil
	}
	u, err := url.Parse(c.config.URLs[key])
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil
	}
	base := s.client.base
	same := u.Scheme == base.Scheme && u.Host == base.Host
	apple := u.Scheme == "https" && u.Port() == "" && isApple(u.Host) && isApple(base.Host)
	if !same && !apple {
		return nil
	}
	return u
}

var appleHost = regexp.MustCompile(`^([a-z0-9-]+\.)*apple\.com$`)

func isApple(host string) bool { return appleHost.MatchString(host) }

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
