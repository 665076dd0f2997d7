// Package cli is what all examples share: the flags and variables that say
// which service to talk to, exit codes, and a clean end at Ctrl-C.
//
//	func main() { cli.Main("inventory", help, run) }
//
//	func run(ctx context.Context, p *cli.Program) error {
//		all := p.Flags.Bool("all", false, "list retired users too")
//		if err := p.Parse(); err != nil {
//			return err
//		}
//		client, err := p.Client(nil)
//		if err != nil {
//			return err
//		}
//		…
//	}
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/appsandbooks/appsandbooks"
)

// Exit codes of all examples.
const (
	OK          = 0 // everything succeeded
	Trouble     = 1 // it did not come to its end
	Usage       = 2 // it was called in a wrong way
	Failed      = 3 // it came to its end, and some of it failed
	Unconfirmed = 4 // it came to its end, and of some of it nobody knows
)

// Exit is an error that ends a program with a code and without a message.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Usagef is an error in the way a program was called: it ends with [Usage].
func Usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// ErrInterrupted is the cause of a context that a signal ended.
var ErrInterrupted = errors.New("interrupted")

// Program is a running example.
type Program struct {
	Flags  *flag.FlagSet // has the shared flags already
	Stdin  io.Reader
	Stdout io.Writer    // results
	Stderr io.Writer    // everything else
	Log    *slog.Logger // says nothing without -v

	// Where notifications are received, for programs that called
	// [Program.ReceiverFlags].
	NotificationURL string // as the service reaches it; empty: polling only
	Listen          string // address of the receiver

	help    string
	args    []string
	getenv  func(string) string
	shared  map[string]bool // names of the shared flags
	closers []func()

	tokenFile string
	url       string
	firstLook time.Duration
	poll      time.Duration
	verbose   bool
}

func newProgram(name, help string, args []string, getenv func(string) string) *Program {
	p := &Program{
		Flags: flag.NewFlagSet(name, flag.ContinueOnError),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Log:  slog.New(slog.DiscardHandler),
		help: help, args: args, getenv: getenv, shared: map[string]bool{},
	}
	p.Flags.SetOutput(io.Discard) // Main reports errors and prints the help
	p.share(func(f *flag.FlagSet) {
		f.StringVar(&p.tokenFile, "token-file", "", "`file` with the content token (.vpptoken);\nwithout it the variable APPSANDBOOKS_STOKEN holds the token's text")
		f.StringVar(&p.url, "url", "", "base `URL` of the service, https, or http on this machine;\nwithout it that in APPSANDBOOKS_BASE_URL, or Apple's")
		f.DurationVar(&p.firstLook, "first-look", 5*time.Second, "`time` from a change being accepted to the first question for its status")
		f.DurationVar(&p.poll, "poll", 30*time.Second, "`time` between two such questions; Apple asks for 30s at least")
		f.BoolVar(&p.verbose, "v", false, "log each request to standard error")
	})
	return p
}

// share defines flags and remembers that they are shared.
func (p *Program) share(define func(*flag.FlagSet)) {
	before := map[string]bool{}
	p.Flags.VisitAll(func(f *flag.Flag) { before[f.Name] = true })
	define(p.Flags)
	p.Flags.VisitAll(func(f *flag.Flag) {
		if !before[f.Name] {
			p.shared[f.Name] = true
		}
	})
}

// Standalone takes the shared flags away, for a program that is no client. Call
// it before anything else.
func (p *Program) Standalone() {
	clear(p.shared)
	p.Flags = flag.NewFlagSet(p.Flags.Name(), flag.ContinueOnError)
	p.Flags.SetOutput(io.Discard)
}

// ReceiverFlags adds -notification-url and -listen, for programs with a
// notification receiver. Call it before Parse.
func (p *Program) ReceiverFlags() {
	p.share(func(f *flag.FlagSet) {
		f.StringVar(&p.NotificationURL, "notification-url", "", "https `URL` under which the service reaches the receiver")
		f.StringVar(&p.Listen, "listen", "", "`address` on which the receiver listens")
	})
}

