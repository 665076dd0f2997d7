package appsandbookstest

import (
	"slices"
	"time"
)

// A SubscriptionAssignment is a seat: a subscription that is assigned to a
// user.
type SubscriptionAssignment struct {
	AdamID       int64
	ClientUserID string
	Renewing     bool
	ByGroup      bool // the seat is assigned through a group; the list of assignments does not show this
}

// A seat is the stand-in's record of a SubscriptionAssignment.
type seat struct {
	sub             *subscription
	user            *user
	renewing        bool // whether the assignment is renewing
	renewingLicense bool // whether the license that the assignment uses is renewing
	byGroup         bool
	ordinal         uint64
	removed         bool
}

func (x *seat) isRemoved() bool { return x.removed }

// AddSubscriptionAssignments assigns seats. It adds missing users with the
// status [UserAssociated], adds missing subscriptions, and raises the totals of
// subscriptions without available licenses. It replaces assignments that exist.
func (u *Unit) AddSubscriptionAssignments(list ...SubscriptionAssignment) {
	u.lockAndUpdate()
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
		if !s.hasLicense(x.Renewing) {
			if x.Renewing {
				s.Total.Renewing++
			} else {
				s.Total.Expiring++
			}
		}
		u.assignSeat(s, known, x.Renewing).byGroup = x.ByGroup
	}
}

// SubscriptionAssignments returns all assignments of subscriptions in the order
// in which they were made.
func (u *Unit) SubscriptionAssignments() []SubscriptionAssignment {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	list := u.seats.all()
	out := make([]SubscriptionAssignment, len(list))
	for i, x := range list {
		out[i] = SubscriptionAssignment{x.sub.AdamID, x.user.ClientUserID, x.renewing, x.byGroup}
	}
	return out
}

// hasLicense reports whether a license is available for an assignment. A
// renewing assignment needs a renewing license. An expiring assignment can use
// a renewing or an expiring license.
func (s *subscription) hasLicense(renewing bool) bool {
	free := s.available()
	return free.Renewing > 0 || !renewing && free.Expiring > 0
}

// assignSeat assigns a subscription to a user. A license must be available. An
// expiring assignment uses a renewing license only if no expiring license is
// available.
func (u *Unit) assignSeat(s *subscription, x *user, renewing bool) *seat {
	renewingLicense := renewing || s.available().Expiring == 0
	if renewingLicense {
		s.usedLicenses.Renewing++
	} else {
		s.usedLicenses.Expiring++
	}
	u.lastOrdinal++
	taken := &seat{sub: s, user: x, renewing: renewing, renewingLicense: renewingLicense, ordinal: u.lastOrdinal}
	s.seats[x] = taken
	u.seats.add(taken)
	u.seatData.change()
	u.subData.change()
	return taken
}

// releaseSeat removes an assignment of a subscription. Its license becomes
// available.
func (u *Unit) releaseSeat(x *seat) {
	if x.renewingLicense {
		x.sub.usedLicenses.Renewing--
	} else {
		x.sub.usedLicenses.Expiring--
	}
	delete(x.sub.seats, x.user)
	x.removed = true
	u.seats.hasRemoved = true
	u.seatData.change()
	u.subData.change()
}

