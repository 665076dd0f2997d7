package appsandbooks

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
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
	// said so with [ConfigService.Register], and in answers that never carry it.
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
	ErrorCodes        []*Error           `json:"errorCodes,omitzero"` // Number and Message only; incomplete in Apple's samples
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
	decodePart(in.ErrorCodes, &c.ErrorCodes)
	decodePart(in.Limits, &c.Limits)
	decodePart(in.NotificationTypes, &c.NotificationTypes)
	decodePart(in.URLs, &c.URLs)
	decodePart(data, &c.Meta)
	return nil
}

// read decodes a part of an answer, or leaves it at its zero value.
func decodePart[T any](data []byte, part *T) {
	var v T
	if json.Unmarshal(data, &v) == nil {
		*part = v
	}
}

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

// ServiceConfig reads the service configuration: limits and URLs. It is answered
// from memory for five minutes. It needs no credentials, so success says
// nothing about the token; [ConfigService.ClientConfig] does.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/service-config
func (s *ConfigService) ServiceConfig(ctx context.Context) (*ServiceConfig, error) {
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

// keepFresh refreshes in the background what is not known or no longer fresh,
// beginning once a minute at most.
func (s *ConfigService) refreshIfStale() {
	if c := s.cached.Load(); c != nil && time.Since(c.at) < configFresh {
		return
	}
	last, now := s.tried.Load(), time.Now().UnixNano()
	if now-last >= int64(time.Minute) && s.tried.CompareAndSwap(last, now) {
		s.refreshInBackground()
	}
}

// refreshSoon refreshes in the background, unless that is already under way.
func (s *ConfigService) refreshInBackground() { s.startRefresh(context.Background()) }

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
		err := s.client.do(ctx, request{method: http.MethodGet, path: "service/config", noToken: true}, config)
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
func (s *ConfigService) waitForRefresh() {
	_, _, _ = s.flight.Do("", func() (any, error) { return nil, ErrClosed })
}
