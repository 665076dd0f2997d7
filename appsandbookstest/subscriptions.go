package appsandbookstest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A subscription has one of these statuses. Only an active one can be assigned.
const (
	SubscriptionActive   = "ACTIVE"
	SubscriptionInactive = "INACTIVE"
	SubscriptionPaused   = "PAUSED"
)

// Seats are numbers of seats of a subscription. A renewing seat is renewed at
// the end of the billing period, an expiring seat ends then.
type Seats struct{ Renewing, Expiring int }

func (s Seats) sum() int { return s.Renewing + s.Expiring }

// A Subscription is a subscription product in the library of a unit.
type Subscription struct {
	ParentAdamID  int64 // Adam ID of the subscription's app; zero if it is unknown
	AdamID        int64
	Status        string // status of the subscription; empty means SubscriptionActive
	PeriodEndDate string // end of the billing period as year-month-day; empty means in one month
	Total         Seats  // licenses that the unit owns

	// Assigned and Available are counts of the stand-in. AddSubscription ignores
	// them. Assigned counts renewing and expiring assignments. Available and
	// Total count renewing and expiring licenses. An expiring assignment can
	// use a renewing license, so Total equals Assigned plus Available only for
	// the sums of both kinds.
	Assigned, Available Seats
}

// A subscription is the stand-in's record of a Subscription.
type subscription struct {
	Subscription
	ordinal      uint64
	usedLicenses Seats // numbers of renewing and of expiring licenses in use
	seats        map[*user]*seat
}

// available returns the numbers of a subscription's licenses that are not in
// use.
func (s *subscription) available() Seats {
	return Seats{
		Renewing: max(0, s.Total.Renewing-s.usedLicenses.Renewing),
		Expiring: max(0, s.Total.Expiring-s.usedLicenses.Expiring),
	}
}

// assigned returns the numbers of renewing and of expiring assignments.
func (s *subscription) assigned() Seats {
	var n Seats
	for _, x := range s.seats {
		if x.renewing {
			n.Renewing++
		} else {
			n.Expiring++
		}
	}
	return n
}

// parent returns the Adam ID of the subscription's app, or nil if it is
// unknown.
func (s *subscription) parent() *int64 {
	if s.ParentAdamID == 0 {
		return nil
	}
	return ptr(s.ParentAdamID)
}

func (s *subscription) public() Subscription {
	out := s.Subscription
	out.Assigned, out.Available = s.assigned(), s.available()
	return out
}

// AddSubscription adds a subscription to the library. If the library has one
// with the same AdamID, AddSubscription replaces it and keeps its assignments;
// Total is then at least the number of licenses in use.
func (u *Unit) AddSubscription(add Subscription) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	u.insertSubscription(add)
}

// insertSubscription adds or replaces a subscription, and fills in the
// defaults. The lock must be held.
func (u *Unit) insertSubscription(add Subscription) *subscription {
	add.Status = cmp.Or(add.Status, SubscriptionActive)
	if add.PeriodEndDate == "" {
		add.PeriodEndDate = time.Now().UTC().AddDate(0, 1, 0).Format(wireDate)
	}
	s := u.subsByID[add.AdamID]
	if s == nil {
		u.lastOrdinal++
		s = &subscription{ordinal: u.lastOrdinal, seats: make(map[*user]*seat)}
		u.subs = append(u.subs, s)
		u.subsByID[add.AdamID] = s
	}
	s.Subscription = add
	s.Total.Renewing = max(add.Total.Renewing, s.usedLicenses.Renewing)
	s.Total.Expiring = max(add.Total.Expiring, s.usedLicenses.Expiring)
	u.subData.change()
	return s
}

// PurchaseSubscription adds licenses of a subscription and sends
// SUBSCRIPTION_COUNT. It simulates a purchase or a refund. A subscription that
// is not in the library is added. Negative numbers remove only licenses that
// are available.
func (u *Unit) PurchaseSubscription(adamID int64, renewing, expiring int) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	s := u.subsByID[adamID]
	if s == nil {
		s = u.insertSubscription(Subscription{AdamID: adamID})
	}
	free := s.available()
	s.Total.Renewing += max(renewing, -free.Renewing)
	s.Total.Expiring += max(expiring, -free.Expiring)
	u.subData.change()
	u.notifyCount(s, time.Now())
}

// notifyCount sends the notification SUBSCRIPTION_COUNT for a subscription. The
// lock must be held.
func (u *Unit) notifyCount(s *subscription, at time.Time) {
	u.notify(NotificationSubscriptionCount, at, wireSubscriptionCount{
		ParentAdamID: s.parent(),
		AdamID:       s.AdamID,
		Counts:       wireSubscriptionCounts{Available: wireSeats(s.available()), Total: wireSeats(s.Total)},
	})
}

// Subscriptions returns all subscriptions in the order in which they were
// added.
func (u *Unit) Subscriptions() []Subscription {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	out := make([]Subscription, len(u.subs))
	for i, s := range u.subs {
		out[i] = s.public()
	}
	return out
}

// SubscriptionsEnabled reports whether subscription management is enabled for
// the unit. [Unit.AddSubscription] and [Unit.PurchaseSubscription] work in both
// cases.
func (u *Unit) SubscriptionsEnabled() bool {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	return u.subsEnabled
}

