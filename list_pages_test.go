package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// pagesBound is the least time that n pages can take: the first says how many there
// are, and the others come five at a time.
func pagesBound(n int, latency time.Duration) time.Duration {
	return latency + time.Duration((n-1+4)/5)*latency
}

// slowPages is a stand-in that answers after a latency, with small pages, and whose
// rate is no obstacle.
func slowPages(latency time.Duration, more ...appsandbookstest.Option) []appsandbookstest.Option {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxRequestPerSecond = 1000
	return append([]appsandbookstest.Option{
		appsandbookstest.WithLatency(latency), appsandbookstest.WithLimits(limits),
		appsandbookstest.WithPageSize(2), appsandbookstest.WithCursorPageSize(2),
	}, more...)
}

// fillPages adds assignments that fill n pages of slowPages, from device number first on.
func fillPages(srv *appsandbookstest.Server, first, n int) {
	var list []appsandbookstest.Assignment
	for i := range 2 * n {
		list = append(list, appsandbookstest.Assignment{AdamID: "1", SerialNumber: fmt.Sprintf("D%06d", 2*first+i)})
	}
	srv.Unit().AddAssignments(list...)
}

func serials(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s%06d", prefix, i))
	}
	return all
}

// indexes collects the places of pages, and fails on an error.
func indexes(t *testing.T, pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) (all []int) {
	t.Helper()
	for page, err := range pages {
		require.NoError(t, err)
		all = append(all, page.Index)
	}
	return all
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func TestPagesTakeAsLongAsTheBound(t *testing.T) {
	const latency = 200 * time.Millisecond
	for _, n := range []int{1, 2, 6, 7, 11, 353} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, n)
				start := time.Now()
				var got []string
				for a, err := range c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}) {
					require.NoError(t, err)
					got = append(got, a.SerialNumber)
				}
				require.Equal(t, pagesBound(n, latency), time.Since(start))
				require.Equal(t, serials("D", 2*n), got)
				require.Equal(t, n, countPath(srv, "assignments"))
				require.Equal(t, min(n-1, 1), countPath(srv, "service/config"), "for the rate, and only when there are more pages")
			})
		})
	}
}

func TestPagesFirstRequestsDoNotStall(t *testing.T) {
	// The rate is the documented default: nothing is known of the service's.
	const latency = 10 * time.Millisecond
	options := slowPages(latency, appsandbookstest.WithLimits(appsandbookstest.DefaultLimits()))
	virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		const n = 14 // and the service configuration: fifteen
		fillPages(srv, 0, n)
		start := time.Now()
		require.Equal(t, upTo(n), indexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		require.Equal(t, pagesBound(n, latency), time.Since(start))
	})
}

func TestPagesKeepToTheRate(t *testing.T) {
	for _, rate := range []int{3, 15, 40} { // virtual checks every second
		limits := appsandbookstest.DefaultLimits()
		limits.MaxRequestPerSecond = rate
		options := slowPages(30*time.Millisecond, appsandbookstest.WithLimits(limits))
		virtual(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			if rate < 15 { // the documented rate is what an unknown one is taken for
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
			}
			fillPages(srv, 0, 100)
			require.Equal(t, upTo(100), indexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		})
	}
}

func TestPagesAreLazy(t *testing.T) {
	const latency = 100 * time.Millisecond
	virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 30)
		start := time.Now()
		pages := c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})
		time.Sleep(time.Second)
		require.Empty(t, srv.Requests())
		for range pages { //nolint:errcheck // how slowly it is read is what matters
			time.Sleep(10 * time.Second) // and no more than the window, however long it takes
			break
		}
		var at []time.Duration
		for _, r := range srv.Requests() {
			if r.Path == "assignments" {
				at = append(at, r.Time.Sub(start)-time.Second)
			}
		}
		require.Equal(t, slices.Concat(
			slices.Repeat([]time.Duration{0}, 1),
			slices.Repeat([]time.Duration{latency}, 5),
			slices.Repeat([]time.Duration{2 * latency}, 5),
		), at)
	})
}

