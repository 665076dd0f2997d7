package appsandbooks

import (
	"context"
	"fmt"
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
	listing
}

func (p *subscriptionAnswer) items() []Subscription { return p.Subscriptions }

// List reads one page of subscriptions.
//
// Synchronous. Retried like any read. A cursor that the service no longer
// knows is [ErrInvalidCursor]: begin again.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscriptions
func (s *SubscriptionsService) List(ctx context.Context, f SubscriptionFilter) (*Page[Subscription], error) {
	return subscriptionList.one(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the subscriptions page by page, strictly in order; the next page
// is read while the loop has this one.
func (s *SubscriptionsService) Pages(ctx context.Context, f SubscriptionFilter) iter.Seq2[*Page[Subscription], error] {
	return subscriptionList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the subscriptions one by one.
func (s *SubscriptionsService) All(ctx context.Context, f SubscriptionFilter) iter.Seq2[Subscription, error] {
	return subscriptionList.all(ctx, s.client, f.query(), f.ListOptions)
}

// SubscriptionChange names pairs of a subscription and a user: every
// subscription with every user, and the single pairs besides. Repetitions
// count once.
type SubscriptionChange struct {
	AdamIDs       []int64
	ClientUserIDs []string
	Pairs         []SubscriptionPair
	// Expiring makes Associate assign seats that end with the current billing
	// period. By default they renew. Apple documents no default, so one of the two
	// is always sent.
	Expiring bool
	// Deferred makes Disassociate take the seats back at the end of the current
	// billing period. By default it takes them back at once.
	Deferred bool
}

// SubscriptionPair is one subscription and one user.
type SubscriptionPair struct {
	AdamID       int64  `json:"adamId"`
	ClientUserID string `json:"clientUserId"`
}

// Associate assigns seats of subscriptions to users.
//
// Asynchronous; see [Operation]. Often seen: [ErrUserNotAssociated],
// [ErrSubscriptionAssignedByGroup], [ErrNotEnoughLicenses].
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

// Disassociate takes seats of subscriptions back from users. What the event of
// a deferred one says until the end of the period is not documented: it may
// well be reported as [ErrStalled].
//
// Asynchronous; see [Operation].
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

// Enable declares that this device management service manages subscriptions for
// the organizational unit: content managers can then buy them. There is no way to
// read the setting. If the answer does not show it, the error is [ErrAnswerDiffers].
//
// It is retried like a read.
//
// https://developer.apple.com/documentation/devicemanagement/enable-subscriptions
func (s *SubscriptionsService) Enable(ctx context.Context) error {
	return s.setManagement(ctx, "subscriptions/enable", true)
}

// Disable declares that this device management service does not manage
// subscriptions. The service refuses it with [ErrSubscriptionsExist] while the
// organizational unit has any. If the answer does not show the setting, the error
// is [ErrAnswerDiffers].
//
// It is retried like a read.
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
// device management service has set it.
type managementAnswer struct {
	Enabled *bool `json:"subscriptionManagement"`
	Meta
}

// subscriptionRequest is the body of all subscription writes.
type subscriptionRequest struct {
	AdamIDs       []int64  `json:"adamIds"`
	ClientUserIDs []string `json:"clientUserIds"`
	Renewing      *bool    `json:"renewing,omitzero"`
	Deferred      *bool    `json:"deferred,omitzero"`
}
