package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// meter shows the progress of the operation. On a terminal the meter shows a bar.
// Otherwise the meter prints a line every lineInterval if the progress changed.
type meter struct {
	program *cli.Program
	bar     *progressbar.ProgressBar // nil if lines are printed
	done    chan struct{}
	ticking sync.WaitGroup

	mu      sync.Mutex
	current appsandbooks.Progress
	shown   appsandbooks.Progress // in the last line
}

const lineInterval = 10 * time.Second

func newMeter(p *cli.Program) *meter { return &meter{program: p, done: make(chan struct{})} }

// start shows the progress p of the operation, and updates the display until stop is
// called.
func (m *meter) start(p appsandbooks.Progress) {
	interval := lineInterval
	if cli.IsTerminal(m.program.Stderr) && !m.program.Verbose() {
		interval = time.Second // update the bar every second, because it shows the elapsed time
		m.bar = progressbar.NewOptions(p.Pairs,
			progressbar.OptionSetWriter(m.program.Stderr),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
		)
	} else {
		m.program.Notef("%s in %s", count(p.Pairs, "pair"), count(p.Requests, "request"))
	}
	m.mu.Lock()
	m.current, m.shown = p, p
	m.mu.Unlock()
	m.ticking.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			m.show()
			select {
			case <-tick.C:
			case <-m.done:
				return
			}
		}
	})
}

// update stores the new progress of the operation. It is the hook for
// [appsandbooks.WithProgress].
func (m *meter) update(p appsandbooks.Progress) {
	m.mu.Lock()
	m.current = p
	m.mu.Unlock()
	if m.bar != nil {
		m.show()
	}
}

// show draws the bar, or prints a line if the progress changed since the last line.
func (m *meter) show() {
	m.mu.Lock()
	defer m.mu.Unlock()
	finished := m.current.Succeeded + m.current.Failed
	if m.bar != nil {
		m.bar.Describe(fmt.Sprintf("%d/%s accepted", m.current.Accepted, count(m.current.Requests, "request")))
		_ = m.bar.Set(finished)
		return
	}
	if m.current != m.shown {
		m.shown = m.current
		m.program.Notef("%d of %s accepted, %d of %s finished",
			m.current.Accepted, count(m.current.Requests, "request"), finished, count(m.current.Pairs, "pair"))
	}
}

// stop stops the updates of the progress and removes the bar.
func (m *meter) stop() {
	close(m.done)
	m.ticking.Wait()
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}
