// Package cli contains what all examples share: the flags and environment
// variables that select the service, the exit codes, and the handling of Ctrl-C.
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

// All examples exit with one of these codes.
const (
	OK          = 0 // Everything succeeded.
	Aborted     = 1 // An error or a signal stopped the program before it was finished.
	Usage       = 2 // The flags or the input are invalid.
	Failed      = 3 // The program finished its work, and some of it failed.
	Unconfirmed = 4 // The program finished its work, and some results are unknown.
)

// Exit is an error that ends a program with an exit code and without a message.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Usagef returns an error about invalid flags or invalid input. A program that
// returns it exits with [Usage].
func Usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// ErrInterrupted is the cause of a context that a signal canceled.
var ErrInterrupted = errors.New("interrupted")

// Program is an example program while it runs.
type Program struct {
	Flags  *flag.FlagSet // contains the flags that all examples share
	Stdin  io.Reader
	Stdout io.Writer    // for results
	Stderr io.Writer    // for everything else
	Log    *slog.Logger // discards all log messages unless -v is given

	// The values of -notification-url and -listen, in a program that called
	// [Program.ReceiverFlags]. They are empty if the flags are not given.
	NotificationURL string
	Listen          string

	help    string
	args    []string
	getenv  func(string) string
	shared  map[string]bool // names of the shared flags
	closers []func()

	tokenFile string
	url       string
	firstPoll time.Duration
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
	p.Flags.SetOutput(io.Discard) // Main, and not the flag set, reports errors and prints the help
	p.addSharedFlags(func(f *flag.FlagSet) {
		f.StringVar(&p.tokenFile, "token-file", "", "`file` with the content token (.vpptoken); without this flag,\nthe variable APPSANDBOOKS_STOKEN must contain the content token")
		f.StringVar(&p.url, "url", "", "base `URL` of the service: https, or http on this machine; without this flag,\nthe value of the variable APPSANDBOOKS_BASE_URL, or else Apple's service")
		f.DurationVar(&p.firstPoll, "first-poll", 5*time.Second, "`time` from the acceptance of a change to the first request for its status")
		f.DurationVar(&p.poll, "poll", 30*time.Second, "`time` between two requests for the status of a change; Apple asks for at least 30s")
		f.BoolVar(&p.verbose, "v", false, "log each request to standard error")
	})
	return p
}

// addSharedFlags defines flags that the help of a program lists under "Flags of all
// examples".
func (p *Program) addSharedFlags(define func(*flag.FlagSet)) {
	before := map[string]bool{}
	p.Flags.VisitAll(func(f *flag.Flag) { before[f.Name] = true })
	define(p.Flags)
	p.Flags.VisitAll(func(f *flag.Flag) {
		if !before[f.Name] {
			p.shared[f.Name] = true
		}
	})
}

// Standalone removes the shared flags, for a program that is not a client of the
// service. Call it before the program defines its flags.
func (p *Program) Standalone() {
	clear(p.shared)
	p.Flags = flag.NewFlagSet(p.Flags.Name(), flag.ContinueOnError)
	p.Flags.SetOutput(io.Discard)
}

// ReceiverFlags adds -notification-url and -listen, for programs with a
// notification receiver. Call it before Parse.
func (p *Program) ReceiverFlags() {
	p.addSharedFlags(func(f *flag.FlagSet) {
		f.StringVar(&p.NotificationURL, "notification-url", "", "https `URL` at which the service reaches the receiver")
		f.StringVar(&p.Listen, "listen", "", "`address` on which the receiver listens")
	})
}

// Parse reads the command line. Define the program's own flags in p.Flags before the
// call.
func (p *Program) Parse() error {
	err := p.Flags.Parse(p.args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &usageError{err}
	case p.Flags.NArg() > 0:
		return Usagef("unexpected argument %q", p.Flags.Arg(0))
	case p.firstPoll < 0 || p.poll <= 0:
		return Usagef("-first-poll must not be negative, and -poll must be more than zero")
	}
	if p.verbose {
		p.Log = slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return nil
}

// Given reports whether the command line contains the flag with this name.
func (p *Program) Given(name string) (given bool) {
	p.Flags.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// Verbose reports whether -v was given.
func (p *Program) Verbose() bool { return p.verbose }

// Notef writes a line to standard error. The line begins with the program's name.
// Content tokens that are on the command line are replaced with [REDACTED].
func (p *Program) Notef(format string, args ...any) {
	fmt.Fprintf(p.Stderr, "%s: %s\n", p.Flags.Name(), p.redactTokens(fmt.Sprintf(format, args...)))
}

// redactTokens replaces the content tokens of the command line in a text with
// [REDACTED].
func (p *Program) redactTokens(text string) string {
	for _, token := range tokens(p.args) {
		quoted := strconv.Quote(token)
		text = strings.NewReplacer(token, redacted, quoted[1:len(quoted)-1], redacted).Replace(text)
		// Error messages about paths and flags can contain a part of the content
		// token.
		for _, part := range strings.FieldsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("/=", r) }) {
			if len(part) > 8 {
				text = strings.ReplaceAll(text, part, redacted)
			}
		}
	}
	return text
}

const redacted = "[REDACTED]"

// tokens returns the content tokens in command-line arguments of the forms TOKEN,
// -TOKEN, -TOKEN=value and -flag=TOKEN.
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

// OnExit registers a function that is called when the program ends. The function
// that was registered last is called first.
func (p *Program) OnExit(f func()) { p.closers = append(p.closers, f) }

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Main runs an example program and exits. SIGINT and SIGTERM cancel the context of
// run with [ErrInterrupted] as the cause. A second signal kills the program. Main
// prints the error of run and turns it into an exit code: that of [Exit], [Usage]
// for errors of [Usagef], and [Aborted] for other errors. For -h, Main prints help
// and the list of flags.
func Main(name, help string, run func(context.Context, *Program) error) {
	p := newProgram(name, help, os.Args[1:], os.Getenv)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals) // the next signal kills the program
		if IsTerminal(p.Stderr) {
			fmt.Fprintln(p.Stderr) // the terminal shows ^C on the current line, so end this line
		}
		p.Notef("interrupted: stopping; interrupt again to stop at once")
		cancel(fmt.Errorf("%w (signal: %s)", ErrInterrupted, s))
	}()
	os.Exit(p.finish(run(ctx, p)))
}

// finish calls the functions that OnExit registered, reports the error of the
// program, and returns the exit code.
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
		p.Notef("the command line contains a content token, and the process list shows it to every user of this machine: put it into a file or into the variable %s", tokenVariable)
	}
	if errors.As(err, &usage) {
		p.Notef("run with -h for help")
		return Usage
	}
	return Aborted
}

func (p *Program) printHelp() {
	fmt.Fprintln(p.Stdout, strings.TrimSpace(p.help))
	for _, section := range []struct {
		title  string
		shared bool
	}{{"Flags", false}, {"Flags of all examples", true}} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.SetOutput(p.Stdout)
		found := false
		p.Flags.VisitAll(func(f *flag.Flag) {
			if p.shared[f.Name] == section.shared {
				flags.Var(f.Value, f.Name, f.Usage)
				flags.Lookup(f.Name).DefValue = f.DefValue
				found = true
			}
		})
		if found {
			fmt.Fprintf(p.Stdout, "\n%s:\n", section.title)
			flags.PrintDefaults()
		}
	}
}
