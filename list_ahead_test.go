package appsandbooks_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serials returns n serial numbers that begin with prefix.
func serials(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s%06d", prefix, i))
	}
	return all
}

// AssignmentsService.All reads the first page alone and the other pages five at a time. It
// reads each page once and returns the pages in order.
func TestAssignmentsService_All_readsFivePagesAtOnce(t *testing.T) {
	const latency = 200 * time.Millisecond
	for _, n := range []int{1, 2, 6, 7, 11, 353} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, n)
				start := time.Now()
				var got []string
				for a, err := range c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}) {
					require.NoError(t, err)
					got = append(got, a.SerialNumber)
				}
				require.Equal(t, shortestTimeOfPages(n, latency), time.Since(start))
				require.Equal(t, serials("D", 2*n), got)
				require.Equal(t, n, countPath(srv, "assignments"))
				require.Equal(t, min(n-1, 1), countPath(srv, "service/config"), "the rate is read once, and only if the list has more than one page")
			})
		})
	}
}

// Reading ahead does not wait until the service's request rate is known. Until then the
// documented default of 15 requests a second applies.
func TestAssignmentsService_Pages_doesNotStallBeforeRateIsKnown(t *testing.T) {
	const latency = 10 * time.Millisecond
	options := slowPages(latency, appsandbookstest.WithLimits(appsandbookstest.DefaultLimits()))
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		const n = 14 // with the request for the service configuration, these are 15 requests
		fillPages(srv, 0, n)
		start := time.Now()
		require.Equal(t, numbersUpTo(n), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		require.Equal(t, shortestTimeOfPages(n, latency), time.Since(start))
	})
}

// Reading ahead does not exceed the request rate of the service.
func TestAssignmentsService_Pages_respectsRequestRate(t *testing.T) {
	// inVirtualTime requires that the stand-in received no more requests in any second.
	for _, rate := range []int{3, 15, 40} {
		limits := appsandbookstest.DefaultLimits()
		limits.MaxRequestPerSecond = rate
		options := slowPages(30*time.Millisecond, appsandbookstest.WithLimits(limits))
		inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			if rate < 15 { // the client assumes 15 requests a second until it knows the service's rate
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
			}
			fillPages(srv, 0, 100)
			require.Equal(t, numbersUpTo(100), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		})
	}
}

// Pages sends no request before the loop over the pages begins, and then reads at most ten
// pages ahead of the loop.
func TestAssignmentsService_Pages_requestsNothingBeforeLoopBegins(t *testing.T) {
	const latency = 100 * time.Millisecond
	inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 30)
		start := time.Now()
		pages := c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})
		time.Sleep(time.Second)
		require.Empty(t, srv.Requests())
		for range pages { //nolint:errcheck // the test checks the requests, not the pages
			time.Sleep(10 * time.Second) // ten pages are read ahead in this time, and no more
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

// A slow loop over the pages of a list determines how long the list takes, because at most
// ten pages are read ahead of the loop.
func TestAssignmentsService_Pages_waitsForSlowConsumer(t *testing.T) {
	const n, latency = 353, 200 * time.Millisecond
	for work, want := range map[time.Duration]time.Duration{
		7 * time.Millisecond:   shortestTimeOfPages(n, latency) + 2*7*time.Millisecond, // the last round has two pages
		40 * time.Millisecond:  2*latency + (n-1)*40*time.Millisecond,                  // the loop is exactly as fast as the pages arrive
		60 * time.Millisecond:  2*latency + (n-1)*60*time.Millisecond,
		300 * time.Millisecond: latency + n*300*time.Millisecond,
	} {
		t.Run(work.String(), func(t *testing.T) {
			inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, n)
				start, read := time.Now(), 0
				for page, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
					require.NoError(t, err)
					require.Equal(t, read, page.Index)
					read++
					time.Sleep(work)
					require.LessOrEqual(t, countPath(srv, "assignments"), read+10, "at most ten pages are read ahead")
				}
				require.Equal(t, want, time.Since(start))
			})
		})
	}
}

// When a loop over Pages ends by break, cancellation or panic, Pages returns at once,
// cancels its requests and leaves no goroutine.
func TestAssignmentsService_Pages_stopsAtOnceWhenLoopEnds(t *testing.T) {
	const latency = 200 * time.Millisecond
	for _, stop := range []string{"break", "cancel", "panic"} {
		t.Run(stop, func(t *testing.T) {
			inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, 100)
				// Without this call the client would request the service configuration in
				// the background.
				_, err := c.Config.ServiceConfig(t.Context())
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
							// An error is the last element of Pages, also when the loop
							// does not break.
							continue
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
				require.Equal(t, shortestTimeOfPages(7, latency), time.Since(start), "Pages does not wait for requests in progress")
				require.NotContains(t, stacks(), "transport.(*Transport).Do", "no goroutine is left")
				require.LessOrEqual(t, countPath(srv, "assignments"), 1+3*5)
			})
		})
	}
}

