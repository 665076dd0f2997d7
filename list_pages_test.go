package appsandbooks_test

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A list fails when its first page always states that a next page exists, but the next page
// does not exist.
func TestAssignmentsService_Pages_failsWhenNextPageNeverExists(t *testing.T) {
	var n atomic.Int64
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		body := invalidPageIndexJSON
		if r.URL.Query().Get("pageIndex") == "" {
			body = pageJSON(0, int(n.Add(1)), 2, "v")
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c := clientWithTransport(t, rt, appsandbooks.WithLimiter(unlimitedRate{}))
	require.Error(t, drain(c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
}

// scriptedPages is an HTTP transport that answers each request for a page of a list with
// the body that its function page returns.
type scriptedPages struct {
	latency time.Duration
	page    func(index, read int) string // read is the number of earlier requests for the same page

	mu    sync.Mutex
	reads map[int]int
	order []int
}

func (s *scriptedPages) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"limits":{"maxRequestPerSecond":1000}}`
	if !strings.HasSuffix(r.URL.Path, "/service/config") {
		index, _ := strconv.Atoi(r.URL.Query().Get("pageIndex"))
		s.mu.Lock()
		if s.reads == nil {
			s.reads = map[int]int{}
		}
		body = s.page(index, s.reads[index])
		s.reads[index]++
		s.order = append(s.order, index)
		s.mu.Unlock()
	}
	select {
	case <-time.After(s.latency):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status := http.StatusOK
	if strings.Contains(body, "errorNumber") {
		status = http.StatusBadRequest
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{}, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

const invalidPageIndexJSON = `{"errorNumber":9650,"errorMessage":"Invalid pageIndex."}`

// pageJSON returns the JSON of a page without records. If next is negative, no page
// follows.
func pageJSON(index, next, total int, version string) string {
	follow := ""
	if next >= 0 {
		follow = fmt.Sprintf(`"nextPageIndex":%d,`, next)
	}
	return fmt.Sprintf(`{"assignments":[],"currentPageIndex":%d,%s"size":0,"totalPages":%d,"versionId":%q}`,
		index, follow, total, version)
}

// unchangingList returns a function that returns the JSON of each page of a list of n
// pages, all with version v1.
func unchangingList(n int) func(index, read int) string {
	return func(index, _ int) string {
		switch {
		case index >= n:
			return invalidPageIndexJSON
		case index == n-1:
			return pageJSON(index, -1, n, "v1")
		}
		return pageJSON(index, index+1, n, "v1")
	}
}

// listResults reads pages and returns a text for each element: the index of a page, with an
// exclamation mark if Changed is set, or the name or number of an error.
func listResults(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) (all []string) {
	for page, err := range pages {
		switch {
		case errors.Is(err, appsandbooks.ErrNoProgress):
			all = append(all, "no progress")
		case errors.Is(err, appsandbooks.ErrRestarted):
			all = append(all, "restarted")
		case errors.Is(err, appsandbooks.ErrDataChanged):
			all = append(all, "data changed")
		case err != nil:
			var e *appsandbooks.Error
			errors.As(err, &e)
			all = append(all, fmt.Sprint(int(e.Number)))
		case page.Changed:
			all = append(all, fmt.Sprintf("%d!", page.Index))
		default:
			all = append(all, fmt.Sprint(page.Index))
		}
	}
	return all
}

// Each case is a list that changes or contradicts itself. The case states the pages and
// errors that the loop gets, and the rounds of parallel requests that the loop takes.
func TestAssignmentsService_Pages_handlesChangingAndInconsistentLists(t *testing.T) {
	const latency = 100 * time.Millisecond
	// list returns the pages of an unchanging list of n pages. If the function other
	// returns a body for a page, list returns that body instead.
	list := func(n int, other func(index, read int) string) func(index, read int) string {
		return func(index, read int) string {
			if body := other(index, read); body != "" {
				return body
			}
			return unchangingList(n)(index, read)
		}
	}
	for _, test := range []struct {
		name   string
		page   func(index, read int) string
		filter appsandbooks.AssignmentFilter
		want   string
		rounds int // the duration of the loop, as a multiple of latency
	}{
		{
			name: "starts at page 6", page: unchangingList(9), filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Start: "6"}},
			want: "6 7 8", rounds: 2,
		},
		{
			name: "starts after the last page", page: unchangingList(3), filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Start: "3"}},
			want: "9650", rounds: 1,
		},
		{
			name: "the list has fewer pages than announced",
			page: func(index, _ int) string {
				if index == 0 {
					// The first page states 20 pages, but the list has only four.
					return pageJSON(0, 1, 20, "v1")
				}
				return unchangingList(4)(index, 0)
			},
			want: "0 1 2 3", rounds: 2,
		},
		{
			name: "the last page is removed before it is read",
			page: list(6, func(index, read int) string {
				switch {
				case index == 5:
					return invalidPageIndexJSON
				case index == 4 && read > 0:
					return pageJSON(4, -1, 5, "v2")
				}
				return ""
			}),
			want: "0 1 2 3 4 4!", rounds: 3,
		},
		{
			name: "the last pages are removed while the list is read",
			page: list(6, func(index, read int) string {
				switch {
				case index == 5, index > 2 && read > 0:
					return invalidPageIndexJSON
				case index == 2 && read > 0:
					return pageJSON(2, -1, 3, "v2")
				}
				return ""
			}),
			want: "0 1 2 3 4 2!", rounds: 5,
		},
		{
			name: "the last page is announced but never exists",
			page: list(6, func(index, _ int) string {
				if index == 5 {
					return invalidPageIndexJSON
				}
				return ""
			}),
			want: "0 1 2 3 4 4! 9650", rounds: 4,
		},
		{
			name: "no total number of pages", page: func(index, _ int) string {
				if index == 3 {
					return pageJSON(3, -1, 0, "v1")
				}
				return pageJSON(index, index+1, 0, "v1")
			},
			want: "0 1 2 3", rounds: 4,
		},
		{
			name: "the next page number jumps forward", page: list(9, func(index, _ int) string {
				if index == 2 {
					return pageJSON(2, 7, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 7 8", rounds: 3, // page 7 was not read ahead
		},
		{
			name: "the next page number goes back", page: list(9, func(index, _ int) string {
				if index == 4 {
					return pageJSON(4, 3, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 3 4 no progress", rounds: 2,
		},
		{
			name: "the next page number is the page's own", page: list(9, func(index, _ int) string {
				if index == 4 {
					return pageJSON(4, 4, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 3 4 no progress", rounds: 2,
		},
		{
			name: "every answer is the first page", page: func(int, int) string { return pageJSON(0, 1, 9, "v1") },
			want: "0 0 no progress", rounds: 2,
		},
		{
			name: "the answer is another page", page: list(9, func(index, _ int) string {
				if index == 3 {
					return pageJSON(2, 3, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 no progress", rounds: 2,
		},
		{
			name: "an error in the middle", page: list(20, func(index, _ int) string {
				if index == 7 {
					return `{"errorNumber":9602,"errorMessage":"no"}`
				}
				return ""
			}),
			want: "0 1 2 3 4 5 6 9602", rounds: 3,
		},
		{
			name: "an error on the first page", page: func(int, int) string { return `{"errorNumber":9621}` },
			want: "9621", rounds: 1,
		},
		{
			name: "the version changes back and forth", page: list(6, func(index, _ int) string {
				if index == 2 || index == 4 {
					return pageJSON(index, index+1, 6, "v2")
				}
				return ""
			}),
			want: "0 1 2! 3! 4! 5!", rounds: 2,
		},
		{
			name: "the version is missing on one page", page: list(3, func(index, _ int) string {
				if index == 1 {
					return pageJSON(1, 2, 3, "")
				}
				return ""
			}),
			want: "0 1 2", rounds: 2,
		},
		{
			name: "restarts after a change", filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}},
			page: list(8, func(index, read int) string {
				if index == 3 && read == 0 {
					return pageJSON(3, 4, 8, "v2")
				}
				return ""
			}),
			want: "0 1 2 restarted 0 1 2 3 4 5 6 7", rounds: 2 + 3,
		},
		{
			name: "restarts because the last page is gone", filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 1}},
			page: list(3, func(index, read int) string {
				if index == 2 && read == 0 {
					return invalidPageIndexJSON
				}
				return ""
			}),
			want: "0 1 restarted 0 1 2", rounds: 2 + 2,
		},
		{
			name: "more changes than restarts", filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}},
			page: list(4, func(index, read int) string {
				if index == 1 {
					return pageJSON(1, 2, 4, "v2")
				}
				return ""
			}),
			want: "0 restarted 0 restarted 0 data changed", rounds: 3 * 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scriptedPages{latency: latency, page: test.page}
				c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
				require.NoError(t, err)
				defer c.Close()
				start := time.Now()
				require.Equal(t, test.want, strings.Join(listResults(c.Assignments.Pages(t.Context(), test.filter)), " "))
				require.Equal(t, time.Duration(test.rounds)*latency, time.Since(start))
			})
		})
	}
}

// When the list's version expires between two pages, Changes begins again with the full
// list.
func TestAssignmentsService_Changes_beginsAgainWhenVersionExpires(t *testing.T) {
	s := &scriptedPages{page: func(index, read int) string {
		if index == 2 && read == 0 {
			return `{"errorNumber":9721}`
		}
		return unchangingList(3)(index, read)
	}}
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
	require.NoError(t, err)
	defer c.Close()
	var got []string
	for page, err := range c.Assignments.Changes(t.Context(), appsandbooks.AssignmentFilter{SinceVersionID: "v0"}) {
		require.NoError(t, err)
		got = append(got, fmt.Sprint(page.Index, page.Full))
	}
	require.Equal(t, []string{"0 false", "1 false", "0 true", "1 true", "2 true"}, got)
}

// A list fails when the answer for one of its pages contains no list. The incomplete list
// must not look complete.
func TestAssignmentsService_All_failsWhenAnswerIsNotAPage(t *testing.T) {
	for _, body := range answersWithoutList {
		t.Run(body, func(t *testing.T) {
			options := []appsandbookstest.Option{appsandbookstest.WithPageSize(2)}
			inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.Unit().AddAssignments(deviceAssignments(names("C02", 8))...)
				srv.AddFault(appsandbookstest.Fault{Path: "assignments", Status: 200, Body: body, After: 2, Times: 1})
				err := drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
				require.Equal(t, 200, isError(t, err).StatusCode)
			})
		})
	}
}

// A page of a list that contains only the uId is an error, not the end of the list.
func TestAssignmentsService_All_failsWhenPageHasOnlyUnitID(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithPageSize(2)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAssignments(deviceAssignments(names("C02", 8))...)
		srv.AddFault(appsandbookstest.Fault{
			Path: "assignments", Status: 200, After: 2, Times: 1,
			Body: fmt.Sprintf(`{"uId":%q}`, srv.Unit().UID()),
		})
		require.Error(t, drain(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{})))
	})
}

// Invalid page numbers and totals end the loop over a list with an error after few
// requests.
func TestAssignmentsService_Pages_endsOnInvalidPageNumbers(t *testing.T) {
	for name, test := range map[string]struct {
		page        func(index, read int) string
		want        string
		maxRequests int
	}{
		"huge next page and total": {func(index, _ int) string {
			if index > 0 {
				return invalidPageIndexJSON
			}
			return `{"assignments":[],"currentPageIndex":0,"nextPageIndex":9223372036854775807,"totalPages":9223372036854775807}`
		}, "9650", 16},
		"huge total": {func(index, _ int) string {
			if index > 0 {
				return invalidPageIndexJSON
			}
			return pageJSON(0, 1, math.MaxInt64, "v1")
		}, "9650", 16},
		"negative total": {func(index, _ int) string {
			if index > 0 {
				return invalidPageIndexJSON
			}
			return pageJSON(0, 1, -5, "v1")
		}, "9650", 16},
		"negative next page": {func(int, int) string {
			return `{"assignments":[],"currentPageIndex":0,"nextPageIndex":-1,"totalPages":3}`
		}, "no progress", 16},
		"endless empty pages": {func(index, _ int) string { return pageJSON(index, index+1, 3, "v1") }, "no progress", 150},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scriptedPages{latency: time.Millisecond, page: test.page}
				c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
				require.NoError(t, err)
				defer c.Close()
				results := listResults(c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}))
				require.Equal(t, test.want, results[len(results)-1])
				require.LessOrEqual(t, len(s.order), test.maxRequests)
			})
		})
	}
}

// An answer without any field of a page is an error, not an empty list.
func TestUsersService_All_failsWhenAnswerIsNotAPage(t *testing.T) {
	for _, body := range []string{`null`, `{}`, `{"message":"ok"}`, `{"users":null}`} {
		t.Run(body, func(t *testing.T) {
			c, _ := sameAnswerClient(t, 200, []byte(body))
			defer c.Close()
			require.Equal(t, 200, isError(t, drain(c.Users.All(t.Context(), appsandbooks.UserFilter{}))).StatusCode)
		})
	}
}

// Lists that are read by page index ignore nextCursor. An answer that has only nextCursor
// is an error, not an empty list. In an answer that has records, nextCursor can have any
// JSON type.
func TestUsersService_All_ignoresCursor(t *testing.T) {
	c := clientWithAnswer(t, http.StatusOK, nil, `{"nextCursor":"abc"}`)
	_, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{}))
	require.ErrorContains(t, err, "none of the expected fields")

	c = clientWithAnswer(t, http.StatusOK, nil, `{"users":[{"clientUserId":"a","status":"Registered"}],"nextCursor":7,"totalPages":1,"versionId":"v"}`)
	got, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{}))
	require.NoError(t, err)
	require.Len(t, got, 1)
}

// When a list restarts because its data changed, reading begins again at ListOptions.Start,
// not at the list's first page.
func TestUsersService_Pages_restartsAtStart(t *testing.T) {
	var indexes []string
	version := 0
	c := clientWithTransport(t, func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/users") {
			return &http.Response{StatusCode: http.StatusNotFound, Body: readCloser("")}, nil
		}
		index := r.URL.Query().Get("pageIndex")
		indexes = append(indexes, index)
		if len(indexes) == 2 {
			version++ // the version changes while page 3 is read for the first time
		}
		next := `"nextPageIndex":3,`
		if index == "3" {
			next = ""
		}
		return &http.Response{StatusCode: http.StatusOK, Body: readCloser(
			fmt.Sprintf(`{"users":[],%s"currentPageIndex":%s,"totalPages":4,"versionId":"v%d"}`, next, index, version))}, nil
	})
	filter := appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "2", Restarts: 1}}
	_, err := appsandbooks.Collect(c.Users.Pages(t.Context(), filter))
	require.NoError(t, err)
	require.Equal(t, []string{"2", "3", "2", "3"}, indexes)
}

// A value of ListOptions.Start that is not a page index is refused before a request is
// sent.
func TestUsersService_Pages_refusesInvalidStart(t *testing.T) {
	c, r := recordedClient(t)
	filter := appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "abc"}}
	_, err := c.Users.List(t.Context(), filter)
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	_, err = appsandbooks.Collect(c.Users.All(t.Context(), filter))
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	require.Empty(t, r.requests)
}