func TestPagesWaitForASlowConsumer(t *testing.T) {
	const n, latency = 353, 200 * time.Millisecond
	for work, want := range map[time.Duration]time.Duration{
		7 * time.Millisecond:   pagesBound(n, latency) + 2*7*time.Millisecond, // the last five are but two
		40 * time.Millisecond:  2*latency + (n-1)*40*time.Millisecond,         // as fast as the pages come
		60 * time.Millisecond:  2*latency + (n-1)*60*time.Millisecond,
		300 * time.Millisecond: latency + n*300*time.Millisecond,
	} {
		t.Run(work.String(), func(t *testing.T) {
			virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, n)
				start, taken := time.Now(), 0
				for page, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
					require.NoError(t, err)
					require.Equal(t, taken, page.Index)
					taken++
					time.Sleep(work)
					require.LessOrEqual(t, countPath(srv, "assignments"), taken+10, "the window bounds the memory")
				}
				require.Equal(t, want, time.Since(start))
			})
		})
	}
}

func TestPagesStopAtOnce(t *testing.T) {
	const latency = 200 * time.Millisecond
	for _, stop := range []string{"break", "cancel", "panic"} {
		t.Run(stop, func(t *testing.T) {
			virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, 100)
				_, err := c.Config.ServiceConfig(t.Context()) // leave nothing else in the background
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				start := time.Now()
				func() {
					defer func() {
						require.Equal(t, stop == "panic", recover() != nil)
					}()
					for page, err := range c.Assignments.Pages(ctx, appsandbooks.AssignmentFilter{}) {
						if err != nil {
							require.Equal(t, "cancel", stop)
							require.ErrorIs(t, err, context.Canceled)
							continue // it is the last all the same
						}
						if page.Index < 6 {
							continue
						}
						if stop == "break" {
							break
						}
						if stop == "panic" {
							panic(stop)
						}
						cancel()
					}
				}()
				require.Equal(t, pagesBound(7, latency), time.Since(start), "what is under way is not waited for")
				require.NotContains(t, stacks(), "transport.(*Transport).Do", "nothing is left behind")
				require.LessOrEqual(t, countPath(srv, "assignments"), 1+3*5)
			})
		})
	}
}

// stacks are those of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestListsShareTheParallelReads(t *testing.T) {
	const n, latency = 23, 100 * time.Millisecond
	for _, shared := range []bool{false, true} { // one client, or two of one unit
		virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			fillPages(srv, 0, n)
			other := c
			if shared {
				limiter := appsandbooks.NewLimiter()
				c = newClient(t, srv, appsandbooks.WithLimiter(limiter))
				other = newClient(t, srv, appsandbooks.WithLimiter(limiter))
				defer c.Close()
				defer other.Close()
			}
			start := time.Now()
			var wg sync.WaitGroup
			for _, c := range []*appsandbooks.Client{c, other} {
				wg.Go(func() {
					require.Equal(t, upTo(n), indexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
				})
			}
			wg.Wait()
			rounds := (2*(n-1) + 4) / 5
			require.Equal(t, latency+time.Duration(rounds)*latency, time.Since(start))
		})
	}
}

func TestPagesFollowAGrowingList(t *testing.T) {
	const latency = 100 * time.Millisecond
	virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 6)
		start := time.Now()
		time.AfterFunc(latency+latency/4, func() { fillPages(srv, 6, 20) }) // while pages 1 to 5 are on their way
		var first string
		var changed []bool
		n := 0
		for page, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
			require.NoError(t, err)
			if n == 0 {
				first = page.VersionID
			}
			require.Equal(t, n, page.Index)
			require.Equal(t, first, page.FirstVersionID)
			changed = append(changed, page.Changed)
			n++
		}
		require.Equal(t, 26, n)
		require.False(t, changed[0])
		require.True(t, changed[25])
		require.Equal(t, pagesBound(26, latency), time.Since(start), "the new pages fill the window as if they had always been there")

		// The version of the first page brings what came since.
		var late []string
		for page, err := range c.Assignments.Changes(t.Context(), appsandbooks.AssignmentFilter{SinceVersionID: first}) {
			require.NoError(t, err)
			require.False(t, page.Full)
			for _, a := range page.Items {
				late = append(late, a.SerialNumber)
			}
		}
		require.Equal(t, serials("D", 52)[12:], late)
	})
}

func TestPagesFollowEmptyPages(t *testing.T) {
	const latency = 100 * time.Millisecond
	empty := appsandbookstest.WithEmptyPages(func(_ string, index int) bool { return index == 0 || index%3 == 2 })
	virtual(t, slowPages(latency, empty), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 10)
		start := time.Now()
		all, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
		require.NoError(t, err)
		require.Len(t, all, 20)
		n := countPath(srv, "assignments")
		require.Greater(t, n, 15)
		require.Equal(t, pagesBound(n, latency), time.Since(start))
	})
}

