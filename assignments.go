package appsandbooks

import (
	"context"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/records"
	"github.com/appsandbooks/appsandbooks/internal/transport"
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
	// SinceVersionID selects what changed since a walk with this
	// FirstVersionID. Removed assignments do not show: see
	// [AssignmentsService.Changes].
	SinceVersionID string
	// Restarts is how often Pages and All begin again when the data changes
	// under them; see [ErrRestarted]. With 0 they read on: see PageInfo.Changed.
	Restarts int
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

func (p *AssignmentPage) decodePlain(body []byte) bool {
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
func (s *AssignmentsService) List(ctx context.Context, f AssignmentFilter) (*AssignmentPage, error) {
	page := new(AssignmentPage)
	if err := s.client.getPage(ctx, "assignments", "getAssignments", f.query(), transport.Turn{}, page); err != nil {
		return nil, err
	}
	return page, nil
}

// Pages reads the assignments page by page, beginning at f.PageIndex: in order,
// with up to five pages read ahead in parallel. To resume after an error, begin
// at the NextPageIndex of the last page; see [PageInfo] for changes under the walk.
func (s *AssignmentsService) Pages(ctx context.Context, f AssignmentFilter) iter.Seq2[*AssignmentPage, error] {
	return pages[AssignmentPage](ctx, s.client, "assignments", "getAssignments", f.PageIndex, f.Restarts, func(index int) url.Values {
		f := f
		f.PageIndex = index
		return f.query()
	})
}

// All reads the assignments one by one, beginning with those of f.PageIndex.
func (s *AssignmentsService) All(ctx context.Context, f AssignmentFilter) iter.Seq2[Assignment, error] {
	return items(s.Pages(ctx, f), func(p *AssignmentPage) []Assignment { return p.Assignments })
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
func (s *AssignmentsService) Changes(ctx context.Context, f AssignmentFilter) iter.Seq2[*AssignmentPage, error] {
	return changes(f.SinceVersionID, func(since string) iter.Seq2[*AssignmentPage, error] {
		f := f
		if since != f.SinceVersionID {
			f.SinceVersionID, f.PageIndex = since, 0
		}
		return s.Pages(ctx, f)
	})
}
