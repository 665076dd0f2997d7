package appsandbookstest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// The states of a subscription.
const (
	SubscriptionActive   = "ACTIVE"
	SubscriptionInactive = "INACTIVE"
	SubscriptionPaused   = "PAUSED"
)

// Seats are seats of a subscription by what happens to them at the end of the
// billing period.
type Seats struct{ Renewing, Expiring int }

func (s Seats) sum() int { return s.Renewing + s.Expiring }

// A Subscription is a subscription product of the library.
type Subscription struct {
	ParentAdamID  int64 // the app; zero when it is not known
	AdamID        int64
	Status        string // empty: SubscriptionActive
	PeriodEndDate string // year-month-day; empty: in a month
	Total         Seats  // licences owned

	// Assigned and Available are what the ledger says. They are ignored when
	// a subscription is added. Assigned counts by the assignment, Available
	// and Total count by the licence, so only the sums have to agree.
	Assigned, Available Seats
}

// A SubscriptionAssignment is one seat in the hands of one user.
type SubscriptionAssignment struct {
	AdamID       int64
	ClientUserID string
	Renewing     bool
	ByGroup      bool // through a group; the API shows no difference
}

// A subscription is what the unit keeps of a Subscription.
type subscription struct {
	Subscription
	ordinal uint64
	used    Seats // seats that are assigned, by licence
	seats   map[*user]*seat
}

// A seat is what the unit keeps of a SubscriptionAssignment.
type seat struct {
	sub      *subscription
	user     *user
	renewing bool // the assignment
	licence  bool // the licence under it is a renewing one
	byGroup  bool
	ordinal  uint64
	removed  bool
}

func (x *seat) gone() bool { return x.removed }

// An admin is an administrator of a subscription.
type admin struct {
	sub     *subscription
	user    *user
	ordinal uint64
}

func (s *subscription) available() Seats {
	return Seats{
		Renewing: max(0, s.Total.Renewing-s.used.Renewing),
		Expiring: max(0, s.Total.Expiring-s.used.Expiring),
	}
}

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

// AddSubscription adds a subscription to the library. It replaces one with
// the same AdamID, whose assignments stay.
func (u *Unit) AddSubscription(add Subscription) {
	u.lock()
	defer u.mu.Unlock()
	u.insertSubscription(add)
}

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
	s.Total.Renewing = max(add.Total.Renewing, s.used.Renewing)
	s.Total.Expiring = max(add.Total.Expiring, s.used.Expiring)
	u.subData.change()
	return s
}