// scripted answers the pages of a list as it is told to.
type scripted struct {
	latency time.Duration
	page    func(index, read int) string // read: how often the page was asked for before

	mu    sync.Mutex
	reads map[int]int
	order []int
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
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

const outOfRange = `{"errorNumber":9650,"errorMessage":"Invalid pageIndex."}`

// pageAt is the body of a page without records.
func pageAt(index, next, total int, version string) string {
	follow := ""
	if next >= 0 {
		follow = fmt.Sprintf(`"nextPageIndex":%d,`, next)
	}
	return fmt.Sprintf(`{"assignments":[],"currentPageIndex":%d,%s"size":0,"totalPages":%d,"versionId":%q}`,
		index, follow, total, version)
}

// steady is a list of n pages in one version.
func steady(n int) func(index, read int) string {
	return func(index, _ int) string {
		switch {
		case index >= n:
			return outOfRange
		case index == n-1:
			return pageAt(index, -1, n, "v1")
		}
		return pageAt(index, index+1, n, "v1")
	}
}

// walkSteps are what a walk gives: a page, with an exclamation mark once the data is
// known to have changed, or an error.
func walkSteps(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) (all []string) {
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

func TestWalks(t *testing.T) {
	const latency = 100 * time.Millisecond
	// list is a steady one of n pages with some that differ.
	list := func(n int, other func(index, read int) string) func(index, read int) string {
		return func(index, read int) string {
			if body := other(index, read); body != "" {
				return body
			}
			return steady(n)(index, read)
		}
	}
	for _, test := range []struct {
		name   string
		page   func(index, read int) string
		filter appsandbooks.AssignmentFilter
		want   string
		rounds int // of the latency
	}{
		{
			name: "resumed", page: steady(9), filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Start: "6"}},
			want: "6 7 8", rounds: 2,
		},
		{
			name: "beginning beyond the end", page: steady(3), filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Start: "3"}},
			want: "9650", rounds: 1,
		},
		{
			name: "shrunk before the end was read",
			page: func(index, _ int) string {
				if index == 0 {
					return pageAt(0, 1, 20, "v1") // and then there are only four
				}
				return steady(4)(index, 0)
			},
			want: "0 1 2 3", rounds: 2,
		},
		{
			name: "shrunk after the last page was read",
			page: list(6, func(index, read int) string {
				switch {
				case index == 5:
					return outOfRange
				case index == 4 && read > 0:
					return pageAt(4, -1, 5, "v2")
				}
				return ""
			}),
			want: "0 1 2 3 4 4!", rounds: 3,
		},
		{
			name: "shrunk by several pages after the last was read",
			page: list(6, func(index, read int) string {
				switch {
				case index == 5, index > 2 && read > 0:
					return outOfRange
				case index == 2 && read > 0:
					return pageAt(2, -1, 3, "v2")
				}
				return ""
			}),
			want: "0 1 2 3 4 2!", rounds: 5,
		},
		{
			name: "an end that is always announced and never there",
			page: list(6, func(index, _ int) string {
				if index == 5 {
					return outOfRange
				}
				return ""
			}),
			want: "0 1 2 3 4 4! 9650", rounds: 4,
		},
		{
			name: "no total", page: func(index, _ int) string {
				if index == 3 {
					return pageAt(3, -1, 0, "v1")
				}
				return pageAt(index, index+1, 0, "v1")
			},
			want: "0 1 2 3", rounds: 4,
		},
		{
			name: "a jump", page: list(9, func(index, _ int) string {
				if index == 2 {
					return pageAt(2, 7, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 7 8", rounds: 3, // beyond what would have been read ahead anyway
		},
		{
			name: "backward", page: list(9, func(index, _ int) string {
				if index == 4 {
					return pageAt(4, 3, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 3 4 no progress", rounds: 2,
		},
		{
			name: "on the spot", page: list(9, func(index, _ int) string {
				if index == 4 {
					return pageAt(4, 4, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 3 4 no progress", rounds: 2,
		},
		{
			name: "the first page again and again", page: func(int, int) string { return pageAt(0, 1, 9, "v1") },
			want: "0 0 no progress", rounds: 2,
		},
		{
			name: "another page than asked for", page: list(9, func(index, _ int) string {
				if index == 3 {
					return pageAt(2, 3, 9, "v1")
				}
				return ""
			}),
			want: "0 1 2 no progress", rounds: 2,
		},
		{
			name: "a failure in the middle", page: list(20, func(index, _ int) string {
				if index == 7 {
					return `{"errorNumber":9602,"errorMessage":"no"}`
				}
				return ""
			}),
			want: "0 1 2 3 4 5 6 9602", rounds: 3,
		},
		{
			name: "a failure of the first page", page: func(int, int) string { return `{"errorNumber":9621}` },
			want: "9621", rounds: 1,
		},
		{
			name: "versions that flip", page: list(6, func(index, _ int) string {
				if index == 2 || index == 4 {
					return pageAt(index, index+1, 6, "v2")
				}
				return ""
			}),
			want: "0 1 2! 3! 4! 5!", rounds: 2,
		},
		{
			name: "versions that are missing", page: list(3, func(index, _ int) string {
				if index == 1 {
					return pageAt(1, 2, 3, "")
				}
				return ""
			}),
			want: "0 1 2", rounds: 2,
		},
		{
			name: "begun again", filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}},
			page: list(8, func(index, read int) string {
				if index == 3 && read == 0 {
					return pageAt(3, 4, 8, "v2")
				}
				return ""
			}),
			want: "0 1 2 restarted 0 1 2 3 4 5 6 7", rounds: 2 + 3,
		},
		{
			name: "begun again because the end is gone", filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 1}},
			page: list(3, func(index, read int) string {
				if index == 2 && read == 0 {
					return outOfRange
				}
				return ""
			}),
			want: "0 1 restarted 0 1 2", rounds: 2 + 2,
		},
		{
			name: "begun again too often", filter: appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}},
			page: list(4, func(index, read int) string {
				if index == 1 {
					return pageAt(1, 2, 4, "v2")
				}
				return ""
			}),
			want: "0 restarted 0 restarted 0 data changed", rounds: 3 * 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{latency: latency, page: test.page}
				c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: s}))
				require.NoError(t, err)
				defer c.Close()
				start := time.Now()
				require.Equal(t, test.want, strings.Join(walkSteps(c.Assignments.Pages(t.Context(), test.filter)), " "))
				require.Equal(t, time.Duration(test.rounds)*latency, time.Since(start))
			})
		})
	}
}

