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

// UsersService reads the users of an organizational unit, and creates, updates and
// retires them. Assets and subscriptions are assigned to users.
type UsersService service

// User is a person who is registered with the organizational unit. A ClientUserID
// does not identify a user by itself: at most one user with this id is not retired,
// but any number of retired users can have the same id.
type User struct {
	ClientUserID string `json:"clientUserId"`
	Email        string `json:"email,omitzero"`
	// IDHash belongs to the Apple Account. It is set only if the user is or was associated
	// with one.
	IDHash     string     `json:"idHash,omitzero"`
	InviteCode string     `json:"inviteCode,omitzero"` // the code that [UsersService.InvitationURL] needs
	Status     UserStatus `json:"status"`
}

// UserStatus is the state of a user. It can be a value that the SDK has no constant
// for.
type UserStatus string

const (
	// UserRegistered means that the user has not accepted the invitation yet.
	UserRegistered UserStatus = "Registered"
	// UserAssociated means that the user is associated with an Apple Account.
	UserAssociated UserStatus = "Associated"
	// UserRetired means that the user is no longer associated with an Apple Account.
	UserRetired UserStatus = "Retired"
	// UserDeleted means that the user is retired, and that the Apple Account now
	// belongs to a newer user with the same ClientUserID.
	UserDeleted UserStatus = "Deleted"
)

// UserFilter selects users. The zero value selects all users, including the retired.
type UserFilter struct {
	ListOptions
	ActiveOnly   bool   // ActiveOnly leaves out the retired users; do not combine it with RetiredOnly
	RetiredOnly  bool   // RetiredOnly leaves out the users who are not retired
	ClientUserID string // ClientUserID selects the users with this id, of whom at most one is not retired
	// SinceVersionID selects the users that changed since the list was read with
	// this Page.FirstVersionID. [UsersService.Changes] needs it.
	SinceVersionID string
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
	indexedPage
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

// List reads one page of users. If the service does not know f.SinceVersionID any
// more, the error is [ErrInvalidVersionID]; then read the whole list.
//
// https://developer.apple.com/documentation/devicemanagement/get-users-4mwln
func (s *UsersService) List(ctx context.Context, f UserFilter) (*Page[User], error) {
	return userList.page(ctx, s.client, f.query(), f.ListOptions)
}

// Pages reads the users page by page, in order, beginning at the page f.Start. It requests
// up to five pages in parallel, before the loop needs them. To continue after an error,
// set f.Start to the Next of the last page that you received. Page.Changed reports that
// the data changed while it was read.
func (s *UsersService) Pages(ctx context.Context, f UserFilter) iter.Seq2[*Page[User], error] {
	return userList.pages(ctx, s.client, f.query(), f.ListOptions)
}

// All reads the users one by one, beginning with the first user of the page f.Start.
func (s *UsersService) All(ctx context.Context, f UserFilter) iter.Seq2[User, error] {
	return userList.all(ctx, s.client, f.query(), f.ListOptions)
}

// Changes reads, page by page, the users that changed since an earlier reading of
// the list. f.SinceVersionID is the Page.FirstVersionID of that reading. If no user
// changed, Changes costs one request.
//
// Changes reads the whole list, and sets Page.Full, if f.SinceVersionID is empty or
// if the service does not know that version any more. It yields at least one page, also
// if nothing changed. Save the FirstVersionID when the loop has finished:
//
//	next := saved
//	for page, err := range c.Users.Changes(ctx, appsandbooks.UserFilter{SinceVersionID: saved}) {
//		if err != nil {
//			return err
//		}
//		store(page.Items)
//		next = page.FirstVersionID
//	}
//	saved = next
//
// Changes includes users who were retired. Apple does not document whether a user
// can disappear from the list in another way, so read the whole list from time to
// time.
//
// https://developer.apple.com/documentation/devicemanagement/using-paginated-endpoints
func (s *UsersService) Changes(ctx context.Context, f UserFilter) iter.Seq2[*Page[User], error] {
	return changes(f.SinceVersionID, f.ListOptions, func(since string, o ListOptions) iter.Seq2[*Page[User], error] {
		f := f // the iterator can run several times, also at the same time
		f.SinceVersionID = since
		return userList.pages(ctx, s.client, f.query(), o)
	})
}

// UserChange names the users of a change. A user who is named twice counts once. Two
// different UserRequests with one ClientUserID are [ErrInvalid].
type UserChange struct {
	// Users are the users to create or to update. Retire refuses them ([ErrInvalid]).
	Users []UserRequest
	// ClientUserIDs are the users to retire. Create and Update refuse them
	// ([ErrInvalid]).
	ClientUserIDs []string
}

// UserRequest describes a user to create or to update.
type UserRequest struct {
	// ClientUserID is the caller's id for the person. It is required and must not
	// change.
	ClientUserID string `json:"clientUserId"`
	// Email helps people to recognize the user. The user can accept the invitation
	// with any Apple Account, also with one that has another address.
	Email string `json:"email,omitzero"`
	// ManagedAppleID is a Managed Apple Account of the organization. The service
	// associates the user with it at once, without an invitation.
	ManagedAppleID string `json:"managedAppleId,omitzero"`
}

// Create registers any number of users. A user with a ManagedAppleID becomes
// [UserAssociated]. A user without one becomes [UserRegistered] and must accept an
// invitation, which the caller sends: see [UsersService.InvitationURL].
//
// Create starts an [Operation], whose documentation states what is retried and which errors are
// returned. If a user with the same ClientUserID exists and is not retired, the
// report has [ErrUserAlreadyExists] for it.
//
// https://developer.apple.com/documentation/devicemanagement/create-users
func (s *UsersService) Create(ctx context.Context, change UserChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, createUsers, func(t *tables) error { return t.addUserRequests(change) }, opts)
}

// Update changes the e-mail addresses of users, and associates users with Managed
// Apple Accounts.
//
// Update starts an [Operation], whose documentation states what is retried.
//
// https://developer.apple.com/documentation/devicemanagement/update-users
func (s *UsersService) Update(ctx context.Context, change UserChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, updateUsers, func(t *tables) error { return t.addUserRequests(change) }, opts)
}

// Retire retires users: they are no longer associated with their Apple Accounts.
// Apple documents only for version 1 of the API that this also takes back their
// revocable assets.
//
// Retire starts an [Operation], whose documentation states what is retried.
//
// https://developer.apple.com/documentation/devicemanagement/retire-users
func (s *UsersService) Retire(ctx context.Context, change UserChange, opts ...OperationOption) (*Operation, error) {
	return s.client.start(ctx, retireUsers, func(t *tables) error { return t.addUserIDs(change) }, opts)
}

// InvitationURL returns the URL at which a [UserRegistered] user accepts the
// invitation. inviteCode is the user's InviteCode. The URL is made from a template of
// the service configuration, which the client usually has in memory.
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
	// The URL template contains the placeholder for the code in percent-encoded form.
	const placeholder = "%25inviteCode%25"
	template := config.URLs["invitationEmail"]
	if !strings.Contains(template, placeholder) {
		return "", &Error{Method: http.MethodGet, Path: "service/config", Message: "the service configuration has no invitation template"}
	}
	return strings.ReplaceAll(template, placeholder, url.QueryEscape(inviteCode)), nil
}
