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
const unlimitedTotal = math.MaxInt32

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
	holders  orderedList[*assignment]
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

// AddAsset adds an asset to the library. It replaces an asset with the same
// identity, whose assignments stay.
func (u *Unit) AddAsset(add Asset) {
	u.lockAndUpdate()
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

// Purchase changes the number of licences of an asset, as a purchase, a
// refund or a transfer between units does, and sends ASSET_COUNT. An asset
// that is not in the library is added as an app. A negative delta takes no
// licences that somebody holds. An empty pricingParam means PricingStandard.
func (u *Unit) Purchase(adamID, pricingParam string, delta int) {
	u.lockAndUpdate()
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
	u.lockAndUpdate()
	defer u.mu.Unlock()
	out := make([]Asset, len(u.assets))
	for i, a := range u.assets {
		out[i] = a.public()
	}
	return out
}

// Asset returns one asset. An empty pricingParam means PricingStandard.
func (u *Unit) Asset(adamID, pricingParam string) (Asset, bool) {
	u.lockAndUpdate()
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

func validPricingParam(s string) bool { return s == PricingStandard || s == PricingPlus }

func validAdamID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 63)
	return err == nil && n > 0 && s[0] != '+'
}
