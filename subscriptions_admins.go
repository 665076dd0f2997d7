package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// SubscriptionAdminsService reads and changes who administers subscriptions
// inside their apps.
type SubscriptionAdminsService service

// SubscriptionAdmin is a user who administers a subscription inside its app.
type SubscriptionAdmin struct {
	SubscriptionPair
	IDHash     string     `json:"idHash,omitzero"`
	UserStatus UserStatus `json:"userStatus,omitzero"` // with SubscriptionAdminFilter.IncludeUserState
}

// SubscriptionAdminFilter selects administrators. The zero value selects all.
type SubscriptionAdminFilter struct {
	ListOptions
	AdamIDs          []int64
	IncludeUserState bool
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
	listing
}

func (p *subscriptionAdminAnswer) items() []SubscriptionAdmin { return p.Admins }

// List reads one page of administrators.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscription-administrators
func (s *SubscriptionAdminsService) List(ctx context.Context, f SubscriptionAdminFilter) (*Page[SubscriptionAdmin], error) {
	return subscriptionAdminList.one(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the administrators page by page, strictly in order; the next
// page is read while the loop has this one.
func (s *SubscriptionAdminsService) Pages(ctx context.Context, f SubscriptionAdminFilter) iter.Seq2[*Page[SubscriptionAdmin], error] {
	return subscriptionAdminList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the administrators one by one.
func (s *SubscriptionAdminsService) All(ctx context.Context, f SubscriptionAdminFilter) iter.Seq2[SubscriptionAdmin, error] {
	return subscriptionAdminList.all(ctx, s.client, f.query(), f.ListOptions)
}

// Add makes each user of change.ClientUserIDs an administrator of each
// subscription of change.AdamIDs; the other fields of change must be zero. It is
// one request: presumably the limits of subscription requests apply to it.
//
// The service answers at once, without an event. Add is not repeated when its
// result is unknown ([ErrAmbiguous]).
//
// https://developer.apple.com/documentation/devicemanagement/add-subscription-administrators
func (s *SubscriptionAdminsService) Add(ctx context.Context, change SubscriptionChange) error {
	return s.post(ctx, "subscriptions/admins/add", change)
}

// Remove is the opposite of Add.
//
// The service answers at once, without an event. Remove is not repeated when its
// result is unknown ([ErrAmbiguous]).
//
// https://developer.apple.com/documentation/devicemanagement/remove-subscription-administrators
func (s *SubscriptionAdminsService) Remove(ctx context.Context, change SubscriptionChange) error {
	return s.post(ctx, "subscriptions/admins/remove", change)
}

func (s *SubscriptionAdminsService) post(ctx context.Context, path string, change SubscriptionChange) error {
	switch {
	case len(change.Pairs) > 0 || change.Expiring || change.Deferred:
		return invalidf("a change of administrators takes AdamIDs and ClientUserIDs only")
	case len(change.AdamIDs) == 0 || len(change.ClientUserIDs) == 0:
		return invalidf("name at least one subscription and one user")
	}
	for i, id := range change.ClientUserIDs {
		if err := checkName("clientUserId", id); err != nil {
			return at("ClientUserIDs", i, err)
		}
	}
	in := subscriptionRequest{AdamIDs: unique(change.AdamIDs), ClientUserIDs: unique(change.ClientUserIDs)}
	_, err := post(ctx, s.client, path, in, transport.Write, new(adminsAnswer))
	return err
}

// adminsAnswer is the answer to a change of administrators.
type adminsAnswer struct {
	VersionID string `json:"versionId"`
	Meta
}

// unique leaves out repetitions.
func unique[T comparable](all []T) (once []T) {
	seen := make(map[T]bool, len(all))
	for _, v := range all {
		if !seen[v] {
			seen[v] = true
			once = append(once, v)
		}
	}
	return once
}
