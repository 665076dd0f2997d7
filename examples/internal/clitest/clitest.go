// Package clitest builds examples and runs them as processes, for their tests.
//
//	func TestMain(m *testing.M) { clitest.Main(m) }
//
//	func TestVersion(t *testing.T) {
//		r := clitest.Run(t, clitest.Command{Args: []string{"-h"}})
//		…
//	}
package clitest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var binaries, own string // the directory of programs, and the name of the first

// Main builds main packages, or that of the working directory if none is named,
// and runs the tests.
func Main(m *testing.M, packages ...string) {
	dir, err := os.MkdirTemp("", "clitest-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(packages) == 0 {
		packages = []string{"."}
	}
	code := 1
	if err := build(dir, packages); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string, packages []string) error {
	first, err := filepath.Abs(packages[0])
	if err != nil {
		return err
	}
	binaries, own = dir, filepath.Base(first)
	cmd := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// binary is where a program was built.
func binary(program string) string {
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	return filepath.Join(binaries, program)
}

// Command is how to run the program.
type Command struct {
	Program string // of several, which one; empty for the first
	Args    []string
	Env     []string // more variables, as name=value

	Unit  *appsandbookstest.Unit // whose token the program gets; nil for none
	URL   string                 // of the service; empty for none
	Stdin string
	Dir   string // working directory; empty for a new one

	Timeout time.Duration // two minutes if zero
}

// Result is what became of a run.
type Result struct {
	Stdout, Stderr string
	Code           int           // -1 when it was killed
	CPU            time.Duration // time of the processor
}

// Process is a program that runs.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout buffer
	stderr buffer
	ctx    context.Context
}

// Run runs the program to its end.
func Run(t testing.TB, c Command) Result {
	t.Helper()
	return Start(t, c).Wait()
}

// Start starts the program. It is killed, at the latest, when the test ends.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.Timeout, 2*time.Minute))
	p := &Process{t: t, ctx: ctx, cmd: exec.CommandContext(ctx, binary(cmp.Or(c.Program, own)), c.Args...)}
	t.Cleanup(cancel)
	if p.cmd.Dir = c.Dir; p.cmd.Dir == "" {
		p.cmd.Dir = t.TempDir()
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "APPSANDBOOKS_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	if c.Unit != nil {
		p.cmd.Env = append(p.cmd.Env, "APPSANDBOOKS_STOKEN="+c.Unit.Token())
	}
	if c.URL != "" {
		p.cmd.Env = append(p.cmd.Env, "APPSANDBOOKS_BASE_URL="+c.URL)
	}
	p.cmd.Env = append(p.cmd.Env, c.Env...)
	p.cmd.Stdin = strings.NewReader(c.Stdin)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Line waits for the n-th line, counted from 0, of standard output.
func (p *Process) Line(n int) string {
	p.t.Helper()
	text := p.await(&p.stdout, fmt.Sprint("line ", n), func(text string) bool { return strings.Count(text, "\n") > n })
	return strings.Split(text, "\n")[n]
}

// Says waits for a text in standard error.
func (p *Process) Says(text string) {
	p.t.Helper()
	p.await(&p.stderr, text, func(all string) bool { return strings.Contains(all, text) })
}

// await waits until enough is written.
func (p *Process) await(b *buffer, what string, enough func(string) bool) string {
	p.t.Helper()
	for {
		text, more := b.read()
		if enough(text) {
			return text
		}
		select {
		case <-more:
		case <-p.ctx.Done():
			p.t.Fatalf("no %s; standard output: %s; standard error: %s", what, p.stdout.String(), p.stderr.String())
		}
	}
}

// Wait waits for the end.
func (p *Process) Wait() Result {
	p.t.Helper()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if p.ctx.Err() != nil {
		p.t.Fatalf("it did not end in time; standard error: %s", p.stderr.String())
	}
	state := p.cmd.ProcessState
	return Result{p.stdout.String(), p.stderr.String(), state.ExitCode(), state.UserTime() + state.SystemTime()}
}

// buffer can be read while it is written.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed at the next write
}

var _ io.Writer = (*buffer)(nil)

func (b *buffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.b.Write(data)
}

func (b *buffer) read() (text string, more <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return b.b.String(), b.more
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
