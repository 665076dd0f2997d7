package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

// TestMillionRows takes minutes at the service's pace. It runs only if
// APPSANDBOOKS_LARGE is set, and prints what memory each input takes.
func TestMillionRows(t *testing.T) {
	if os.Getenv("APPSANDBOOKS_LARGE") == "" {
		t.Skip("APPSANDBOOKS_LARGE is not set")
	}
	const rows = 1_000_000
	for name, test := range map[string]struct{ assets, requests int }{
		"40 assets": {40, 50},
		"1 asset":   {1, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, appsandbookstest.WithRequestLog(0))
			w.addAssets(test.assets, rows)
			w.write("in.csv", product(test.assets, rows/test.assets))
			c := w.command("-action", "associate", "-in", "in.csv", "-out", "out.csv")
			c.Timeout = 10 * time.Minute
			p := clitest.Start(t, c)
			peak := watchMemory(p.PID())
			r := p.Wait()
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			assert.Contains(t, r.Stderr, fmt.Sprintf("%d of %d pairs succeeded; %d requests", rows, rows, test.requests))
			assert.Len(t, w.unit.Events(), test.requests)
			assert.Equal(t, rows, strings.Count(w.read("out.csv"), ",succeeded,,\n"))
			assert.Empty(t, w.srv.Violations())
			if peak := <-peak; peak > 0 {
				t.Logf("%d MiB resident at most, %s of CPU time", peak>>10, r.CPU)
				assert.Less(t, peak, 512<<10)
			}
		})
	}
}

// watchMemory gives, when a process has ended, the most memory it had resident,
// in KiB; 0 where there is no /proc. What wait4 says of it includes the parent.
func watchMemory(pid int) <-chan int {
	peak := make(chan int, 1)
	go func() {
		most := 0
		defer func() { peak <- most }()
		for range time.Tick(20 * time.Millisecond) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				return
			}
			_, value, ok := strings.Cut(string(status), "VmHWM:")
			if !ok {
				return // it is over
			}
			n := 0
			_, _ = fmt.Sscan(value, &n)
			most = max(most, n)
		}
	}()
	return peak
}
