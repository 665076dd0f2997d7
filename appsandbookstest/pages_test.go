package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// walk reads all pages of a path and returns the values of a field.
func walk(t *testing.T, c *caller, path, list, field string) (values []string, pages []object) {
	t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for index := 0; ; {
		page := c.get(fmt.Sprintf("%s%spageIndex=%d", path, sep, index))
		require.EqualValues(t, index, page["currentPageIndex"])
		records := items(t, page, list)
		require.EqualValues(t, len(records), page["size"])
		for _, r := range records {
			values = append(values, r[field].(string))
		}
		pages = append(pages, page)
		next, more := page["nextPageIndex"].(float64)
		if !more {
			require.EqualValues(t, index+1, page["totalPages"])
			return values, pages
		}
		require.EqualValues(t, index+1, next)
		index = int(next)
	}
}

func devices(adamID string, serials ...string) []fake.Assignment {
	out := make([]fake.Assignment, len(serials))
	for i, s := range serials {
		out[i] = fake.Assignment{AdamID: adamID, SerialNumber: s}
	}
	return out
}

func TestPages(t *testing.T) {
	_, u, c := inMemory(t, fake.WithPageSize(2), fake.WithPageSize(0))
	for _, path := range []string{"users", "assets", "assignments"} {
		page := c.get(path)
		require.EqualValues(t, 0, page["size"])
		require.EqualValues(t, 1, page["totalPages"])
		require.Empty(t, page[path])
		require.NotNil(t, page[path], "an empty list, not null")
		require.NotContains(t, page, "nextPageIndex")
	}

	serials := ids("S", 5)
	u.AddAssignments(devices("1", serials...)...)
	for i := range 4 {
		u.AddUser(fake.User{ClientUserID: fmt.Sprint(i)})
		u.AddAsset(fake.Asset{AdamID: fmt.Sprint(100 + i)})
	}
	got, pages := walk(t, c, "assignments", "assignments", "serialNumber")
	require.Equal(t, serials, got)
	require.Len(t, pages, 3)
	require.EqualValues(t, 3, pages[0]["totalPages"])
	require.Equal(t, pages[0]["versionId"], pages[2]["versionId"])
	got, pages = walk(t, c, "users", "users", "clientUserId")
	require.Equal(t, []string{"0", "1", "2", "3"}, got)
	require.Len(t, pages, 2)
	got, _ = walk(t, c, "assets", "assets", "adamId")
	require.Equal(t, []string{"1", "100", "101", "102", "103"}, got)
	c.refused(400, 9650, http.MethodGet, "assets?pageIndex=3", nil)
	c.refused(400, 9602, http.MethodGet, "assets?pageIndex=99999999999", nil)
}

func TestAssignmentFilters(t *testing.T) {
	_, u, c := inMemory(t, fake.WithPageSize(3))
	u.AddAsset(fake.Asset{AdamID: "1", PricingParam: fake.PricingPlus})
	u.AddAssignments(
		fake.Assignment{AdamID: "1", ClientUserID: "a"},
		fake.Assignment{AdamID: "1", PricingParam: "PLUS", ClientUserID: "a"},
		fake.Assignment{AdamID: "1", SerialNumber: "a"},
		fake.Assignment{AdamID: "2", ClientUserID: "a"},
		fake.Assignment{AdamID: "2", ClientUserID: "b"},
		fake.Assignment{AdamID: "1", SerialNumber: "T"},
	)
	for query, want := range map[string]int{
		"":                                   6,
		"adamId=1":                           4,
		"adamId=1&pricingParam=PLUS":         1,
		"pricingParam=STDQ":                  5,
		"adamId=2":                           2,
		"adamId=3":                           0,
		"clientUserId=a":                     3,
		"clientUserId=a&adamId=2":            1,
		"clientUserId=nobody":                0,
		"serialNumber=a":                     1,
		"serialNumber=nothing":               0,
		"serialNumber=a&clientUserId=a":      0,
		"excludeInactiveUsers=true":          6,
		"adamId=1&excludeInactiveUsers=true": 4,
	} {
		got, _ := walk(t, c, "assignments?"+query, "assignments", "adamId")
		require.Len(t, got, want, query)
	}
	state := items(t, c.get("assignments?includeUserState=true&adamId=2"), "assignments")
	require.Equal(t, "Associated", state[0]["userStatus"])
	require.Len(t, state[0]["idHash"], 28)
	device := items(t, c.get("assignments?includeUserState=true&serialNumber=T"), "assignments")[0]
	require.NotContains(t, device, "userStatus")
}

