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

// machines are the worker processes.
type machines struct {
	proof
	settings
	say func(string, ...any)

	mu    sync.Mutex
	all   []*machine
	kills int
	over  bool
}

type machine struct {
	name string
	addr string
	cmd  *exec.Cmd
	done chan struct{}
}

func (m *machines) add() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	x := &machine{name: fmt.Sprint("worker-", len(m.all)), addr: l.Addr().String()}
	m.all = append(m.all, x)
	return nil
}

// start runs the worker's program, which is this one.
func (m *machines) start(x *machine) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(m.logs, x.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(self, "worker", "-vendor", m.vendor, "-listen", x.addr,
		"-first-look", "1s", "-poll", m.poll().String(), "-lease", "12s", "-timeout", "15s")
	cmd.Env = append(os.Environ(), "FLEET_MAIN=1", "DATABASE_URL="+m.settings.db)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	x.cmd, x.done = cmd, done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	return nil
}

func (m *machines) poll() time.Duration { return m.proof.poll }

// ready starts all, and waits until they listen.
func (m *machines) ready(ctx context.Context) error {
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
				text, _ := os.ReadFile(filepath.Join(m.logs, x.name+".log"))
				return fmt.Errorf("%s does not start:\n%s", x.name, text)
			}
		}
	}
	return nil
}

// trouble kills workers at random, starts them again, and kills the database once.
func (m *machines) trouble(ctx context.Context, database *postgrestest.Server) {
	random := rand.New(rand.NewPCG(m.seed, 2))
	for i := range m.proof.kills {
		if sleep(ctx, 2*time.Second+time.Duration(random.Int64N(int64(4*time.Second)))) != nil {
			return
		}
		if i == m.proof.kills/2 && database != nil {
			m.say("the database is killed")
			if err := database.Kill(); err != nil {
				m.say("%v", err)
			}
			_ = sleep(ctx, 2*time.Second)
			if err := database.Restart(); err != nil {
				m.say("%v", err)
			}
			m.say("the database is back")
		}
		x := m.all[random.IntN(len(m.all))]
		m.say("kill -9 %s", x.name)
		_ = x.cmd.Process.Kill()
		<-x.done
		m.mu.Lock()
		m.kills++
		m.mu.Unlock()
		_ = sleep(ctx, time.Second)
		if err := m.start(x); err != nil {
			m.say("%v", err)
		}
	}
}

// stop ends all workers, in good order.
func (m *machines) stop() {
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	for _, x := range m.all {
		if x.cmd == nil {
			continue
		}
		_ = x.cmd.Process.Signal(os.Interrupt)
	}
	for _, x := range m.all {
		if x.cmd == nil {
			continue
		}
		select {
		case <-x.done:
		case <-time.After(20 * time.Second):
			m.say("%s does not end", x.name)
			_ = x.cmd.Process.Kill()
			<-x.done
		}
	}
}