// Parse reads the flags. Define the program's own in p.Flags before.
func (p *Program) Parse() error {
	err := p.Flags.Parse(p.args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &usageError{err}
	case p.Flags.NArg() > 0:
		return Usagef("unexpected argument %q", p.Flags.Arg(0))
	case p.firstLook < 0 || p.poll <= 0:
		return Usagef("-first-look and -poll must not be negative, and -poll not zero")
	}
	if p.verbose {
		p.Log = slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return nil
}

// Given tells whether a flag stands on the command line.
func (p *Program) Given(name string) (given bool) {
	p.Flags.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// Verbose tells whether -v was given.
func (p *Program) Verbose() bool { return p.verbose }

// Notef writes a line to standard error, with the program's name before it, and
// without content tokens that stand on the command line.
func (p *Program) Notef(format string, args ...any) {
	fmt.Fprintf(p.Stderr, "%s: %s\n", p.Flags.Name(), p.withoutTokens(fmt.Sprintf(format, args...)))
}

// withoutTokens takes the content tokens on the command line, which is no place
// for them, out of a text.
func (p *Program) withoutTokens(text string) string {
	for _, token := range tokens(p.args) {
		quoted := strconv.Quote(token)
		text = strings.NewReplacer(token, redacted, quoted[1:len(quoted)-1], redacted).Replace(text)
		// Messages about paths and flags may have a part of it.
		for _, part := range strings.FieldsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("/=", r) }) {
			if len(part) > 8 {
				text = strings.ReplaceAll(text, part, redacted)
			}
		}
	}
	return text
}

const redacted = "[REDACTED]"

// tokens are the content tokens among arguments: TOKEN, -TOKEN, -flag=TOKEN.
func tokens(args []string) (found []string) {
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		for _, s := range []string{arg, name, value} {
			s = strings.TrimLeft(s, "-")
			if _, err := appsandbooks.ParseToken(s); err == nil {
				found = append(found, s)
			}
		}
	}
	return found
}

// OnExit calls f when the program ends; the last one first.
func (p *Program) OnExit(f func()) { p.closers = append(p.closers, f) }

// IsTerminal tells whether a person is likely to read what is written to w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Main runs a program and exits. SIGINT and SIGTERM end the context of run,
// with [ErrInterrupted] as the cause; a second one kills. The error of run
// becomes a message and an exit code: see [Exit] and [Usagef]; any other is
// [Trouble]. The help precedes the list of flags at -h.
func Main(name, help string, run func(context.Context, *Program) error) {
	p := newProgram(name, help, os.Args[1:], os.Getenv)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals) // the next one kills
		if IsTerminal(p.Stderr) {
			fmt.Fprintln(p.Stderr) // ends the ^C, and whatever else is on the line
		}
		p.Notef("%s: ending in good order; once more ends at once", s)
		cancel(fmt.Errorf("%w: %s", ErrInterrupted, s))
	}()
	os.Exit(p.finish(run(ctx, p)))
}

// finish cleans up, reports the error of the program and gives its exit code.
func (p *Program) finish(err error) int {
	for len(p.closers) > 0 {
		last := len(p.closers) - 1
		p.closers[last]()
		p.closers = p.closers[:last]
	}
	var exit Exit
	var usage *usageError
	switch {
	case err == nil:
		return OK
	case errors.Is(err, flag.ErrHelp):
		p.printHelp()
		return OK
	case errors.As(err, &exit):
		return int(exit)
	}
	p.Notef("%v", err)
	if len(tokens(p.args)) > 0 {
		p.Notef("a content token stands on the command line, where anyone can see it in the process list: put it into a file, or into %s", tokenVariable)
	}
	if errors.As(err, &usage) {
		p.Notef("-h tells more")
		return Usage
	}
	return Trouble
}

func (p *Program) printHelp() {
	fmt.Fprintln(p.Stdout, strings.TrimSpace(p.help))
	for _, section := range []struct {
		title  string
		shared bool
	}{{"Flags", false}, {"Flags of all examples", true}} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.SetOutput(p.Stdout)
		some := false
		p.Flags.VisitAll(func(f *flag.Flag) {
			if p.shared[f.Name] == section.shared {
				flags.Var(f.Value, f.Name, f.Usage)
				flags.Lookup(f.Name).DefValue = f.DefValue
				some = true
			}
		})
		if some {
			fmt.Fprintf(p.Stdout, "\n%s:\n", section.title)
			flags.PrintDefaults()
		}
	}
}