func TestSinceVersion(t *testing.T) {
	_, u, c := inMemory(t, fake.WithPageSize(2))
	version := func(path string) string { return c.get(path)["versionId"].(string) }
	empty := version("assignments")
	require.Equal(t, empty, version("assignments"), "reading changes nothing")

	u.AddAssignments(devices("1", "A", "B")...)
	first := version("assignments")
	require.NotEqual(t, empty, first)
	u.AddAssignments(devices("1", "C", "D", "E")...)
	second := version("assignments")

	since := func(id string) []string {
		got, pages := walk(t, c, "assignments?sinceVersionId="+id, "assignments", "serialNumber")
		require.Equal(t, version("assignments"), pages[0]["versionId"])
		return got
	}
	require.Equal(t, []string{"A", "B", "C", "D", "E"}, since(empty))
	require.Equal(t, []string{"C", "D", "E"}, since(first))
	require.Empty(t, since(second))

	// What is gone does not appear.
	c.finished(u, "assets/disassociate", manage([]string{"1"}, nil, []string{"A", "D"}))
	require.NotEqual(t, second, version("assignments"))
	require.Empty(t, since(second))
	require.Equal(t, []string{"C", "E"}, since(first))

	// Writes that change nothing make no version.
	now := version("assignments")
	assets := version("assets")
	c.finished(u, "assets/associate", manage([]string{"1"}, nil, []string{"B"}))
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

	// Each data set has versions of its own.
	c.refused(400, 9721, http.MethodGet, "users?sinceVersionId="+now, nil)
	u.ForgetVersions()
	c.refused(400, 9721, http.MethodGet, "assignments?sinceVersionId="+first, nil)
}

