package appsandbookstest

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// Products and prices of assets.
const (
	ProductApp  = "App"
	ProductBook = "Book"

	PricingStandard = "STDQ"
	PricingPlus     = "PLUS"
)

// unlimitedCount is the total of an asset with any number of licences.
const unlimitedCount = math.MaxInt32

// An Asset is an app or a book of the library. An asset is identified by
// AdamID and PricingParam.
type Asset struct {
	AdamID             string
	PricingParam       string   // empty: PricingStandard
	ProductType        string   // empty: ProductApp
	Total              int      // licences owned; ignored when Unlimited
	Unlimited          bool     // free, with any number of licences
	Irrevocable        bool     // cannot be taken back; always true of books
	UsersOnly          bool     // cannot be assigned to devices; always true of books
	SupportedPlatforms []string // empty: iOS

	// Assigned, Available and Retired are what the ledger says. They are
	// ignored when an asset is added. Retired counts irrevocable licences of
	// retired users, and Total = Assigned + Available + Retired.
	Assigned, Available, Retired int
}

// An asset is what the unit keeps of an Asset. The counts of the embedded
// Asset are not used.
type asset struct {
	Asset
	id       uint32
	assigned int
	retired  int
	changed  uint64
	holders  ordered[*assignment]
}

func (a *asset) revocable() bool        { return !a.Irrevocable }
func (a *asset) deviceAssignable() bool { return !a.UsersOnly }
func (a *asset) wireID() wireAssetID    { return wireAssetID{a.AdamID, a.PricingParam} }

func (a *asset) available() int { return max(0, a.Total-a.assigned-a.retired) }

func (a *asset) public() Asset {
	out := a.Asset
	out.SupportedPlatforms = slices.Clone(a.SupportedPlatforms)
	out.Assigned, out.Available, out.Retired = a.assigned, a.available(), a.retired
	return out
}

func (a *asset) wire() wireAsset {
	return wireAsset{
		AdamID:             a.AdamID,
		AssignedCount:      a.assigned,
		AvailableCount:     a.available(),
		DeviceAssignable:   a.deviceAssignable(),
		PricingParam:       a.PricingParam,
		ProductType:        a.ProductType,
		RetiredCount:       a.retired,
		Revocable:          a.revocable(),
		SupportedPlatforms: a.SupportedPlatforms,
		TotalCount:         a.Total,
	}
}

// AddAsset adds an asset to the library. It replaces an asset with the same
// identity, whose assignments stay.
func (u *Unit) AddAsset(add Asset) {
	u.lock()
	defer u.mu.Unlock()
	u.insertAsset(add, u.assetData.change())
}

func (u *Unit) insertAsset(add Asset, change uint64) *asset {
	add.PricingParam = cmp.Or(add.PricingParam, PricingStandard)
	add.ProductType = cmp.Or(add.ProductType, ProductApp)
	if add.ProductType == ProductBook {
		add.Irrevocable, add.UsersOnly = true, true
	}
	if add.Unlimited {
		add.Total = unlimitedCount
	}
	add.SupportedPlatforms = slices.Clone(add.SupportedPlatforms)
	if len(add.SupportedPlatforms) == 0 {
		add.SupportedPlatforms = []string{"iOS"}
	}
	id := wireAssetID{add.AdamID, add.PricingParam}
	a := u.assetsByID[id]
	if a == nil {
		a = &asset{id: uint32(len(u.assets))}
		u.assets = append(u.assets, a)
		u.assetsByID[id] = a
	}
	a.Asset, a.changed = add, change
	a.Total = max(a.Total, a.assigned+a.retired)
	return a
}

