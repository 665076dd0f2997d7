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
	_ = flag.Set("test.parallel", "32") // most of the time they wait; the command line overrules it
	clitest.Main(m, "./walkthrough", "./inventory", "./assign", "./onboard", "./receiver", "./simulator")
}

// No program tells the content token, the notification secret, or on standard
// error who has what, however talkative it is told to be, and although a gossip
// before the service repeats what it was sent.
func TestNoProgramTellsSecrets(t *testing.T) {
	for _, test := range []struct {
		command string
		gossip  string // where the gossip never stops
		code    int
	}{
		{"walkthrough -listen 127.0.0.1:0", "", cli.OK}, // takes longest, and so begins
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
			t.Run(fmt.Sprint(test.command, " ", test.gossip, " ", style), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, style, test.gossip)
				r := clitest.Run(t, w.command(strings.Fields(test.command)...))
				require.Equal(t, test.code, r.Code, r.Stderr)
				w.check(r)
			})
		}
	}
}

// world is a service behind a gossip, and a directory with files.
type world struct {
	t      *testing.T
	unit   *appsandbookstest.Unit
	gossip *gossip
	url    string
	dir    string
}

const (
	secretOfNotifications = "canary/notification+secret~0123456789=="
	user, device          = "canary-user-1", "C02CANARY1"
)

func newWorld(t *testing.T, style style, always string) *world {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	unit := srv.Unit()
	unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	unit.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726, Total: appsandbookstest.Seats{Renewing: 25}})
	g := &gossip{next: srv, style: style, always: always, asked: map[string]int{}}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	w := &world{t, unit, g, front.URL + "/mdm/v2", t.TempDir()}
	for name, text := range map[string]string{
		"pairs.csv":  "adamId,serialNumber\n361309726," + device + "\n361309726,C02\n",
		"people.csv": "clientUserId,email,managedAppleId\n" + user + ",a@example.com,a@apple.example.com\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600))
	}
	return w
}

// command runs a program at its most talkative.
func (w *world) command(args ...string) clitest.Command {
	return clitest.Command{
		Program: args[0], Args: append(args[1:], "-v", "-first-look", "50ms", "-poll", "200ms"),
		Unit: w.unit, URL: w.url, Dir: w.dir,
		Env: []string{"APPSANDBOOKS_NOTIFICATION_SECRET=" + secretOfNotifications},
	}
}

// check looks for secrets in all that a run left behind.
func (w *world) check(r clitest.Result, more ...string) {
	w.t.Helper()
	w.gossip.mu.Lock()
	defer w.gossip.mu.Unlock()
	secrets := w.secrets()
	// The gossip tells, and so does the program.
	assert.NotEmpty(w.t, secrets.in(w.gossip.said.String()), "there was no gossip")
	assert.Contains(w.t, r.Stderr, "appsandbooks: request", "it says nothing about its requests")
	assert.Contains(w.t, r.Stderr, "[REDAC", "nothing was repeated") // an excerpt may end there

	assert.Empty(w.t, secrets.in(r.Stdout), "standard output: %s", r.Stdout)
	for _, text := range more {
		assert.Empty(w.t, secrets.in(text), "%s", text)
	}
	files, err := os.ReadDir(w.dir)
	require.NoError(w.t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(w.dir, file.Name()))
		require.NoError(w.t, err)
		assert.Empty(w.t, secrets.in(string(content)), "%s: %s", file.Name(), content)
	}
	secrets["user"], secrets["device"] = []string{user}, []string{device}
	assert.Empty(w.t, secrets.in(r.Stderr), "standard error: %s", r.Stderr)
}

// secrets are what must not be told, each in the pieces that are looked for.
type secrets map[string][]string

