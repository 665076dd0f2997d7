package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// SubscriptionAdmin is a user who administers a subscription inside its app.
type SubscriptionAdmin struct {
	AdamID       int64      `json:"adamId"`
	ClientUserID string     `json:"clientUserId"`
	IDHash       string     `json:"idHash,omitzero"`
	UserStatus   UserStatus `json:"userStatus,omitzero"` // with SubscriptionAdminFilter.IncludeUserState
}

// SubscriptionAdminFilter selects administrators. The zero value selects all.
type SubscriptionAdminFilter struct {
	Cursor           string // of List and the start of Pages and All: a page's NextCursor
	Restarts         int    // how often Pages and All begin again when the data changes; see [ErrRestarted]
	AdamIDs          []int64
	IncludeUserState bool
}

func (f SubscriptionAdminFilter) query() url.Values {
	return query{}.
		text("cursor", f.Cursor).
		ids("adamId", f.AdamIDs).
		flag("includeUserState", f.IncludeUserState).values()
}

// SubscriptionAdminPage is one page of administrators.
type SubscriptionAdminPage struct {
	Admins []SubscriptionAdmin `json:"admins,omitzero"`
	CursorInfo
}

func (p *SubscriptionAdminPage) empty() bool { return len(p.Admins) == 0 }

// ListAdmins reads one page of administrators.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscription-administrators
func (s *SubscriptionsService) ListAdmins(ctx context.Context, f SubscriptionAdminFilter) (*SubscriptionAdminPage, error) {
	page := new(SubscriptionAdminPage)
	return get(ctx, s.client, "subscriptions/admins", f.query(), page)
}

// AdminPages reads the administrators page by page, strictly in order; the next
// page is read while the loop has this one.
func (s *SubscriptionsService) AdminPages(ctx context.Context, f SubscriptionAdminFilter) iter.Seq2[*SubscriptionAdminPage, error] {
	return cursorPages(ctx, s.client, f.Cursor, f.Restarts, func(ctx context.Context, cursor string) (*SubscriptionAdminPage, error) {
		f := f
		f.Cursor = cursor
		return s.ListAdmins(ctx, f)
	})
}

// AllAdmins reads the administrators one by one.
func (s *SubscriptionsService) AllAdmins(ctx context.Context, f SubscriptionAdminFilter) iter.Seq2[SubscriptionAdmin, error] {
	return items(s.AdminPages(ctx, f), func(p *SubscriptionAdminPage) []SubscriptionAdmin { return p.Admins })
}

// AdminsResult is the answer to a change of administrators.
type AdminsResult struct {
	VersionID string `json:"versionId,omitzero"`
	Meta
}

// AddAdmins makes each user an administrator of each subscription. It is one
// request: the limits of subscription requests presumably apply.
//
// Synchronous, without an event. Not repeated when its fate is unknown.
//
// https://developer.apple.com/documentation/devicemanagement/add-subscription-administrators
func (s *SubscriptionsService) AddAdmins(ctx context.Context, adamIDs []int64, clientUserIDs []string) (*AdminsResult, error) {
	return s.changeAdmins(ctx, "subscriptions/admins/add", adamIDs, clientUserIDs)
}

// RemoveAdmins is the opposite of AddAdmins.
//
// Synchronous, without an event. Not repeated when its fate is unknown.
//
// https://developer.apple.com/documentation/devicemanagement/remove-subscription-administrators
func (s *SubscriptionsService) RemoveAdmins(ctx context.Context, adamIDs []int64, clientUserIDs []string) (*AdminsResult, error) {
	return s.changeAdmins(ctx, "subscriptions/admins/remove", adamIDs, clientUserIDs)
}

func (s *SubscriptionsService) changeAdmins(ctx context.Context, path string, adamIDs []int64, clientUserIDs []string) (*AdminsResult, error) {
	if len(adamIDs) == 0 || len(clientUserIDs) == 0 {
		return nil, invalidf("name at least one subscription and one user")
	}
	for i, id := range clientUserIDs {
		if err := checkName("clientUserId", id); err != nil {
			return nil, at("clientUserIDs", i, err)
		}
	}
	in := subscriptionRequest{AdamIDs: unique(adamIDs), ClientUserIDs: unique(clientUserIDs)}
	return post(ctx, s.client, path, in, transport.Write, new(AdminsResult))
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
