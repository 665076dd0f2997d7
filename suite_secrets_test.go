package appsandbooks_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Two secrets go through the SDK: the content token and the secret of the
// notifications. They are looked for in everything that a program can print.
const (
	canaryInner  = "canary-inner-token"
	canarySecret = "canary-notification-secret"
)

var canaryToken = base64.StdEncoding.EncodeToString([]byte(`{"token":"` + canaryInner + `","expDate":"2099-01-01T00:00:00+0000","orgName":"Org"}`))

// leaks finds a canary in any of the spellings that fmt has for a string.
func leaks(text string) string {
	lower := strings.ToLower(text)
	for _, secret := range []string{canaryToken, canaryInner, canarySecret} {
		// Half of a secret is too much.
		half := secret[:len(secret)/2]
		numbers := strings.Trim(fmt.Sprint([]byte(half)), "[]")
		for _, spelling := range []string{
			half, hex.EncodeToString([]byte(half)), fmt.Sprintf("% x", half), numbers,
			base64.StdEncoding.EncodeToString([]byte(half[:len(half)/3*3])),
		} {
			if strings.Contains(lower, strings.ToLower(spelling)) {
				return spelling
			}
		}
	}
	return ""
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%t", "%o", "%U", "%e", "%w", "%!"}

// everyWay prints a value in every way, alone and inside of others.
func everyWay(v any) string {
	var b strings.Builder
	type exported struct{ V any }
	type unexported struct{ v any }
	for _, w := range []any{v, &v, exported{v}, &exported{v}, unexported{v}, &unexported{v}, []any{v}, map[string]any{"k": v}} {
		for _, verb := range verbs {
			fmt.Fprintf(&b, verb+"\n", w)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).With("with", w).WithGroup("g").Info("m", "v", w, slog.Group("g", "v", w))
		}
		if encoded, err := json.Marshal(w); err == nil {
			b.Write(encoded)
		} else {
			b.WriteString(err.Error())
		}
	}
	return b.String()
}

func TestSecretsAreNotPrinted(t *testing.T) {
	token, err := appsandbooks.ParseToken(canaryToken)
	require.NoError(t, err)
	secret := appsandbooks.NewSecret(canarySecret)
	config := appsandbooks.ClientConfig{NotificationAuthToken: secret}
	update := appsandbooks.Registration{NotificationAuthToken: secret}
	handler, err := appsandbooks.NewNotificationHandler(nil, appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret(canarySecret)))
	require.NoError(t, err)
	for _, fixed := range []bool{true, false} {
		var opts []appsandbooks.Option
		if !fixed {
			opts = append(opts, appsandbooks.WithTokenSource(func(context.Context) (string, error) { return canaryToken, nil }))
		}
		client, err := appsandbooks.NewClient(canaryToken, opts...)
		require.NoError(t, err)
		defer client.Close()
		byValue := *client // nobody should, but who does must not print its token either
		type (
			embedsToken   struct{ appsandbooks.Token }
			embedsSecret  struct{ appsandbooks.Secret }
			embedsClient  struct{ *appsandbooks.Client }
			embedsHandler struct {
				*appsandbooks.NotificationHandler
			}
			hides struct {
				token   appsandbooks.Token
				secret  appsandbooks.Secret
				config  appsandbooks.ClientConfig
				update  *appsandbooks.Registration
				client  *appsandbooks.Client
				handler *appsandbooks.NotificationHandler
			}
		)
		for name, v := range map[string]any{
			"token": token, "pointer to token": &token, "embedded token": embedsToken{token},
			"secret": secret, "pointer to secret": &secret, "embedded secret": embedsSecret{secret},
			"config": config, "pointer to config": &config, "update": update, "pointer to update": &update,
			"client": client, "client by value": byValue, "embedded client": embedsClient{client},
			"services": []any{
				client.Users, *client.Users, client.Assets, client.Config, client.Status, client.Assignments,
				client.Subscriptions, client.SubscriptionAssignments, client.SubscriptionAdmins,
			},
			"handler": handler, "embedded handler": embedsHandler{handler},
			"hidden": hides{token, secret, config, &update, client, handler}, "pointer to hidden": &hides{token, secret, config, &update, client, handler},
			"options": opts,
		} {
			require.Empty(t, leaks(everyWay(v)), name)
		}
	}
	// The canaries sing: what does contain them is found.
	for _, verb := range []string{"%v", "%x", "%X", "%q", "%d", "% x"} {
		require.NotEmpty(t, leaks(fmt.Sprintf(verb, []byte(canarySecret))), verb)
	}
}

