package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Meta has the fields that the service adds to its answers.
type Meta struct {
	// UID identifies the organizational unit. Content tokens that different content
	// managers downloaded can belong to the same unit.
	UID string `json:"uId,omitzero"`
	// TokenExpirationDate is when the content token expires; zero if the answer has no
	// date. Apple promises the date only in the last 15 days.
	TokenExpirationDate Time `json:"tokenExpirationDate,omitzero"`
	// MDMInfo identifies the device management service that manages the unit. It is nil
	// until a device management service has claimed the unit (see
	// [ConfigService.Register]). Some endpoints never send it.
	MDMInfo *MDMInfo `json:"mdmInfo,omitzero"`
}

func (m *Meta) meta() *Meta { return m }

// MDMInfo identifies a device management service. All three fields are required.
type MDMInfo struct {
	ID       string `json:"id"`       // an id that is unique in the organization; at most Limits.MaxMDMIDLength long
	Name     string `json:"name"`     // a name that people see; at most Limits.MaxMDMNameLength long
	Metadata string `json:"metadata"` // the metadata is any text; at most Limits.MaxMDMMetadataLength long
}

// ServiceConfig has the limits and the URLs of the service. Both change without
// notice.
type ServiceConfig struct {
	// ErrorCodes have only Number and Message. The list is incomplete in Apple's samples.
	ErrorCodes        []Error            `json:"errorCodes,omitzero"`
	Limits            Limits             `json:"limits"`
	NotificationTypes []NotificationType `json:"notificationTypes,omitzero"`
	URLs              map[string]string  `json:"urls,omitzero"` // URLs by Apple's keys, such as "invitationEmail"
	Meta
}

// UnmarshalJSON decodes each field separately. A field of an unexpected type stays at
// its zero value and does not prevent the decoding of the others.
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
	decodeOrSkip(in.ErrorCodes, &c.ErrorCodes)
	decodeOrSkip(in.Limits, &c.Limits)
	decodeOrSkip(in.NotificationTypes, &c.NotificationTypes)
	decodeOrSkip(in.URLs, &c.URLs)
	decodeOrSkip(data, &c.Meta)
	return nil
}

// decodeOrSkip decodes data into v. It leaves v unchanged if data cannot be decoded.
func decodeOrSkip[T any](data []byte, v *T) {
	var decoded T
	if json.Unmarshal(data, &decoded) == nil {
		*v = decoded
	}
}

// ConfigService reads the configuration of the service, and reads and changes the
// client configuration: the registration of the device management service.
type ConfigService struct {
	service
	cached      atomic.Pointer[cachedConfig]
	lastRefresh atomic.Pointer[time.Time] // when refreshIfStale last started a refresh; nil if it did not
	flight      singleflight.Group
}

type cachedConfig struct {
	config *ServiceConfig
	readAt time.Time
}

const (
	configFresh = 5 * time.Minute  // Apple advises to read the service configuration every 5 minutes
	configStale = 30 * time.Minute // limits older than configStale are used only if the service cannot be reached
)

// ServiceConfig returns the service configuration: limits and URLs. It returns the
// configuration from memory if it was read within the last five minutes. The endpoint
// needs no token, so a success does not show that the token is valid; use
// [ConfigService.ClientConfig] for that.
//
// https://developer.apple.com/documentation/devicemanagement/service-config
func (s *ConfigService) ServiceConfig(ctx context.Context) (*ServiceConfig, error) {
	c := s.cached.Load()
	if c == nil || time.Since(c.readAt) >= configFresh {
		var err error
		if c, err = s.refresh(ctx); err != nil {
			return nil, err
		}
	}
	return c.config.clone(), nil
}

// clone returns a copy of the configuration that the caller may change.
func (c *ServiceConfig) clone() *ServiceConfig {
	d := *c
	d.ErrorCodes = slices.Clone(c.ErrorCodes)
	d.NotificationTypes = slices.Clone(c.NotificationTypes)
	d.Limits.Other = maps.Clone(c.Limits.Other)
	d.URLs = maps.Clone(c.URLs)
	return &d
}

// refreshIfStale reads the configuration in the background if it is unknown or older
// than configFresh. It starts at most one read per minute.
func (s *ConfigService) refreshIfStale() {
	if c := s.cached.Load(); c != nil && time.Since(c.readAt) < configFresh {
		return
	}
	// The times keep their monotonic readings: a clock that is set back must not stop the refreshes.
	last, now := s.lastRefresh.Load(), time.Now()
	if (last == nil || now.Sub(*last) >= time.Minute) && s.lastRefresh.CompareAndSwap(last, &now) {
		s.refreshInBackground()
	}
}

// refreshInBackground reads the configuration in the background, unless a read is
// already in progress.
func (s *ConfigService) refreshInBackground() { s.startRefresh(context.Background()) }

// refresh reads the configuration and returns it. Callers that run at the same time share
// one read, which continues if the context of one of them ends. A caller with a context of
// withOneAttempt reads alone: its single attempt must not become the result of other callers.
func (s *ConfigService) refresh(ctx context.Context) (*cachedConfig, error) {
	if hasOneAttempt(ctx) {
		return s.read(ctx)
	}
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

// startRefresh starts to read the configuration, or joins the read in progress. The
// channel receives the result.
func (s *ConfigService) startRefresh(ctx context.Context) <-chan singleflight.Result {
	return s.flight.DoChan("", func() (any, error) {
		// The read of the configuration does not end with the context of a caller, so it
		// needs its own time limit.
		timeout := s.client.opts.maxPause + 2*time.Minute
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		defer context.AfterFunc(s.client.lifetime, cancel)()
		c, err := s.read(ctx)
		if err != nil && s.client.lifetime.Err() != nil {
			return nil, fmt.Errorf("reading the service configuration: %w", ErrClosed)
		}
		if err != nil {
			if e := (*Error)(nil); ctx.Err() != nil && errors.As(err, &e) {
				// The time limit is not the deadline of a caller.
				e.err, e.contextEnded = fmt.Errorf("no usable answer within %s", timeout), false
			}
			return nil, err
		}
		return c, nil
	})
}

// read reads the configuration with one call, and stores it.
func (s *ConfigService) read(ctx context.Context) (*cachedConfig, error) {
	config := new(ServiceConfig)
	if err := s.client.do(ctx, request{method: http.MethodGet, path: "service/config", noToken: true}, config); err != nil {
		return nil, err
	}
	c := &cachedConfig{config, time.Now()}
	s.cached.Store(c)
	s.client.limiter.SetRate(config.Limits.orDefaults().MaxRequestPerSecond)
	return c, nil
}