func TestOddPages(t *testing.T) {
	odd := map[string][]int{"assignments": {0, 2, 3, 6}, "subscriptions": {1, 2, 4}}
	_, u, c := inMemory(t, fake.WithPageSize(2), fake.WithCursorPageSize(2),
		fake.WithEmptyPages(func(path string, index int) bool {
			return slices.Contains(odd[path], index)
		}))
	u.AddAssignments(devices("1", ids("S", 5)...)...)
	got, pages := walk(t, c, "assignments", "assignments", "serialNumber")
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

	// However many empty pages are wanted, a walk ends.
	_, u, c = inMemory(t, fake.WithPageSize(1), fake.WithCursorPageSize(1),
		fake.WithEmptyPages(func(string, int) bool { return true }))
	u.AddAssignments(devices("1", ids("S", 3)...)...)
	got, _ = walk(t, c, "assignments", "assignments", "serialNumber")
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

func TestDataChangesUnderAWalk(t *testing.T) {
	var reads []fake.PageRead
	_, u, c := inMemory(t, fake.WithPageSize(2), fake.WithCursorPageSize(1), fake.WithPageHook(func(p fake.PageRead) {
		reads = append(reads, p)
		if p.Path == "assignments" && p.Index == 1 {
			p.Unit.AddAssignments(devices("1", "T1", "T2", "T3")...)
		}
	}))
	u.AddAssignments(devices("1", ids("S", 3)...)...)
	got, pages := walk(t, c, "assignments", "assignments", "serialNumber")
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

func TestCursors(t *testing.T) {
	_, u, c := inMemory(t, fake.WithCursorPageSize(2), fake.WithCursorPageSize(0))
	for i := range 5 {
		u.AddSubscriptionAssignments(fake.SubscriptionAssignment{AdamID: 7, ClientUserID: fmt.Sprint(i)})
	}
	var got []string
	path, version := "subscriptions/assignments?adamId=7", ""
	first, removed := "", false
	for cursor := ""; ; {
		page := c.get(path + cursor)
		for _, x := range items(t, page, "assignments") {
			got = append(got, x["clientUserId"].(string))
		}
		if version == "" {
			version = page["versionId"].(string)
		}
		next, more := page["nextCursor"].(string)
		if !more {
			require.NotEqual(t, version, page["versionId"])
			break
		}
		if first == "" {
			first = next
		}
		cursor = "&cursor=" + url.QueryEscape(next)
		if !removed { // what was read goes away: nothing is skipped
			removed = true
			c.finished(u, "subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"0"}})
		}
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, got)

	again := c.get(path + "&cursor=" + url.QueryEscape(first))
	require.Len(t, again["assignments"], 2, "a cursor can be used again")
	for _, other := range []string{"subscriptions/assignments?adamId=8", "subscriptions/assignments?x=y", "subscriptions?adamId=7"} {
		c.refused(400, 9812, http.MethodGet, other+"&cursor="+url.QueryEscape(first), nil)
	}
}

// Many assignments are listed in pages, and large requests carried out, in a
// time that leaves no room for quadratic work. The benchmarks have the times.
func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	const n = 200_000
	_, u, c := inMemory(t)
	list := make([]fake.Assignment, n)
	for i := range list {
		list[i] = fake.Assignment{AdamID: fmt.Sprint(1 + i%100), SerialNumber: fmt.Sprintf("S%07d", i/100)}
	}
	u.AddAssignments(list...)

	empty := c.get("assignments?adamId=none")["versionId"].(string)
	for _, query := range []string{"", "adamId=7&", "sinceVersionId=" + empty + "&", "excludeInactiveUsers=true&"} {
		for range 10 {
			c.get(fmt.Sprintf("assignments?%spageIndex=0", query))
		}
	}
	u.Purchase("1000", "", 50_000)
	apps := make([]string, 25)
	for i := range apps {
		apps[i] = fmt.Sprint(1000 + i)
		u.Purchase(apps[i], "", 2000)
		u.AddUser(fake.User{ClientUserID: apps[i]})
	}
	u.AddAssignments(fake.Assignment{AdamID: "1", ClientUserID: "one"})
	body := manage(apps, nil, ids("D", 1000))
	status := c.finished(u, "assets/associate", body)
	require.EqualValues(t, 25_000, status["numCompleted"])
	status = c.finished(u, "assets/disassociate", body)
	require.EqualValues(t, 25_000, status["numCompleted"])
	require.Len(t, u.Assignments(), n+1)
}

func BenchmarkListing(b *testing.B) {
	srv := fake.NewServer()
	defer srv.Close()
	list := make([]fake.Assignment, 1_000_000)
	for i := range list {
		list[i] = fake.Assignment{AdamID: fmt.Sprint(1 + i%100), SerialNumber: fmt.Sprintf("S%07d", i/100)}
	}
	srv.Unit().AddAssignments(list...)
	client := srv.Client()
	index := 0
	for b.Loop() {
		req, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/assignments?pageIndex=%d", srv.URL(), index%1000), nil)
		req.Header.Set("Authorization", "Bearer "+srv.Unit().Token())
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(err, resp)
		}
		resp.Body.Close()
		index++
	}
}

func BenchmarkAssociate(b *testing.B) {
	apps := ids("1", 25)
	body := manage(apps, nil, ids("S", 1000))
	for b.Loop() {
		b.StopTimer()
		srv := fake.NewServer()
		u := srv.Unit()
		for _, id := range apps {
			u.Purchase(id, "", 1000)
		}
		c := &caller{t: b, srv: srv, client: srv.Client(), token: u.Token()}
		b.StartTimer()
		c.event("assets/associate", body)
		u.FinishEvents()
	}
}
