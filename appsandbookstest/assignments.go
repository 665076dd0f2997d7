package appsandbookstest

import (
	"cmp"
	"slices"
)

// An Assignment is one licence of an asset in the hands of one user or one
// device. Exactly one of ClientUserID and SerialNumber is set.
type Assignment struct {
	AdamID       string
	PricingParam string // empty means PricingStandard
	ClientUserID string
	SerialNumber string
}

// A holder is a user or a device that can hold licences.
type holder struct {
	id          uint32
	user        *user  // nil for a device
	serial      string // of a device
	assignments []*assignment
}

// An assignment is what the unit keeps of an Assignment.
type assignment struct {
	asset   *asset
	holder  *holder
	ordinal uint64 // increases with the time of the assignment
	changed uint64
	removed bool
}

func (a *assignment) isRemoved() bool { return a.removed }

func (a *assignment) key() uint64 { return pairKey(a.asset, a.holder) }

func pairKey(a *asset, h *holder) uint64 { return uint64(a.id)<<32 | uint64(h.id) }

func (a *assignment) public() Assignment {
	out := Assignment{AdamID: a.asset.AdamID, PricingParam: a.asset.PricingParam, SerialNumber: a.holder.serial}
	if a.holder.user != nil {
		out.ClientUserID = a.holder.user.ClientUserID
	}
	return out
}

// newHolder returns a holder with an id of its own.
func (u *Unit) newHolder() holder {
	u.lastHolder++
	return holder{id: u.lastHolder}
}

// device returns the device with a serial number.
func (u *Unit) device(serial string) *holder {
	h := u.devices[serial]
	if h == nil {
		h = ptr(u.newHolder())
		h.serial = serial
		u.devices[serial] = h
	}
	return h
}

// assign gives a licence of an asset to a holder, in the given place.
func (u *Unit) assign(a *assignment, to *asset, h *holder, change uint64) {
	u.lastOrdinal++
	*a = assignment{asset: to, holder: h, ordinal: u.lastOrdinal, changed: change}
	u.pairs[a.key()] = a
	u.assignments.add(a)
	to.holders.add(a)
	h.assignments = append(h.assignments, a)
	to.assigned++
}

// unassign takes a licence back.
func (u *Unit) unassign(a *assignment) {
	delete(u.pairs, a.key())
	a.removed = true
	u.assignments.hasRemoved = true
	a.asset.holders.hasRemoved = true
	i := slices.Index(a.holder.assignments, a)
	a.holder.assignments = slices.Delete(a.holder.assignments, i, i+1)
	a.asset.assigned--
}

// AddDevices makes serial numbers known. As soon as one is known, licences
// for others are accepted, counted as completed, and assigned to nobody,
// which is what the service was seen to do with serial numbers that do not
// exist. While none is known, every serial number exists.
func (u *Unit) AddDevices(serials ...string) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	for _, s := range serials {
		u.knownDevices[s] = true
	}
}

// AddAssignments adds assignments to the library, a million of them if need
// be. Assets that are missing are added, and so are users (as associated
// ones); totals rise where licences are missing. Assignments that exist
// already are left alone.
func (u *Unit) AddAssignments(list ...Assignment) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if len(list) == 0 {
		return
	}
	if len(u.pairs) == 0 {
		u.pairs = make(map[uint64]*assignment, len(list))
	}
	u.assignments.items = slices.Grow(u.assignments.items, len(list))
	places := make([]assignment, len(list))
	assets, assignments := u.assetData.change(), u.assignmentData.change()
	users := lazyChange{data: &u.userData}
	for i, x := range list {
		id := wireAssetID{x.AdamID, cmp.Or(x.PricingParam, PricingStandard)}
		a := u.assetsByID[id]
		if a == nil {
			a = u.insertAsset(Asset{AdamID: id.AdamID, PricingParam: id.PricingParam}, assets)
		}
		var h *holder
		if x.ClientUserID == "" {
			h = u.device(x.SerialNumber)
		} else {
			known := u.activeUsers[x.ClientUserID]
			if known == nil {
				known = u.insertUser(User{ClientUserID: x.ClientUserID, Status: UserAssociated}, users.number())
			}
			h = &known.holder
		}
		if u.pairs[pairKey(a, h)] != nil {
			continue
		}
		if a.available() == 0 {
			a.Total++
		}
		u.assign(&places[i], a, h, assignments)
		a.changed = assets
	}
}

// Assignments returns all assignments in the order in which they were made.
func (u *Unit) Assignments() []Assignment {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	list := u.assignments.all()
	out := make([]Assignment, len(list))
	for i, a := range list {
		out[i] = a.public()
	}
	return out
}