// Purchase changes the number of licences of an asset, as a purchase, a
// refund or a transfer between units does, and sends ASSET_COUNT. An asset
// that is not in the library is added as an app. A negative delta takes no
// licences that somebody holds. An empty pricingParam means PricingStandard.
func (u *Unit) Purchase(adamID, pricingParam string, delta int) {
	u.lock()
	defer u.mu.Unlock()
	id := wireAssetID{adamID, cmp.Or(pricingParam, PricingStandard)}
	change := lazyChange{data: &u.assetData}
	a := u.assetsByID[id]
	if a == nil {
		a = u.insertAsset(Asset{AdamID: id.AdamID, PricingParam: id.PricingParam}, change.number())
	}
	if delta = max(delta, -a.available()); delta == 0 || a.Unlimited {
		return
	}
	a.Total += delta
	a.changed = change.number()
	u.notify(NotificationAssetCount, time.Now(), wireAssetCount{
		AdamID: a.AdamID, PricingParam: a.PricingParam, CountDelta: delta,
	})
}

// Assets returns all assets in the order in which they were added.
func (u *Unit) Assets() []Asset {
	u.lock()
	defer u.mu.Unlock()
	out := make([]Asset, len(u.assets))
	for i, a := range u.assets {
		out[i] = a.public()
	}
	return out
}

// Asset returns one asset. An empty pricingParam means PricingStandard.
func (u *Unit) Asset(adamID, pricingParam string) (Asset, bool) {
	u.lock()
	defer u.mu.Unlock()
	a := u.assetsByID[wireAssetID{adamID, cmp.Or(pricingParam, PricingStandard)}]
	if a == nil {
		return Asset{}, false
	}
	return a.public(), true
}

type assetFilter struct {
	adamID, pricingParam, productType string
	hasAdamID                         bool
	revocable, deviceAssignable       int // +1 yes, -1 no, 0 either
	minAvailable, maxAvailable        int
	minAssigned, maxAssigned          int
	limitedOnly                       bool
	hasMaxAvailable, hasMaxAssigned   bool
}

func (f assetFilter) match(a *asset) bool {
	is := func(want int, have bool) bool { return want == 0 || want > 0 == have }
	switch {
	case f.hasAdamID && a.AdamID != f.adamID,
		f.pricingParam != "" && a.PricingParam != f.pricingParam,
		f.productType != "" && a.ProductType != f.productType,
		!is(f.revocable, a.revocable()),
		!is(f.deviceAssignable, a.deviceAssignable()),
		a.available() < f.minAvailable,
		f.hasMaxAvailable && a.available() > f.maxAvailable,
		a.assigned < f.minAssigned,
		f.hasMaxAssigned && a.assigned > f.maxAssigned,
		f.limitedOnly && a.Unlimited:
		return false
	}
	return true
}

// assetFilter reads the filters of GET assets.
func (c *call) assetFilter() (assetFilter, *apiError) {
	f := assetFilter{
		adamID:          c.query.Get("adamId"),
		pricingParam:    c.query.Get("pricingParam"),
		productType:     c.query.Get("productType"),
		hasAdamID:       c.has("adamId"),
		hasMaxAvailable: c.has("maxAvailableCount"),
		hasMaxAssigned:  c.has("maxAssignedCount"),
	}
	if c.has("pricingParam") && !validPricing(f.pricingParam) {
		return f, refuseArgument("pricingParam")
	}
	if c.has("productType") && f.productType != ProductApp && f.productType != ProductBook {
		return f, refuseArgument("productType")
	}
	var refusal *apiError
	for name, value := range map[string]*int{
		"minAvailableCount": &f.minAvailable,
		"maxAvailableCount": &f.maxAvailable,
		"minAssignedCount":  &f.minAssigned,
		"maxAssignedCount":  &f.maxAssigned,
	} {
		if *value, refusal = c.intParam(name); refusal != nil {
			return f, refusal
		}
	}
	for name, value := range map[string]*int{
		"revocable":        &f.revocable,
		"deviceAssignable": &f.deviceAssignable,
	} {
		want, refusal := c.boolParam(name)
		if refusal != nil {
			return f, refusal
		}
		if want != nil {
			*value = -1
			if *want {
				*value = 1
			}
		}
	}
	return f, nil
}

