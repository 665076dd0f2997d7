package appsandbooks

import (
	"context"
	"fmt"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// SubscriptionsService reads in-app subscriptions and assigns their seats. Only users
// can have seats. As in Apple's API, the Adam IDs of subscriptions are numbers; those
// of assets are strings.
type SubscriptionsService service

// Subscription is an in-app subscription, with the numbers of its seats.
type Subscription struct {
	// ParentAdamID is the Adam ID of the subscription's app. It is nil if the service
	// sends null.
	ParentAdamID *int64             `json:"parentAdamId"`
	AdamID       int64              `json:"adamId"`
	Status       SubscriptionStatus `json:"status,omitzero"`
	// PeriodEndDate has the form YYYY-MM-DD, without a time zone; see [time.DateOnly].
	PeriodEndDate string             `json:"periodEndDate,omitzero"`
	Counts        SubscriptionCounts `json:"counts,omitzero"`
}

// SubscriptionStatus is the state of a subscription. It can be a value that the SDK
// has no constant for.
type SubscriptionStatus string

const (
	// SubscriptionActive means that the seats can be used and assigned.
	SubscriptionActive SubscriptionStatus = "ACTIVE"
	// SubscriptionInactive means that the subscription is no longer active.
	SubscriptionInactive SubscriptionStatus = "INACTIVE"
	// SubscriptionPaused means that the subscription is not active for a limited time.
	SubscriptionPaused SubscriptionStatus = "PAUSED"
)

// SubscriptionCounts are the numbers of seats of a subscription. Assigned.Renewing +
// Assigned.Expiring + Available.Renewing + Available.Expiring is Total.Renewing +
// Total.Expiring. The renewing or the expiring seats alone need not add up, because
// an expiring assignment can use a renewing seat.
type SubscriptionCounts struct {
	Assigned  *SeatCounts `json:"assigned,omitzero"` // nil in notifications
	Available *SeatCounts `json:"available,omitzero"`
	Total     *SeatCounts `json:"total,omitzero"`
}

// SeatCounts are the numbers of seats that renew and of seats that end at the end of
// the billing period.
type SeatCounts struct {
	Renewing int `json:"renewing"`
	Expiring int `json:"expiring"`
}

// SubscriptionFilter selects subscriptions. The zero value selects all subscriptions.
// Several ids in one field are sent as a repeated query parameter; Apple does not
// document the format.
type SubscriptionFilter struct {
	ListOptions
	ParentAdamIDs []int64
	AdamIDs       []int64
}

func (f SubscriptionFilter) query() url.Values {
	return query{}.
		ids("parentAdamId", f.ParentAdamIDs).
		ids("adamId", f.AdamIDs).values()
}

var subscriptionList = list[Subscription]{
	path: "subscriptions", cursor: true, answer: func() listAnswer[Subscription] { return new(subscriptionAnswer) },
}

type subscriptionAnswer struct {
	Subscriptions []Subscription `json:"subscriptions"`
	cursorPage
}

func (p *subscriptionAnswer) items() []Subscription { return p.Subscriptions }

// List reads one page of subscriptions. If the service does not know the cursor
// f.Start any more, the error is [ErrInvalidCursor]; then read the list from its
// beginning.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscriptions
func (s *SubscriptionsService) List(ctx context.Context, f SubscriptionFilter) (*Page[Subscription], error) {
	return subscriptionList.page(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the subscriptions page by page, in order. It requests the next page
// while the loop processes the current one.
func (s *SubscriptionsService) Pages(ctx context.Context, f SubscriptionFilter) iter.Seq2[*Page[Subscription], error] {
	return subscriptionList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the subscriptions one by one.
func (s *SubscriptionsService) All(ctx context.Context, f SubscriptionFilter) iter.Seq2[Subscription, error] {
	return subscriptionList.all(ctx, s.client, f.query(), f.ListOptions)
}

// SubscriptionChange names pairs of a subscription and a user. It names every
// subscription of AdamIDs with every user of ClientUserIDs, and also each pair of
// Pairs. A pair that is named twice counts once.
type SubscriptionChange struct {
	AdamIDs       []int64
	ClientUserIDs []string
	Pairs         []SubscriptionPair
	// Expiring makes Associate assign seats that end with the current billing
	// period. By default the seats renew. Apple documents no default, so the SDK
	// always sends the choice. Disassociate refuses Expiring ([ErrInvalid]).
	Expiring bool
	// Deferred makes Disassociate take the seats back at the end of the current
	// billing period. By default it takes them back at once. Associate refuses
	// Deferred ([ErrInvalid]).
	Deferred bool
}

// SubscriptionPair is one subscription and one user.
type SubscriptionPair struct {
	AdamID       int64  `json:"adamId"`
	ClientUserID string `json:"clientUserId"`
}

// Associate assigns seats of subscriptions to users.
//
// Associate starts an [Operation], whose documentation states what is retried. Frequent
// errors in a report are [ErrUserNotAssociated], [ErrSubscriptionAssignedByGroup] and
// [ErrNotEnoughLicenses].
//
// https://developer.apple.com/documentation/devicemanagement/associate-subscriptions
func (s *SubscriptionsService) Associate(ctx context.Context, change SubscriptionChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, associateSubscriptions, func(t *tables) error {
		if change.Deferred {
			return invalidf("SubscriptionChange.Deferred is for Disassociate only")
		}
		t.renewing = !change.Expiring
		return t.addSubscriptionChange(change)
	}, opts)
}

// Disassociate takes seats of subscriptions back from users. Apple does not document
// the status of the event of a deferred change before the billing period ends. If the
// event stays PENDING, the report has [ErrStalled].
//
// Disassociate starts an [Operation], whose documentation states what is retried.
//
// https://developer.apple.com/documentation/devicemanagement/disassociate-subscriptions
func (s *SubscriptionsService) Disassociate(ctx context.Context, change SubscriptionChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, disassociateSubscriptions, func(t *tables) error {
		if change.Expiring {
			return invalidf("SubscriptionChange.Expiring is for Associate only")
		}
		t.deferred = change.Deferred
		return t.addSubscriptionChange(change)
	}, opts)
}

// Enable declares that this device management service manages subscriptions for the
// organizational unit. Content managers can then buy them. Apple's API has no call
// that reads the setting. If the answer does not show the setting, the error is
// [ErrAnswerDiffers].
//
// Enable is retried like a read: setting the same value twice has no further effect.
//
// https://developer.apple.com/documentation/devicemanagement/enable-subscriptions
func (s *SubscriptionsService) Enable(ctx context.Context) error {
	return s.setManagement(ctx, "subscriptions/enable", true)
}

// Disable declares that this device management service does not manage
// subscriptions. The service refuses this with [ErrSubscriptionsExist] while the
// organizational unit has subscriptions. If the answer does not show the setting, the
// error is [ErrAnswerDiffers].
//
// Disable is retried like a read: setting the same value twice has no further effect.
//
// https://developer.apple.com/documentation/devicemanagement/disable-subscriptions
func (s *SubscriptionsService) Disable(ctx context.Context) error {
	return s.setManagement(ctx, "subscriptions/disable", false)
}

func (s *SubscriptionsService) setManagement(ctx context.Context, path string, want bool) error {
	answer, err := post(ctx, s.client, path, nil, transport.Repeatable, new(managementAnswer))
	switch {
	case err != nil:
		return err
	case answer.Enabled == nil:
		return fmt.Errorf("%w: POST %s: no subscriptionManagement", ErrAnswerDiffers, path)
	case *answer.Enabled != want:
		return fmt.Errorf("%w: POST %s: subscriptionManagement is %t", ErrAnswerDiffers, path, *answer.Enabled)
	}
	return nil
}

// managementAnswer is the answer to Enable and Disable. Its mdmInfo is null until a
// device management service has claimed the organizational unit.
type managementAnswer struct {
	Enabled *bool `json:"subscriptionManagement"`
	Meta
}

// subscriptionRequest is the body of a request that assigns seats or takes them back,
// and of a request that adds or removes administrators.
type subscriptionRequest struct {
	AdamIDs       []int64  `json:"adamIds"`
	ClientUserIDs []string `json:"clientUserIds"`
	Renewing      *bool    `json:"renewing,omitzero"`
	Deferred      *bool    `json:"deferred,omitzero"`
}
