package appsandbooks_test

import (
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// AssignmentsService.Changes returns only the records that changed since the version of the
// filter. It returns the full list, with Full set, if the filter has no version or the
// service has forgotten the version.
func TestAssignmentsService_Changes_returnsOnlyChangedRecords(t *testing.T) {
	inVirtualTime(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		var saved string
		read := func(f appsandbooks.AssignmentFilter) (n int, full bool) {
			t.Helper()
			f.SinceVersionID = saved
			var next string
			for page, err := range c.Assignments.Changes(t.Context(), f) {
				require.NoError(t, err)
				n, full, next = n+len(page.Items), page.Full, page.FirstVersionID
			}
			saved = next
			return n, full
		}
		fillPages(srv, 0, 10)
		n, full := read(appsandbooks.AssignmentFilter{})
		require.Equal(t, 20, n)
		require.True(t, full, "a read without a version must be full")

		srv.ResetRequests()
		n, full = read(appsandbooks.AssignmentFilter{})
		require.Zero(t, n)
		require.False(t, full)
		require.Len(t, srv.Requests(), 1)

		fillPages(srv, 10, 3)
		n, full = read(appsandbooks.AssignmentFilter{})
		require.Equal(t, 6, n)
		require.False(t, full)

		srv.Unit().ForgetVersions()
		n, full = read(appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Start: "0"}})
		require.Equal(t, 26, n)
		require.True(t, full)
		n, full = read(appsandbooks.AssignmentFilter{})
		require.Zero(t, n)
		require.False(t, full)

		// The same holds for users.
		addUsers(srv, 5)
		page := 0
		for p, err := range c.Users.Changes(t.Context(), appsandbooks.UserFilter{SinceVersionID: "forgotten"}) {
			require.NoError(t, err)
			require.True(t, p.Full)
			require.Equal(t, page, p.Index)
			page++
		}
		require.Equal(t, 3, page)
		for _, err := range c.Users.Changes(t.Context(), appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "99"}}) {
			require.ErrorIs(t, err, appsandbooks.ErrInvalidPageIndex)
		}
	})
}

// When the service returns no changes and no version, the FirstVersionID of the page is the
// version of the filter.
func TestAssignmentsService_Changes_keepsVersionWhenNothingChanged(t *testing.T) {
	c, r := recordedClient(t, `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1}`)
	for page, err := range c.Assignments.Changes(t.Context(), appsandbooks.AssignmentFilter{SinceVersionID: "v7"}) {
		require.NoError(t, err)
		require.Equal(t, "v7", page.FirstVersionID)
		require.False(t, page.Full)
	}
	require.Len(t, r.requests, 1)
}