// getAssets answers GET assets.
func getAssets(c *call) (any, *apiError) {
	f, refusal := c.assetFilter()
	if refusal != nil {
		return nil, refusal
	}
	unlimited, refusal := c.boolParam("unlimited")
	if refusal != nil {
		return nil, refusal
	}
	f.limitedOnly = unlimited != nil && !*unlimited
	apart := unlimited != nil && *unlimited

	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	list := u.assets
	if f != (assetFilter{}) {
		list = u.assetPages.get(f, u.assetData.seq, func() []*asset { return filter(u.assets, f.match) })
	}
	place, refusal := c.pageOf(len(list))
	if refusal != nil {
		return nil, refusal
	}
	page := wireAssetsPage{wireCommon: u.common(), wirePage: place.page, Assets: make([]wireAsset, 0, place.page.Size)}
	page.VersionID = u.assetData.version()
	var free []wireUnlimitedAsset
	for _, a := range list[place.from:place.to] {
		w := a.wire()
		if !apart || !a.Unlimited {
			page.Assets = append(page.Assets, w)
			continue
		}
		free = append(free, wireUnlimitedAsset{
			AdamID:             w.AdamID,
			AssignedCount:      w.AssignedCount,
			DeviceAssignable:   w.DeviceAssignable,
			PricingParam:       w.PricingParam,
			ProductType:        w.ProductType,
			Revocable:          w.Revocable,
			SupportedPlatforms: w.SupportedPlatforms,
		})
	}
	if apart {
		page.UnlimitedAssets = &free
		if free == nil {
			page.UnlimitedAssets = &[]wireUnlimitedAsset{}
		}
	}
	return page, nil
}

func validPricing(s string) bool { return s == PricingStandard || s == PricingPlus }

func validAdamID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 63)
	return err == nil && n > 0 && s[0] != '+'
}

func associateAssets(c *call) (any, *apiError)    { return c.manageAssets(typeAssociate) }
func disassociateAssets(c *call) (any, *apiError) { return c.manageAssets(typeDisassociate) }

// manageAssets answers POST assets/associate and assets/disassociate.
func (c *call) manageAssets(typ string) (any, *apiError) {
	var body wireManageAssets
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	for i := range body.Assets {
		if body.Assets[i].PricingParam == "" {
			c.srv.recorder.note(c.record, RuleUndocumentedDefault, "%s leaves pricingParam out", c.path)
			body.Assets[i].PricingParam = PricingStandard
		}
	}
	if refusal := c.checkAssets(&body); refusal != nil {
		return nil, refusal
	}

	u := c.unit
	u.lock()
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

// checkAssets refuses a request to associate or disassociate by its form.
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
		if !validPricing(id.PricingParam) {
			return refuseArgument("pricingParam")
		}
	}
	return nil
}

// checkTargets refuses targets that are missing, too many, named twice or
// empty, and assets that are too many or named twice.
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
		return c.refuseDuplicates(numDuplicateAssets, &wireErrorInfo{Assets: twiceAssets})
	case len(twiceUsers) > 0:
		return c.refuseDuplicates(numDuplicateClientUserIDs, &wireErrorInfo{ClientUserIDs: twiceUsers})
	case len(twiceSerials) > 0:
		return c.refuseDuplicates(numDuplicateSerialNumbers, &wireErrorInfo{SerialNumbers: twiceSerials})
	case slices.Contains(body.ClientUserIDs, ""):
		return refuseArgument("clientUserIds")
	case slices.Contains(body.SerialNumbers, ""):
		return refuseArgument("serialNumbers")
	}
	return nil
}

// applyAssets carries out an event of associate or disassociate.
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
			number := u.refusal(e, targets.id(target))
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

// holderOf returns the holder of a target, or nil when there is none that
// could hold a licence.
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

// assetChanges number the changes of an event.
type assetChanges struct {
	assets, assignments lazyChange
	room                []assignment // for new assignments
}

// place returns room for a new assignment.
func (c *assetChanges) place() *assignment {
	if len(c.room) == 0 {
		c.room = make([]assignment, 256)
	}
	a := &c.room[0]
	c.room = c.room[1:]
	return a
}

