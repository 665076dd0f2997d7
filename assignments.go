package appsandbooks

import (
	"context"
	"iter"
	"net/url"
)

// AssignmentsService reads who has which asset.
type AssignmentsService service

// Assignment is an asset that belongs to a user or to a device: exactly one of
// ClientUserID and SerialNumber is set.
type Assignment struct {
	AdamID       string       `json:"adamId"`
	PricingParam PricingParam `json:"pricingParam,omitzero"`
	ClientUserID string       `json:"clientUserId,omitzero"`
	SerialNumber string       `json:"serialNumber,omitzero"`
	// UserStatus and IDHash are there with AssignmentFilter.IncludeUserState.
	UserStatus UserStatus `json:"userStatus,omitzero"`
	IDHash     string     `json:"idHash,omitzero"`
}

// AssignmentFilter selects assignments. The zero value selects all.
type AssignmentFilter struct {
	PageIndex            int // of List and the start of Pages and All; the first page is 0
	AdamID               string
	PricingParam         PricingParam
	ClientUserID         string
	SerialNumber         string
	ExcludeInactiveUsers bool // without those of retired users
	IncludeUserState     bool // with UserStatus and IDHash
	// SinceVersionID selects what changed since a page with this VersionID. How
	// a removed assignment would show is not documented: the record has no mark
	// for it. Read everything now and then.
	SinceVersionID string
}

func (f AssignmentFilter) query() url.Values {
	return query{}.
		page(f.PageIndex).
		text("adamId", f.AdamID).
		text("pricingParam", string(f.PricingParam)).
		text("clientUserId", f.ClientUserID).
		text("serialNumber", f.SerialNumber).
		flag("excludeInactiveUsers", f.ExcludeInactiveUsers).
		flag("includeUserState", f.IncludeUserState).
		text("sinceVersionId", f.SinceVersionID).values()
}

// AssignmentPage is one page of assignments.
type AssignmentPage struct {
	Assignments []Assignment `json:"assignments,omitzero"`
	PageInfo
}

// List reads one page of assignments.
//
// Synchronous. Retried like any read. A version that the service no longer
// knows is [ErrInvalidVersionID]: read everything then.
//
// https://developer.apple.com/documentation/devicemanagement/get-assignments-9wv1e
func (s *AssignmentsService) List(ctx context.Context, f AssignmentFilter) (*AssignmentPage, error) {
	page := new(AssignmentPage)
	if err := s.client.getPage(ctx, "assignments", "getAssignments", f.query(), page); err != nil {
		return nil, err
	}
	return page, nil
}

// Pages reads the assignments page by page, beginning at f.PageIndex; see [PageInfo].
func (s *AssignmentsService) Pages(ctx context.Context, f AssignmentFilter) iter.Seq2[*AssignmentPage, error] {
	return pages(f.PageIndex, func(index int) (*AssignmentPage, error) {
		f := f
		f.PageIndex = index
		return s.List(ctx, f)
	})
}

// All reads the assignments one by one, beginning with those of f.PageIndex.
func (s *AssignmentsService) All(ctx context.Context, f AssignmentFilter) iter.Seq2[Assignment, error] {
	return items(s.Pages(ctx, f), func(p *AssignmentPage) []Assignment { return p.Assignments })
}
