package cli

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testProgram returns a program with a command line and environment variables, and
// the buffers for its standard output and standard error.
func testProgram(t *testing.T, env map[string]string, args ...string) (p *Program, stdout, stderr *bytes.Buffer) {
	t.Helper()
	p = newProgram("prog", "Prog does things.", args, func(name string) string { return env[name] })
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	p.Stdout, p.Stderr = stdout, stderr
	return p, stdout, stderr
}

// The error of a program determines its exit code and its message. The functions of
// OnExit are called in reverse order.
func TestProgram_exitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"success": {nil, OK, ""},
		"error":   {errors.New("no network"), Aborted, "prog: no network\n"},
		"usage":   {Usagef("-in is missing"), Usage, "prog: -in is missing\nprog: run with -h for help\n"},
		"exit":    {Exit(Unconfirmed), Unconfirmed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, stderr := testProgram(t, nil)
			var closed []int
			p.OnExit(func() { closed = append(closed, 1) })
			p.OnExit(func() { closed = append(closed, 2) })
			assert.Equal(t, test.code, p.finish(test.err))
			assert.Equal(t, test.stderr, stderr.String())
			assert.Equal(t, []int{2, 1}, closed)
		})
	}
}

// Parse rejects unknown flags, arguments and invalid values, and reports which flags
// are given.
func TestProgram_parsesFlags(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":      {"-nonsense"},
		"argument":          {"file.csv"},
		"negative interval": {"-poll", "-1s"},
		"no receiver":       {"-listen", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			p, stdout, _ := testProgram(t, nil, args...)
			assert.Equal(t, Usage, p.finish(p.Parse()))
			assert.Empty(t, stdout)
		})
	}
	p, _, _ := testProgram(t, nil, "-listen", "127.0.0.1:0", "-v")
	p.ReceiverFlags()
	require.NoError(t, p.Parse())
	assert.Equal(t, "127.0.0.1:0", p.Listen)
	assert.True(t, p.Given("v"))
	assert.False(t, p.Given("url"))
}

// For -h the program prints its help and its flags to standard output.
func TestProgram_printsHelp(t *testing.T) {
	p, stdout, stderr := testProgram(t, nil, "-h")
	p.Flags.Bool("mine", false, "do it")
	assert.Equal(t, OK, p.finish(p.Parse()))
	assert.Empty(t, stderr)
	assert.Regexp(t, `(?s)^Prog does things\.\n\nFlags:\n  -mine\n.*\nFlags of all examples:\n.*-token-file file\n`, stdout.String())
}

// A program does not print a content token that its command line contains.
func TestProgram_redactsTokenOnCommandLine(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte(`{"token":"canary???of the command line???canary","orgName":"Org"}`))
	require.Contains(t, token, "/", "the token must look like a path")
	require.True(t, strings.HasSuffix(token, "="), "the token must look like a flag with a value")
	for name, test := range map[string]struct {
		args    []string // @ is replaced with the token
		message string
		code    int
	}{
		"token file":        {[]string{"-token-file", "@"}, "open [REDACTED]: ", Aborted},
		"argument":          {[]string{"@"}, `unexpected argument "[REDACTED]"`, Usage},
		"variable":          {[]string{tokenVariable + "=@"}, `unexpected argument "APPSANDBOOKS_STOKEN=[REDACTED]"`, Usage},
		"duration":          {[]string{"-poll", "@"}, `invalid value "[REDACTED]" for flag -poll`, Usage},
		"boolean":           {[]string{"-v=@"}, `invalid boolean value "[REDACTED]" for -v`, Usage},
		"flag":              {[]string{"-@"}, "not defined: -[REDACTED]", Usage},
		"flag with a value": {[]string{"--@=1"}, "not defined: -[REDACTED]", Usage},
		"URL":               {[]string{"-url", "@"}, "", Usage},
		"input":             {[]string{"-in", "@"}, "open [REDACTED]: ", Aborted},
		"output":            {[]string{"-out=@"}, "open [REDACTED]", Aborted},
	} {
		for form, token := range map[string]string{"in one line": token, "in two lines": token[:40] + "\r\n" + token[40:] + "\n"} {
			t.Run(name+" "+form, func(t *testing.T) {
				var args []string
				for _, arg := range test.args {
					args = append(args, strings.Replace(arg, "@", token, 1))
				}
				p, stdout, stderr := testProgram(t, map[string]string{tokenVariable: "x"}, args...)
				in, out := p.Flags.String("in", "", ""), p.Flags.String("out", "", "")
				err := p.Parse()
				switch {
				case err != nil:
				case *in != "":
					_, err = os.Open(*in)
				case *out != "":
					_, err = os.CreateTemp(filepath.Dir(*out), "x-*")
				default:
					_, err = p.Client(nil)
				}
				require.Error(t, err)
				assert.Equal(t, test.code, p.finish(err))
				assert.Contains(t, stderr.String(), test.message)
				assert.Contains(t, stderr.String(), "prog: the command line contains a content token")
				assert.Empty(t, stdout)
				const piece = 12
				for i := range len(token) - piece {
					require.NotContains(t, stderr.String(), token[i:i+piece])
				}
			})
		}
	}
}
