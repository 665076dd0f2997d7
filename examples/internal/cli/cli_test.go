package cli

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// testProgram is a program with the given command line and variables.
func testProgram(t *testing.T, env map[string]string, args ...string) (p *Program, stdout, stderr *bytes.Buffer) {
	t.Helper()
	p = newProgram("prog", "Prog does things.", args, func(name string) string { return env[name] })
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	p.Stdout, p.Stderr = stdout, stderr
	return p, stdout, stderr
}

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"success": {nil, OK, ""},
		"trouble": {errors.New("no network"), Trouble, "prog: no network\n"},
		"usage":   {Usagef("-in is missing"), Usage, "prog: -in is missing\nprog: -h tells more\n"},
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

func TestParse(t *testing.T) {
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

func TestHelp(t *testing.T) {
	p, stdout, stderr := testProgram(t, nil, "-h")
	p.Flags.Bool("mine", false, "do it")
	assert.Equal(t, OK, p.finish(p.Parse()))
	assert.Empty(t, stderr)
	assert.Regexp(t, `(?s)^Prog does things\.\n\nFlags:\n  -mine\n.*\nFlags of all examples:\n.*-token-file file\n`, stdout.String())
}

func TestClient(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Listen(""))
	token, expired := srv.Unit().Token(), "eyJ0b2tlbiI6IngiLCJleHBEYXRlIjoiMjAyMC0wMS0wMlQwMzowNDowNSswMDAwIn0="
	file := filepath.Join(t.TempDir(), "headquarters.vpptoken")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))

	standIn := func() (*appsandbookstest.Server, error) { return appsandbookstest.NewServer() }
	for name, test := range map[string]struct {
		args    []string
		env     map[string]string
		standIn func() (*appsandbookstest.Server, error)
		works   bool
		stderr  string // a pattern
		code    int
	}{
		"token file":         {args: []string{"-token-file", file, "-url", srv.URL()}, works: true, stderr: `^$`},
		"variables":          {env: map[string]string{tokenVariable: token, urlVariable: srv.URL()}, works: true, stderr: `^$`},
		"flags before":       {args: []string{"-token-file", file, "-url", srv.URL()}, env: map[string]string{tokenVariable: "x", urlVariable: "https://x"}, works: true, stderr: `^$`},
		"stand-in":           {standIn: standIn, works: true, stderr: `^prog: neither .* at http://127\.0\.0\.1:\d+/mdm/v2\n$`},
		"no stand-in":        {code: Usage, stderr: `a content token is needed`},
		"url without token":  {args: []string{"-url", srv.URL()}, standIn: standIn, code: Usage, stderr: `a content token is needed`},
		"missing file":       {args: []string{"-token-file", file + "x"}, code: Trouble, stderr: `no such file|cannot find`},
		"http to the world":  {args: []string{"-url", "http://example.com/mdm/v2"}, env: map[string]string{tokenVariable: token}, code: Usage, stderr: `must be https`},
		"odd token":          {args: []string{"-url", srv.URL()}, env: map[string]string{tokenVariable: "x"}, stderr: `^prog: warning: .*base64`},
		"expired token":      {args: []string{"-url", srv.URL()}, env: map[string]string{tokenVariable: expired}, stderr: `^prog: warning: the content token expired on 2020-01-02\n$`},
		"token not for HTTP": {args: []string{"-url", srv.URL()}, env: map[string]string{tokenVariable: "ä"}, code: Usage, stderr: `visible ASCII`},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, stderr := testProgram(t, test.env, test.args...)
			require.NoError(t, p.Parse())
			client, err := p.Client(test.standIn, appsandbooks.WithRetry(1, 0, time.Second))
			if test.works {
				require.NoError(t, err)
				_, err := client.Config.ClientConfig(t.Context())
				require.NoError(t, err)
			}
			assert.Equal(t, test.code, p.finish(err))
			assert.Regexp(t, test.stderr, stderr.String())
			assert.NotContains(t, stderr.String(), token)
		})
	}
}

// A content token in a wrong place of the command line is not repeated.
func TestTokenOnTheCommandLine(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte(`{"token":"canary???of the command line???canary","orgName":"Org"}`))
	require.Contains(t, token, "/", "it looks like a path")
	require.True(t, strings.HasSuffix(token, "="), "it looks like a flag with a value")
	for name, test := range map[string]struct {
		args []string // with @ for the token
		says string
		code int
	}{
		"file of the token": {[]string{"-token-file", "@"}, "open [REDACTED]: ", Trouble},
		"argument":          {[]string{"@"}, `unexpected argument "[REDACTED]"`, Usage},
		"variable":          {[]string{tokenVariable + "=@"}, `unexpected argument "APPSANDBOOKS_STOKEN=[REDACTED]"`, Usage},
		"duration":          {[]string{"-poll", "@"}, `invalid value "[REDACTED]" for flag -poll`, Usage},
		"boolean":           {[]string{"-v=@"}, `invalid boolean value "[REDACTED]" for -v`, Usage},
		"flag":              {[]string{"-@"}, "not defined: -[REDACTED]", Usage},
		"flag with a value": {[]string{"--@=1"}, "not defined: -[REDACTED]", Usage},
		"URL":               {[]string{"-url", "@"}, "", Usage},
		"input":             {[]string{"-in", "@"}, "open [REDACTED]: ", Trouble},
		"place for output":  {[]string{"-out=@"}, "open [REDACTED]", Trouble},
	} {
		for form, token := range map[string]string{"as it is": token, "in lines": token[:40] + "\r\n" + token[40:] + "\n"} {
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
				assert.Contains(t, stderr.String(), test.says)
				assert.Contains(t, stderr.String(), "prog: a content token stands on the command line")
				assert.Empty(t, stdout)
				const piece = 12
				for i := range len(token) - piece {
					require.NotContains(t, stderr.String(), token[i:i+piece])
				}
			})
		}
	}
}
