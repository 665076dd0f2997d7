package appsandbookstest

// Limits are the limits that service/config announces and that requests are
// checked against.
//
// A limit of zero is not announced. Requests are then checked against its value
// in Apple's published sample ([DefaultLimits]), so that a client that uses the
// values of the sample works. MaxRequestPerSecond is the exception: zero turns
// its check off.
type Limits struct {
	MaxAssets                    int // largest number of assets in one associate or disassociate request
	MaxClientUserIDs             int // largest number of users in one associate or disassociate request
	MaxSerialNumbers             int // largest number of devices in one associate or disassociate request
	MaxRevokeClientUserIDs       int // users in one revoke request
	MaxRevokeSerialNumbers       int // devices in one revoke request
	MaxUsers                     int // largest number of users in one create, update or retire request
	MaxSubscriptions             int // subscriptions in one request
	MaxSubscriptionClientUserIDs int // largest number of users in one subscription request
	MaxNotificationLength        int // largest number of characters of the notification URL and of the secret
	MaxMDMIDLength               int // largest number of characters of the id of mdmInfo
	MaxMDMNameLength             int // largest number of characters of the name of mdmInfo
	MaxMDMMetadataLength         int // largest number of characters of the metadata of mdmInfo
	MaxRequestPerSecond          int // largest number of requests of one unit in any second
}

// DefaultLimits returns the limits of Apple's published sample of
// service/config.
func DefaultLimits() Limits {
	return Limits{
		MaxAssets:                    25,
		MaxClientUserIDs:             1000,
		MaxSerialNumbers:             1000,
		MaxRevokeClientUserIDs:       100,
		MaxRevokeSerialNumbers:       100,
		MaxUsers:                     100,
		MaxSubscriptions:             25,
		MaxSubscriptionClientUserIDs: 1000,
		MaxNotificationLength:        512,
		MaxMDMIDLength:               100,
		MaxMDMNameLength:             100,
		MaxMDMMetadataLength:         255,
		MaxRequestPerSecond:          15,
	}
}

// each calls f for every limit, with the limit's name in JSON and a pointer to
// the limit's value.
func (l *Limits) each(f func(name string, value *int)) {
	f("maxAssets", &l.MaxAssets)
	f("maxClientUserIds", &l.MaxClientUserIDs)
	f("maxSerialNumbers", &l.MaxSerialNumbers)
	f("maxRevokeClientUserIds", &l.MaxRevokeClientUserIDs)
	f("maxRevokeSerialNumbers", &l.MaxRevokeSerialNumbers)
	f("maxUsers", &l.MaxUsers)
	f("maxSubscriptions", &l.MaxSubscriptions)
	f("maxSubscriptionClientUserIds", &l.MaxSubscriptionClientUserIDs)
	f("maxNotificationLength", &l.MaxNotificationLength)
	f("maxMdmIdLength", &l.MaxMDMIDLength)
	f("maxMdmNameLength", &l.MaxMDMNameLength)
	f("maxMdmMetadataLength", &l.MaxMDMMetadataLength)
	f("maxRequestPerSecond", &l.MaxRequestPerSecond)
}

// announced returns the limits that service/config announces.
func (l Limits) announced() map[string]int {
	m := make(map[string]int)
	l.each(func(name string, value *int) {
		if *value > 0 {
			m[name] = *value
		}
	})
	return m
}

// applied returns the limits that requests are checked against.
func (l Limits) applied() Limits {
	rate := l.MaxRequestPerSecond
	var defaults []int
	sample := DefaultLimits()
	sample.each(func(_ string, value *int) { defaults = append(defaults, *value) })
	i := 0
	l.each(func(_ string, value *int) {
		if *value <= 0 {
			*value = defaults[i]
		}
		i++
	})
	l.MaxRequestPerSecond = rate
	return l
}

// SetLimits calls change with the current limits, which change may modify. The
// service, too, may change its limits at any time.
func (s *Server) SetLimits(change func(*Limits)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.limits)
}

// currentLimits returns the limits that requests are checked against now.
func (s *Server) currentLimits() Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits.applied()
}
