package appsandbooks

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"time"
)

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
		s.refreshInBackground()
	}
	return c.config.Limits.orDefaults(), nil
}
