package appsandbooks_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A list that is read by cursor ends with ErrNoProgress when the service returns empty
// pages without end.
func TestSubscriptionsService_Pages_stopsAtEndlessEmptyPages(t *testing.T) {
	var n atomic.Int64
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		body := fmt.Sprintf(`{"subscriptions":[],"nextCursor":"c%d","uId":"u"}`, n.Add(1))
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c := clientWithTransport(t, rt, appsandbooks.WithLimiter(unlimitedRate{}))
	require.ErrorIs(t, drain(c.Subscriptions.Pages(t.Context(), appsandbooks.SubscriptionFilter{})), appsandbooks.ErrNoProgress)
}

// When a list by cursor is empty, the service's answer may omit the list.
func TestSubscriptionsService_All_acceptsAnswerWithoutList(t *testing.T) {
	c := clientWithAnswer(t, 200, nil, `{"uId":"1","tokenExpirationDate":"2030-01-01T00:00:00+0000"}`)
	all, err := appsandbooks.Collect(c.Subscriptions.All(t.Context(), appsandbooks.SubscriptionFilter{}))
	require.NoError(t, err)
	require.Empty(t, all)
}

// A list by cursor is read one page ahead of the loop.
func TestSubscriptionsService_Pages_readsOnePageAhead(t *testing.T) {
	const n, latency = 9, 200 * time.Millisecond
	for work, want := range map[time.Duration]time.Duration{
		0:                      n * latency,
		150 * time.Millisecond: n*latency + 150*time.Millisecond,
		500 * time.Millisecond: latency + n*500*time.Millisecond,
	} {
		inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			u := srv.Unit()
			for i := range int64(2 * n) {
				u.AddSubscription(appsandbookstest.Subscription{AdamID: 1 + i, ParentAdamID: 99, Total: appsandbookstest.Seats{Renewing: 1}})
			}
			start, read := time.Now(), 0
			for page, err := range c.Subscriptions.Pages(t.Context(), appsandbooks.SubscriptionFilter{}) {
				require.NoError(t, err)
				require.Len(t, page.Items, 2)
				require.False(t, page.Changed)
				read++
				time.Sleep(work)
				require.LessOrEqual(t, countPath(srv, "subscriptions"), read+1)
			}
			require.Equal(t, want, time.Since(start))
			require.Equal(t, n, read)
		})
	}
}

// Each case states the service's answers for each cursor, and the pages and errors that the
// loop gets. In the expected text, "page!" means a page with Changed set.
func TestSubscriptionsService_Pages_followsCursors(t *testing.T) {
	page := func(next, version string) string {
		return fmt.Sprintf(`{"subscriptions":[{"parentAdamId":null,"adamId":1}],"nextCursor":%q,"versionId":%q}`, next, version)
	}
	config := `{"limits":{"maxRequestPerSecond":1000}}`
	for _, test := range []struct {
		name   string
		pages  map[string][]string // the service's answers for each cursor, in order
		filter appsandbooks.SubscriptionFilter
		want   string
	}{
		{name: "three pages", pages: map[string][]string{"": {page("a", "1")}, "a": {page("b", "1")}, "b": {page("", "1")}}, want: "page page page"},
		{name: "starts at a cursor", filter: appsandbooks.SubscriptionFilter{ListOptions: appsandbooks.ListOptions{Start: "b"}}, pages: map[string][]string{"b": {page("", "1")}}, want: "page"},
		{name: "a page names its own cursor", pages: map[string][]string{"": {page("a", "1")}, "a": {page("a", "1")}}, want: "page page no progress"},
		{name: "the cursors form a circle", pages: map[string][]string{"": {page("a", "1")}, "a": {page("b", "1")}, "b": {page("c", "1")}, "c": {page("a", "1")}}, want: "page page page page no progress"},
		{name: "the version changes", pages: map[string][]string{"": {page("a", "1")}, "a": {page("b", "2")}, "b": {page("", "1")}}, want: "page page! page!"},
		{
			name: "restarts after a change", filter: appsandbooks.SubscriptionFilter{ListOptions: appsandbooks.ListOptions{Restarts: 1}},
			pages: map[string][]string{"": {page("a", "1"), page("a", "2")}, "a": {page("", "2"), page("", "2")}},
			want:  "page restarted page page",
		},
		{
			name: "the cursor expires", pages: map[string][]string{"": {page("a", "1")}, "a": {`{"errorNumber":9812}`}},
			want: "page 9812",
		},
		{
			name: "restarts after the cursor expires", filter: appsandbooks.SubscriptionFilter{ListOptions: appsandbooks.ListOptions{Restarts: 1}},
			pages: map[string][]string{"": {page("a", "1"), page("a", "1")}, "a": {`{"errorNumber":9812}`, page("", "1")}},
			want:  "page restarted page page",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			read := map[string]int{}
			rt := roundTripper(func(r *http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				body := config
				if !strings.HasSuffix(r.URL.Path, "config") {
					cursor := r.URL.Query().Get("cursor")
					body = test.pages[cursor][read[cursor]]
					read[cursor]++
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader(body))}, nil
			})
			c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
			require.NoError(t, err)
			defer c.Close()
			var got []string
			for page, err := range c.Subscriptions.Pages(t.Context(), test.filter) {
				var e *appsandbooks.Error
				switch {
				case errors.Is(err, appsandbooks.ErrRestarted):
					got = append(got, "restarted")
				case errors.Is(err, appsandbooks.ErrNoProgress):
					got = append(got, "no progress")
				case errors.As(err, &e):
					got = append(got, fmt.Sprint(int(e.Number)))
				case page.Changed:
					got = append(got, "page!")
				default:
					got = append(got, "page")
				}
			}
			require.Equal(t, test.want, strings.Join(got, " "))
		})
	}
}

// A list by cursor does not use the fields of lists with a page index. An answer that has
// only those fields is an error, not an empty list, and the types of those fields do not
// matter.
func TestSubscriptionsService_All_ignoresFieldsOfIndexedLists(t *testing.T) {
	for _, body := range []string{`{"size":0,"totalPages":1}`, `{"currentPageIndex":7}`, `{"nextPageIndex":1}`} {
		c := clientWithAnswer(t, http.StatusOK, nil, body)
		_, err := appsandbooks.Collect(c.Subscriptions.All(t.Context(), appsandbooks.SubscriptionFilter{}))
		require.ErrorContains(t, err, "none of the expected fields", body)
	}
	c := clientWithAnswer(t, http.StatusOK, nil, `{"subscriptions":[{"adamId":5}],"size":"1","totalPages":1.5,"nextPageIndex":"x","versionId":"v"}`)
	got, err := appsandbooks.Collect(c.Subscriptions.All(t.Context(), appsandbooks.SubscriptionFilter{}))
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.Subscription{{AdamID: 5}}, got)
}
