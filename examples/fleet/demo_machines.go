//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/appsandbooks/appsandbooks/postgres/postgrestest"
)

// machines contains the worker processes of a demo.
type machines struct {
	settings settings
	logs     string // directory
	poll     time.Duration
	logf     func(string, ...any)
	random   *rand.Rand // for killSome
	all      []*machine

	mu      sync.Mutex
	kills   int
	stopped bool // after stop, start does nothing
}

// machine is a worker process of the demo. It keeps its name and address when it is
// started again.
type machine struct {
	name   string
	addr   string
	cmd    *exec.Cmd     // nil before the first start
	exited chan struct{} // a channel that is closed when the process has exited
}

// add adds a machine (a worker process) with a free port, but does not start it.
func (m *machines) add() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	m.all = append(m.all, &machine{name: fmt.Sprint("worker-", len(m.all)), addr: l.Addr().String()})
	return nil
}

// start starts the command "worker" of this program as the process of a machine.
func (m *machines) start(x *machine) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(m.logFile(x), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(self, "worker", "-vendor", m.settings.vendor, "-listen", x.addr,
		"-first-poll", "1s", "-poll", m.poll.String(), "-stall", m.settings.stall.String(), "-lease", "12s", "-timeout", "15s")
	cmd.Env = append(os.Environ(), "FLEET_MAIN=1", "DATABASE_URL="+m.settings.db)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	x.cmd, x.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return nil
}

func (m *machines) logFile(x *machine) string { return filepath.Join(m.logs, x.name+".log") }

// startAll starts all worker processes and waits until they accept connections.
func (m *machines) startAll(ctx context.Context) error {
	for _, x := range m.all {
		if err := m.start(x); err != nil {
			return err
		}
	}
	for _, x := range m.all {
		for {
			conn, err := net.DialTimeout("tcp", x.addr, time.Second)
			if err == nil {
				conn.Close()
				break
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				text, _ := os.ReadFile(m.logFile(x))
				return fmt.Errorf("%s does not accept connections; its log:\n%s", x.name, text)
			}
		}
	}
	return nil
}

// killSome kills a random worker process and starts it again, kills times. After half of
// them it kills and restarts the database, unless database is nil.
func (m *machines) killSome(ctx context.Context, kills int, database *postgrestest.Server) {
	for i := range kills {
		if sleep(ctx, 2*time.Second+time.Duration(m.random.Int64N(int64(4*time.Second)))) != nil {
			return
		}
		if i == kills/2 && database != nil {
			m.killDatabase(ctx, database)
		}
		x := m.all[m.random.IntN(len(m.all))]
		m.logf("kill -9 %s", x.name)
		_ = x.cmd.Process.Kill()
		<-x.exited
		m.mu.Lock()
		m.kills++
		m.mu.Unlock()
		_ = sleep(ctx, time.Second)
		if err := m.start(x); err != nil {
			m.logf("starting %s failed: %v", x.name, err)
		}
	}
}

func (m *machines) killDatabase(ctx context.Context, database *postgrestest.Server) {
	m.logf("killing the database")
	if err := database.Kill(); err != nil {
		m.logf("killing the database failed: %v", err)
	}
	_ = sleep(ctx, 2*time.Second)
	if err := database.Restart(); err != nil {
		m.logf("starting the database failed: %v", err)
	}
	m.logf("the database runs again")
}

// stop interrupts all worker processes and waits until they exit. It kills a process that
// does not exit within 20 seconds.
func (m *machines) stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	for _, x := range m.all {
		if x.cmd != nil {
			_ = x.cmd.Process.Signal(os.Interrupt)
		}
	}
	for _, x := range m.all {
		if x.cmd == nil {
			continue
		}
		select {
		case <-x.exited:
		case <-time.After(20 * time.Second):
			m.logf("%s does not exit within 20 seconds; killing it", x.name)
			_ = x.cmd.Process.Kill()
			<-x.exited
		}
	}
}