func (w *world) secrets() secrets {
	content, err := base64.StdEncoding.DecodeString(w.unit.Token())
	require.NoError(w.t, err)
	var token struct{ Token string }
	require.NoError(w.t, json.Unmarshal(content, &token))
	s := secrets{}
	s.add("content token", w.unit.Token())
	s.add("token value inside of the content token", token.Token)
	s.add("notification secret", secretOfNotifications)
	if made := w.gossip.secret; made != "" {
		s.add("notification secret that the program sent", made)
	}
	return s
}

// add adds a secret. Half of it is too much, also in base64.
func (s secrets) add(name, secret string) {
	n := len(secret) / 2
	for _, half := range []string{secret[:n], secret[n:]} {
		s[name] = append(s[name], half, base64.StdEncoding.EncodeToString([]byte(half[:len(half)/3*3])))
	}
}

// in names the secrets that a text tells, also behind escapes.
func (s secrets) in(text string) (told []string) {
	text += unescape(text)
	for name, pieces := range s {
		for _, piece := range pieces {
			if strings.Contains(text, piece) {
				told = append(told, name)
				break
			}
		}
	}
	return told
}

// Escapes of JSON, within any number of quotes, and of URLs.
var escapes = regexp.MustCompile(`(?:\\+u00|%)([0-9a-fA-F]{2})`)

func unescape(text string) string {
	return html.UnescapeString(escapes.ReplaceAllStringFunc(text, func(s string) string {
		code, _ := strconv.ParseUint(s[len(s)-2:], 16, 8)
		return string(rune(code))
	}))
}

// style is how a gossip repeats a request.
type style string

const (
	plain   style = "plain"
	escaped style = "escaped" // as encoders are free to
	decoded style = "decoded" // what is inside of the content token
)

var styles = []style{plain, escaped, decoded}

// gossip stands before a service and answers the first requests to each
// endpoint itself, with what it was sent.
type gossip struct {
	next   http.Handler
	style  style
	always string // an endpoint that answers nothing else

	mu     sync.Mutex
	asked  map[string]int  // by method and path
	said   strings.Builder // all of it
	secret string          // of notifications, that it was sent
}

func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the program is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	n := g.hear(r, body)
	always := g.always != "" && strings.HasSuffix(r.URL.Path, "/"+g.always)
	if n > 2 && !always {
		g.next.ServeHTTP(w, r)
		return
	}
	text, page := g.repeat(r, body)
	inJSON := func(status, number int) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errorNumber":%d,"errorMessage":%s,"errorInfo":{"x":%[2]s}}`, number, text)
	}
	switch odd := (n%2 == 1) != (g.style == escaped); {
	case always && odd:
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

// hear counts the requests to an endpoint, and remembers the secret that a
// program wants notifications with.
func (g *gossip) hear(r *http.Request, body []byte) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	var config struct{ NotificationAuthToken string }
	if json.Unmarshal(body, &config) == nil && config.NotificationAuthToken != "" {
		g.secret = config.NotificationAuthToken
	}
	endpoint := r.Method + " " + r.URL.Path
	g.asked[endpoint]++
	return g.asked[endpoint]
}

// repeat is a request in gossip's words: as a string of JSON, and as a page.
func (g *gossip) repeat(r *http.Request, body []byte) (text, page string) {
	authorization := r.Header.Get("Authorization")
	sent := fmt.Sprintf("you sent %s %s Authorization: %s %s", r.Method, r.RequestURI, authorization, body)
	if g.style == decoded {
		content, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(authorization, "Bearer "))
		sent = "not valid: " + string(content)
	}
	quoted, _ := json.Marshal(sent) // strings always encode
	text, page = string(quoted), "<html>"+sent
	if g.style == escaped {
		letters := regexp.MustCompile(`[A-F/+=]`)
		text = letters.ReplaceAllStringFunc(text, func(s string) string { return fmt.Sprintf(`\u%04x`, s[0]) })
		page = "<html>" + letters.ReplaceAllStringFunc(html.EscapeString(sent), func(s string) string { return fmt.Sprintf("&#%d;", s[0]) })
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said.WriteString(text + page)
	return text, page
}
