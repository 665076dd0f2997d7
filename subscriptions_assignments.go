package appsandbooks

import (
	"context"
	"iter"
	"net/url"
)

// SubscriptionAssignmentsService reads which seats of subscriptions are assigned to
// which users.
type SubscriptionAssignmentsService service

// SubscriptionAssignment is a seat that is assigned to a user.
type SubscriptionAssignment struct {
	SubscriptionPair
	Renewing bool `json:"renewing"` // Renewing is false if the seat ends with the billing period
}

// SubscriptionAssignmentFilter selects subscription assignments. The zero value
// selects all of them. Several values in one field are sent as a repeated query
// parameter; Apple does not document the format.
type SubscriptionAssignmentFilter struct {
	ListOptions
	ParentAdamIDs []int64
	AdamIDs       []int64
	ClientUserIDs []string
}

func (f SubscriptionAssignmentFilter) query() url.Values {
	return query{}.
		ids("parentAdamId", f.ParentAdamIDs).
		ids("adamId", f.AdamIDs).
		texts("clientUserId", f.ClientUserIDs).values()
}

var subscriptionAssignmentList = list[SubscriptionAssignment]{
	path: "subscriptions/assignments", cursor: true,
	answer: func() listAnswer[SubscriptionAssignment] { return new(subscriptionAssignmentAnswer) },
}

type subscriptionAssignmentAnswer struct {
	Assignments []SubscriptionAssignment `json:"assignments"`
	cursorPage
}

func (p *subscriptionAssignmentAnswer) items() []SubscriptionAssignment { return p.Assignments }

// List reads one page of subscription assignments.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscription-assignments
func (s *SubscriptionAssignmentsService) List(ctx context.Context, f SubscriptionAssignmentFilter) (*Page[SubscriptionAssignment], error) {
	return subscriptionAssignmentList.page(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the subscription assignments page by page, in order. It requests the
// next page while the loop processes the current one.
func (s *SubscriptionAssignmentsService) Pages(ctx context.Context, f SubscriptionAssignmentFilter) iter.Seq2[*Page[SubscriptionAssignment], error] {
	return subscriptionAssignmentList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the subscription assignments one by one.
func (s *SubscriptionAssignmentsService) All(ctx context.Context, f SubscriptionAssignmentFilter) iter.Seq2[SubscriptionAssignment, error] {
	return subscriptionAssignmentList.all(ctx, s.client, f.query(), f.ListOptions)
}
