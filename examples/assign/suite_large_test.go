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

// A run with a million rows needs less than 512 MiB of memory and the smallest
// number of requests. The test takes minutes, because it sends at the service's
// pace. It runs only if the variable APPSANDBOOKS_LARGE is set.
func TestAssign_millionRows(t *testing.T) {
	if os.Getenv("APPSANDBOOKS_LARGE") == "" {
		t.Skip("APPSANDBOOKS_LARGE is not set")
	}
	const rows = 1_000_000
	for name, test := range map[string]struct{ assets, requests int }{
		"40 assets": {40, 50},
		"1 asset":   {1, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t, appsandbookstest.WithRequestLog(0))
			env.addAssets(test.assets, rows)
			env.write("in.csv", everyPair(test.assets, rows/test.assets))
			c := env.command("-action", "associate", "-in", "in.csv", "-out", "out.csv")
			c.Timeout = 10 * time.Minute
			p := clitest.Start(t, c)
			peak := watchMemory(p.PID())
			r := p.Wait()
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			assert.Contains(t, r.Stderr, fmt.Sprintf("%d of %d pairs succeeded; %d requests", rows, rows, test.requests))
			assert.Len(t, env.unit.Events(), test.requests)
			assert.Equal(t, rows, strings.Count(env.read("out.csv"), ",succeeded,,\n"))
			assert.Empty(t, env.srv.Violations())
			if peak := <-peak; peak > 0 {
				t.Logf("%d MiB resident at most, %s of CPU time", peak>>10, r.CPU)
				assert.Less(t, peak, 512<<10)
			}
		})
	}
}

// watchMemory returns a channel that receives the peak resident memory of a process
// in KiB, when the process has ended. The value is 0 on systems without /proc. The
// peak that wait4 returns cannot be used, because it includes the parent process.
func watchMemory(pid int) <-chan int {
	peak := make(chan int, 1)
	go func() {
		highest := 0
		defer func() { peak <- highest }()
		for range time.Tick(20 * time.Millisecond) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				return
			}
			_, value, ok := strings.Cut(string(status), "VmHWM:")
			if !ok {
				return // the process has ended
			}
			n := 0
			_, _ = fmt.Sscan(value, &n)
			highest = max(highest, n)
		}
	}()
	return peak
}
