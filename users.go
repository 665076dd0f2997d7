package appsandbooks

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
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
	PageIndex      int    // of List and the start of Pages and All; the first page is 0
	ActiveOnly     bool   // without the retired
	RetiredOnly    bool   // the retired alone
	ClientUserID   string // this user; may still be several entries
	SinceVersionID string // changed since a page with this VersionID
}

func (f UserFilter) query() url.Values {
	return query{}.
		page(f.PageIndex).
		flag("activeOnly", f.ActiveOnly).
		flag("retiredOnly", f.RetiredOnly).
		text("clientUserId", f.ClientUserID).
		text("sinceVersionId", f.SinceVersionID).values()
}

// UserPage is one page of users.
type UserPage struct {
	Users []User `json:"users,omitzero"`
	PageInfo
}

// List reads one page of users.
//
// Synchronous. Retried like any read. A version that the service no longer
// knows is [ErrInvalidVersionID]: read everything then.
//
// https://developer.apple.com/documentation/devicemanagement/get-users-4mwln
func (s *UsersService) List(ctx context.Context, f UserFilter) (*UserPage, error) {
	page := new(UserPage)
	if err := s.client.getPage(ctx, "users", "getUsers", f.query(), page); err != nil {
		return nil, err
	}
	return page, nil
}

// Pages reads the users page by page, beginning at f.PageIndex; see [PageInfo].
func (s *UsersService) Pages(ctx context.Context, f UserFilter) iter.Seq2[*UserPage, error] {
	return pages(f.PageIndex, func(index int) (*UserPage, error) {
		f := f
		f.PageIndex = index
		return s.List(ctx, f)
	})
}

// All reads the users one by one, beginning with those of f.PageIndex.
func (s *UsersService) All(ctx context.Context, f UserFilter) iter.Seq2[User, error] {
	return items(s.Pages(ctx, f), func(p *UserPage) []User { return p.Users })
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
func (s *UsersService) Create(ctx context.Context, users []UserRequest, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, createUsers, func(t *tables) error { return t.addUserRequests(users) }, opts)
}

// Update changes e-mail addresses, and associates Managed Apple Accounts.
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/update-users
func (s *UsersService) Update(ctx context.Context, users []UserRequest, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, updateUsers, func(t *tables) error { return t.addUserRequests(users) }, opts)
}

// Retire ends users: the tie to the Apple Account is cut. That revocable
// licences are released is documented for the predecessor of this API only.
//
// Asynchronous; see [Operation].
//
// https://developer.apple.com/documentation/devicemanagement/retire-users
func (s *UsersService) Retire(ctx context.Context, clientUserIDs []string, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, retireUsers, func(t *tables) error { return t.addTargets(clientUserIDs, nil) }, opts)
}

// InvitationURL is where a Registered user accepts the invitation. It reads
// the template from the service configuration, usually from memory.
//
// https://developer.apple.com/documentation/devicemanagement/managing-users
func (s *UsersService) InvitationURL(ctx context.Context, inviteCode string) (string, error) {
	if inviteCode == "" {
		return "", fmt.Errorf("%w: the user has no invite code", ErrInvalid)
	}
	config, err := s.client.Config.Service(ctx)
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
