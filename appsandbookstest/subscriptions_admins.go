package appsandbookstest

import (
	"slices"
)

// An admin is an administrator of a subscription.
type admin struct {
	sub     *subscription
	user    *user
	ordinal uint64 // position in the list
}

// SubscriptionAdmins returns the clientUserIds of the administrators of a
// subscription, in the order in which they were added.
func (u *Unit) SubscriptionAdmins(adamID int64) []string {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	var out []string
	for _, x := range u.admins {
		if x.sub.AdamID == adamID {
			out = append(out, x.user.ClientUserID)
		}
	}
	return out
}

// getSubscriptionAdmins handles GET subscriptions/admins.
func getSubscriptionAdmins(c *call) (any, *apiError) {
	f, refusal := c.subscriptionFilter()
	if refusal != nil {
		return nil, refusal
	}
	// GET subscriptions/admins has no filters for parentAdamId and clientUserId.
	f.parentAdamIDs, f.clientUserIDs = nil, nil
	showUser, refusal := c.flagParam("includeUserState")
	if refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lockAndUpdate()
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

// addSubscriptionAdmins handles POST subscriptions/admins/add.
func addSubscriptionAdmins(c *call) (any, *apiError) {
	return c.manageAdmins(func(u *Unit, s *subscription, x *user, have *admin) {
		if have == nil {
			u.lastOrdinal++
			u.admins = append(u.admins, &admin{sub: s, user: x, ordinal: u.lastOrdinal})
			u.adminData.change()
		}
	})
}

// removeSubscriptionAdmins handles POST subscriptions/admins/remove.
func removeSubscriptionAdmins(c *call) (any, *apiError) {
	return c.manageAdmins(func(u *Unit, _ *subscription, _ *user, have *admin) {
		if have != nil {
			u.admins = filter(u.admins, func(a *admin) bool { return a != have })
			u.adminData.change()
		}
	})
}

// manageAdmins calls change for each subscription and user of a request. The
// last argument of change is the existing administrator, or nil if the user is
// not an administrator.
func (c *call) manageAdmins(change func(u *Unit, s *subscription, x *user, have *admin)) (any, *apiError) {
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
