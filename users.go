package appsandbooks

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/appsandbooks/appsandbooks/internal/records"
)

// UsersService reads and manages the users who can hold licences.
type UsersService service

// User is a person known to the organizational unit. Several retired users can
// share a ClientUserID with at most one that is not: never use it alone as a key.
type User struct {
	ClientUserID string     `json:"clientUserId"`
	Email        string     `json:"email,omitzero"`
	IDHash       string     `json:"idHash,omitzero"`     // of the Apple Account; only when one is, or was, associated
	InviteCode   string     `json:"inviteCode,omitzero"` // for [UsersService.InvitationURL]
	Status       UserStatus `json:"status"`
}

// UserStatus is the state of a user. Values newer than the SDK are kept.
type UserStatus string

// States of a user.
const (
	UserRegistered UserStatus = "Registered" // has to accept the invitation
	UserAssociated UserStatus = "Associated" // has an Apple Account
	UserRetired    UserStatus = "Retired"
	UserDeleted    UserStatus = "Deleted" // retired, and the Apple Account belongs to a newer user of the same ClientUserID
)

// UserFilter selects users. The zero value selects all, the retired included.
type UserFilter struct {
	ListOptions
	ActiveOnly     bool   // without the retired
	RetiredOnly    bool   // the retired alone
	ClientUserID   string // this user; may still be several entries
	SinceVersionID string // changed since a walk with this FirstVersionID
}

func (f UserFilter) query() url.Values {
	return query{}.
		flag("activeOnly", f.ActiveOnly).
		flag("retiredOnly", f.RetiredOnly).
		text("clientUserId", f.ClientUserID).
		text("sinceVersionId", f.SinceVersionID).values()
}

var userList = list[User]{path: "users", urlKey: "getUsers", answer: func() listAnswer[User] { return new(userAnswer) }}

type userAnswer struct {
	Users []User `json:"users"`
	listing
}

func (p *userAnswer) items() []User { return p.Users }

func (p *userAnswer) decodePlain(body []byte) bool {
	return decodePlain(body, "users", p, &p.Users, func(u *User, key []byte) records.Field {
		switch string(key) {
		case "clientUserId":
			return records.Field{To: &u.ClientUserID}
		case "email":
			return records.Field{To: &u.Email}
		case "idHash":
			return records.Field{To: &u.IDHash}
		case "inviteCode":
			return records.Field{To: &u.InviteCode}
		case "status":
			return records.Field{To: (*string)(&u.Status), Repeats: true}
		}
		return records.Field{}
	})
}

// List reads one page of users.
//
// Synchronous. Retried like any read. A version that the service no longer
// knows is [ErrInvalidVersionID]: read everything then.
//
// https://developer.apple.com/documentation/devicemanagement/get-users-4mwln
func (s *UsersService) List(ctx context.Context, f UserFilter) (*Page[User], error) {
	return userList.one(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the users page by page, beginning at f.PageIndex: in order, with
// up to five pages read ahead in parallel. To resume after an error, begin at
// the Next of the last page; see [Page] for changes under the walk.
func (s *UsersService) Pages(ctx context.Context, f UserFilter) iter.Seq2[*Page[User], error] {
	return userList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the users one by one, beginning with those of f.PageIndex.
func (s *UsersService) All(ctx context.Context, f UserFilter) iter.Seq2[User, error] {
	return userList.all(ctx, s.client, f.query(), f.ListOptions)
}

// Changes reads, page by page, the users that changed since a walk whose
// FirstVersionID is f.SinceVersionID: one request when there are none. It reads
// everything when there is no such version yet, or when the service has
// forgotten it, and says so in Full. Save FirstVersionID when the loop is done:
//
//	for page, err := range c.Users.Changes(ctx, appsandbooks.UserFilter{SinceVersionID: saved}) {
//		if err != nil {
//			return err
//		}
//		store(page.Items)
//		next = page.FirstVersionID
//	}
//	saved = next
//
// Retired users are reported as such; whether anything else can vanish without
// a trace is not documented. Read everything now and then.
//
// https://developer.apple.com/documentation/devicemanagement/using-paginated-endpoints
func (s *UsersService) Changes(ctx context.Context, f UserFilter) iter.Seq2[*Page[User], error] {
	return changes(f.SinceVersionID, func(since string) iter.Seq2[*Page[User], error] {
		f := f
		if since != f.SinceVersionID {
			f.SinceVersionID, f.Start = since, ""
		}
		return s.Pages(ctx, f)
	})
}

// UserChange names the users of a change. Repetitions count once.
type UserChange struct {
	// Users are the users of Create and Update.
	Users []UserRequest
	// ClientUserIDs are the users of Retire.
	ClientUserIDs []string
}

// UserRequest describes a user to create or to update.
type UserRequest struct {
	// ClientUserID is the caller's own, stable id of the person. Required.
	ClientUserID string `json:"clientUserId"`
	// Email is for people to recognize the user. The invitation can be accepted
	// with any Apple Account.
	Email string `json:"email,omitzero"`
	// ManagedAppleID associates a Managed Apple Account of the organization at
	// once, without an invitation.
	ManagedAppleID string `json:"managedAppleId,omitzero"`
}

// Create registers users, any number of them. Those with a ManagedAppleID
// become Associated, the others Registered: they have to accept an invitation
// ([UsersService.InvitationURL]), which the service does not send.
//
// Asynchronous; see [Operation] for what is retried, and for the errors. An
// active user of the same ClientUserID is [ErrUserAlreadyExists] in the report.
//
// https://developer.apple.com/documentation/devicemanagement/create-users
func (s *UsersService) Create(ctx context.Context, change UserChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, createUsers, func(t *tables) error { return t.addUserRequests(change) }, opts)
}

// Update changes e-mail addresses, and associates Managed Apple Accounts.
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/update-users
func (s *UsersService) Update(ctx context.Context, change UserChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, updateUsers, func(t *tables) error { return t.addUserRequests(change) }, opts)
}

// Retire ends users: the tie to the Apple Account is cut. That revocable
// licences are released is documented for the predecessor of this API only.
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/retire-users
func (s *UsersService) Retire(ctx context.Context, change UserChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, retireUsers, func(t *tables) error { return t.addUserIDs(change) }, opts)
}

// InvitationURL is where a Registered user accepts the invitation. It reads
// the template from the service configuration, usually from memory.
//
// https://developer.apple.com/documentation/devicemanagement/managing-users
func (s *UsersService) InvitationURL(ctx context.Context, inviteCode string) (string, error) {
	if inviteCode == "" {
		return "", fmt.Errorf("%w: the user has no invite code", ErrInvalid)
	}
	config, err := s.client.Config.ServiceConfig(ctx)
	if err != nil {
		return "", err
	}
	// The placeholder stands percent-encoded in the template, literally so.
	const placeholder = "%25inviteCode%25"
	template := config.URLs["invitationEmail"]
	if !strings.Contains(template, placeholder) {
		return "", &Error{Method: http.MethodGet, Path: "service/config", Message: "the service configuration has no invitation template"}
	}
	return strings.ReplaceAll(template, placeholder, url.QueryEscape(inviteCode)), nil
}
