package appsandbookstest

import (
	"slices"
	"time"
)

// A user has one of these statuses.
const (
	UserRegistered = "Registered" // the user is invited, and not yet associated with an Apple Account
	UserAssociated = "Associated" // associated with an Apple Account
	UserRetired    = "Retired"    // retired with users/retire
	UserDeleted    = "Deleted"    // retired user whose Apple Account now belongs to a newer user with the same id
)

// A User is one entry in the list of a unit's users. Several entries can have
// the same clientUserId. At most one of them is active, which means that its
// status is [UserRegistered] or [UserAssociated].
type User struct {
	ClientUserID   string
	Email          string
	ManagedAppleID string // never part of an answer
	IDHash         string // if empty, the server generates it for associated, retired and deleted users
	InviteCode     string // the server generates an invite code if this field and ManagedAppleID are empty
	Status         string // empty means UserAssociated if ManagedAppleID is set, and UserRegistered if not
}

// A user is the stand-in's record of a User.
type user struct {
	holder
	User
	changed uint64 // number of the last change
}

func (x *user) active() bool { return x.Status == UserRegistered || x.Status == UserAssociated }

func (x *user) wire() wireUser {
	return wireUser{
		ClientUserID: x.ClientUserID,
		Email:        x.Email,
		IDHash:       x.IDHash,
		InviteCode:   x.InviteCode,
		Status:       x.Status,
	}
}

// AddUser adds a user to the library. If add is active and the library has an
// active user with the same clientUserId, AddUser replaces that user and keeps
// its assignments.
func (u *Unit) AddUser(add User) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	change := u.userData.change()
	if old := u.activeUsers[add.ClientUserID]; old != nil && add.Status != UserRetired && add.Status != UserDeleted {
		old.User, old.changed = u.withGeneratedFields(add), change
		u.markAssignmentsChanged(old)
		return
	}
	u.insertUser(add, change)
}

// withGeneratedFields returns a user whose empty fields have their defaults or
// generated values.
func (u *Unit) withGeneratedFields(x User) User {
	if x.Status == "" {
		x.Status = UserRegistered
		if x.ManagedAppleID != "" {
			x.Status = UserAssociated
		}
	}
	n := u.nextNumber()
	if x.InviteCode == "" && x.ManagedAppleID == "" {
		x.InviteCode = u.srv.random.hex(u.randomLabel("invite"), n)
	}
	if x.IDHash == "" && x.Status != UserRegistered {
		x.IDHash = u.srv.random.hash(u.randomLabel("account"), n)
	}
	return x
}

// insertUser adds a user. The lock must be held.
func (u *Unit) insertUser(add User, change uint64) *user {
	x := &user{User: u.withGeneratedFields(add), changed: change}
	x.holder = u.newHolder()
	x.holder.user = x
	u.users = append(u.users, x)
	u.usersByID[x.ClientUserID] = append(u.usersByID[x.ClientUserID], x)
	if x.active() {
		u.activeUsers[x.ClientUserID] = x
	}
	return x
}

// Users returns all entries of the list of users, in the order of their
// creation.
func (u *Unit) Users() []User {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	out := make([]User, len(u.users))
	for i, x := range u.users {
		out[i] = x.User
	}
	return out
}

// AcceptInvitation simulates that a person accepts an invitation: it associates
// an invited user with an Apple Account and sends USER_ASSOCIATED. It returns
// false if no active user with this clientUserId has the status
// [UserRegistered].
func (u *Unit) AcceptInvitation(clientUserID string) bool {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	x := u.activeUsers[clientUserID]
	if x == nil || x.Status != UserRegistered {
		return false
	}
	u.associateUser(x, u.userData.change())
	u.notify(NotificationUserAssociated, time.Now(), wireUsersAssociated{AssociatedUsers: []wireUser{x.wire()}})
	return true
}

// associateUser associates a user with an Apple Account.
func (u *Unit) associateUser(x *user, change uint64) {
	x.Status = UserAssociated
	x.IDHash = u.srv.random.hash(u.randomLabel("account"), u.nextNumber())
	x.changed = change
	u.markAssignmentsChanged(x)
}

// retireUser retires a user. It makes the user's revocable licenses and
// subscription seats available again.
func (u *Unit) retireUser(x *user, change uint64) {
	x.Status = UserRetired
	x.changed = change
	delete(u.activeUsers, x.ClientUserID)

	held := slices.Clone(x.assignments)
	for _, a := range held {
		if a.asset.revocable() {
			u.unassign(a)
		} else {
			a.asset.assigned--
			a.asset.retired++
		}
	}
	if len(held) > 0 {
		assets, assignments := u.assetData.change(), u.assignmentData.change()
		for _, a := range held {
			a.asset.changed = assets
			a.changed = assignments
		}
	}
	u.releaseSubscriptions(x)
}

// markAssignmentsChanged marks the assignments of a user as changed, because
// GET assignments can show the user's status.
func (u *Unit) markAssignmentsChanged(x *user) {
	if len(x.assignments) == 0 {
		return
	}
	change := u.assignmentData.change()
	for _, a := range x.assignments {
		a.changed = change
	}
}

// A userFilter holds the filters of GET users.
type userFilter struct {
	clientUserID    string
	hasClientUserID bool
	activeOnly      bool
	retiredOnly     bool
	since           uint64
	sinceGiven      bool
}

func (f userFilter) match(x *user) bool {
	switch {
	case f.activeOnly && !x.active(),
		f.retiredOnly && x.active(),
		f.sinceGiven && x.changed <= f.since:
		return false
	}
	return true
}

// getUsers handles GET users.
func getUsers(c *call) (any, *apiError) {
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()

	f := userFilter{
		clientUserID:    c.query.Get("clientUserId"),
		hasClientUserID: c.has("clientUserId"),
		sinceGiven:      c.has("sinceVersionId"),
	}
	var refusal *apiError
	if f.activeOnly, refusal = c.flagParam("activeOnly"); refusal != nil {
		return nil, refusal
	}
	if f.retiredOnly, refusal = c.flagParam("retiredOnly"); refusal != nil {
		return nil, refusal
	}
	if f.activeOnly && f.retiredOnly {
		return nil, refuseArgument("activeOnly and retiredOnly")
	}
	if f.since, refusal = c.sinceParam(&u.userData); refusal != nil {
		return nil, refusal
	}

	list := u.users
	if f != (userFilter{}) {
		list = u.userPages.get(f, u.userData.lastChange, func() []*user {
			from := u.users
			if f.hasClientUserID {
				from = u.usersByID[f.clientUserID]
			}
			return filter(from, f.match)
		})
	}
	place, refusal := c.pageOf(len(list))
	if refusal != nil {
		return nil, refusal
	}
	page := wireUsersPage{wireCommon: u.common(), wirePage: place.page, Users: make([]wireUser, 0, place.page.Size)}
	page.VersionID = u.userData.version()
	for _, x := range list[place.from:place.to] {
		page.Users = append(page.Users, x.wire())
	}
	return page, nil
}
