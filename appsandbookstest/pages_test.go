package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Pages have the documented fields. Together they contain every record once.
func TestServer_pages(t *testing.T) {
	_, u, c := newServer(t, fake.WithPageSize(2))
	for _, path := range []string{"users", "assets", "assignments"} {
		page := c.get(path)
		require.EqualValues(t, 0, page["size"])
		require.EqualValues(t, 1, page["totalPages"])
		require.Empty(t, page[path])
		require.NotNil(t, page[path], "an empty list, not null")
		require.NotContains(t, page, "nextPageIndex")
	}

	serials := ids("S", 5)
	u.AddAssignments(deviceAssignments("1", serials...)...)
	for i := range 4 {
		u.AddUser(fake.User{ClientUserID: fmt.Sprint(i)})
		u.AddAsset(fake.Asset{AdamID: fmt.Sprint(100 + i)})
	}
	got, pages := readPages(t, c, "assignments", "assignments", "serialNumber")
	require.Equal(t, serials, got)
	require.Len(t, pages, 3)
	require.EqualValues(t, 3, pages[0]["totalPages"])
	require.Equal(t, pages[0]["versionId"], pages[2]["versionId"])
	got, pages = readPages(t, c, "users", "users", "clientUserId")
	require.Equal(t, []string{"0", "1", "2", "3"}, got)
	require.Len(t, pages, 2)
	got, _ = readPages(t, c, "assets", "assets", "adamId")
	require.Equal(t, []string{"1", "100", "101", "102", "103"}, got)
	c.refused(400, 9650, http.MethodGet, "assets?pageIndex=3", nil)
	c.refused(400, 9602, http.MethodGet, "assets?pageIndex=99999999999", nil)
}

// WithEmptyPages moves records behind the empty pages, and no record is lost.
func TestWithEmptyPages(t *testing.T) {
	emptyPages := map[string][]int{"assignments": {0, 2, 3, 6}, "subscriptions": {1, 2, 4}}
	_, u, c := newServer(t, fake.WithPageSize(2), fake.WithCursorPageSize(2),
		fake.WithEmptyPages(func(path string, index int) bool {
			return slices.Contains(emptyPages[path], index)
		}))
	u.AddAssignments(deviceAssignments("1", ids("S", 5)...)...)
	got, pages := readPages(t, c, "assignments", "assignments", "serialNumber")
	require.Equal(t, ids("S", 5), got)
	var sizes []any
	for _, p := range pages {
		sizes = append(sizes, p["size"])
	}
	require.Equal(t, []any{0.0, 2.0, 0.0, 0.0, 2.0, 1.0, 0.0}, sizes)

	for i := range 4 {
		u.AddSubscription(fake.Subscription{AdamID: int64(i + 1)})
	}
	sizes = nil
	for cursor := ""; ; {
		page := c.get("subscriptions" + cursor)
		sizes = append(sizes, len(page["subscriptions"].([]any)))
		next, more := page["nextCursor"].(string)
		if !more {
			break
		}
		cursor = "?cursor=" + url.QueryEscape(next)
	}
	require.Equal(t, []any{2, 0, 0, 2, 0}, sizes)

	// The number of empty pages is limited, so every list ends.
	_, u, c = newServer(t, fake.WithPageSize(1), fake.WithCursorPageSize(1),
		fake.WithEmptyPages(func(string, int) bool { return true }))
	u.AddAssignments(deviceAssignments("1", ids("S", 3)...)...)
	got, _ = readPages(t, c, "assignments", "assignments", "serialNumber")
	require.Equal(t, ids("S", 3), got)
	u.AddSubscription(fake.Subscription{AdamID: 1})
	found := 0
	for cursor := ""; ; {
		page := c.get("subscriptions" + cursor)
		found += len(page["subscriptions"].([]any))
		next, more := page["nextCursor"].(string)
		if !more {
			break
		}
		cursor = "?cursor=" + url.QueryEscape(next)
	}
	require.Equal(t, 1, found)
}

// The hook of WithPageHook is called before each page, and can change the list
// that is being read.
func TestWithPageHook(t *testing.T) {
	var reads []fake.PageRead
	_, u, c := newServer(t, fake.WithPageSize(2), fake.WithCursorPageSize(1), fake.WithPageHook(func(p fake.PageRead) {
		reads = append(reads, p)
		if p.Path == "assignments" && p.Index == 1 {
			p.Unit.AddAssignments(deviceAssignments("1", "T1", "T2", "T3")...)
		}
	}))
	u.AddAssignments(deviceAssignments("1", ids("S", 3)...)...)
	got, pages := readPages(t, c, "assignments", "assignments", "serialNumber")
	require.Equal(t, append(ids("S", 3), "T1", "T2", "T3"), got)
	require.EqualValues(t, 2, pages[0]["totalPages"])
	require.EqualValues(t, 3, pages[1]["totalPages"])
	require.NotEqual(t, pages[0]["versionId"], pages[1]["versionId"])
	require.Equal(t, pages[1]["versionId"], pages[2]["versionId"])
	require.Len(t, reads, 3)
	require.Same(t, u, reads[0].Unit)

	c.get("subscriptions?adamId=3")
	require.Equal(t, fake.PageRead{Unit: u, Path: "subscriptions", Index: -1, Query: url.Values{"adamId": {"3"}}}, reads[3])
}
