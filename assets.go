package appsandbooks

import (
	"context"
	"iter"
	"net/url"
)

// AssetsService reads the apps and books that the organizational unit owns, and
// assigns them to users and devices.
type AssetsService service

// PricingParam is the quality of an asset. It can be a value that the SDK has no
// constant for.
type PricingParam string

const (
	// PricingSTDQ is the standard quality.
	PricingSTDQ PricingParam = "STDQ"
	// PricingPLUS is the high quality.
	PricingPLUS PricingParam = "PLUS"
)

// ProductType is the type of an asset: an app or a book. It can be a value that the
// SDK has no constant for.
type ProductType string

// An asset of type ProductApp is an app, and one of type ProductBook is a book.
const (
	ProductApp  ProductType = "App"
	ProductBook ProductType = "Book"
)

// AssetID identifies an asset: one app or book has an AssetID for each quality.
type AssetID struct {
	AdamID       string       `json:"adamId"`                // the Adam ID is a decimal number, as in the App Store URL after "id"
	PricingParam PricingParam `json:"pricingParam,omitzero"` // sent as STDQ when empty
}

// Asset is an app or a book, with the numbers of its licenses.
type Asset struct {
	AssetID
	ProductType    ProductType `json:"productType"`
	AssignedCount  int         `json:"assignedCount"`
	AvailableCount int         `json:"availableCount"`
	RetiredCount   int         `json:"retiredCount"`
	// TotalCount is the number of all licenses. It is [AssetUnlimited] for a free asset
	// without a license count.
	TotalCount         int      `json:"totalCount"`
	DeviceAssignable   bool     `json:"deviceAssignable"`
	Revocable          bool     `json:"revocable"`
	SupportedPlatforms []string `json:"supportedPlatforms,omitzero"` // platforms of the asset: iOS, macOS, tvOS, watchOS, visionOS
}

// AssetUnlimited is the TotalCount of an asset whose licenses are not counted.
const AssetUnlimited = 2147483647

// AssetFilter selects assets. The zero value selects all assets. A field that is nil
// is not sent and restricts nothing; [Ptr] returns a pointer to a value.
type AssetFilter struct {
	ListOptions
	AdamID            string
	ProductType       ProductType
	PricingParam      PricingParam
	Revocable         *bool
	DeviceAssignable  *bool
	MinAvailableCount *int // MinAvailableCount and the other three bounds are inclusive
	MaxAvailableCount *int
	MinAssignedCount  *int
	MaxAssignedCount  *int
	// Unlimited selects how assets without a license count are listed. With nil
	// they are listed like the others, and with false they are left out. With true
	// the service lists them separately, with AssignedCount as their only count; they
	// come last on their page, with a TotalCount of [AssetUnlimited]. Apple does not
	// document whether the service then also lists the other assets.
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
	UnlimitedAssets []Asset `json:"unlimitedAssets"` // these assets lack totalCount, availableCount and retiredCount
	indexedPage
}

func (p *assetAnswer) items() []Asset {
	for i := range p.UnlimitedAssets {
		p.UnlimitedAssets[i].TotalCount = AssetUnlimited
	}
	return append(p.Assets, p.UnlimitedAssets...)
}

// List reads one page of assets.
//
// https://developer.apple.com/documentation/devicemanagement/get-assets-4ski1
func (s *AssetsService) List(ctx context.Context, f AssetFilter) (*Page[Asset], error) {
	return assetList.page(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the assets page by page, in order, beginning at the page f.Start. It
// requests up to five pages in parallel, before the loop needs them. To continue after an
// error, set f.Start to the Next of the last page that you received. Page.Changed reports
// that the data changed while it was read.
//
// The service cannot list only the assets that changed. To find out whether any asset
// changed, read one page, and compare its VersionID with an earlier one.
func (s *AssetsService) Pages(ctx context.Context, f AssetFilter) iter.Seq2[*Page[Asset], error] {
	return assetList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the assets one by one, beginning with the first asset of the page f.Start.
func (s *AssetsService) All(ctx context.Context, f AssetFilter) iter.Seq2[Asset, error] {
	return assetList.all(ctx, s.client, f.query(), f.ListOptions)
}

// AssetChange names pairs of an asset and a target. It names every asset of Assets
// with every user of ClientUserIDs and every device of SerialNumbers, and also each
// pair of Pairs. A pair that is named twice counts once.
type AssetChange struct {
	Assets        []AssetID
	ClientUserIDs []string
	SerialNumbers []string
	Pairs         []AssetPair
}

// AssetPair is one asset and one target. Exactly one of ClientUserID and SerialNumber
// is set. An empty PricingParam is sent as STDQ.
type AssetPair struct {
	AdamID       string       `json:"adamId"`
	PricingParam PricingParam `json:"pricingParam,omitzero"`
	ClientUserID string       `json:"clientUserId,omitzero"`
	SerialNumber string       `json:"serialNumber,omitzero"`
}

// Associate assigns any number of assets to any number of users and devices. It sends
// as few requests as the service's current limits allow.
//
// Success means that the assets are assigned. It does not mean that they are
// installed, nor that a serial number exists: the service accepts any serial number.
// [Operation.Verify] compares the result with the assignments that the service lists.
// For a device that is under User Enrollment, assign the asset to the user.
//
// Associate starts an [Operation], whose documentation states what is retried and which
// errors are returned. Frequent errors in a report are [ErrNotEnoughLicenses],
// [ErrUserNotFound] and [ErrAssetNotDeviceAssignable].
//
// https://developer.apple.com/documentation/devicemanagement/associate-assets
func (s *AssetsService) Associate(ctx context.Context, change AssetChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, associateAssets, func(t *tables) error { return t.addAssetChange(change) }, opts)
}

// Disassociate takes assets back from users and devices. Books cannot be taken back:
// their pairs fail with [ErrAssetNotRevocable].
//
// Disassociate starts an [Operation], whose documentation states what is retried.
//
// https://developer.apple.com/documentation/devicemanagement/disassociate-assets
func (s *AssetsService) Disassociate(ctx context.Context, change AssetChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, disassociateAssets, func(t *tables) error { return t.addAssetChange(change) }, opts)
}

// Revoke takes all revocable assets back from users and devices. Set only
// ClientUserIDs and SerialNumbers of change; Assets and Pairs are [ErrInvalid]. The
// report has one outcome for each user and each device.
//
// Revoke starts an [Operation], whose documentation states what is retried.
//
// https://developer.apple.com/documentation/devicemanagement/revoke-assets
func (s *AssetsService) Revoke(ctx context.Context, change AssetChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, revokeAssets, func(t *tables) error {
		if len(change.Assets)+len(change.Pairs) > 0 {
			return invalidf("Revoke accepts ClientUserIDs and SerialNumbers only: it takes back all assets of a user or device")
		}
		return t.addTargets(change.ClientUserIDs, change.SerialNumbers)
	}, opts)
}
