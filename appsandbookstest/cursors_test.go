package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A list read by cursor skips no record, even if records that were read are
// removed. A cursor can be used again, but only for its own list.
func TestServer_cursors(t *testing.T) {
	_, u, c := newServer(t, fake.WithCursorPageSize(2))
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
		if !removed { // remove a record that was read; no other record must be skipped
			removed = true
			c.finish(u, "subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"0"}})
		}
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, got)

	again := c.get(path + "&cursor=" + url.QueryEscape(first))
	require.Len(t, again["assignments"], 2, "a cursor can be used again")
	for _, other := range []string{"subscriptions/assignments?adamId=8", "subscriptions/assignments?x=y", "subscriptions?adamId=7"} {
		c.refused(400, 9812, http.MethodGet, other+"&cursor="+url.QueryEscape(first), nil)
	}
}
