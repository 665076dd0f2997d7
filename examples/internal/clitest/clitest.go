// Package clitest builds the examples and runs them as processes in tests.
//
//	func TestMain(m *testing.M) { clitest.Main(m) }
//
//	func TestAssign_printsHelp(t *testing.T) {
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

var (
	binaryDir    string // the directory of the programs that Main built
	firstProgram string // the name of the first program that Main built
)

// Main builds the given main packages, and runs the tests. Without packages it
// builds the package in the working directory.
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
	binaryDir, firstProgram = dir, filepath.Base(first)
	cmd := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// binary returns the path of the executable file of a program that Main built.
func binary(program string) string {
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	return filepath.Join(binaryDir, program)
}

// Command describes one run of a program. The program gets the environment of the
// test without the variables APPSANDBOOKS_….
type Command struct {
	Program string // the name of the program; empty means the first that Main built
	Args    []string
	Env     []string // additional environment variables, as name=value

	Unit  *appsandbookstest.Unit // APPSANDBOOKS_STOKEN is the unit's content token, unless Unit is nil
	URL   string                 // APPSANDBOOKS_BASE_URL is this URL, unless it is empty
	Stdin string
	// Stdout receives the standard output of the program, if it is not nil.
	// Result.Stdout and Process.Line then do not contain the output.
	Stdout *os.File
	Dir    string // the working directory of the program; empty means a new directory

	Timeout time.Duration // the program is killed after this time; zero means two minutes
}

// Result is the result of one run of a program.
type Result struct {
	Stdout, Stderr string
	Code           int           // exit code; -1 means that the program was killed
	CPU            time.Duration // CPU time that the program used
}

// Process is a running program.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout buffer
	stderr buffer
	ctx    context.Context
}

// Run runs a program and waits until it ends.
func Run(t testing.TB, c Command) Result {
	t.Helper()
	return Start(t, c).Wait()
}

// Start starts a program. The program is killed at the end of the test, if it
// still runs.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.Timeout, 2*time.Minute))
	p := &Process{t: t, ctx: ctx, cmd: exec.CommandContext(ctx, binary(cmp.Or(c.Program, firstProgram)), c.Args...)}
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
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// PID returns the process id of the program.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Line waits for line n of the program's standard output, counted from 0, and
// returns it.
func (p *Process) Line(n int) string {
	p.t.Helper()
	text := p.waitFor(&p.stdout, fmt.Sprint("line ", n), func(text string) bool { return strings.Count(text, "\n") > n })
	return strings.Split(text, "\n")[n]
}

// WaitForStderr waits until the program's standard error contains a text.
func (p *Process) WaitForStderr(text string) {
	p.t.Helper()
	p.waitFor(&p.stderr, text, func(written string) bool { return strings.Contains(written, text) })
}

// waitFor waits until ok accepts what the program has written to b, and returns this
// text. The test fails if the program reaches its time limit first.
func (p *Process) waitFor(b *buffer, what string, ok func(string) bool) string {
	p.t.Helper()
	for {
		text, changed := b.read()
		if ok(text) {
			return text
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			p.t.Fatalf("the program did not write %q; standard output: %s; standard error: %s",
				what, p.stdout.String(), p.stderr.String())
		}
	}
}

// Wait waits until the program ends.
func (p *Process) Wait() Result {
	p.t.Helper()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if p.ctx.Err() != nil {
		p.t.Fatalf("the program did not end within its time limit; standard error: %s", p.stderr.String())
	}
	state := p.cmd.ProcessState
	return Result{p.stdout.String(), p.stderr.String(), state.ExitCode(), state.UserTime() + state.SystemTime()}
}

// buffer contains the text that a program has written. A test can read the buffer
// while the program writes.
type buffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed by the next write
}

var _ io.Writer = (*buffer)(nil)

func (b *buffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.b.Write(data)
}

// read returns the text that the program has written so far, and a channel that the
// next write closes.
func (b *buffer) read() (text string, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.b.String(), b.changed
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
