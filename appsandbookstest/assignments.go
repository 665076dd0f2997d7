package appsandbookstest

import (
	"cmp"
	"slices"
)

// An Assignment is one license of an asset that is assigned to one user or one
// device. Exactly one of ClientUserID and SerialNumber is set.
type Assignment struct {
	AdamID       string
	PricingParam string // empty means PricingSTDQ
	ClientUserID string
	SerialNumber string
}

// A holder is a user or a device that can hold licenses.
type holder struct {
	id          uint32
	user        *user  // nil for a device
	serial      string // empty for a user
	assignments []*assignment
}

// An assignment is the stand-in's record of an Assignment.
type assignment struct {
	asset   *asset
	holder  *holder
	ordinal uint64 // the assignment's position in the order of all assignments
	changed uint64 // number of the last change
	removed bool
}

func (a *assignment) isRemoved() bool { return a.removed }

func (a *assignment) key() uint64 { return pairKey(a.asset, a.holder) }

// pairKey returns the key of an asset and a holder in Unit.pairs.
func pairKey(a *asset, h *holder) uint64 { return uint64(a.id)<<32 | uint64(h.id) }

func (a *assignment) public() Assignment {
	out := Assignment{AdamID: a.asset.AdamID, PricingParam: a.asset.PricingParam, SerialNumber: a.holder.serial}
	if a.holder.user != nil {
		out.ClientUserID = a.holder.user.ClientUserID
	}
	return out
}

// newHolder returns a holder with an unused id.
func (u *Unit) newHolder() holder {
	u.lastHolder++
	return holder{id: u.lastHolder}
}

// device returns the device with a serial number, and creates it if necessary.
func (u *Unit) device(serial string) *holder {
	h := u.devices[serial]
	if h == nil {
		h = ptr(u.newHolder())
		h.serial = serial
		u.devices[serial] = h
	}
	return h
}

// assign assigns a license of an asset to a holder, and stores the assignment
// in a.
func (u *Unit) assign(a *assignment, to *asset, h *holder, change uint64) {
	u.lastOrdinal++
	*a = assignment{asset: to, holder: h, ordinal: u.lastOrdinal, changed: change}
	u.pairs[a.key()] = a
	u.assignments.add(a)
	to.holders.add(a)
	h.assignments = append(h.assignments, a)
	to.assigned++
}

// unassign removes an assignment. Its license becomes available.
func (u *Unit) unassign(a *assignment) {
	delete(u.pairs, a.key())
	a.removed = true
	u.assignments.hasRemoved = true
	a.asset.holders.hasRemoved = true
	i := slices.Index(a.holder.assignments, a)
	a.holder.assignments = slices.Delete(a.holder.assignments, i, i+1)
	a.asset.assigned--
}

// AddDevices declares that devices with these serial numbers exist. Before the
// first call, every serial number exists. After the first call, the server
// accepts associate requests for other serial numbers, counts them as
// completed, and assigns nothing. Users of Apple's service have reported this
// behavior for serial numbers that do not exist.
func (u *Unit) AddDevices(serials ...string) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	for _, s := range serials {
		u.knownDevices[s] = true
	}
}

// AddAssignments adds assignments to the library. It adds missing assets, adds
// missing users with the status [UserAssociated], and raises the totals of
// assets without available licenses. It skips assignments that exist. It is
// fast enough for a million assignments.
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
		id := wireAssetID{x.AdamID, cmp.Or(x.PricingParam, PricingSTDQ)}
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

// HasAssignment reports whether an assignment exists. It also finds the
// assignments of retired users.
func (u *Unit) HasAssignment(x Assignment) bool {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	a := u.assetsByID[wireAssetID{x.AdamID, cmp.Or(x.PricingParam, PricingSTDQ)}]
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

// An assignmentFilter holds the filters of GET assignments.
type assignmentFilter struct {
	adamID          string
	pricingParam    string
	clientUserID    string
	serialNumber    string
	has             [4]bool // whether adamID, pricingParam, clientUserID and serialNumber are filters
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

// possibleMatches returns a list with at least all assignments that match a
// filter. The returned list can be shorter than the list of all assignments if the
// filter names a user, a device or an Adam ID. The lock must be held.
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
		for _, pricing := range []string{PricingSTDQ, PricingPLUS} {
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

// getAssignments handles GET assignments.
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
