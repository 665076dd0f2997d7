package appsandbooks

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"time"
)

// Limits are the largest sizes that the service accepts, as the service sent them. A
// field is 0 if the service did not send it; the SDK then uses the value in Apple's
// documentation.
type Limits struct {
	MaxAssets                    int // largest number of distinct assets in an associate or disassociate request
	MaxClientUserIDs             int // largest number of distinct users in an associate or disassociate request
	MaxSerialNumbers             int // largest number of distinct devices in an associate or disassociate request
	MaxRevokeClientUserIDs       int // largest number of distinct users in a revoke request
	MaxRevokeSerialNumbers       int // largest number of distinct devices in a revoke request
	MaxUsers                     int // largest number of users in a create, update or retire request
	MaxSubscriptions             int // largest number of distinct subscriptions in a subscription request
	MaxSubscriptionClientUserIDs int // largest number of distinct users in a subscription request
	MaxNotificationLength        int // largest length of the notification URL, and of the notification secret
	MaxMDMIDLength               int // length of MDMInfo.ID
	MaxMDMNameLength             int // length of MDMInfo.Name
	MaxMDMMetadataLength         int // length of MDMInfo.Metadata
	MaxRequestPerSecond          int // largest number of requests per second for the unit, of all clients together

	Other map[string]int // limits that the SDK has no field for, by Apple's keys
}

// defaultLimits are the limits in Apple's samples.
var defaultLimits = Limits{
	MaxAssets: 25, MaxClientUserIDs: 1000, MaxSerialNumbers: 1000,
	MaxRevokeClientUserIDs: 100, MaxRevokeSerialNumbers: 100, MaxUsers: 100,
	MaxSubscriptions: 25, MaxSubscriptionClientUserIDs: 1000,
	MaxNotificationLength: 512, MaxMDMIDLength: 100, MaxMDMNameLength: 100, MaxMDMMetadataLength: 255,
	MaxRequestPerSecond: 15,
}

// fields returns a pointer to each field of the limits except Other, by Apple's key.
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

// UnmarshalJSON puts limits that the SDK has no field for into Other. It ignores
// values that are not integers.
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

// MarshalJSON writes the limits that are not 0, and all of Other.
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

// orDefaults returns the limits, with the default limit in place of each value below 1.
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

// limits returns the current limits. Limits older than 5 minutes are returned at
// once and read again in the background. Limits older than 30 minutes are read again
// first; if that fails, the old ones are returned.
func (s *ConfigService) limits(ctx context.Context) (Limits, error) {
	c := s.cached.Load()
	switch {
	case c == nil:
		var err error
		if c, err = s.refresh(ctx); err != nil {
			return Limits{}, err
		}
	case time.Since(c.readAt) >= configStale:
		if fresh, err := s.refresh(ctx); err == nil {
			c = fresh
		} else if ctx.Err() != nil {
			return Limits{}, err
		}
	case time.Since(c.readAt) >= configFresh:
		s.refreshInBackground()
	}
	return c.config.Limits.orDefaults(), nil
}
