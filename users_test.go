package appsandbooks_test

import (
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// The client sends and returns client user ids unchanged. Ids that differ only in case or in
// their Unicode form are different users.
func TestUsersService_Create_sendsIDsUnchanged(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		ids := []string{
			"ada", "Ada", "caf\u00e9", "cafe\u0301", "a/b", "a%2Fb", "a&b=c", "a+b", "a b", `a\b`, `a"b`, "<a>", "\u2028", "😀",
			strings.Repeat("u", 500),
		}
		var requests []appsandbooks.UserRequest
		for _, id := range ids {
			requests = append(requests, appsandbooks.UserRequest{ClientUserID: id, Email: "x@example.com"})
		}
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: requests})
		require.NoError(t, err)
		r, err := op.Wait(t.Context())
		require.NoError(t, err)
		var reported []string
		for o := range r.Outcomes() {
			reported = append(reported, o.ClientUserID)
		}
		require.Equal(t, ids, reported)
		for _, id := range ids {
			users, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{ClientUserID: id}))
			require.NoError(t, err)
			require.Len(t, users, 1, "%q", id)
			require.Equal(t, id, users[0].ClientUserID)
		}
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
	})
}

// Users can be created, updated and retired. When one of several users exists already, only this
// user fails. The invitation URL contains the invite code of the user.
func TestUsersService_createsUpdatesAndRetiresUsers(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var requests []appsandbooks.UserRequest
		for _, id := range names("u", 250) {
			requests = append(requests, appsandbooks.UserRequest{ClientUserID: id, Email: id + "@example.com"})
		}
		op, err := c.Users.Create(t.Context(), appsandbooks.UserChange{Users: requests})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, countPath(srv, "users/create"))

		// The users who exist already fail, and only the new user succeeds.
		op, err = c.Users.Create(t.Context(), appsandbooks.UserChange{Users: append(requests[:2:2], appsandbooks.UserRequest{ClientUserID: "new"})})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrUserAlreadyExists)
		require.Equal(t, 1, report.Succeeded)
		for o := range report.Problems() {
			require.Contains(t, []string{"u00000", "u00001"}, o.ClientUserID)
			require.ErrorIs(t, o.Err, appsandbooks.ErrUserAlreadyExists)
			require.NotEmpty(t, o.EventID)
		}

		op, err = c.Users.Update(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "new", Email: "new@example.com"}}})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)

		op, err = c.Users.Retire(t.Context(), appsandbooks.UserChange{ClientUserIDs: names("u", 250)})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		_, err = op.Verify(t.Context())
		require.NoError(t, err)
		active, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{ActiveOnly: true}))
		require.NoError(t, err)
		require.Len(t, active, 1)
		require.Equal(t, "new@example.com", active[0].Email)
		url, err := c.Users.InvitationURL(t.Context(), active[0].InviteCode)
		require.NoError(t, err)
		require.Contains(t, url, active[0].InviteCode)
		require.NotContains(t, url, "%25inviteCode%25")
	})
}