// releaseSubscriptions removes the seats and the administrator roles of a user.
func (u *Unit) releaseSubscriptions(x *user) {
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

// getSubscriptionAssignments handles GET subscriptions/assignments.
func getSubscriptionAssignments(c *call) (any, *apiError) {
	f, refusal := c.subscriptionFilter()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lockAndUpdate()
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

// usersWhere calls f for the subscriptions and users of a request. It returns
// an errorInfo with the users for whom f returned true with at least one
// subscription, or nil if no such user exists.
func (u *Unit) usersWhere(body *wireManageSubscriptions, f func(s *subscription, x *user) bool) *wireErrorInfo {
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

// associateSubscriptions handles POST subscriptions/associate.
func associateSubscriptions(c *call) (any, *apiError) {
	body, refusal := c.decodeSubscriptions()
	if refusal != nil {
		return nil, refusal
	}
	if body.Renewing == nil {
		c.srv.recorder.addRequestViolation(c.entry, RuleUndocumentedDefault, "%s leaves renewing out", c.path)
		body.Renewing = ptr(false)
	}
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if refusal := u.checkSubscriptions(body); refusal != nil {
		return nil, refusal
	}
	for _, id := range body.AdamIDs {
		if u.subsByID[id].Status != SubscriptionActive {
			return nil, refuse(numInvalidSubscription)
		}
	}
	if info := u.usersWhere(body, func(s *subscription, x *user) bool {
		return s.seats[x] != nil && s.seats[x].byGroup
	}); info != nil {
		return nil, refuseItems(numSubscriptionByGroup, info)
	}
	write := Event{Type: typeAssociate, NumRequested: len(body.AdamIDs) * len(body.ClientUserIDs)}
	e := u.accept(c, write, func(e *event, now time.Time) {
		u.applySubscriptions(e, now, body, func(s *subscription, x *user) (bool, int) {
			return *body.Renewing, u.associateSeat(s, x, *body.Renewing)
		})
	})
	return u.accepted(e), nil
}

// associateSeat applies one task of an associate event: it assigns a
// subscription to a user. It returns the error number of the task, or zero for
// success.
func (u *Unit) associateSeat(s *subscription, x *user, renewing bool) int {
	old := s.seats[x]
	switch {
	case x == nil:
		return numUserNotAssociated // the user was retired after the request was accepted
	case old != nil && old.renewing == renewing:
		return 0
	case old != nil && (old.renewingLicense || s.available().Renewing > 0):
		// The assignment changes its kind. An assignment that becomes
		// renewing must also use a renewing license.
		if !old.renewingLicense && renewing {
			s.usedLicenses.Expiring--
			s.usedLicenses.Renewing++
			old.renewingLicense = true
		}
		old.renewing = renewing
		u.seatData.change()
		u.subData.change()
		return 0
	case old != nil || !s.hasLicense(renewing):
		return numNotEnoughLicenses
	}
	u.assignSeat(s, x, renewing)
	return 0
}

// disassociateSubscriptions handles POST subscriptions/disassociate.
func disassociateSubscriptions(c *call) (any, *apiError) {
	body, refusal := c.decodeSubscriptions()
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if refusal := u.checkSubscriptions(body); refusal != nil {
		return nil, refusal
	}
	if info := u.usersWhere(body, func(s *subscription, x *user) bool {
		return s.seats[x] == nil || s.seats[x].byGroup
	}); info != nil {
		return nil, refuseItems(numSubscriptionNotHeld, info)
	}
	write := Event{
		Type: typeDisassociate, NumRequested: len(body.AdamIDs) * len(body.ClientUserIDs), Deferred: body.Deferred,
	}
	e := u.accept(c, write, func(e *event, now time.Time) {
		if body.Deferred && e.forcedNumber == 0 {
			u.deferDisassociation(e, body)
			return
		}
		u.applyDisassociation(e, now, body)
	})
	return u.accepted(e), nil
}

// applyDisassociation applies the event of a disassociate request for
// subscriptions. A seat that is already removed counts as success.
func (u *Unit) applyDisassociation(e *event, now time.Time, body *wireManageSubscriptions) {
	u.applySubscriptions(e, now, body, func(s *subscription, x *user) (bool, int) {
		taken := s.seats[x]
		// The seat was removed, or it was assigned again after the request.
		if taken == nil || e.Deferred && taken.renewing {
			return false, 0
		}
		u.releaseSeat(taken)
		return taken.renewing, 0
	})
}

// deferDisassociation makes the assignments of a disassociate request expiring,
// and keeps the event PENDING until the end of the billing period.
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
	e.finishDeferred = func(now time.Time) { u.applyDisassociation(e, now, body) }
	u.deferred = append(u.deferred, e)
}

// applySubscriptions applies the tasks of an event that changes seats, and
// finishes the event. The task function returns the kind of the assignment
// after the task (before the task, if the task removes it) and the error number
// of the task, or zero for success.
func (u *Unit) applySubscriptions(
	e *event, now time.Time, body *wireManageSubscriptions, task func(*subscription, *user) (renewing bool, number int),
) {
	tasks := newTaskSet(len(body.AdamIDs), u.subscribed(NotificationSubscriptionManagement))
	elements := make([][]wireSubscriptionAssignment, len(body.AdamIDs))
	for product, adamID := range body.AdamIDs {
		elements[product] = make([]wireSubscriptionAssignment, len(body.ClientUserIDs))
		for target, id := range body.ClientUserIDs {
			renewing := body.Renewing != nil && *body.Renewing
			number := u.injectedFailure(e, id)
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
	// The errorInfo of the service has no field for subscriptions.
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
