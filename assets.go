package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// AssetsService reads the apps and books that the organizational unit owns,
// and assigns them.
type AssetsService service

// PricingParam is the quality of an asset. Values newer than the SDK are kept.
type PricingParam string

// Qualities.
const (
	STDQ PricingParam = "STDQ" // standard
	PLUS PricingParam = "PLUS" // high quality
)

// ProductType tells apps from books. Values newer than the SDK are kept.
type ProductType string

// Product types.
const (
	ProductApp  ProductType = "App"
	ProductBook ProductType = "Book"
)

// AssetID is the identity of an asset.
type AssetID struct {
	AdamID       string       `json:"adamId"`
	PricingParam PricingParam `json:"pricingParam,omitzero"` // sent as STDQ when empty
}

// Asset is an app or a book with its licences.
type Asset struct {
	AdamID             string       `json:"adamId"`
	PricingParam       PricingParam `json:"pricingParam"`
	ProductType        ProductType  `json:"productType"`
	AssignedCount      int          `json:"assignedCount"`
	AvailableCount     int          `json:"availableCount"`
	RetiredCount       int          `json:"retiredCount"`
	TotalCount         int          `json:"totalCount"` // Unlimited for a free asset without a number
	DeviceAssignable   bool         `json:"deviceAssignable"`
	Revocable          bool         `json:"revocable"`
	SupportedPlatforms []string     `json:"supportedPlatforms,omitzero"` // iOS, macOS, tvOS, watchOS, visionOS
}

// Unlimited is the TotalCount of an asset whose licences are not counted.
const Unlimited = 2147483647

// UnlimitedAsset is an asset whose licences are not counted, as it is listed
// with AssetFilter.Unlimited.
type UnlimitedAsset struct {
	AdamID             string       `json:"adamId"`
	PricingParam       PricingParam `json:"pricingParam"`
	ProductType        ProductType  `json:"productType"`
	AssignedCount      int          `json:"assignedCount"`
	DeviceAssignable   bool         `json:"deviceAssignable"`
	Revocable          bool         `json:"revocable"`
	SupportedPlatforms []string     `json:"supportedPlatforms,omitzero"`
}

// AssetFilter selects assets. The zero value selects all. Pointers are for
// values whose zero differs from absent; [Ptr] makes one.
type AssetFilter struct {
	PageIndex         int // of List and the start of Pages and All; the first page is 0
	AdamID            string
	ProductType       ProductType
	PricingParam      PricingParam
	Revocable         *bool
	DeviceAssignable  *bool
	MinAvailableCount *int // the bounds are inclusive
	MaxAvailableCount *int
	MinAssignedCount  *int
	MaxAssignedCount  *int
	// Unlimited lists uncounted assets apart, in AssetPage.UnlimitedAssets
	// (true), leaves them out (false), or lists them among the others (nil).
	Unlimited *bool
	// Restarts is how often Pages and All begin again when the data changes
	// under them; see [ErrRestarted]. With 0 they read on: see PageInfo.Changed.
	Restarts int
}

func (f AssetFilter) query() url.Values {
	return query{}.
		page(f.PageIndex).
		text("adamId", f.AdamID).
		text("productType", string(f.ProductType)).
		text("pricingParam", string(f.PricingParam)).
		boolean("revocable", f.Revocable).
		boolean("deviceAssignable", f.DeviceAssignable).
		number("minAvailableCount", f.MinAvailableCount).
		number("maxAvailableCount", f.MaxAvailableCount).
		number("minAssignedCount", f.MinAssignedCount).
		number("maxAssignedCount", f.MaxAssignedCount).
		boolean("unlimited", f.Unlimited).values()
}

// AssetPage is one page of assets.
type AssetPage struct {
	Assets          []Asset          `json:"assets,omitzero"`
	UnlimitedAssets []UnlimitedAsset `json:"unlimitedAssets,omitzero"`
	PageInfo
}

// List reads one page of assets.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/get-assets-4ski1
func (s *AssetsService) List(ctx context.Context, f AssetFilter) (*AssetPage, error) {
	page := new(AssetPage)
	if err := s.client.getPage(ctx, "assets", "getAssets", f.query(), transport.Turn{}, page); err != nil {
		return nil, err
	}
	return page, nil
}

// Pages reads the assets page by page, beginning at f.PageIndex: in order, with
// up to five pages read ahead in parallel. To resume after an error, begin at
// the NextPageIndex of the last page; see [PageInfo] for changes under the walk.
//
// Assets have no changes since a version. Whether anything changed since a
// walk, the VersionID of a single page tells.
func (s *AssetsService) Pages(ctx context.Context, f AssetFilter) iter.Seq2[*AssetPage, error] {
	return pages[AssetPage](ctx, s.client, "assets", "getAssets", f.PageIndex, f.Restarts, func(index int) url.Values {
		f := f
		f.PageIndex = index
		return f.query()
	})
}

// All reads the assets one by one, beginning with those of f.PageIndex. With
// AssetFilter.Unlimited set to true use Pages: it also gives the uncounted ones.
func (s *AssetsService) All(ctx context.Context, f AssetFilter) iter.Seq2[Asset, error] {
	return items(s.Pages(ctx, f), func(p *AssetPage) []Asset { return p.Assets })
}

// AssetChange names pairs of an asset and a target: every asset with every
// user and every device, and the single pairs besides. Repetitions count once.
type AssetChange struct {
	Assets        []AssetID
	ClientUserIDs []string
	SerialNumbers []string
	// Pairs are single pairs: AdamID, and either ClientUserID or SerialNumber.
	// An empty PricingParam is STDQ.
	Pairs []Assignment
}

// Targets names users and devices.
type Targets struct {
	ClientUserIDs []string
	SerialNumbers []string
}

// Associate assigns assets to users and devices: any number of them, sent in
// as few requests as the live limits allow.
//
// Success means that the licences are assigned, not that anything is
// installed; and the service accepts serial numbers that do not exist:
// [Operation.Verify] reads the assignments back. A device under User
// Enrollment needs an assignment to its user.
//
// Asynchronous; see [Operation] for what is retried, and for the errors. Often
// seen in a report: [ErrNotEnoughLicenses], [ErrUserNotFound],
// [ErrAssetNotDeviceAssignable].
//
// https://developer.apple.com/documentation/devicemanagement/associate-assets
func (s *AssetsService) Associate(ctx context.Context, change AssetChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, associateAssets, func(t *tables) error { return t.addAssetChange(change) }, opts)
}

// Disassociate takes assets back from users and devices.
//
// Asynchronous; see [Operation]. Books cannot be taken back ([ErrAssetNotRevocable]).
//
// https://developer.apple.com/documentation/devicemanagement/disassociate-assets
func (s *AssetsService) Disassociate(ctx context.Context, change AssetChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, disassociateAssets, func(t *tables) error { return t.addAssetChange(change) }, opts)
}

// Revoke takes all revocable assets back from users and devices. The report
// has one outcome for each of them.
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/revoke-assets
func (s *AssetsService) Revoke(ctx context.Context, targets Targets, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, revokeAssets, func(t *tables) error {
		return t.addTargets(targets.ClientUserIDs, targets.SerialNumbers)
	}, opts)
}