// PurchaseSubscription changes the numbers of seats of a subscription, as a
// purchase or a refund does, and sends SUBSCRIPTION_COUNT. A subscription that
// is not in the library is added. Negative numbers take no seats that are
// assigned.
func (u *Unit) PurchaseSubscription(adamID int64, renewing, expiring int) {
	u.lock()
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

func (u *Unit) notifyCount(s *subscription, at time.Time) {
	u.notify(NotificationSubscriptionCount, at, wireSubscriptionCount{
		ParentAdamID: s.parent(),
		AdamID:       s.AdamID,
		Counts:       wireSubscriptionCounts{Available: wireSeats(s.available()), Total: wireSeats(s.Total)},
	})
}

// AddSubscriptionAssignments assigns seats. Users that are missing are added
// as associated ones, subscriptions that are missing are added, and totals
// rise where seats are missing.
func (u *Unit) AddSubscriptionAssignments(list ...SubscriptionAssignment) {
	u.lock()
	defer u.mu.Unlock()
	users := lazyChange{data: &u.userData}
	for _, x := range list {
		s := u.subsByID[x.AdamID]
		if s == nil {
			s = u.insertSubscription(Subscription{AdamID: x.AdamID})
		}
		known := u.activeUsers[x.ClientUserID]
		if known == nil {
			known = u.insertUser(User{ClientUserID: x.ClientUserID, Status: UserAssociated}, users.number())
		}
		if old := s.seats[known]; old != nil {
			u.releaseSeat(old)
		}
		if !s.canSeat(x.Renewing) {
			if x.Renewing {
				s.Total.Renewing++
			} else {
				s.Total.Expiring++
			}
		}
		u.takeSeat(s, known, x.Renewing).byGroup = x.ByGroup
	}
}

// Subscriptions returns all subscriptions in the order in which they were
// added.
func (u *Unit) Subscriptions() []Subscription {
	u.lock()
	defer u.mu.Unlock()
	out := make([]Subscription, len(u.subs))
	for i, s := range u.subs {
		out[i] = s.public()
	}
	return out
}

// SubscriptionAssignments returns all assignments of seats in the order in
// which they were made.
func (u *Unit) SubscriptionAssignments() []SubscriptionAssignment {
	u.lock()
	defer u.mu.Unlock()
	list := u.seats.all()
	out := make([]SubscriptionAssignment, len(list))
	for i, x := range list {
		out[i] = SubscriptionAssignment{x.sub.AdamID, x.user.ClientUserID, x.renewing, x.byGroup}
	}
	return out
}

// SubscriptionAdmins returns the clientUserIds of the administrators of a
// subscription.
func (u *Unit) SubscriptionAdmins(adamID int64) []string {
	u.lock()
	defer u.mu.Unlock()
	var out []string
	for _, x := range u.admins {
		if x.sub.AdamID == adamID {
			out = append(out, x.user.ClientUserID)
		}
	}
	return out
}

// SubscriptionsEnabled reports whether the unit's service has enabled
// subscription management. The stand-in's purchases do not depend on it.
func (u *Unit) SubscriptionsEnabled() bool {
	u.lock()
	defer u.mu.Unlock()
	return u.subsEnabled
}

// canSeat reports whether there is a licence for an assignment. An expiring
// assignment may use a renewing licence, but not the other way round.
func (s *subscription) canSeat(renewing bool) bool {
	free := s.available()
	return free.Renewing > 0 || !renewing && free.Expiring > 0
}

// takeSeat assigns a seat for which there is a licence. Expiring assignments
// use expiring licences first.
func (u *Unit) takeSeat(s *subscription, x *user, renewing bool) *seat {
	licence := renewing || s.available().Expiring == 0
	if licence {
		s.used.Renewing++
	} else {
		s.used.Expiring++
	}
	u.lastOrdinal++
	taken := &seat{sub: s, user: x, renewing: renewing, licence: licence, ordinal: u.lastOrdinal}
	s.seats[x] = taken
	u.seats.add(taken)
	u.seatData.change()
	u.subData.change()
	return taken
}

// releaseSeat takes a seat back.
func (u *Unit) releaseSeat(x *seat) {
	if x.licence {
		x.sub.used.Renewing--
	} else {
		x.sub.used.Expiring--
	}
	delete(x.sub.seats, x.user)
	x.removed = true
	u.seats.dirty = true
	u.seatData.change()
	u.subData.change()
}

// releaseSeats takes the seats and the offices of a user back.
func (u *Unit) releaseSeats(x *user) {
	for _, s := range u.subs {
		if taken := s.seats[x]; taken != nil {
			u.releaseSeat(taken)
		}
	}
	if kept := filter(u.admins, func(a *admin) bool { return a.user != x }); len(kept) < len(u.admins) {
		u.admins = kept
		u.adminData.change()
	}
}

// EndBillingPeriod ends the billing period of all active subscriptions:
// deferred disassociations are carried out, expiring assignments end,
// expiring licences leave the library, and the next period begins.
// SUBSCRIPTION_COUNT is sent for each subscription.
func (u *Unit) EndBillingPeriod() {
	u.lock()
	defer u.mu.Unlock()
	now := time.Now()
	waiting := u.deferred
	u.deferred = nil
	for _, e := range waiting {
		e.conclude(now)
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

// enableSubscriptions answers POST subscriptions/enable.
func enableSubscriptions(c *call) (any, *apiError) { return c.setSubscriptions(true) }

// disableSubscriptions answers POST subscriptions/disable.
func disableSubscriptions(c *call) (any, *apiError) { return c.setSubscriptions(false) }

func (c *call) setSubscriptions(enabled bool) (any, *apiError) {
	u := c.unit
	u.lock()
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

// A subscriptionFilter is what the reads of subscriptions are filtered by.
type subscriptionFilter struct {
	adamIDs, parentAdamIDs []int64
	clientUserIDs          []string
}

// subscriptionFilter reads the filters of a call.
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
	f.clientUserIDs = c.query["clientUserId"] // an id may hold a comma
	return f, nil
}

// String returns the filters in a form that can be compared.
func (f subscriptionFilter) String() string { return fmt.Sprintf("%#v", f) }

func (f subscriptionFilter) match(s *subscription, x *user) bool {
	return within(f.adamIDs, s.AdamID) && within(f.parentAdamIDs, s.ParentAdamID) &&
		(x == nil || within(f.clientUserIDs, x.ClientUserID))
}

// within reports whether a list of wanted values is empty or has a value.
func within[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

// cursorPageHeader returns the fields that stand in every page read by
// cursor. The lock is held.
func (u *Unit) cursorPageHeader(d *dataset, next string) wireCursorPage {
	return wireCursorPage{
		NextCursor:          next,
		TokenExpirationDate: u.expirationDate(),
		UID:                 u.uid,
		VersionID:           d.version(),
	}
}

// getSubscriptions answers GET subscriptions.
func getSubscriptions(c *call) (any, *apiError) {
	f, refusal := c.subscriptionFilter()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lock()
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

// getSubscriptionAssignments answers GET subscriptions/assignments.
func getSubscriptionAssignments(c *call) (any, *apiError) {
	f, refusal := c.subscriptionFilter()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	list := filter(u.seats.all(), func(x *seat) bool { return f.match(x.sub, x.user) })
	list, next, refusal := cursorPage(c, f.String(), list, func(x *seat) uint64 { return x.ordinal })
	if refusal != nil {
		return nil, refusal
	}
	page := wireSubscriptionAssignmentsPage{
		u.cursorPageHeader(&u.seatData, next), make([]wireSubscriptionAssignment, 0, len(list)),
	}
	for _, x := range list {
		page.Assignments = append(page.Assignments, wireSubscriptionAssignment{x.sub.AdamID, x.user.ClientUserID, x.renewing})
	}
	return page, nil
}

// getSubscriptionAdmins answers GET subscriptions/admins.
func getSubscriptionAdmins(c *call) (any, *apiError) {
	f, refusal := c.subscriptionFilter()
	if refusal != nil {
		return nil, refusal
	}
	f.parentAdamIDs, f.clientUserIDs = nil, nil // filters that this endpoint does not have
	showUser, refusal := c.flagParam("includeUserState")
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	list := filter(u.admins, func(x *admin) bool { return f.match(x.sub, nil) })
	list, next, refusal := cursorPage(c, f.String(), list, func(x *admin) uint64 { return x.ordinal })
	if refusal != nil {
		return nil, refusal
	}
	page := wireSubscriptionAdminsPage{u.cursorPageHeader(&u.adminData, next), make([]wireSubscriptionAdmin, 0, len(list))}
	for _, x := range list {
		w := wireSubscriptionAdmin{AdamID: x.sub.AdamID, ClientUserID: x.user.ClientUserID, IDHash: x.user.IDHash}
		if showUser {
			w.UserStatus = x.user.Status
		}
		page.Admins = append(page.Admins, w)
	}
	return page, nil
}

// decodeSubscriptions reads the body of a write to subscriptions and refuses
// it by its form.
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
		return nil, c.refuseDuplicates(numInvalidSubscription, &wireErrorInfo{ClientUserIDs: twiceUsers})
	case slices.Contains(body.ClientUserIDs, ""):
		return nil, refuseArgument("clientUserIds")
	}
	return &body, nil
}

// checkSubscriptions refuses subscriptions and users that do not exist.
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

// usersWith returns the users of a request of which f is true for any of its
// subscriptions.
func (u *Unit) usersWith(body *wireManageSubscriptions, f func(s *subscription, x *user) bool) *wireErrorInfo {
	found := filter(body.ClientUserIDs, func(id string) bool {
		return slices.ContainsFunc(body.AdamIDs, func(adamID int64) bool {
			return f(u.subsByID[adamID], u.activeUsers[id])
		})
	})
	if len(found) == 0 {
		return nil
	}
	return &wireErrorInfo{ClientUserIDs: found}
}

// associateSubscriptions answers POST subscriptions/associate.
func associateSubscriptions(c *call) (any, *apiError) {
	body, refusal := c.decodeSubscriptions()
	if refusal != nil {
		return nil, refusal
	}
	if body.Renewing == nil {
		c.srv.recorder.note(c.record, RuleUndocumentedDefault, "%s leaves renewing out", c.path)
		body.Renewing = ptr(false)
	}
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	if refusal := u.checkSubscriptions(body); refusal != nil {
		return nil, refusal
	}
	for _, id := range body.AdamIDs {
		if u.subsByID[id].Status != SubscriptionActive {
			return nil, refuse(numInvalidSubscription)
		}
	}
	if info := u.usersWith(body, func(s *subscription, x *user) bool {
		return s.seats[x] != nil && s.seats[x].byGroup
	}); info != nil {
		return nil, refuseItems(numSubscriptionByGroup, info)
	}
	write := Event{Type: typeAssociate, NumRequested: len(body.AdamIDs) * len(body.ClientUserIDs)}
	e := u.accept(c, write, func(e *event, now time.Time) {
		u.applySubscriptions(e, now, body, func(s *subscription, x *user) (bool, int) {
			return *body.Renewing, u.takeSubscription(s, x, *body.Renewing)
		})
	})
	return u.accepted(e), nil
}

// takeSubscription carries out one task and returns its error number, or zero.
func (u *Unit) takeSubscription(s *subscription, x *user, renewing bool) int {
	old := s.seats[x]
	switch {
	case x == nil:
		return numUserNotAssociated // has been retired since the request
	case old != nil && old.renewing == renewing:
		return 0
	case old != nil && (old.licence || s.available().Renewing > 0):
		// The other kind of assignment: the seat stays, on a licence that
		// can carry it.
		if !old.licence && renewing {
			s.used.Expiring--
			s.used.Renewing++
			old.licence = true
		}
		old.renewing = renewing
		u.seatData.change()
		u.subData.change()
		return 0
	case old != nil || !s.canSeat(renewing):
		return numNotEnoughLicenses
	}
	u.takeSeat(s, x, renewing)
	return 0
}

// disassociateSubscriptions answers POST subscriptions/disassociate.
func disassociateSubscriptions(c *call) (any, *apiError) {
	body, refusal := c.decodeSubscriptions()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	if refusal := u.checkSubscriptions(body); refusal != nil {
		return nil, refusal
	}
	if info := u.usersWith(body, func(s *subscription, x *user) bool {
		return s.seats[x] == nil || s.seats[x].byGroup
	}); info != nil {
		return nil, refuseItems(numSubscriptionNotHeld, info)
	}
	write := Event{
		Type: typeDisassociate, NumRequested: len(body.AdamIDs) * len(body.ClientUserIDs), Deferred: body.Deferred,
	}
	e := u.accept(c, write, func(e *event, now time.Time) {
		if body.Deferred && e.forced == 0 {
			u.deferDisassociation(e, body)
			return
		}
		u.applyDisassociation(e, now, body)
	})
	return u.accepted(e), nil
}

// applyDisassociation takes seats back. What is gone already is a success.
func (u *Unit) applyDisassociation(e *event, now time.Time, body *wireManageSubscriptions) {
	u.applySubscriptions(e, now, body, func(s *subscription, x *user) (bool, int) {
		taken := s.seats[x]
		if taken == nil || e.Deferred && taken.renewing { // assigned anew meanwhile
			return false, 0
		}
		u.releaseSeat(taken)
		return taken.renewing, 0
	})
}

// deferDisassociation makes the assignments expire, and the event wait for
// the end of the billing period.
func (u *Unit) deferDisassociation(e *event, body *wireManageSubscriptions) {
	for _, adamID := range body.AdamIDs {
		for _, id := range body.ClientUserIDs {
			if taken := u.subsByID[adamID].seats[u.activeUsers[id]]; taken != nil && taken.renewing {
				taken.renewing = false
				u.seatData.change()
				u.subData.change()
			}
		}
	}
	e.conclude = func(now time.Time) { u.applyDisassociation(e, now, body) }
	u.deferred = append(u.deferred, e)
}

// applySubscriptions carries out an event of the subscriptions, and ends it.
// The task returns what the assignment is or was, and its error number.
func (u *Unit) applySubscriptions(
	e *event, now time.Time, body *wireManageSubscriptions, task func(*subscription, *user) (renewing bool, number int),
) {
	tasks := newTaskSet(len(body.AdamIDs), u.subscribed(NotificationSubscriptionManagement))
	elements := make([][]wireSubscriptionAssignment, len(body.AdamIDs))
	for product, adamID := range body.AdamIDs {
		elements[product] = make([]wireSubscriptionAssignment, len(body.ClientUserIDs))
		for target, id := range body.ClientUserIDs {
			renewing := body.Renewing != nil && *body.Renewing
			number := u.refusal(e, id)
			if number == 0 {
				renewing, number = task(u.subsByID[adamID], u.activeUsers[id])
			}
			elements[product][target] = wireSubscriptionAssignment{adamID, id, renewing}
			if number == 0 {
				tasks.success(product, target)
			} else {
				tasks.failure(number, product, target)
			}
		}
	}
	// The service's errorInfo has no place for the Adam IDs of subscriptions.
	info := func(_, targets []int) *wireErrorInfo {
		var out wireErrorInfo
		for _, i := range targets {
			out.ClientUserIDs = append(out.ClientUserIDs, body.ClientUserIDs[i])
		}
		return &out
	}
	u.finish(e, now, tasks, info)
	u.notifyTasks(e, now, NotificationSubscriptionManagement, tasks, info,
		func(m *wireManagement, product int, targets []int) {
			list := make([]wireSubscriptionAssignment, len(targets))
			for i, target := range targets {
				list[i] = elements[product][target]
			}
			m.Assignments = list
		})
}

// addSubscriptionAdmins answers POST subscriptions/admins/add.
func addSubscriptionAdmins(c *call) (any, *apiError) {
	return c.manageAdmins(func(u *Unit, s *subscription, x *user, have *admin) {
		if have == nil {
			u.lastOrdinal++
			u.admins = append(u.admins, &admin{sub: s, user: x, ordinal: u.lastOrdinal})
			u.adminData.change()
		}
	})
}

// removeSubscriptionAdmins answers POST subscriptions/admins/remove.
func removeSubscriptionAdmins(c *call) (any, *apiError) {
	return c.manageAdmins(func(u *Unit, _ *subscription, _ *user, have *admin) {
		if have != nil {
			u.admins = filter(u.admins, func(a *admin) bool { return a != have })
			u.adminData.change()
		}
	})
}

func (c *call) manageAdmins(change func(u *Unit, s *subscription, x *user, have *admin)) (any, *apiError) {
	body, refusal := c.decodeSubscriptions()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	if refusal := u.checkSubscriptions(body); refusal != nil {
		return nil, refusal
	}
	for _, adamID := range body.AdamIDs {
		for _, id := range body.ClientUserIDs {
			s, x := u.subsByID[adamID], u.activeUsers[id]
			var have *admin
			if i := slices.IndexFunc(u.admins, func(a *admin) bool { return a.sub == s && a.user == x }); i >= 0 {
				have = u.admins[i]
			}
			change(u, s, x, have)
		}
	}
	return wireAdminsChanged{TokenExpirationDate: u.expirationDate(), UID: u.uid, VersionID: u.adminData.version()}, nil
}
