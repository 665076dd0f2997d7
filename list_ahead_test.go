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

func serials(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s%06d", prefix, i))
	}
	return all
}

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
				require.Equal(t, min(n-1, 1), countPath(srv, "service/config"), "for the rate, and only when there are more pages")
			})
		})
	}
}

func TestAssignmentsService_Pages_doesNotStallBeforeRateIsKnown(t *testing.T) {
	// The rate is the documented default: nothing is known of the service's.
	const latency = 10 * time.Millisecond
	options := slowPages(latency, appsandbookstest.WithLimits(appsandbookstest.DefaultLimits()))
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		const n = 14 // and the service configuration: fifteen
		fillPages(srv, 0, n)
		start := time.Now()
		require.Equal(t, numbersUpTo(n), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		require.Equal(t, shortestTimeOfPages(n, latency), time.Since(start))
	})
}

func TestAssignmentsService_Pages_keepsToRequestRate(t *testing.T) {
	for _, rate := range []int{3, 15, 40} { // virtual checks every second
		limits := appsandbookstest.DefaultLimits()
		limits.MaxRequestPerSecond = rate
		options := slowPages(30*time.Millisecond, appsandbookstest.WithLimits(limits))
		inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
			if rate < 15 { // the documented rate is what an unknown one is taken for
				_, err := c.Config.ServiceConfig(t.Context())
				require.NoError(t, err)
			}
			fillPages(srv, 0, 100)
			require.Equal(t, numbersUpTo(100), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		})
	}
}

func TestAssignmentsService_Pages_requestsNothingBeforeItIsRead(t *testing.T) {
	const latency = 100 * time.Millisecond
	inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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

func TestAssignmentsService_Pages_waitsForSlowConsumer(t *testing.T) {
	const n, latency = 353, 200 * time.Millisecond
	for work, want := range map[time.Duration]time.Duration{
		7 * time.Millisecond:   shortestTimeOfPages(n, latency) + 2*7*time.Millisecond, // the last five are but two
		40 * time.Millisecond:  2*latency + (n-1)*40*time.Millisecond,                  // as fast as the pages come
		60 * time.Millisecond:  2*latency + (n-1)*60*time.Millisecond,
		300 * time.Millisecond: latency + n*300*time.Millisecond,
	} {
		t.Run(work.String(), func(t *testing.T) {
			inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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

func TestAssignmentsService_Pages_stopsAtOnceWhenLoopEnds(t *testing.T) {
	const latency = 200 * time.Millisecond
	for _, stop := range []string{"break", "cancel", "panic"} {
		t.Run(stop, func(t *testing.T) {
			inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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
				require.Equal(t, shortestTimeOfPages(7, latency), time.Since(start), "what is under way is not waited for")
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

func TestAssignmentsService_Pages_sharesParallelReadsBetweenLists(t *testing.T) {
	const n, latency = 23, 100 * time.Millisecond
	for _, shared := range []bool{false, true} { // one client, or two of one unit
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

func TestAssignmentsService_Pages_followsGrowingList(t *testing.T) {
	const latency = 100 * time.Millisecond
	inVirtualTime(t, slowPages(latency), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
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
		require.Equal(t, shortestTimeOfPages(26, latency), time.Since(start), "the new pages fill the window as if they had always been there")

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

// A loop that is left in an unusual way leaves nothing behind, and the next one
// begins at the beginning.
func TestAssignmentsService_Pages_startsOverAfterAbandonedLoop(t *testing.T) {
	for name, leave := range map[string]func(iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]){
		"Goexit": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range pages { //nolint:errcheck // it is left at once
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
		"Pull, not begun": func(pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) {
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
				leave(pages)
				sent := len(srv.Requests())
				time.Sleep(time.Hour) // virtual
				require.Len(t, srv.Requests(), sent)
				require.Equal(t, numbersUpTo(30), pageIndexes(t, pages))
			})
		})
	}
}

// One iterator in several goroutines at once gives everything to each.
func TestAssignmentsService_Pages_givesEveryPageToEachGoroutine(t *testing.T) {
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

// Loops within loops do not starve each other of the five page reads.
func TestAssignmentsService_Pages_supportsNestedLoops(t *testing.T) {
	inVirtualTime(t, slowPages(10*time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 6)
		var walk func(depth int) int
		walk = func(depth int) (n int) {
			for _, err := range c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{}) {
				require.NoError(t, err)
				if n++; n == 1 && depth > 0 {
					n += walk(depth - 1)
				}
			}
			return n
		}
		require.Equal(t, 8*6, walk(7))
	})
}

// A loop with a slow body does not hold up the others.
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
		time.Sleep(time.Second) // it has read ahead what it may
		began := time.Now()
		require.Equal(t, numbersUpTo(n), pageIndexes(t, c.Assignments.Pages(t.Context(), appsandbooks.AssignmentFilter{})))
		require.Equal(t, shortestTimeOfPages(n, latency), time.Since(began))
		close(next)
		slow.Wait()
	})
}