// stacks returns the stack traces of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// Two loops over lists of one organizational unit share the five parallel page reads.
func TestAssignmentsService_Pages_sharesParallelReadsBetweenLists(t *testing.T) {
	const n, latency = 23, 100 * time.Millisecond
	// shared is false for one client, and true for two clients with one limiter.
	for _, shared := range []bool{false, true} {
		inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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
					require.Equal(t, numbersUpTo(n), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
				})
			}
			wg.Wait()
			rounds := (2*(n-1) + 4) / 5
			require.Equal(t, latency+time.Duration(rounds)*latency, time.Since(start))
		})
	}
}

// Pages also reads the pages that are added to the list while the loop runs. It sets
// Changed once the list's version has changed.
func TestAssignmentsService_Pages_followsGrowingList(t *testing.T) {
	const latency = 100 * time.Millisecond
	inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 6)
		start := time.Now()
		// The list grows while pages 1 to 5 are requested.
		time.AfterFunc(latency+latency/4, func() { fillPages(srv, 6, 20) })
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
		require.Equal(t, shortestTimeOfPages(26, latency), time.Since(start), "the new pages are read five at a time, too")

		// Changes since the version of the first page returns the assignments that were
		// added.
		var added []string
		for page, err := range c.Assignments.Changes(t.Context(), appsandbooks.AssignmentFilter{SinceVersionID: first}) {
			require.NoError(t, err)
			require.False(t, page.Full)
			for _, a := range page.Items {
				added = append(added, a.SerialNumber)
			}
		}
		require.Equal(t, serials("D", 52)[12:], added)
	})
}

// A page without records does not end the list.
func TestAssignmentsService_All_continuesAfterEmptyPages(t *testing.T) {
	const latency = 100 * time.Millisecond
	empty := appsandbookstest.WithEmptyPages(func(_ string, index int) bool { return index == 0 || index%3 == 2 })
	inVirtualTime(t, slowPages(latency, empty), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 10)
		start := time.Now()
		all, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{}))
		require.NoError(t, err)
		require.Len(t, all, 20)
		n := countPath(srv, "assignments")
		require.Greater(t, n, 15)
		require.Equal(t, shortestTimeOfPages(n, latency), time.Since(start))
	})
}

// When a loop over Pages is abandoned in an unusual way, the iterator sends no further
// requests, and the next loop over the same iterator begins with the first page.
func TestAssignmentsService_Pages_startsOverAfterAbandonedLoop(t *testing.T) {
	for name, abandon := range map[string]func(iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]){
		"Goexit": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range pages { //nolint:errcheck // the goroutine exits in the first iteration
					runtime.Goexit()
				}
			}()
			<-done
		},
		"Pull": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			next, stop := iter.Pull2(pages)
			_, _, _ = next()
			stop()
		},
		"Pull without next": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			_, stop := iter.Pull2(pages)
			stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, slowPages(100*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				fillPages(srv, 0, 30)
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
				pages := c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})
				abandon(pages)
				sent := len(srv.Requests())
				time.Sleep(time.Hour) // virtual
				require.Len(t, srv.Requests(), sent)
				require.Equal(t, numbersUpTo(30), pageIndexes(t, pages))
			})
		})
	}
}

// When several goroutines loop over one iterator of Pages, each goroutine gets every page.
func TestAssignmentsService_Pages_yieldsEveryPageToEachGoroutine(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 7)
		pages := c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { assert.Equal(t, numbersUpTo(7), pageIndexes(t, pages)) })
		}
		wg.Wait()
	})
}

// Nested loops over lists do not block each other, although they share the five parallel
// page reads.
func TestAssignmentsService_Pages_supportsNestedLoops(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 6)
		var readList func(depth int) int
		readList = func(depth int) (n int) {
			for _, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
				require.NoError(t, err)
				if n++; n == 1 && depth > 0 {
					n += readList(depth - 1)
				}
			}
			return n
		}
		require.Equal(t, 8*6, readList(7))
	})
}

// If the body of one loop over a list is slow, the other loops of the client are not
// delayed.
func TestAssignmentsService_Pages_slowLoopDoesNotDelayOthers(t *testing.T) {
	const n, latency = 40, 10 * time.Millisecond
	inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, n)
		next := make(chan struct{})
		var slow sync.WaitGroup
		slow.Go(func() {
			for _, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
				assert.NoError(t, err)
				<-next
			}
		})
		time.Sleep(time.Second) // the slow loop has read ahead as many pages as the client allows
		began := time.Now()
		require.Equal(t, numbersUpTo(n), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		require.Equal(t, shortestTimeOfPages(n, latency), time.Since(began))
		close(next)
		slow.Wait()
	})
}
