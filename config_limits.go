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
	MaxAssets                    int // distinct assets in one associate or disassociate request
	MaxClientUserIDs             int // distinct users in one associate or disassociate request
	MaxSerialNumbers             int // distinct devices in one associate or disassociate request
	MaxRevokeClientUserIDs       int // distinct users in one revoke request
	MaxRevokeSerialNumbers       int // distinct devices in one revoke request
	MaxUsers                     int // users in one create, update or retire request
	MaxSubscriptions             int // distinct subscriptions in one subscription request
	MaxSubscriptionClientUserIDs int // distinct users in one subscription request
	MaxNotificationLength        int // length of the notification URL, and of the notification secret
	MaxMDMIDLength               int // length of MDMInfo.ID
	MaxMDMNameLength             int // length of MDMInfo.Name
	MaxMDMMetadataLength         int // length of MDMInfo.Metadata
	MaxRequestPerSecond          int // requests per second for the organizational unit, of all clients together

	Other map[string]int // limits that the SDK has no field for; the keys are Apple's
}

// defaultLimits are the values in Apple's samples.
var defaultLimits = Limits{
	MaxAssets: 25, MaxClientUserIDs: 1000, MaxSerialNumbers: 1000,
	MaxRevokeClientUserIDs: 100, MaxRevokeSerialNumbers: 100, MaxUsers: 100,
	MaxSubscriptions: 25, MaxSubscriptionClientUserIDs: 1000,
	MaxNotificationLength: 512, MaxMDMIDLength: 100, MaxMDMNameLength: 100, MaxMDMMetadataLength: 255,
	MaxRequestPerSecond: 15,
}

// fields returns a pointer to each field except Other, by Apple's key.
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

// orDefaults returns the limits with the default in place of each value below 1.
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

// limits returns the current limits. They are at most 30 minutes old; if they cannot be
// read again, the last ones are returned. Limits older than 5 minutes are returned at
// once and read again in the background.
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
