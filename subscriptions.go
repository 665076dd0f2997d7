package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// SubscriptionsService reads and assigns the seats of in-app subscriptions.
// Seats go to users only. Adam IDs are numbers here, and strings elsewhere:
// that is Apple's choice.
type SubscriptionsService service

// Subscription is a subscription product with its seats.
type Subscription struct {
	ParentAdamID  *int64             `json:"parentAdamId"` // of its app; may be null
	AdamID        int64              `json:"adamId"`
	Status        SubscriptionStatus `json:"status,omitzero"`
	PeriodEndDate string             `json:"periodEndDate,omitzero"` // YYYY-MM-DD, no zone; see [time.DateOnly]
	Counts        SubscriptionCounts `json:"counts,omitzero"`
}

// SubscriptionStatus is the state of a subscription. Values newer than the SDK are kept.
type SubscriptionStatus string

// States of a subscription.
const (
	SubscriptionActive   SubscriptionStatus = "ACTIVE"
	SubscriptionInactive SubscriptionStatus = "INACTIVE"
	SubscriptionPaused   SubscriptionStatus = "PAUSED"
)

// SubscriptionCounts are the seats of a subscription. Only the sums agree:
// assigned and available together are total. A renewing seat can carry an
// expiring assignment, so the columns by themselves need not.
type SubscriptionCounts struct {
	Assigned  *SeatCounts `json:"assigned,omitzero"` // nil in notifications
	Available *SeatCounts `json:"available,omitzero"`
	Total     *SeatCounts `json:"total,omitzero"`
}

// SeatCounts are seats by what happens at the end of the billing period.
type SeatCounts struct {
	Renewing int `json:"renewing"`
	Expiring int `json:"expiring"`
}

// SubscriptionFilter selects subscriptions. The zero value selects all. How
// the service wants several ids of one kind is not documented; they are sent
// as a repeated key.
type SubscriptionFilter struct {
	Cursor        string // of List and the start of Pages and All: a page's NextCursor
	Restarts      int    // how often Pages and All begin again when the data changes; see [ErrRestarted]
	ParentAdamIDs []int64
	AdamIDs       []int64
}

func (f SubscriptionFilter) query() url.Values {
	return query{}.
		text("cursor", f.Cursor).
		ids("parentAdamId", f.ParentAdamIDs).
		ids("adamId", f.AdamIDs).values()
}

// SubscriptionPage is one page of subscriptions.
type SubscriptionPage struct {
	Subscriptions []Subscription `json:"subscriptions,omitzero"`
	CursorInfo
}

func (p *SubscriptionPage) empty() bool { return len(p.Subscriptions) == 0 }

// List reads one page of subscriptions.
//
// Synchronous. Retried like any read. A cursor that the service no longer
// knows is [ErrInvalidCursor]: begin again.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscriptions
func (s *SubscriptionsService) List(ctx context.Context, f SubscriptionFilter) (*SubscriptionPage, error) {
	page := new(SubscriptionPage)
	return get(ctx, s.client, "subscriptions", f.query(), page)
}

// Pages reads the subscriptions page by page, strictly in order; the next page
// is read while the loop has this one.
func (s *SubscriptionsService) Pages(ctx context.Context, f SubscriptionFilter) iter.Seq2[*SubscriptionPage, error] {
	return cursorPages(ctx, s.client, f.Cursor, f.Restarts, func(ctx context.Context, cursor string) (*SubscriptionPage, error) {
		f := f
		f.Cursor = cursor
		return s.List(ctx, f)
	})
}

// All reads the subscriptions one by one.
func (s *SubscriptionsService) All(ctx context.Context, f SubscriptionFilter) iter.Seq2[Subscription, error] {
	return items(s.Pages(ctx, f), func(p *SubscriptionPage) []Subscription { return p.Subscriptions })
}

// SubscriptionChange names pairs of a subscription and a user: every
// subscription with every user, and the single pairs besides. Repetitions
// count once.
type SubscriptionChange struct {
	AdamIDs       []int64
	ClientUserIDs []string
	Pairs         []SubscriptionPair
}

// SubscriptionPair is one subscription and one user.
type SubscriptionPair struct {
	AdamID       int64
	ClientUserID string
}

// Renewal says what happens to a seat at the end of the billing period. Apple
// documents no default, so Associate always sends it.
type Renewal bool

// What happens to a seat.
const (
	Renewing Renewal = true
	Expiring Renewal = false
)

// Timing says when a seat is taken back.
type Timing bool

// When a seat is taken back.
const (
	Immediately Timing = false
	AtPeriodEnd Timing = true // Apple: deferred; confirmed only then
)

// Associate assigns seats of subscriptions to users.
//
// Asynchronous; see [Operation]. Often seen: [ErrUserNotAssociated],
// [ErrSubscriptionAssignedByGroup], [ErrNotEnoughLicenses].
//
// https://developer.apple.com/documentation/devicemanagement/associate-subscriptions
func (s *SubscriptionsService) Associate(ctx context.Context, change SubscriptionChange, renewal Renewal, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, associateSubscriptions, func(t *tables) error {
		t.renewing = bool(renewal)
		return t.addSubscriptionChange(change)
	}, opts)
}

// Disassociate takes seats of subscriptions back from users. What the event of
// a deferred one says until the end of the period is not documented: it may
// well be reported as [ErrStalled].
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/disassociate-subscriptions
func (s *SubscriptionsService) Disassociate(ctx context.Context, change SubscriptionChange, when Timing, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, disassociateSubscriptions, func(t *tables) error {
		t.deferred = bool(when)
		return t.addSubscriptionChange(change)
	}, opts)
}

// SubscriptionSupport is whether subscriptions are enabled for the
// organizational unit. Only Enable and Disable tell: there is no way to read it.
type SubscriptionSupport struct {
	Enabled bool `json:"subscriptionManagement"`
	Meta
	// MDMInfo is explicitly null in these answers until somebody sets it.
	MDMInfo *MDMInfo `json:"mdmInfo"`
}

// meta shows also the MDMInfo, which stands beside it here.
func (s *SubscriptionSupport) meta() *Meta {
	m := s.Meta
	m.MDMInfo = s.MDMInfo
	return &m
}

// Enable says that this service manages subscriptions for the organizational
// unit: content managers can then buy them. Compare Enabled of the answer.
//
// Synchronous. Retried like a read.
//
// https://developer.apple.com/documentation/devicemanagement/enable-subscriptions
func (s *SubscriptionsService) Enable(ctx context.Context) (*SubscriptionSupport, error) {
	return post(ctx, s.client, "subscriptions/enable", nil, transport.Repeatable, new(SubscriptionSupport))
}

// Disable says that this service does not manage subscriptions. It is refused
// with [ErrSubscriptionsExist] while the organizational unit has any.
//
// Synchronous. Retried like a read.
//
// https://developer.apple.com/documentation/devicemanagement/disable-subscriptions
func (s *SubscriptionsService) Disable(ctx context.Context) (*SubscriptionSupport, error) {
	return post(ctx, s.client, "subscriptions/disable", nil, transport.Repeatable, new(SubscriptionSupport))
}

// subscriptionRequest is the body of all subscription writes.
type subscriptionRequest struct {
	AdamIDs       []int64  `json:"adamIds"`
	ClientUserIDs []string `json:"clientUserIds"`
	Renewing      *bool    `json:"renewing,omitzero"`
	Deferred      *bool    `json:"deferred,omitzero"`
}
