package appsandbooks

import (
	"context"
	"iter"
	"net/url"
)

// SubscriptionAssignmentsService reads who has which seat.
type SubscriptionAssignmentsService service

// SubscriptionAssignment is a seat that belongs to a user.
type SubscriptionAssignment struct {
	SubscriptionPair
	Renewing bool `json:"renewing"` // false: ends with the billing period
}

// SubscriptionAssignmentFilter selects subscription assignments. The zero
// value selects all. Several values of one kind are sent as a repeated key.
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
	listing
}

func (p *subscriptionAssignmentAnswer) items() []SubscriptionAssignment { return p.Assignments }

// List reads one page of subscription assignments.
//
// Synchronous. Retried like any read.
//
// https://developer.apple.com/documentation/devicemanagement/get-subscription-assignments
func (s *SubscriptionAssignmentsService) List(ctx context.Context, f SubscriptionAssignmentFilter) (*Page[SubscriptionAssignment], error) {
	return subscriptionAssignmentList.one(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the subscription assignments page by page, strictly in
// order; the next page is read while the loop has this one.
func (s *SubscriptionAssignmentsService) Pages(ctx context.Context, f SubscriptionAssignmentFilter) iter.Seq2[*Page[SubscriptionAssignment], error] {
	return subscriptionAssignmentList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the subscription assignments one by one.
func (s *SubscriptionAssignmentsService) All(ctx context.Context, f SubscriptionAssignmentFilter) iter.Seq2[SubscriptionAssignment, error] {
	return subscriptionAssignmentList.all(ctx, s.client, f.query(), f.ListOptions)
}
