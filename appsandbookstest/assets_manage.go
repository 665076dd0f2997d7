package appsandbookstest

import (
	"slices"
	"time"
)

func associateAssets(c *call) (any, *apiError) { return c.manageAssets(typeAssociate) }

func disassociateAssets(c *call) (any, *apiError) { return c.manageAssets(typeDisassociate) }

// manageAssets handles POST assets/associate and POST assets/disassociate.
func (c *call) manageAssets(typ string) (any, *apiError) {
	var body wireManageAssets
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	for i := range body.Assets {
		if body.Assets[i].PricingParam == "" {
			c.srv.recorder.addRequestViolation(c.entry, RuleUndocumentedDefault, "%s leaves pricingParam out", c.path)
			body.Assets[i].PricingParam = PricingSTDQ
		}
	}
	if refusal := c.checkAssets(&body); refusal != nil {
		return nil, refusal
	}

	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	var fixed, usersOnly []wireAssetID
	for _, id := range body.Assets {
		if a := u.assetsByID[id]; a != nil {
			if typ == typeDisassociate && !a.revocable() {
				fixed = append(fixed, id)
			}
			if len(body.SerialNumbers) > 0 && !a.deviceAssignable() {
				usersOnly = append(usersOnly, id)
			}
		}
	}
	switch {
	case len(fixed) > 0:
		return nil, refuseItems(numNotRevocable, &wireErrorInfo{Assets: fixed})
	case len(usersOnly) > 0:
		return nil, refuseItems(numNotDeviceAssignable, &wireErrorInfo{Assets: usersOnly})
	}
	if refusal := u.checkUsers(body.ClientUserIDs, typ == typeDisassociate); refusal != nil {
		return nil, refusal
	}
	requested := len(body.Assets) * (len(body.ClientUserIDs) + len(body.SerialNumbers))
	e := u.accept(c, Event{Type: typ, NumRequested: requested}, func(e *event, now time.Time) { u.applyAssets(e, now, &body) })
	return u.accepted(e), nil
}

// checkAssets refuses an associate or disassociate request with an invalid
// form.
func (c *call) checkAssets(body *wireManageAssets) *apiError {
	if len(body.Assets) == 0 {
		return refuse(numAssetRequired)
	}
	if refusal := c.checkTargets(body, c.limits.MaxClientUserIDs, c.limits.MaxSerialNumbers); refusal != nil {
		return refusal
	}
	for _, id := range body.Assets {
		if !validAdamID(id.AdamID) {
			return refuseArgument("adamId")
		}
		if !validPricingParam(id.PricingParam) {
			return refuseArgument("pricingParam")
		}
	}
	return nil
}

// checkTargets refuses a request without targets, with an empty target, or with
// targets or assets that are too many or repeated.
func (c *call) checkTargets(body *wireManageAssets, maxUsers, maxSerials int) *apiError {
	if len(body.ClientUserIDs) == 0 && len(body.SerialNumbers) == 0 {
		return refuse(numAssigneeRequired)
	}
	assets, twiceAssets := duplicates(body.Assets)
	users, twiceUsers := duplicates(body.ClientUserIDs)
	serials, twiceSerials := duplicates(body.SerialNumbers)
	switch {
	case assets > c.limits.MaxAssets:
		return refuse(numTooManyAssets)
	case users > maxUsers:
		return refuse(numTooManyClientUserIDs)
	case serials > maxSerials:
		return refuse(numTooManySerialNumbers)
	case len(twiceAssets) > 0:
		return c.refuseRepeated(numDuplicateAssets, &wireErrorInfo{Assets: twiceAssets})
	case len(twiceUsers) > 0:
		return c.refuseRepeated(numDuplicateClientUserIDs, &wireErrorInfo{ClientUserIDs: twiceUsers})
	case len(twiceSerials) > 0:
		return c.refuseRepeated(numDuplicateSerialNumbers, &wireErrorInfo{SerialNumbers: twiceSerials})
	case slices.Contains(body.ClientUserIDs, ""):
		return refuseArgument("clientUserIds")
	case slices.Contains(body.SerialNumbers, ""):
		return refuseArgument("serialNumbers")
	}
	return nil
}

// applyAssets applies the event of an associate or disassociate request.
func (u *Unit) applyAssets(e *event, now time.Time, body *wireManageAssets) {
	tasks := newTaskSet(len(body.Assets), u.subscribed(NotificationAssetManagement))
	targets := newTargets(body)
	changes := assetChanges{assets: lazyChange{data: &u.assetData}, assignments: lazyChange{data: &u.assignmentData}}
	holders := make([]*holder, targets.len())
	for i := range holders {
		holders[i] = u.holderOf(targets, i, e.Type)
	}
	for product, id := range body.Assets {
		a := u.assetsByID[id]
		for target, h := range holders {
			number := u.injectedFailure(e, targets.id(target))
			if number == 0 && e.Type == typeAssociate {
				number = u.associate(a, h, targets.isUser(target), &changes)
			} else if number == 0 {
				number = u.disassociate(a, h, targets, target, &changes)
			}
			if number == 0 {
				tasks.success(product, target)
			} else {
				tasks.failure(number, product, target)
			}
		}
	}
	u.finishAssets(e, now, tasks, body.Assets, targets)
}