// Servers and networks that echo what they were sent, in every kind of answer:
// errors, logs at debug level, panics and saved operations stay clean.
func TestSecretsAreNotEchoed(t *testing.T) {
	for name, call := range map[string]struct {
		sends string
		call  func(context.Context, *appsandbooks.Client) error
	}{
		"read": {canaryToken, func(ctx context.Context, c *appsandbooks.Client) error {
			return second(c.Users.List(ctx, appsandbooks.UserFilter{}))
		}},
		"write": {canaryToken, func(ctx context.Context, c *appsandbooks.Client) error {
			return c.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"u"}})
		}},
		"operation": {canaryToken, func(ctx context.Context, c *appsandbooks.Client) error {
			return second(c.Assets.Revoke(ctx, matrixTargets))
		}},
		"configuration": {canaryToken + " and " + canarySecret, func(ctx context.Context, c *appsandbooks.Client) error {
			return second(c.Config.UpdateClientConfig(ctx, appsandbooks.Registration{NotificationAuthToken: appsandbooks.NewSecret(canarySecret)}))
		}},
	} {
		for answer, rt := range echoes("you sent " + call.sends) {
			t.Run(name+" "+answer, func(t *testing.T) {
				var log bytes.Buffer
				c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}),
					appsandbooks.WithRetry(2, 0, 0), appsandbooks.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
				require.NoError(t, err)
				defer c.Close()
				err = call.call(t.Context(), c)
				require.Empty(t, leaks(log.String()))
				if err == nil {
					return
				}
				require.Empty(t, leaks(everyWay(fmt.Errorf("context: %w", err))))
				require.Empty(t, leaks(panicText(err)))
				for e := err; e != nil; e = errors.Unwrap(e) { // each link of the chain
					require.Empty(t, leaks(everyWay(e)))
				}
			})
		}
	}
}

// echoes are servers and proxies that say what they were sent.
func echoes(text string) map[string]http.RoundTripper {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	all := map[string]http.RoundTripper{
		"network error": roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("proxy: " + text) }),
	}
	for _, status := range []int{200, 302, 400, 401, 403, 429, 500, 502} {
		for name, body := range map[string]io.Reader{
			"text":            strings.NewReader(text),
			"HTML":            strings.NewReader("<html>" + text + "</html>"),
			"Apple":           strings.NewReader(`{"errorNumber":9622,"errorMessage":` + string(quoted) + `}`),
			"Apple retryable": strings.NewReader(`{"errorNumber":9603,"errorMessage":` + string(quoted) + `}`),
			"escaped":         strings.NewReader(`{"errorNumber":9622,"errorMessage":` + strings.ReplaceAll(string(quoted), "c", `\u0063`) + `}`),
			"no number":       strings.NewReader(`{"errorMessage":` + string(quoted) + `}`),
			"wrong type":      strings.NewReader(`{"users":` + string(quoted) + `,"eventId":{"x":` + string(quoted) + `},"uId":1}`),
			"late":            strings.NewReader(strings.Repeat("x", 400) + text), // the excerpt ends within it
			"cut":             io.MultiReader(strings.NewReader(text[:len(text)-3]), iotest.ErrReader(io.ErrUnexpectedEOF)),
		} {
			content, readErr := io.ReadAll(body)
			all[fmt.Sprint(status, " ", name)] = roundTripper(func(*http.Request) (*http.Response, error) {
				body := io.Reader(bytes.NewReader(content))
				if readErr != nil {
					body = io.MultiReader(body, iotest.ErrReader(readErr))
				}
				header := http.Header{"Location": {"https://x.example.com/?" + text}}
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body)}, nil
			})
		}
	}
	return all
}

func panicText(v any) (text string) {
	defer func() { text = fmt.Sprint(recover()) + string(debug.Stack()) }()
	panic(v)
}

// A saved operation and its journal hold what is needed to go on, and no secret.
func TestSecretsAreNotSaved(t *testing.T) {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	token := srv.Unit().Token()
	var journal bytes.Buffer
	c, err := appsandbooks.NewClient(token, appsandbooks.WithHTTPClient(srv.Client()))
	require.NoError(t, err)
	defer c.Close()
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Status: 502, Body: "you sent " + token, Times: 1})
	op, _ := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 5), SerialNumbers: names("C02", 3)},
		appsandbooks.WithJournal(func(_ context.Context, entry []byte) error { journal.Write(entry); return nil }))
	require.NotNil(t, op)
	saved, err := op.MarshalJSON()
	require.NoError(t, err)
	for _, text := range []string{string(saved), journal.String(), fmt.Sprintf("%+v %v", op.Report(), op.Plan())} {
		require.NotContains(t, text, token[:len(token)/2])
	}
	require.Contains(t, string(saved), "C0200000") // it is not empty either
}

// The token goes to the configured host, over TLS 1.2 at least, and nowhere else.
func TestTokenGoesToTheConfiguredHostOnly(t *testing.T) {
	authorized := map[string]string{}
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		authorized[r.URL.Scheme+"://"+r.URL.Host] = r.Header.Get("Authorization")
		body := `{"versionId":"v","urls":{"getUsers":"https://thief.example.com/users","getAssets":"http://vpp.itunes.apple.com/mdm/v2/assets"}}`
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.NoError(t, drain(c.Users.All(t.Context(), appsandbooks.UserFilter{})))
	require.NoError(t, drain(c.Assets.All(t.Context(), appsandbooks.AssetFilter{})))
	require.Equal(t, map[string]string{"https://vpp.itunes.apple.com": "Bearer " + canaryToken}, authorized)
}

func TestTLSVersion(t *testing.T) {
	for version, fine := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		srv.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
		srv.StartTLS()
		c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithBaseURL(srv.URL), appsandbooks.WithRetry(1, 0, 0))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.Error(t, err)
		// With a version that will do, it is the certificate that will not.
		require.Equal(t, fine, strings.Contains(err.Error(), "certificate"), "%x: %v", version, err)
		c.Close()
		srv.Close()
	}
}
