package appsandbookstest

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// These are the product types and pricing parameters of assets. A pricing parameter
// is the quality of an asset: standard (STDQ) or high (PLUS).
const (
	ProductApp  = "App"
	ProductBook = "Book"

	PricingSTDQ = "STDQ"
	PricingPLUS = "PLUS"
)

// unlimitedTotal is the total of an asset with an unlimited number of licenses.
const unlimitedTotal = math.MaxInt32

// An Asset is an app or a book in the library of a unit. AdamID and
// PricingParam together identify it.
type Asset struct {
	AdamID             string
	PricingParam       string   // empty means PricingSTDQ
	ProductType        string   // empty means ProductApp
	Total              int      // number of licenses that the unit owns; ignored if Unlimited is true
	Unlimited          bool     // the asset is free and has an unlimited number of licenses
	Irrevocable        bool     // assignments of the asset cannot be removed; always true for books
	UsersOnly          bool     // the asset cannot be assigned to devices; always true for books
	SupportedPlatforms []string // empty means iOS

	// Assigned, Available and Retired are the stand-in's counts of licenses.
	// AddAsset ignores these fields. Retired counts irrevocable licenses of
	// retired users. Total is the sum of Assigned, Available and Retired.
	Assigned, Available, Retired int
}

// An asset is the stand-in's record of an Asset. The counts of the embedded Asset
// are not used.
type asset struct {
	Asset
	id       uint32 // place in Unit.assets
	assigned int
	retired  int
	changed  uint64                   // number of the last change
	holders  orderedList[*assignment] // the assignments of the asset
}

func (a *asset) revocable() bool { return !a.Irrevocable }

func (a *asset) deviceAssignable() bool { return !a.UsersOnly }

func (a *asset) wireID() wireAssetID { return wireAssetID{a.AdamID, a.PricingParam} }

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

// AddAsset adds an asset to the library. If the library has an asset with the
// same AdamID and PricingParam, AddAsset replaces it and keeps its assignments;
// Total is then at least the number of licenses in use.
func (u *Unit) AddAsset(add Asset) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	u.insertAsset(add, u.assetData.change())
}

// insertAsset adds or replaces an asset, and fills in the defaults. The lock
// must be held.
func (u *Unit) insertAsset(add Asset, change uint64) *asset {
	add.PricingParam = cmp.Or(add.PricingParam, PricingSTDQ)
	add.ProductType = cmp.Or(add.ProductType, ProductApp)
	if add.ProductType == ProductBook {
		add.Irrevocable, add.UsersOnly = true, true
	}
	if add.Unlimited {
		add.Total = unlimitedTotal
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

// Purchase adds delta licenses of an asset and sends ASSET_COUNT. It simulates
// a purchase, a refund or a transfer between units. An asset that is not in the
// library is added as an app. A negative delta removes only licenses that are
// available. An unlimited asset does not change. An empty pricingParam means
// [PricingSTDQ].
func (u *Unit) Purchase(adamID, pricingParam string, delta int) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	id := wireAssetID{adamID, cmp.Or(pricingParam, PricingSTDQ)}
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
	u.lockAndUpdate()
	defer u.mu.Unlock()
	out := make([]Asset, len(u.assets))
	for i, a := range u.assets {
		out[i] = a.public()
	}
	return out
}

// Asset returns one asset, and whether the library has it. An empty
// pricingParam means [PricingSTDQ].
func (u *Unit) Asset(adamID, pricingParam string) (Asset, bool) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	a := u.assetsByID[wireAssetID{adamID, cmp.Or(pricingParam, PricingSTDQ)}]
	if a == nil {
		return Asset{}, false
	}
	return a.public(), true
}

// An assetFilter holds the filters of GET assets.
type assetFilter struct {
	adamID, pricingParam, productType string
	hasAdamID                         bool
	revocable, deviceAssignable       int // value to filter by: +1 for true, -1 for false, 0 for no filter
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

// assetFilter reads the filters of GET assets from the query.
func (c *call) assetFilter() (assetFilter, *apiError) {
	f := assetFilter{
		adamID:          c.query.Get("adamId"),
		pricingParam:    c.query.Get("pricingParam"),
		productType:     c.query.Get("productType"),
		hasAdamID:       c.has("adamId"),
		hasMaxAvailable: c.has("maxAvailableCount"),
		hasMaxAssigned:  c.has("maxAssignedCount"),
	}
	if c.has("pricingParam") && !validPricingParam(f.pricingParam) {
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

// getAssets handles GET assets.
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
	separate := unlimited != nil && *unlimited // the answer lists unlimited assets in a separate field

	u := c.unit
	u.lockAndUpdate()
	defer u.mu.Unlock()
	list := u.assets
	if f != (assetFilter{}) {
		list = u.assetPages.get(f, u.assetData.lastChange, func() []*asset { return filter(u.assets, f.match) })
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
		if !separate || !a.Unlimited {
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
	if separate {
		page.UnlimitedAssets = &free
		if free == nil {
			page.UnlimitedAssets = &[]wireUnlimitedAsset{}
		}
	}
	return page, nil
}

// validPricingParam reports whether s is STDQ or PLUS.
func validPricingParam(s string) bool { return s == PricingSTDQ || s == PricingPLUS }

// validAdamID reports whether s is a positive decimal number of at most 63
// bits.
func validAdamID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 63)
	return err == nil && n > 0 && s[0] != '+'
}
