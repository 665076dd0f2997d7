package examples_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

func TestMain(m *testing.M) {
	// Many tests can run in parallel because the programs mostly wait. The command line
	// overrides this value.
	_ = flag.Set("test.parallel", "32")
	clitest.Main(m, "./walkthrough", "./inventory", "./assign", "./onboard", "./receiver", "./simulator")
}

// No example program prints or writes the content token or the notification secret,
// and no program prints ids of users or devices to standard error. This also holds
// with -v, and if the service's answers repeat the program's requests.
func TestExamples_printNoSecrets(t *testing.T) {
	for _, test := range []struct {
		command    string
		alwaysEcho string // the endpoint whose answers always repeat the request
		code       int
	}{
		{"walkthrough -listen 127.0.0.1:0", "", cli.OK}, // this run takes longest, so it starts first
		{"walkthrough -listen 127.0.0.1:0", "client/config", cli.Aborted},
		{"walkthrough", "status", cli.Aborted},
		{"walkthrough", "assets/associate", cli.Aborted},
		{"inventory", "", cli.OK},
		{"inventory -subscriptions", "", cli.OK},
		{"inventory -assignments -format jsonl -out list.jsonl", "", cli.OK},
		{"inventory -users", "users", cli.Aborted},
		{"assign -action associate -in pairs.csv -plan", "", cli.OK},
		{"assign -action associate -in pairs.csv -out result.csv", "", cli.OK},
		{"assign -action associate -in pairs.csv -out result.csv", "assets/associate", cli.Failed},
		{"assign -action associate -in pairs.csv -out result.csv", "status", cli.Aborted},
		{"assign -action disassociate -in pairs.csv -out -", "", cli.OK},
		{"onboard -in people.csv -out invitations.csv", "", cli.OK},
		{"onboard -in people.csv -out invitations.csv", "users/create", cli.Failed},
		{"onboard -in people.csv -out invitations.csv", "users", cli.Aborted},
		{"receiver -listen 127.0.0.1:0 -notification-url http://127.0.0.1:9/", "client/config", cli.Aborted},
	} {
		for _, style := range styles {
			t.Run(fmt.Sprint(test.command, " ", test.alwaysEcho, " ", style), func(t *testing.T) {
				t.Parallel()
				env := newEnvironment(t, style, test.alwaysEcho)
				r := clitest.Run(t, env.command(strings.Fields(test.command)...))
				require.Equal(t, test.code, r.Code, r.Stderr)
				env.check(r)
			})
		}
	}
}

// environment is a stand-in behind a proxy that repeats requests (an echo), and a
// directory with input files.
type environment struct {
	t    *testing.T
	unit *appsandbookstest.Unit
	echo *echo
	url  string
	dir  string
}

const (
	notificationSecret = "canary/notification+secret~0123456789=="
	user, device       = "canary-user-1", "C02CANARY1"
)

func newEnvironment(t *testing.T, style style, alwaysEcho string) *environment {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	unit := srv.Unit()
	unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	unit.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726, Total: appsandbookstest.Seats{Renewing: 25}})
	e := &echo{next: srv, style: style, always: alwaysEcho, requests: map[string]int{}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	env := &environment{t, unit, e, server.URL + "/mdm/v2", t.TempDir()}
	for name, text := range map[string]string{
		"pairs.csv":  "adamId,serialNumber\n361309726," + device + "\n361309726,C02\n",
		"people.csv": "clientUserId,email,managedAppleId\n" + user + ",a@example.com,a@apple.example.com\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(env.dir, name), []byte(text), 0o600))
	}
	return env
}

// command returns the command that runs an example program with -v.
func (env *environment) command(args ...string) clitest.Command {
	return clitest.Command{
		Program: args[0], Args: append(args[1:], "-v", "-first-poll", "50ms", "-poll", "200ms"),
		Unit: env.unit, URL: env.url, Dir: env.dir,
		Env: []string{"APPSANDBOOKS_NOTIFICATION_SECRET=" + notificationSecret},
	}
}

// check requires that the output and the files of a program's run, and the texts in
// more, contain no secrets.
func (env *environment) check(r clitest.Result, more ...string) {
	env.t.Helper()
	env.echo.mu.Lock()
	defer env.echo.mu.Unlock()
	secrets := env.secrets()
	// If the echo sends no secret or the program prints no answer, the test checks
	// nothing.
	assert.NotEmpty(env.t, secrets.in(env.echo.answers.String()), "the echo answered without a secret")
	assert.Contains(env.t, r.Stderr, "appsandbooks: request", "the program did not log its requests")
	// The program prints an excerpt of an answer, which can end inside the word
	// [REDACTED].
	assert.Contains(env.t, r.Stderr, "[REDAC", "the program printed no answer of the echo")

	assert.Empty(env.t, secrets.in(r.Stdout), "standard output: %s", r.Stdout)
	for _, text := range more {
		assert.Empty(env.t, secrets.in(text), "%s", text)
	}
	files, err := os.ReadDir(env.dir)
	require.NoError(env.t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(env.dir, file.Name()))
		require.NoError(env.t, err)
		assert.Empty(env.t, secrets.in(string(content)), "%s: %s", file.Name(), content)
	}
	secrets["user"], secrets["device"] = []string{user}, []string{device}
	assert.Empty(env.t, secrets.in(r.Stderr), "standard error: %s", r.Stderr)
}