// EndBillingPeriod ends the billing period. First it applies the deferred
// disassociations. Then, for each active subscription, it removes the expiring
// assignments and the expiring licenses, moves PeriodEndDate by a month, and
// sends SUBSCRIPTION_COUNT.
func (u *Unit) EndBillingPeriod() {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	now := time.Now()
	waiting := u.deferred
	u.deferred = nil
	for _, e := range waiting {
		e.finishDeferred(now)
	}
	for _, s := range u.subs {
		if s.Status != SubscriptionActive {
			continue
		}
		for _, x := range filter(u.seats.all(), func(x *seat) bool { return x.sub == s && !x.renewing }) {
			u.releaseSeat(x)
		}
		s.Total.Expiring = 0
		if end, err := time.Parse(wireDate, s.PeriodEndDate); err == nil {
			s.PeriodEndDate = end.AddDate(0, 1, 0).Format(wireDate)
		}
		u.subData.change()
		u.notifyCount(s, now)
	}
}

// enableSubscriptions handles POST subscriptions/enable.
func enableSubscriptions(c *call) (any, *apiError) { return c.setSubscriptions(true) }

// disableSubscriptions handles POST subscriptions/disable.
func disableSubscriptions(c *call) (any, *apiError) { return c.setSubscriptions(false) }

func (c *call) setSubscriptions(enabled bool) (any, *apiError) {
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if !enabled && slices.ContainsFunc(u.subs, func(s *subscription) bool { return s.Total.sum() > 0 }) {
		return nil, refuse(numSubscriptionsExist)
	}
	u.subsEnabled = enabled
	common := u.common()
	return wireSubscriptionManagement{
		MDMInfo:                common.MDMInfo,
		SubscriptionManagement: enabled,
		TokenExpirationDate:    common.TokenExpirationDate,
		UID:                    common.UID,
	}, nil
}

// A subscriptionFilter holds the filters of the lists of subscriptions,
// assignments and administrators.
type subscriptionFilter struct {
	adamIDs, parentAdamIDs []int64
	clientUserIDs          []string
}

// subscriptionFilter reads the filters of a list of subscriptions, assignments
// or administrators from the query.
func (c *call) subscriptionFilter() (subscriptionFilter, *apiError) {
	var f subscriptionFilter
	for name, list := range map[string]*[]int64{"adamId": &f.adamIDs, "parentAdamId": &f.parentAdamIDs} {
		for _, value := range c.listParam(name) {
			id, err := strconv.ParseInt(value, 10, 64)
			if err != nil || id <= 0 {
				return f, refuse(numInvalidAdamID)
			}
			*list = append(*list, id)
		}
	}
	// The value of clientUserId is not split at commas, because an id may contain a comma.
	f.clientUserIDs = c.query["clientUserId"]
	return f, nil
}

// String returns a text that is equal for equal filters.
func (f subscriptionFilter) String() string { return fmt.Sprintf("%#v", f) }

func (f subscriptionFilter) match(s *subscription, x *user) bool {
	return emptyOrContains(f.adamIDs, s.AdamID) && emptyOrContains(f.parentAdamIDs, s.ParentAdamID) &&
		(x == nil || emptyOrContains(f.clientUserIDs, x.ClientUserID))
}

// getSubscriptions handles GET subscriptions.
func getSubscriptions(c *call) (any, *apiError) {
	f, refusal := c.subscriptionFilter()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	list := filter(u.subs, func(s *subscription) bool { return f.match(s, nil) })
	list, next, refusal := cursorPage(c, f.String(), list, func(s *subscription) uint64 { return s.ordinal })
	if refusal != nil {
		return nil, refusal
	}
	page := wireSubscriptionsPage{u.cursorPageHeader(&u.subData, next), make([]wireSubscription, 0, len(list))}
	for _, s := range list {
		page.Subscriptions = append(page.Subscriptions, wireSubscription{
			ParentAdamID:  s.parent(),
			AdamID:        s.AdamID,
			Status:        s.Status,
			PeriodEndDate: s.PeriodEndDate,
			Counts: wireSubscriptionCounts{
				Assigned:  ptr(wireSeats(s.assigned())),
				Available: wireSeats(s.available()),
				Total:     wireSeats(s.Total),
			},
		})
	}
	return page, nil
}

// decodeSubscriptions decodes the body of a write to subscriptions or
// administrators. It refuses a body with an invalid form.
func (c *call) decodeSubscriptions() (*wireManageSubscriptions, *apiError) {
	var body wireManageSubscriptions
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	if len(body.AdamIDs) == 0 || len(body.ClientUserIDs) == 0 {
		return nil, refuse(numInvalidSubscription)
	}
	adamIDs, twiceAdamIDs := duplicates(body.AdamIDs)
	users, twiceUsers := duplicates(body.ClientUserIDs)
	switch {
	case adamIDs > c.limits.MaxSubscriptions || users > c.limits.MaxSubscriptionClientUserIDs:
		return nil, refuse(numTooManySubscriptions)
	case len(twiceAdamIDs) > 0 || len(twiceUsers) > 0:
		return nil, c.refuseRepeated(numInvalidSubscription, &wireErrorInfo{ClientUserIDs: twiceUsers})
	case slices.Contains(body.ClientUserIDs, ""):
		return nil, refuseArgument("clientUserIds")
	}
	return &body, nil
}

// checkSubscriptions refuses a request with unknown subscriptions, or with
// users whose status is not Associated.
func (u *Unit) checkSubscriptions(body *wireManageSubscriptions) *apiError {
	for _, id := range body.AdamIDs {
		if u.subsByID[id] == nil {
			return refuse(numInvalidAdamID)
		}
	}
	missing := filter(body.ClientUserIDs, func(id string) bool {
		x := u.activeUsers[id]
		return x == nil || x.Status != UserAssociated
	})
	if len(missing) > 0 {
		return refuseItems(numUserNotAssociated, &wireErrorInfo{ClientUserIDs: missing})
	}
	return nil
}
