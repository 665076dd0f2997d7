package appsandbooks

import (
	"context"
	"iter"
	"net/url"
)

// SubscriptionAssignment is a seat that belongs to a user.
type SubscriptionAssignment struct {
	AdamID       int64  `json:"adamId"`
	ClientUserID string `json:"clientUserId"`
	Renewing     bool   `json:"renewing"` // false: ends with the billing period
}

// SubscriptionAssignmentFilter selects subscription assignments. The zero
// value selects all. Several values of one kind are sent as a repeated key.
type SubscriptionAssignmentFilter struct {
	Cursor        string // of List and the start of Pages and All: a page's NextCursor
	Restarts      int    // how often Pages and All begin again when the data changes; see [ErrRestarted]
	ParentAdamIDs []int64
	AdamIDs       []int64
	ClientUserIDs []string
}

func (f SubscriptionAssignmentFilter) query() url.Values {
	return query{}.
		text("cursor", f.Cursor).
		ids("parentAdamId", f.ParentAdamIDs).
		ids("adamId", f.AdamIDs).
		texts("clientUserId", f.ClientUserIDs).values()
}

// SubscriptionAssignmentPage is one page of subscription assignments.
type SubscriptionAssignmentPage struct {
	Assignments []SubscriptionAssignment `json:"assignments,omitzero"`
	CursorInfo
}

func (p *SubscriptionAssignmentPage) empty() bool { return len(p.Assignments) == 0 }

// ListAssignments reads one page of subscription assignments.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscription-assignments
func (s *SubscriptionsService) ListAssignments(ctx context.Context, f SubscriptionAssignmentFilter) (*SubscriptionAssignmentPage, error) {
	page := new(SubscriptionAssignmentPage)
	return get(ctx, s.client, "subscriptions/assignments", f.query(), page)
}

// AssignmentPages reads the subscription assignments page by page, strictly in
// order; the next page is read while the loop has this one.
func (s *SubscriptionsService) AssignmentPages(ctx context.Context, f SubscriptionAssignmentFilter) iter.Seq2[*SubscriptionAssignmentPage, error] {
	return cursorPages(ctx, s.client, f.Cursor, f.Restarts, func(ctx context.Context, cursor string) (*SubscriptionAssignmentPage, error) {
		f := f
		f.Cursor = cursor
		return s.ListAssignments(ctx, f)
	})
}

// AllAssignments reads the subscription assignments one by one.
func (s *SubscriptionsService) AllAssignments(ctx context.Context, f SubscriptionAssignmentFilter) iter.Seq2[SubscriptionAssignment, error] {
	return items(s.AssignmentPages(ctx, f), func(p *SubscriptionAssignmentPage) []SubscriptionAssignment { return p.Assignments })
}
