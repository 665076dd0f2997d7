package appsandbookstest_test

import (
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A list with sinceVersionId has the records that changed after that version,
// and only real changes make a new version.
func TestServer_sinceVersionID(t *testing.T) {
	_, u, c := newServer(t, fake.WithPageSize(2))
	version := func(path string) string { return c.get(path)["versionId"].(string) }
	empty := version("assignments")
	require.Equal(t, empty, version("assignments"), "reading changes nothing")

	u.AddAssignments(deviceAssignments("1", "A", "B")...)
	first := version("assignments")
	require.NotEqual(t, empty, first)
	u.AddAssignments(deviceAssignments("1", "C", "D", "E")...)
	second := version("assignments")

	since := func(id string) []string {
		got, pages := readPages(t, c, "assignments?sinceVersionId="+id, "assignments", "serialNumber")
		require.Equal(t, version("assignments"), pages[0]["versionId"])
		return got
	}
	require.Equal(t, []string{"A", "B", "C", "D", "E"}, since(empty))
	require.Equal(t, []string{"C", "D", "E"}, since(first))
	require.Empty(t, since(second))

	// An answer to sinceVersionId does not list removed records.
	c.finish(u, "assets/disassociate", assetsBody([]string{"1"}, nil, []string{"A", "D"}))
	require.NotEqual(t, second, version("assignments"))
	require.Empty(t, since(second))
	require.Equal(t, []string{"C", "E"}, since(first))

	// Writes that change nothing make no new version.
	now := version("assignments")
	assets := version("assets")
	c.finish(u, "assets/associate", assetsBody([]string{"1"}, nil, []string{"B"}))
	require.Equal(t, now, version("assignments"))
	require.Equal(t, assets, version("assets"))

	// Users.
	u.AddUser(fake.User{ClientUserID: "a"})
	u.AddUser(fake.User{ClientUserID: "b"})
	users := version("users")
	u.AcceptInvitation("b")
	changed := items(t, c.get("users?sinceVersionId="+users), "users")
	require.Len(t, changed, 1)
	require.Equal(t, "b", changed[0]["clientUserId"])
	require.Empty(t, c.get("users?activeOnly=true&sinceVersionId=" + version("users"))["users"])

	// The versionId of one list is invalid for another list.
	c.refused(400, 9721, http.MethodGet, "users?sinceVersionId="+now, nil)
	u.ForgetVersions()
	c.refused(400, 9721, http.MethodGet, "assignments?sinceVersionId="+first, nil)
}
