package appsandbookstest

import (
	"net/mail"
	"strings"
	"time"
)

func createUsers(c *call) (any, *apiError) { return c.manageUsers(typeCreate) }

func updateUsers(c *call) (any, *apiError) { return c.manageUsers(typeUpdate) }

func retireUsers(c *call) (any, *apiError) { return c.manageUsers(typeRetire) }

// manageUsers handles POST users/create, POST users/update and POST
// users/retire.
func (c *call) manageUsers(typ string) (any, *apiError) {
	var body wireManageUsers
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	if len(body.Users) == 0 {
		return nil, refuse(numUsersRequired)
	}
	users := make([]User, len(body.Users))
	ids := make([]string, len(users))
	for i, x := range body.Users {
		users[i] = User{ClientUserID: x.ClientUserID, Email: x.Email, ManagedAppleID: x.ManagedAppleID}
		ids[i] = x.ClientUserID
	}
	distinct, repeated := duplicates(ids)
	if distinct > c.limits.MaxUsers {
		return nil, refuse(numTooManyUsers)
	}
	if len(repeated) > 0 {
		return nil, c.refuseRepeated(numDuplicateUsers, &wireErrorInfo{ClientUserIDs: repeated})
	}
	var badEmail []string
	for _, x := range users {
		if x.ClientUserID == "" {
			return nil, refuseArgument("clientUserId")
		}
		if x.Email != "" && !validEmail(x.Email) {
			badEmail = append(badEmail, x.ClientUserID)
		}
	}
	if len(badEmail) > 0 {
		return nil, refuseItems(numInvalidEmail, &wireErrorInfo{ClientUserIDs: badEmail})
	}

	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if typ != typeCreate {
		if refusal := u.checkUsers(ids, typ == typeRetire); refusal != nil {
			return nil, refusal
		}
	}
	e := u.accept(c, Event{Type: typ, NumRequested: len(users)}, func(e *event, now time.Time) {
		u.applyUsers(e, now, users)
	})
	return u.accepted(e), nil
}

// validEmail reports whether s is an email address without a display name.
func validEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s
}

// checkUsers refuses unknown clientUserIds, except with WithAsyncUserNotFound.
// Ids of retired users are known if retired is true. The lock must be held.
func (u *Unit) checkUsers(ids []string, retired bool) *apiError {
	if u.srv.opts.asyncUserNotFound {
		return nil
	}
	missing := filter(ids, func(id string) bool { return !u.hasUser(id, retired) })
	if len(missing) == 0 {
		return nil
	}
	return refuseItems(numUserNotFound, &wireErrorInfo{ClientUserIDs: missing})
}

// hasUser reports whether an active user has the id or, if retired is true, any
// user.
func (u *Unit) hasUser(id string, retired bool) bool {
	return u.activeUsers[id] != nil || retired && len(u.usersByID[id]) > 0
}

// applyUsers applies the event of a create, update or retire request for users.
func (u *Unit) applyUsers(e *event, now time.Time, users []User) {
	tasks := newTaskSet(1, u.subscribed(NotificationUserManagement))
	change := lazyChange{data: &u.userData}
	after := make([]wireUser, len(users))
	for i, x := range users {
		after[i] = wireUser{ClientUserID: x.ClientUserID, Email: x.Email}
		number := u.injectedFailure(e, x.ClientUserID)
		if number == 0 {
			var now *user
			if now, number = u.applyUser(e.Type, x, &change); number == 0 {
				after[i] = now.wire()
			}
		}
		if number == 0 {
			tasks.success(0, i)
		} else {
			tasks.failure(number, 0, i)
		}
	}

	info := func(_, targets []int) *wireErrorInfo {
		var out wireErrorInfo
		for _, i := range targets {
			out.ClientUserIDs = append(out.ClientUserIDs, users[i].ClientUserID)
		}
		return &out
	}
	u.finish(e, now, tasks, info)
	u.notifyTasks(e, now, NotificationUserManagement, tasks, info, func(m *wireManagement, _ int, targets []int) {
		for _, i := range targets {
			m.Users = append(m.Users, after[i])
		}
	})
}

// applyUser applies the task of an event for one user. It returns the user or
// an error number.
func (u *Unit) applyUser(typ string, x User, change *lazyChange) (*user, int) {
	old := u.activeUsers[x.ClientUserID]
	entries := u.usersByID[x.ClientUserID]
	switch {
	case typ == typeCreate && old != nil:
		return nil, numUserExists
	case typ != typeCreate && old == nil:
		if typ == typeRetire && len(entries) > 0 {
			return entries[len(entries)-1], 0 // the user is already retired, which counts as success
		}
		return nil, numUserNotFound
	}
	if x.ManagedAppleID != "" && typ != typeRetire {
		if !strings.Contains(x.ManagedAppleID, "@") {
			return nil, numAccountNotAssociable
		}
		for _, other := range u.activeUsers {
			if other != old && strings.EqualFold(other.ManagedAppleID, x.ManagedAppleID) {
				return nil, numAccountTaken
			}
		}
	}

	switch typ {
	case typeCreate:
		return u.insertUser(x, change.number()), 0
	case typeRetire:
		u.retireUser(old, change.number())
		return old, 0
	}
	if x.Email != "" && x.Email != old.Email {
		old.Email, old.changed = x.Email, change.number()
	}
	if x.ManagedAppleID != "" && x.ManagedAppleID != old.ManagedAppleID {
		old.ManagedAppleID, old.InviteCode = x.ManagedAppleID, ""
		u.associateUser(old, change.number())
	}
	return old, 0
}
