package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
)

// meter shows how far the operation is: as a bar on a terminal, elsewhere as a
// line now and then.
type meter struct {
	program *cli.Program
	bar     *progressbar.ProgressBar // nil for lines
	done    chan struct{}
	ticking sync.WaitGroup

	mu   sync.Mutex
	now  appsandbooks.Progress
	said appsandbooks.Progress
}

const linesEvery = 10 * time.Second

func newMeter(p *cli.Program) *meter { return &meter{program: p, done: make(chan struct{})} }

// start shows the operation as it is, and begins to keep that up to date.
func (m *meter) start(p appsandbooks.Progress) {
	interval := linesEvery
	if cli.IsTerminal(m.program.Stderr) && !m.program.Verbose() {
		interval = time.Second // for the clock
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
	m.now, m.said = p, p
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

// update takes in progress; it is for [appsandbooks.WithProgress].
func (m *meter) update(p appsandbooks.Progress) {
	m.mu.Lock()
	m.now = p
	m.mu.Unlock()
	if m.bar != nil {
		m.show()
	}
}

func (m *meter) show() {
	m.mu.Lock()
	defer m.mu.Unlock()
	settled := m.now.Succeeded + m.now.Failed + m.now.Unconfirmed
	if m.bar != nil {
		m.bar.Describe(fmt.Sprintf("%d/%s", m.now.Accepted, count(m.now.Requests, "request")))
		_ = m.bar.Set(settled)
		return
	}
	if m.now != m.said {
		m.said = m.now
		m.program.Notef("%d of %s accepted, %d of %s settled",
			m.now.Accepted, count(m.now.Requests, "request"), settled, count(m.now.Pairs, "pair"))
	}
}

// stop ends the showing. It clears the bar.
func (m *meter) stop() {
	close(m.done)
	m.ticking.Wait()
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}