// associate carries out one task and returns its error number, or zero.
func (u *Unit) associate(a *asset, h *holder, isUser bool, changes *assetChanges) int {
	switch {
	case h == nil && isUser:
		return numUserNotFound
	case h == nil:
		return 0 // a device that does not exist
	case a == nil:
		return numNotEnoughLicenses
	case u.pairs[pairKey(a, h)] != nil:
		return 0
	case a.available() == 0:
		return numNotEnoughLicenses
	}
	u.assign(changes.place(), a, h, changes.assignments.number())
	a.changed = changes.assets.number()
	return 0
}

// disassociate carries out one task and returns its error number, or zero.
func (u *Unit) disassociate(a *asset, h *holder, t *targets, i int, changes *assetChanges) int {
	if h == nil {
		if t.isUser(i) && !u.knows(t.id(i), true) {
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
		return numNotRevocable // has become so since the request
	}
	u.unassign(x)
	changes.assignments.number()
	a.changed = changes.assets.number()
	return 0
}

// revokeAssets answers POST assets/revoke.
func revokeAssets(c *call) (any, *apiError) {
	var body wireManageAssets
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	body.Assets = nil // a field that this request does not have
	if refusal := c.checkTargets(&body, c.limits.MaxRevokeClientUserIDs, c.limits.MaxRevokeSerialNumbers); refusal != nil {
		return nil, refusal
	}
	u := c.unit
	u.lock()
	defer u.mu.Unlock()
	if refusal := u.checkUsers(body.ClientUserIDs, true); refusal != nil {
		return nil, refusal
	}
	t := newTargets(&body)
	write := Event{Type: typeRevoke, NumRequested: len(u.revocable(t))}
	e := u.accept(c, write, func(e *event, now time.Time) { u.applyRevoke(e, now, t) })
	return u.accepted(e), nil
}

// A revocation is one assignment that a revoke request takes away.
type revocation struct {
	target int
	held   *assignment // nil: the target is unknown
}

// revocable returns what a revoke request takes away. The lock is held.
func (u *Unit) revocable(t *targets) []revocation {
	var out []revocation
	for i := range t.len() {
		h := u.holderOf(t, i, typeRevoke)
		if h == nil {
			if t.isUser(i) && !u.knows(t.id(i), true) {
				out = append(out, revocation{target: i})
			}
			continue
		}
		for _, a := range h.held {
			if a.asset.revocable() {
				out = append(out, revocation{target: i, held: a})
			}
		}
	}
	return out
}

// applyRevoke carries out an event of revoke.
func (u *Unit) applyRevoke(e *event, now time.Time, t *targets) {
	list := u.revocable(t)
	e.NumRequested = len(list)
	ids := []wireAssetID{{}} // the products that are concerned; the first is none
	products := make(map[*asset]int)
	for _, r := range list {
		if r.held != nil {
			if _, ok := products[r.held.asset]; !ok {
				products[r.held.asset] = len(ids)
				ids = append(ids, r.held.asset.wireID())
			}
		}
	}
	tasks := newTaskSet(len(ids), u.subscribed(NotificationAssetManagement))
	changes := assetChanges{assets: lazyChange{data: &u.assetData}, assignments: lazyChange{data: &u.assignmentData}}
	for _, r := range list {
		number := u.refusal(e, t.id(r.target))
		if r.held == nil {
			tasks.failure(cmp.Or(number, numUserNotFound), 0, r.target)
			continue
		}
		product := products[r.held.asset]
		if number != 0 {
			tasks.failure(number, product, r.target)
			continue
		}
		u.unassign(r.held)
		changes.assignments.number()
		r.held.asset.changed = changes.assets.number()
		tasks.success(product, r.target)
	}
	u.finishAssets(e, now, tasks, ids, t)
}

// finishAssets ends an event of the assets and sends its notifications.
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

// targets are the users and devices of a request, users first.
type targets struct{ users, serials []string }

func newTargets(body *wireManageAssets) *targets {
	return &targets{body.ClientUserIDs, body.SerialNumbers}
}

func (t *targets) len() int          { return len(t.users) + len(t.serials) }
func (t *targets) isUser(i int) bool { return i < len(t.users) }

func (t *targets) id(i int) string {
	if t.isUser(i) {
		return t.users[i]
	}
	return t.serials[i-len(t.users)]
}