// secrets contains, by the name of the secret, the pieces of each secret that must
// not appear in the output of a program.
type secrets map[string][]string

func (env *environment) secrets() secrets {
	content, err := base64.StdEncoding.DecodeString(env.unit.Token())
	require.NoError(env.t, err)
	var token struct{ Token string }
	require.NoError(env.t, json.Unmarshal(content, &token))
	s := secrets{}
	s.add("content token", env.unit.Token())
	s.add("token value inside of the content token", token.Token)
	s.add("notification secret", notificationSecret)
	if sent := env.echo.secret; sent != "" {
		s.add("notification secret that the program sent", sent)
	}
	return s
}

// add adds a secret. The pieces of the secret are its halves, and the base64
// encodings of the halves.
func (s secrets) add(name, secret string) {
	n := len(secret) / 2
	for _, half := range []string{secret[:n], secret[n:]} {
		s[name] = append(s[name], half, base64.StdEncoding.EncodeToString([]byte(half[:len(half)/3*3])))
	}
}

// in returns the names of the secrets of which a text contains a piece, also in
// escaped form.
func (s secrets) in(text string) (found []string) {
	text += unescape(text)
	for name, pieces := range s {
		for _, piece := range pieces {
			if strings.Contains(text, piece) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// escapes matches the escape sequences of JSON strings, also of nested JSON strings,
// and of URLs.
var escapes = regexp.MustCompile(`(?:\\+u00|%)([0-9a-fA-F]{2})`)

// unescape replaces the escape sequences of JSON, URLs and HTML in a text with their
// characters.
func unescape(text string) string {
	return html.UnescapeString(escapes.ReplaceAllStringFunc(text, func(s string) string {
		code, _ := strconv.ParseUint(s[len(s)-2:], 16, 8)
		return string(rune(code))
	}))
}

// style is the form in which an echo repeats a request in its answer.
type style string

const (
	plain   style = "plain"
	escaped style = "escaped" // characters are escaped, as JSON and HTML allow
	decoded style = "decoded" // the content token is decoded from base64
)

var styles = []style{plain, escaped, decoded}

// echo is a proxy for a stand-in. It answers the first two requests to each endpoint
// with an error that repeats the request (in the style decoded: its decoded content token),
// and forwards the others, except those to the endpoint always.
type echo struct {
	next   http.Handler
	style  style
	always string // the endpoint whose requests are never forwarded, or empty

	mu       sync.Mutex
	requests map[string]int  // number of requests by method and path
	answers  strings.Builder // all answers
	secret   string          // the notification secret that the program sent
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the program closed the connection
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	n := e.count(r, body)
	always := e.always != "" && strings.HasSuffix(r.URL.Path, "/"+e.always)
	if n > 2 && !always {
		e.next.ServeHTTP(w, r)
		return
	}
	text, page := e.answer(r, body)
	inJSON := func(status, number int) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errorNumber":%d,"errorMessage":%s,"errorInfo":{"x":%[2]s}}`, number, text)
	}
	switch useJSON := (n%2 == 1) != (e.style == escaped); {
	case always && useJSON:
		inJSON(http.StatusBadRequest, 9602)
	case always:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, page)
	case r.Method == http.MethodGet && n == 1:
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, page)
	default:
		inJSON(http.StatusInternalServerError, 9603)
	}
}

// count returns how many requests to the request's endpoint have arrived, and stores
// the notification secret that the request contains.
func (e *echo) count(r *http.Request, body []byte) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	var config struct{ NotificationAuthToken string }
	if json.Unmarshal(body, &config) == nil && config.NotificationAuthToken != "" {
		e.secret = config.NotificationAuthToken
	}
	endpoint := r.Method + " " + r.URL.Path
	e.requests[endpoint]++
	return e.requests[endpoint]
}

// answer returns a text that repeats the request, as a JSON string and as an HTML
// page.
func (e *echo) answer(r *http.Request, body []byte) (text, page string) {
	authorization := r.Header.Get("Authorization")
	sent := fmt.Sprintf("you sent %s %s Authorization: %s %s", r.Method, r.RequestURI, authorization, body)
	if e.style == decoded {
		content, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(authorization, "Bearer "))
		sent = "not valid: " + string(content)
	}
	quoted, _ := json.Marshal(sent) // encoding a string as JSON cannot fail
	text, page = string(quoted), "<html>"+sent
	if e.style == escaped {
		letters := regexp.MustCompile(`[A-F/+=]`)
		text = letters.ReplaceAllStringFunc(text, func(s string) string { return fmt.Sprintf(`\u%04x`, s[0]) })
		page = "<html>" + letters.ReplaceAllStringFunc(html.EscapeString(sent), func(s string) string { return fmt.Sprintf("&#%d;", s[0]) })
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answers.WriteString(text + page)
	return text, page
}
