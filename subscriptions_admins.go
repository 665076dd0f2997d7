package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// SubscriptionAdminsService reads, adds and removes the administrators of
// subscriptions.
type SubscriptionAdminsService service

// SubscriptionAdmin is a user who administers a subscription inside its app.
type SubscriptionAdmin struct {
	SubscriptionPair
	IDHash string `json:"idHash,omitzero"`
	// UserStatus is set only with SubscriptionAdminFilter.IncludeUserState.
	UserStatus UserStatus `json:"userStatus,omitzero"`
}

// SubscriptionAdminFilter selects administrators. The zero value selects all
// administrators. Several AdamIDs are sent as a repeated query parameter; Apple does
// not document the format.
type SubscriptionAdminFilter struct {
	ListOptions
	AdamIDs          []int64
	IncludeUserState bool // IncludeUserState adds UserStatus to each administrator
}

func (f SubscriptionAdminFilter) query() url.Values {
	return query{}.
		ids("adamId", f.AdamIDs).
		flag("includeUserState", f.IncludeUserState).values()
}

var subscriptionAdminList = list[SubscriptionAdmin]{
	path: "subscriptions/admins", cursor: true, answer: func() listAnswer[SubscriptionAdmin] { return new(subscriptionAdminAnswer) },
}

type subscriptionAdminAnswer struct {
	Admins []SubscriptionAdmin `json:"admins"`
	cursorPage
}

func (p *subscriptionAdminAnswer) items() []SubscriptionAdmin { return p.Admins }

// List reads one page of administrators.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscription-administrators
func (s *SubscriptionAdminsService) List(ctx context.Context, f SubscriptionAdminFilter) (*Page[SubscriptionAdmin], error) {
	return subscriptionAdminList.page(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the administrators page by page, in order. It requests the next page
// while the loop processes the current one.
func (s *SubscriptionAdminsService) Pages(ctx context.Context, f SubscriptionAdminFilter) iter.Seq2[*Page[SubscriptionAdmin], error] {
	return subscriptionAdminList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the administrators one by one.
func (s *SubscriptionAdminsService) All(ctx context.Context, f SubscriptionAdminFilter) iter.Seq2[SubscriptionAdmin, error] {
	return subscriptionAdminList.all(ctx, s.client, f.query(), f.ListOptions)
}

// Add makes each user of change.ClientUserIDs an administrator of each subscription
// of change.AdamIDs. The other fields of change must be zero ([ErrInvalid]). Add
// sends one request. Apple does not document its limits; they may be those of
// [SubscriptionsService.Associate].
//
// The service makes the change before it answers, without an event. Add is not
// repeated when its result is unknown ([ErrAmbiguous]).
//
// https://developer.apple.com/documentation/devicemanagement/add-subscription-administrators
func (s *SubscriptionAdminsService) Add(ctx context.Context, change SubscriptionChange) error {
	return s.post(ctx, "subscriptions/admins/add", change)
}

// Remove makes each user of change.ClientUserIDs no longer an administrator of each
// subscription of change.AdamIDs. The other fields of change must be zero
// ([ErrInvalid]). Remove sends one request.
//
// The service makes the change before it answers, without an event. Remove is not
// repeated when its result is unknown ([ErrAmbiguous]).
//
// https://developer.apple.com/documentation/devicemanagement/remove-subscription-administrators
func (s *SubscriptionAdminsService) Remove(ctx context.Context, change SubscriptionChange) error {
	return s.post(ctx, "subscriptions/admins/remove", change)
}

func (s *SubscriptionAdminsService) post(ctx context.Context, path string, change SubscriptionChange) error {
	switch {
	case len(change.Pairs) > 0 || change.Expiring || change.Deferred:
		return invalidf("a change of administrators accepts AdamIDs and ClientUserIDs only")
	case len(change.AdamIDs) == 0 || len(change.ClientUserIDs) == 0:
		return invalidf("a change of administrators needs at least one subscription and one user")
	}
	for i, id := range change.ClientUserIDs {
		if err := checkName("clientUserId", id); err != nil {
			return withPosition("ClientUserIDs", i, err)
		}
	}
	in := subscriptionRequest{AdamIDs: unique(change.AdamIDs), ClientUserIDs: unique(change.ClientUserIDs)}
	_, err := post(ctx, s.client, path, in, transport.Write, new(adminsAnswer))
	return err
}

// adminsAnswer is the answer to Add and Remove.
type adminsAnswer struct {
	VersionID string `json:"versionId"`
	Meta
}

// unique returns the values without repetitions, in their order.
func unique[T comparable](values []T) (distinct []T) {
	seen := make(map[T]bool, len(values))
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			distinct = append(distinct, v)
		}
	}
	return distinct
}