func TestCollectBeginsAgain(t *testing.T) {
	var srv *appsandbookstest.Server
	left := 0
	hook := appsandbookstest.WithPageHook(func(r appsandbookstest.PageRead) {
		if r.Index == 3 && left > 0 {
			left--
			fillPages(srv, 1000+left, 1)
		}
	})
	virtual(t, slowPages(time.Millisecond, hook), func(t *testing.T, s *appsandbookstest.Server, c *appsandbooks.Client) {
		srv = s
		fillPages(srv, 0, 8)
		left = 2
		all, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}}))
		require.NoError(t, err)
		require.Len(t, all, 2*(8+2), "each once")
		left = 9
		_, err = appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}}))
		require.ErrorIs(t, err, appsandbooks.ErrDataChanged)
		require.NotErrorIs(t, err, appsandbooks.ErrRestarted)
		require.Equal(t, 6, left, "three walks")
	})
}

func TestChanges(t *testing.T) {
	virtual(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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
		require.True(t, full, "there is no version yet")

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

		// Users alike.
		users(srv, 5)
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

// An answer without news need not name a version: the old one stays good.
func TestChangesKeepTheVersionWithoutNews(t *testing.T) {
	c, r := recordedClient(t, `{"assignments":[],"currentPageIndex":0,"size":0,"totalPages":1}`)
	for page, err := range c.Assignments.Changes(t.Context(), appsandbooks.AssignmentFilter{SinceVersionID: "v7"}) {
		require.NoError(t, err)
		require.Equal(t, "v7", page.FirstVersionID)
		require.False(t, page.Full)
	}
	require.Len(t, r.requests, 1)
}

// The service can forget a version between two pages.
func TestChangesBeginAgainInTheMiddle(t *testing.T) {
	s := &scripted{page: func(index, read int) string {
		if index == 2 && read == 0 {
			return `{"errorNumber":9721}`
		}
		return steady(3)(index, read)
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

func TestCursorsReadOnePageAhead(t *testing.T) {
	const n, latency = 9, 200 * time.Millisecond
	for work, want := range map[time.Duration]time.Duration{
		0:                      n * latency,
		150 * time.Millisecond: n*latency + 150*time.Millisecond,
		500 * time.Millisecond: latency + n*500*time.Millisecond,
	} {
		virtual(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			u := srv.Unit()
			for i := range int64(2 * n) {
				u.AddSubscription(appsandbookstest.Subscription{AdamID: 1 + i, ParentAdamID: 99, Total: appsandbookstest.Seats{Renewing: 1}})
			}
			start, taken := time.Now(), 0
			for page, err := range c.Subscriptions.Pages(t.Context(), appsandbooks.SubscriptionFilter{}) {
				require.NoError(t, err)
				require.Len(t, page.Items, 2)
				require.False(t, page.Changed)
				taken++
				time.Sleep(work)
				require.LessOrEqual(t, countPath(srv, "subscriptions"), taken+1)
			}
			require.Equal(t, want, time.Since(start))
			require.Equal(t, n, taken)
		})
	}
}

func TestCursorWalks(t *testing.T) {
	page := func(next, version string) string {
		return fmt.Sprintf(`{"subscriptions":[{"parentAdamId":null,"adamId":1}],"nextCursor":%q,"versionId":%q}`, next, version)
	}
	config := `{"limits":{"maxRequestPerSecond":1000}}`
	for _, test := range []struct {
		name   string
		pages  map[string][]string // by cursor, one after the other
		filter appsandbooks.SubscriptionFilter
		want   string
	}{
		{name: "to the end", pages: map[string][]string{"": {page("a", "1")}, "a": {page("b", "1")}, "b": {page("", "1")}}, want: "page page page"},
		{name: "resumed", filter: appsandbooks.SubscriptionFilter{ListOptions: appsandbooks.ListOptions{Start: "b"}}, pages: map[string][]string{"b": {page("", "1")}}, want: "page"},
		{name: "on the spot", pages: map[string][]string{"": {page("a", "1")}, "a": {page("a", "1")}}, want: "page page no progress"},
		{name: "in a circle", pages: map[string][]string{"": {page("a", "1")}, "a": {page("b", "1")}, "b": {page("c", "1")}, "c": {page("a", "1")}}, want: "page page page page no progress"},
		{name: "changed", pages: map[string][]string{"": {page("a", "1")}, "a": {page("b", "2")}, "b": {page("", "1")}}, want: "page page! page!"},
		{
			name: "begun again", filter: appsandbooks.SubscriptionFilter{ListOptions: appsandbooks.ListOptions{Restarts: 1}},
			pages: map[string][]string{"": {page("a", "1"), page("a", "2")}, "a": {page("", "2"), page("", "2")}},
			want:  "page restarted page page",
		},
		{
			name: "forgotten", pages: map[string][]string{"": {page("a", "1")}, "a": {`{"errorNumber":9812}`}},
			want: "page 9812",
		},
		{
			name: "forgotten and begun again", filter: appsandbooks.SubscriptionFilter{ListOptions: appsandbooks.ListOptions{Restarts: 1}},
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

// A compressed answer is read like any other, and bounded by what it expands to.
func TestBodies(t *testing.T) {
	virtual(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 1)
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Kind: appsandbookstest.FaultGzipBomb, Times: 1})
		_, err := c.Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
		var tooLarge *http.MaxBytesError
		require.ErrorAs(t, err, &tooLarge)
		page, err := c.Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
		require.NoError(t, err)
		require.Len(t, page.Items, 2)
	})
}

// Every page says who manages the organizational unit, however it is decoded.
func TestPagesTellOfATakeover(t *testing.T) {
	for _, list := range []func(*testing.T, *appsandbooks.Client) error{
		func(t *testing.T, c *appsandbooks.Client) error {
			_, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
			return err
		},
		func(t *testing.T, c *appsandbooks.Client) error {
			_, err := appsandbooks.Collect(c.Users.All(t.Context(), appsandbooks.UserFilter{}))
			return err
		},
		func(t *testing.T, c *appsandbooks.Client) error {
			_, err := c.Assets.List(t.Context(), appsandbooks.AssetFilter{})
			return err
		},
	} {
		var lost takeovers
		virtual(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, _ *appsandbooks.Client) {
			fillPages(srv, 0, 20)
			users(srv, 40)
			srv.Unit().TakeOver(theirs)
			c := newClient(t, srv, appsandbooks.WithOwner(ours, lost.add))
			defer c.Close()
			require.NoError(t, list(t, c), "reading goes on")
			require.Len(t, lost, 1)
		})
	}
}
