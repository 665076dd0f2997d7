//go:build unix

package examples_test

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/examples/internal/cli"
	"github.com/appsandbooks/appsandbooks/examples/internal/clitest"
)

// The receiver reveals no secrets in its output, or in its answers to requests with
// the right or a wrong secret.
func TestReceiver_revealsNoSecrets(t *testing.T) {
	for _, style := range styles {
		t.Run(string(style), func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, style, "")
			address := freeAddress(t)
			p := clitest.Start(t, env.command("receiver", "-listen", address,
				"-notification-url", "http://"+address+"/n", "-mdm-id", "m", "-mdm-name", "n"))
			p.WaitForStderr("the service sends the notifications of unit")
			env.unit.Purchase("361309726", "STDQ", 5)
			require.Contains(t, p.Line(0), `"countDelta":5`)
			var answers []string
			for _, secret := range []string{"wrong", notificationSecret} {
				answers = append(answers, send(t, http.MethodPost, "http://"+address+"/n", secret, `{"notificationType":"`+notificationSecret))
			}
			p.Signal(syscall.SIGTERM)
			r := p.Wait()
			require.Equal(t, cli.OK, r.Code, r.Stderr)
			env.check(r, answers...)
		})
	}
}

// The simulator prints only its own tokens. It does not print or return another token
// that a client sends by mistake.
func TestSimulator_revealsNoForeignTokens(t *testing.T) {
	t.Parallel()
	p := clitest.Start(t, clitest.Command{Program: "simulator", Args: []string{"-listen", "127.0.0.1:0"}})
	var ready struct {
		URL   string
		Units []struct{ Token string }
	}
	require.NoError(t, json.Unmarshal([]byte(p.Line(0)), &ready))
	foreign := base64.StdEncoding.EncodeToString([]byte(`{"token":"canary-inner-token-0123456789","expDate":"2099-01-01T00:00:00+0000"}`))
	secrets := secrets{}
	secrets.add("token", foreign)
	secrets.add("token value", "canary-inner-token-0123456789")
	for _, request := range []struct{ method, path, token, body string }{
		{http.MethodGet, "/assets", foreign, ""},
		{http.MethodGet, "/assets", foreign[:len(foreign)-4], ""},
		{http.MethodGet, "/assets", "Bearer " + foreign, ""},
		{http.MethodGet, "/assets?sToken=" + foreign, "", ""},
		{http.MethodGet, "/status?eventId=" + foreign, ready.Units[0].Token, ""},
		{http.MethodPost, "/users/create", "", `{"sToken":"` + foreign + `"}`},
		{http.MethodPost, "/users/create", ready.Units[0].Token, `{"sToken":"` + foreign + `","users":[{"clientUserId":"` + foreign + `"}]}`},
		{http.MethodPost, "/assets/associate", ready.Units[0].Token, foreign},
	} {
		answer := send(t, request.method, ready.URL+request.path, request.token, request.body)
		assert.Empty(t, secrets.in(answer), "%s %s: %s", request.method, request.path, answer)
	}
	p.Signal(syscall.SIGTERM)
	r := p.Wait()
	require.Equal(t, cli.OK, r.Code, r.Stderr)
	require.Contains(t, r.Stderr, "rules were broken", "the simulator must report the requests")
	assert.Empty(t, secrets.in(r.Stdout+r.Stderr), "%s%s", r.Stdout, r.Stderr)
}

// send sends an HTTP request and returns the answer with its header.
func send(t *testing.T, method, url, secret, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := httputil.DumpResponse(resp, true)
	require.NoError(t, err)
	return string(answer)
}

// freeAddress returns an address of this machine on which no program listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