// HasAssignment reports whether an assignment exists. An assignment of a
// retired user counts as well.
func (u *Unit) HasAssignment(x Assignment) bool {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	a := u.assetsByID[wireAssetID{x.AdamID, cmp.Or(x.PricingParam, PricingStandard)}]
	if a == nil {
		return false
	}
	if x.ClientUserID == "" {
		h := u.devices[x.SerialNumber]
		return h != nil && u.pairs[pairKey(a, h)] != nil
	}
	return slices.ContainsFunc(u.usersByID[x.ClientUserID], func(x *user) bool {
		return u.pairs[pairKey(a, &x.holder)] != nil
	})
}

type assignmentFilter struct {
	adamID          string
	pricingParam    string
	clientUserID    string
	serialNumber    string
	has             [4]bool // which of the above are given
	excludeInactive bool
	since           uint64
	sinceGiven      bool
}

func (f assignmentFilter) match(a *assignment) bool {
	x := a.holder.user
	switch {
	case f.has[0] && a.asset.AdamID != f.adamID,
		f.has[1] && a.asset.PricingParam != f.pricingParam,
		f.has[2] && (x == nil || x.ClientUserID != f.clientUserID),
		f.has[3] && (x != nil || a.holder.serial != f.serialNumber),
		f.excludeInactive && x != nil && !x.active(),
		f.sinceGiven && a.changed <= f.since:
		return false
	}
	return true
}

// candidates returns a small list that holds all matches. The lock is held.
func (u *Unit) possibleMatches(f assignmentFilter) []*assignment {
	var list []*assignment
	switch {
	case f.has[2]:
		for _, x := range u.usersByID[f.clientUserID] {
			list = append(list, x.assignments...)
		}
	case f.has[3]:
		if h := u.devices[f.serialNumber]; h != nil {
			list = slices.Clone(h.assignments)
		}
	case f.has[0]:
		for _, pricing := range []string{PricingStandard, PricingPlus} {
			if a := u.assetsByID[wireAssetID{f.adamID, pricing}]; a != nil {
				list = append(list, a.holders.all()...)
			}
		}
	default:
		return u.assignments.all()
	}
	slices.SortFunc(list, func(a, b *assignment) int { return cmp.Compare(a.ordinal, b.ordinal) })
	return list
}

// getAssignments answers GET assignments.
func getAssignments(c *call) (any, *apiError) {
	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()

	f := assignmentFilter{sinceGiven: c.has("sinceVersionId")}
	for i, p := range []struct {
		name  string
		value *string
	}{
		{"adamId", &f.adamID},
		{"pricingParam", &f.pricingParam},
		{"clientUserId", &f.clientUserID},
		{"serialNumber", &f.serialNumber},
	} {
		f.has[i], *p.value = c.has(p.name), c.query.Get(p.name)
	}
	var refusal *apiError
	if f.has[1] && !validPricingParam(f.pricingParam) {
		return nil, refuseArgument("pricingParam")
	}
	if f.excludeInactive, refusal = c.flagParam("excludeInactiveUsers"); refusal != nil {
		return nil, refusal
	}
	showUser, refusal := c.flagParam("includeUserState")
	if refusal != nil {
		return nil, refusal
	}
	if f.since, refusal = c.sinceParam(&u.assignmentData); refusal != nil {
		return nil, refusal
	}

	var list []*assignment
	if f == (assignmentFilter{}) {
		list = u.assignments.all()
	} else {
		list = u.assignmentPages.get(f, u.assignmentData.lastChange, func() []*assignment {
			return filter(u.possibleMatches(f), f.match)
		})
	}
	place, refusal := c.pageOf(len(list))
	if refusal != nil {
		return nil, refusal
	}
	page := wireAssignmentsPage{
		wireCommon: u.common(), wirePage: place.page,
		Assignments: make([]wireAssignment, 0, place.page.Size),
	}
	page.VersionID = u.assignmentData.version()
	for _, a := range list[place.from:place.to] {
		w := a.wire()
		if x := a.holder.user; x != nil && showUser {
			w.UserStatus, w.IDHash = x.Status, x.IDHash
		}
		page.Assignments = append(page.Assignments, w)
	}
	return page, nil
}

func (a *assignment) wire() wireAssignment {
	w := wireAssignment{AdamID: a.asset.AdamID, PricingParam: a.asset.PricingParam, SerialNumber: a.holder.serial}
	if x := a.holder.user; x != nil {
		w.ClientUserID = x.ClientUserID
	}
	return w
}
