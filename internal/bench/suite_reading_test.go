//go:build unix

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
)

const stoken = "eyJ0b2tlbiI6Im5vdGhpbmciLCJleHBEYXRlIjoiMjAzMC0xMS0wOFQyMjozMzoyMiswMDAwIiwib3JnTmFtZSI6Ik9SRzEyMzQ1In0="

func newClient(tb testing.TB, base string) *appsandbooks.Client {
	tb.Helper()
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(base))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// readers has the two ways to read a list that the benchmarks compare: the SDK, and a plain
// loop without the SDK, which reads one page after another and decodes it with
// encoding/json.
var readers = []struct {
	name string
	read func(b *testing.B, base string) func() (records int)
}{
	{"sdk", func(b *testing.B, base string) func() int {
		c := newClient(b, base)
		return func() (n int) {
			for _, err := range c.Assignments.All(b.Context(), appsandbooks.AssignmentFilter{}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			return n
		}
	}},
	{"plain", func(b *testing.B, base string) func() int {
		return func() (n int) {
			for index := 0; ; {
				page, err := plainPage(b, fmt.Sprintf("%s/assignments?pageIndex=%d", base, index))
				if err != nil {
					b.Fatal(err)
				}
				n += len(page.Assignments)
				if page.NextPageIndex == nil {
					return n
				}
				index = *page.NextPageIndex
			}
		}
	}},
}

// plainAnswer is a page of assignments as encoding/json decodes it without the SDK.
type plainAnswer struct {
	Assignments      []appsandbooks.Assignment `json:"assignments"`
	CurrentPageIndex int                       `json:"currentPageIndex"`
	NextPageIndex    *int                      `json:"nextPageIndex"`
	Size             int                       `json:"size"`
	TotalPages       int                       `json:"totalPages"`
	VersionID        string                    `json:"versionId"`
	appsandbooks.Meta
}

func plainPage(b *testing.B, url string) (*plainAnswer, error) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+stoken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	page := new(plainAnswer)
	return page, json.Unmarshal(body, page)
}

// BenchmarkPages measures the wall time of reading a list of P = 334 pages, and compares it
// with the bound L + ⌈(P−1)/5⌉·L. For the metric x-bound, L is the configured latency of
// the service. For x-measured, L is the time that one request takes on this machine.
func BenchmarkPages(b *testing.B) {
	const pages = 334
	url := startServer(b)
	for _, latency := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		for _, r := range readers {
			b.Run(fmt.Sprintf("latency=%s/%s", latency, r.name), func(b *testing.B) {
				base := url(latency, pages)
				read := r.read(b, base)
				one := roundTrip(b, base)
				for b.Loop() {
					if n := read(); n != pages*records {
						b.Fatal(n, "records")
					}
				}
				wall := b.Elapsed() / time.Duration(b.N)
				b.ReportMetric(wall.Seconds(), "s/list")
				b.ReportMetric(0, "ns/op")
				const rounds = 1 + (pages-1+4)/5
				if latency > 0 { // without latency the processor determines the time
					b.ReportMetric(wall.Seconds()/(rounds*latency).Seconds(), "x-bound")
					b.ReportMetric(wall.Seconds()/(rounds*one).Seconds(), "x-measured")
				}
			})
		}
	}
}

// roundTrip returns the median time of a request for a page. It reads the page but does not
// decode it.
func roundTrip(b *testing.B, base string) time.Duration {
	times := make([]time.Duration, 25)
	for i := range times {
		start := time.Now()
		resp, err := http.Get(base + "/assignments")
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCPU measures the SDK's processor time and allocations for one record, including
// HTTP, and compares them with one pass of encoding/json over the same bytes in memory.
func BenchmarkCPU(b *testing.B) {
	const pages = 200
	base := startServer(b)(0, pages)
	body := pageBody(0, pages)
	pass := func() {
		if err := json.Unmarshal(body, new(plainAnswer)); err != nil {
			b.Fatal(err)
		}
	}
	for _, r := range readers {
		b.Run(r.name, func(b *testing.B) {
			read := r.read(b, base)
			read() // the first read opens the connections and fills the buffers
			var reading, decoding time.Duration
			var m0, m1 runtime.MemStats
			var allocs uint64
			n := 0
			for b.Loop() { // reading and decoding alternate, because the speed of the machine varies
				runtime.GC()
				runtime.ReadMemStats(&m0)
				start := cpu()
				n += read()
				reading += cpu() - start
				runtime.ReadMemStats(&m1)
				allocs += m1.Mallocs - m0.Mallocs
				runtime.GC()
				start = cpu()
				for range pages {
					pass()
				}
				decoding += cpu() - start
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(reading)/float64(n), "cpu-ns/record")
			b.ReportMetric(float64(allocs)/float64(n), "allocs/record")
			b.ReportMetric(float64(reading)/float64(decoding), "x-json")
		})
	}
}

// BenchmarkHeap measures the largest amount of memory in use while a list is read, for
// lists of different lengths. The amount includes garbage: with its default settings, the
// garbage collector lets the heap grow to twice the memory in use.
func BenchmarkHeap(b *testing.B) {
	url := startServer(b)
	for _, total := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("records=%d", total), func(b *testing.B) {
			c := newClient(b, url(0, total/records))
			debug.FreeOSMemory()
			resetPeak()
			before, peak := heap(), uint64(0)
			for b.Loop() {
				n := 0
				for page, err := range c.Assignments.Pages(b.Context(), appsandbooks.AssignmentFilter{}) {
					if err != nil {
						b.Fatal(err)
					}
					n += len(page.Items)
					peak = max(peak, heap())
				}
				if n != total {
					b.Fatal(n, "records")
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(peak-min(peak, before))/(1<<20), "heap-MiB")
			if rss := peakRSS(); rss > 0 {
				b.ReportMetric(float64(rss)/(1<<20), "resident-MiB")
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// resetPeak resets the peak of the process's resident memory on Linux. It does nothing on
// other systems.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakRSS returns the peak of the process's resident memory in bytes, and 0 on systems
// other than Linux.
func peakRSS() int {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(size), "kB")))
			return kb << 10
		}
	}
	return 0
}

// BenchmarkIdleClients measures the memory and the goroutines of an idle client: directly
// after NewClient, and after the client's first request, which leaves a connection open.
func BenchmarkIdleClients(b *testing.B) {
	const clients = 1000
	base := startServer(b)(0, 1)
	for _, used := range []bool{false, true} {
		name := map[bool]string{false: "new", true: "connected"}[used]
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				all := make([]*appsandbooks.Client, clients)
				before, goroutines := memoryInUse(), runtime.NumGoroutine()
				for i := range all {
					c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(base))
					if err != nil {
						b.Fatal(err)
					}
					all[i] = c
					if used {
						if _, err := c.Config.ServiceConfig(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(memoryInUse()-before)/clients, "bytes/client")
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/clients, "goroutines/client")
				for _, c := range all {
					c.Close()
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// memoryInUse returns the memory of the process that is in use after a garbage collection,
// including stacks.
func memoryInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
