package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/records"
)

// AssignmentsService reads which assets are assigned to which users and devices.
type AssignmentsService service

// Assignment is an asset that is assigned to a user or to a device. Exactly one of
// ClientUserID and SerialNumber is set.
type Assignment struct {
	AssetPair
	// UserStatus and IDHash are set only with AssignmentFilter.IncludeUserState.
	UserStatus UserStatus `json:"userStatus,omitzero"`
	IDHash     string     `json:"idHash,omitzero"`
}

// AssignmentFilter selects assignments. The zero value selects all assignments.
type AssignmentFilter struct {
	ListOptions
	AdamID               string
	PricingParam         PricingParam
	ClientUserID         string
	SerialNumber         string
	ExcludeInactiveUsers bool // ExcludeInactiveUsers leaves out the assignments to retired users
	IncludeUserState     bool // IncludeUserState adds UserStatus and IDHash to each assignment
	// SinceVersionID selects the assignments that changed since the list was read
	// with this Page.FirstVersionID. It does not show removed assignments: see
	// [AssignmentsService.Changes].
	SinceVersionID string
}

func (f AssignmentFilter) query() url.Values {
	return query{}.
		text("adamId", f.AdamID).
		text("pricingParam", string(f.PricingParam)).
		text("clientUserId", f.ClientUserID).
		text("serialNumber", f.SerialNumber).
		flag("excludeInactiveUsers", f.ExcludeInactiveUsers).
		flag("includeUserState", f.IncludeUserState).
		text("sinceVersionId", f.SinceVersionID).values()
}

var assignmentList = list[Assignment]{
	path: "assignments", urlKey: "getAssignments", answer: func() listAnswer[Assignment] { return new(assignmentAnswer) },
}

type assignmentAnswer struct {
	Assignments []Assignment `json:"assignments"`
	indexedPage
}

func (p *assignmentAnswer) items() []Assignment { return p.Assignments }

func (p *assignmentAnswer) decodePlain(body []byte) bool {
	return decodePlain(body, "assignments", p, &p.Assignments, func(a *Assignment, key []byte) records.Field {
		switch string(key) {
		case "adamId":
			return records.Field{To: &a.AdamID, Repeats: true}
		case "pricingParam":
			return records.Field{To: (*string)(&a.PricingParam), Repeats: true}
		case "clientUserId":
			return records.Field{To: &a.ClientUserID}
		case "serialNumber":
			return records.Field{To: &a.SerialNumber}
		case "userStatus":
			return records.Field{To: (*string)(&a.UserStatus), Repeats: true}
		case "idHash":
			return records.Field{To: &a.IDHash}
		}
		return records.Field{}
	})
}

// List reads one page of assignments. If the service does not know f.SinceVersionID
// any more, the error is [ErrInvalidVersionID]; then read the whole list.
//
// https://developer.apple.com/documentation/devicemanagement/get-assignments-9wv1e
func (s *AssignmentsService) List(ctx context.Context, f AssignmentFilter) (*Page[Assignment], error) {
	return assignmentList.page(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the assignments page by page, in order, beginning at the page f.Start. It
// requests up to five pages in parallel, before the loop needs them. To continue after an
// error, set f.Start to the Next of the last page that you received. Page.Changed reports
// that the data changed while it was read.
func (s *AssignmentsService) Pages(ctx context.Context, f AssignmentFilter) iter.Seq2[*Page[Assignment], error] {
	return assignmentList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the assignments one by one, beginning with the first assignment of the
// page f.Start.
func (s *AssignmentsService) All(ctx context.Context, f AssignmentFilter) iter.Seq2[Assignment, error] {
	return assignmentList.all(ctx, s.client, f.query(), f.ListOptions)
}

// Changes reads, page by page, the assignments that changed since an earlier reading
// of the list. f.SinceVersionID is the Page.FirstVersionID of that reading. If no
// assignment changed, Changes costs one request.
//
// Changes reads the whole list, and sets Page.Full, if f.SinceVersionID is empty or
// if the service does not know that version any more. Save the FirstVersionID when
// the loop has finished; the example of [UsersService.Changes] shows how.
//
// Changes does not show assignments that were removed, because the service's record
// has no field for that. So read the whole list from time to time. Until then,
// notifications or the counts of [AssetsService.All] can show that an assignment was
// removed.
//
// https://developer.apple.com/documentation/devicemanagement/using-paginated-endpoints
func (s *AssignmentsService) Changes(ctx context.Context, f AssignmentFilter) iter.Seq2[*Page[Assignment], error] {
	return changes(f.SinceVersionID, f.ListOptions, func(since string, o ListOptions) iter.Seq2[*Page[Assignment], error] {
		f := f // the iterator can run several times, also at the same time
		f.SinceVersionID = since
		return assignmentList.pages(ctx, s.client, f.query(), o)
	})
}