// holderOf returns the user or device of a target, or nil if no such user or
// device can hold a license. An associate event creates a device that the stand-in
// does not know yet.
func (u *Unit) holderOf(t *targets, i int, typ string) *holder {
	id := t.id(i)
	if t.isUser(i) {
		if x := u.activeUsers[id]; x != nil {
			return &x.holder
		}
		return nil
	}
	if typ != typeAssociate {
		return u.devices[id]
	}
	if len(u.knownDevices) > 0 && !u.knownDevices[id] {
		return nil
	}
	return u.device(id)
}

// assetChanges are the changes that one event makes to assets and to
// assignments.
type assetChanges struct {
	assets, assignments lazyChange
	unused              []assignment // memory for new assignments
}

// newAssignment returns an empty assignment. It allocates 256 assignments at a
// time, because an event can make 25,000 assignments.
func (c *assetChanges) newAssignment() *assignment {
	if len(c.unused) == 0 {
		c.unused = make([]assignment, 256)
	}
	a := &c.unused[0]
	c.unused = c.unused[1:]
	return a
}

// associate applies one task of an associate event: it assigns an asset to a user
// or a device. It returns the error number of the task, or zero for success.
func (u *Unit) associate(a *asset, h *holder, isUser bool, changes *assetChanges) int {
	switch {
	case h == nil && isUser:
		return numUserNotFound
	case h == nil:
		return 0 // AddDevices did not name the device; the service counts the task as completed
	case a == nil:
		return numNotEnoughLicenses
	case u.pairs[pairKey(a, h)] != nil:
		return 0
	case a.available() == 0:
		return numNotEnoughLicenses
	}
	u.assign(changes.newAssignment(), a, h, changes.assignments.number())
	a.changed = changes.assets.number()
	return 0
}

// disassociate applies one task of a disassociate event: it removes an
// assignment. It returns the error number of the task, or zero for success.
func (u *Unit) disassociate(a *asset, h *holder, t *targets, i int, changes *assetChanges) int {
	if h == nil {
		if t.isUser(i) && !u.hasUser(t.id(i), true) {
			return numUserNotFound
		}
		return 0
	}
	if a == nil {
		return 0
	}
	x := u.pairs[pairKey(a, h)]
	if x == nil {
		return 0
	}
	if !a.revocable() {
		return numNotRevocable // the asset became irrevocable after the request was accepted
	}
	u.unassign(x)
	changes.assignments.number()
	a.changed = changes.assets.number()
	return 0
}

// finishAssets finishes an event that changes assignments of assets, and sends
// its notifications.
func (u *Unit) finishAssets(e *event, now time.Time, tasks *taskSet, ids []wireAssetID, t *targets) {
	info := func(products, targets []int) *wireErrorInfo {
		var out wireErrorInfo
		for _, p := range products {
			if ids[p].AdamID != "" {
				out.Assets = append(out.Assets, ids[p])
			}
		}
		for _, i := range targets {
			if t.isUser(i) {
				out.ClientUserIDs = append(out.ClientUserIDs, t.id(i))
			} else {
				out.SerialNumbers = append(out.SerialNumbers, t.id(i))
			}
		}
		return &out
	}
	u.finish(e, now, tasks, info)
	u.notifyTasks(e, now, NotificationAssetManagement, tasks, info, func(m *wireManagement, product int, targets []int) {
		list := make([]wireAssignment, len(targets))
		for i, target := range targets {
			list[i] = wireAssignment{AdamID: ids[product].AdamID, PricingParam: ids[product].PricingParam}
			if t.isUser(target) {
				list[i].ClientUserID = t.id(target)
			} else {
				list[i].SerialNumber = t.id(target)
			}
		}
		m.Assignments = list
	})
}

// targets are the users and devices of a request. The users come first.
type targets struct{ users, serials []string }

func newTargets(body *wireManageAssets) *targets {
	return &targets{body.ClientUserIDs, body.SerialNumbers}
}

func (t *targets) len() int { return len(t.users) + len(t.serials) }

func (t *targets) isUser(i int) bool { return i < len(t.users) }

func (t *targets) id(i int) string {
	if t.isUser(i) {
		return t.users[i]
	}
	return t.serials[i-len(t.users)]
}
