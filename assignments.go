package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/records"
)

// AssignmentsService reads who has which asset.
type AssignmentsService service

// Assignment is an asset that belongs to a user or to a device: exactly one of
// ClientUserID and SerialNumber is set.
type Assignment struct {
	AssetPair
	// UserStatus and IDHash are there with AssignmentFilter.IncludeUserState.
	UserStatus UserStatus `json:"userStatus,omitzero"`
	IDHash     string     `json:"idHash,omitzero"`
}

// AssignmentFilter selects assignments. The zero value selects all.
type AssignmentFilter struct {
	ListOptions
	AdamID               string
	PricingParam         PricingParam
	ClientUserID         string
	SerialNumber         string
	ExcludeInactiveUsers bool // without those of retired users
	IncludeUserState     bool // with UserStatus and IDHash
	// SinceVersionID selects what changed since a walk with this
	// FirstVersionID. Removed assignments do not show: see
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
	listing
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

// List reads one page of assignments.
//
// Synchronous. Retried like any read. A version that the service no longer
// knows is [ErrInvalidVersionID]: read everything then.
//
// https://developer.apple.com/documentation/devicemanagement/get-assignments-9wv1e
func (s *AssignmentsService) List(ctx context.Context, f AssignmentFilter) (*Page[Assignment], error) {
	return assignmentList.one(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the assignments page by page, beginning at f.PageIndex: in order,
// with up to five pages read ahead in parallel. To resume after an error, begin
// at the Next of the last page; see [Page] for changes under the walk.
func (s *AssignmentsService) Pages(ctx context.Context, f AssignmentFilter) iter.Seq2[*Page[Assignment], error] {
	return assignmentList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the assignments one by one, beginning with those of f.PageIndex.
func (s *AssignmentsService) All(ctx context.Context, f AssignmentFilter) iter.Seq2[Assignment, error] {
	return assignmentList.all(ctx, s.client, f.query(), f.ListOptions)
}

// Changes reads, page by page, the assignments that changed since a walk whose
// FirstVersionID is f.SinceVersionID: one request when there are none. It reads
// everything when there is no such version yet, or when the service has
// forgotten it, and says so in Full. Save FirstVersionID when the loop is done,
// as with [UsersService.Changes].
//
// What was removed does not show: the record has no mark for it, so only a full
// read can tell that an assignment is gone. Read everything now and then, and
// count on notifications, or on the counts of [AssetsService.All], in between.
//
// https://developer.apple.com/documentation/devicemanagement/using-paginated-endpoints
func (s *AssignmentsService) Changes(ctx context.Context, f AssignmentFilter) iter.Seq2[*Page[Assignment], error] {
	return changes(f.SinceVersionID, func(since string) iter.Seq2[*Page[Assignment], error] {
		f := f
		if since != f.SinceVersionID {
			f.SinceVersionID, f.Start = since, ""
		}
		return s.Pages(ctx, f)
	})
}
