package appsandbooks

import (
	"context"
	"iter"
	"net/url"
)

// AssetsService reads the apps and books that the organizational unit owns,
// and assigns them.
type AssetsService service

// PricingParam is the quality of an asset. Values newer than the SDK are kept.
type PricingParam string

// Qualities.
const (
	PricingSTDQ PricingParam = "STDQ" // standard
	PricingPLUS PricingParam = "PLUS" // high quality
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
	AssetID
	ProductType        ProductType `json:"productType"`
	AssignedCount      int         `json:"assignedCount"`
	AvailableCount     int         `json:"availableCount"`
	RetiredCount       int         `json:"retiredCount"`
	TotalCount         int         `json:"totalCount"` // Unlimited for a free asset without a number
	DeviceAssignable   bool        `json:"deviceAssignable"`
	Revocable          bool        `json:"revocable"`
	SupportedPlatforms []string    `json:"supportedPlatforms,omitzero"` // iOS, macOS, tvOS, watchOS, visionOS
}

// AssetUnlimited is the TotalCount of an asset whose licences are not counted.
const AssetUnlimited = 2147483647

// AssetFilter selects assets. The zero value selects all. Pointers are for
// values whose zero differs from absent; [Ptr] makes one.
type AssetFilter struct {
	ListOptions
	AdamID            string
	ProductType       ProductType
	PricingParam      PricingParam
	Revocable         *bool
	DeviceAssignable  *bool
	MinAvailableCount *int // the bounds are inclusive
	MaxAvailableCount *int
	MinAssignedCount  *int
	MaxAssignedCount  *int
	// Unlimited selects how assets without a license count are listed. With nil
	// they are listed like the others, and with false they are left out. With true
	// the service sends them apart, without counts except AssignedCount; they come
	// last on their page, with a TotalCount of [AssetUnlimited]. Whether the service
	// then also sends the other assets is not documented.
	Unlimited *bool
}

func (f AssetFilter) query() url.Values {
	return query{}.
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

var assetList = list[Asset]{path: "assets", urlKey: "getAssets", answer: func() listAnswer[Asset] { return new(assetAnswer) }}

type assetAnswer struct {
	Assets          []Asset `json:"assets"`
	UnlimitedAssets []Asset `json:"unlimitedAssets"` // without totalCount, availableCount and retiredCount
	listing
}

func (p *assetAnswer) items() []Asset {
	for i := range p.UnlimitedAssets {
		p.UnlimitedAssets[i].TotalCount = AssetUnlimited
	}
	return append(p.Assets, p.UnlimitedAssets...)
}

// List reads one page of assets.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/get-assets-4ski1
func (s *AssetsService) List(ctx context.Context, f AssetFilter) (*Page[Asset], error) {
	return assetList.one(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the assets page by page, beginning at f.PageIndex: in order, with
// up to five pages read ahead in parallel. To resume after an error, begin at
// the Next of the last page; see [Page] for changes under the walk.
//
// Assets have no changes since a version. Whether anything changed since a
// walk, the VersionID of a single page tells.
func (s *AssetsService) Pages(ctx context.Context, f AssetFilter) iter.Seq2[*Page[Asset], error] {
	return assetList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the assets one by one, beginning with those of f.PageIndex. With
// AssetFilter.Unlimited set to true use Pages: it also gives the uncounted ones.
func (s *AssetsService) All(ctx context.Context, f AssetFilter) iter.Seq2[Asset, error] {
	return assetList.all(ctx, s.client, f.query(), f.ListOptions)
}

// AssetChange names pairs of an asset and a target: every asset with every user
// and every device, and also the single Pairs. Repetitions count once.
type AssetChange struct {
	Assets        []AssetID
	ClientUserIDs []string
	SerialNumbers []string
	Pairs         []AssetPair
}

// AssetPair is one asset and one target: exactly one of ClientUserID and
// SerialNumber is set. An empty PricingParam is sent as STDQ.
type AssetPair struct {
	AdamID       string       `json:"adamId"`
	PricingParam PricingParam `json:"pricingParam,omitzero"`
	ClientUserID string       `json:"clientUserId,omitzero"`
	SerialNumber string       `json:"serialNumber,omitzero"`
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

// Revoke takes all revocable assets back from users and devices: change has
// ClientUserIDs and SerialNumbers only. The report has one outcome for each
// user and device.
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/revoke-assets
func (s *AssetsService) Revoke(ctx context.Context, change AssetChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, revokeAssets, func(t *tables) error {
		if len(change.Assets)+len(change.Pairs) > 0 {
			return invalidf("Revoke takes ClientUserIDs and SerialNumbers only: it takes back all assets of a target")
		}
		return t.addTargets(change.ClientUserIDs, change.SerialNumbers)
	}, opts)
}
