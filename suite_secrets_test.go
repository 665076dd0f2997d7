package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Errors and logs must not contain 12 consecutive characters of a secret, also when the answer of
// the service contains the secret escaped, in part, decoded or in capitals.
func TestError_hidesSecretsInAnyEncoding(t *testing.T) {
	token, inner := canaryToken, `{"token":"`+canaryInner
	secret := "canary/notification+secret~0123456789=="
	escaped := func(s string) string {
		var b strings.Builder
		for i, r := range s {
			if i%20 == 19 || strings.ContainsRune(`/+="`, r) {
				fmt.Fprintf(&b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"JSON": escaped(token) + " " + escaped(secret), "URL": url.QueryEscape(token) + " " + url.QueryEscape(secret),
		"HTML":    strings.NewReplacer("=", "&#61;", "+", "&#43;", "/", "&#x2F;").Replace(token + " " + secret),
		"part":    token[10:60] + " … " + secret[8:30],
		"decoded": html.EscapeString(inner), "capitals": strings.ToUpper(token) + strings.ToUpper(secret),
	} {
		for _, status := range []int{400, 401, 502} {
			for _, form := range []string{"you sent %s", `{"message":"you sent %s"}`, `{"errorNumber":9602,"errorMessage":"you sent %s"}`, "<html>" + strings.Repeat("x", 450) + "%s"} {
				var log bytes.Buffer
				rt := roundTripper(func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: readCloser(fmt.Sprintf(form, text))}, nil
				})
				c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), appsandbooks.WithRetry(1, 0, 0),
					appsandbooks.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
				require.NoError(t, err)
				_, err = c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{NotificationAuthToken: appsandbooks.NewSecret(secret)})
				e := isError(t, err)
				for _, output := range []string{err.Error(), e.Excerpt, e.Message, log.String()} {
					output = strings.ToLower(output)
					for _, whole := range []string{token, canaryInner, secret} {
						for at := 0; at+12 <= len(whole); at++ {
							require.NotContains(t, output, strings.ToLower(whole[at:at+12]), "%s %d %s", name, status, form)
						}
					}
				}
				c.Close()
			}
		}
	}
}

// Errors and logs do not show the user ids in the request or in the answer.
func TestError_hidesUserIDsOfRequestAndAnswer(t *testing.T) {
	for name, body := range map[string]string{
		"HTML page":     "<html>Not found: /users?clientUserId=ada%40example.com (ada@example.com, ada&#64;example&#46;com)</html>",
		"error message": `{"errorNumber":9609,"errorMessage":"No user ada@example.com.","errorInfo":{"clientUserIds":["ada@example.com"]}}`,
		"truncated 200": `{"users":[{"clientUserId":"ada@example.com"`,
	} {
		status := 404
		if strings.HasPrefix(name, "truncated") {
			status = 200
		}
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, nil))
		c := clientWithAnswer(t, status, nil, body, appsandbooks.WithLogger(logger))
		_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "ada@example.com"})
		require.Error(t, err)
		logger.Error("the call failed", "error", err, "inner", isError(t, err))
		require.NotRegexp(t, "ada(@|%40|&#64;)example", err.Error()+log.String(), name)
	}
}

// A failed assertion prints all fields of a Client. Its output does not show the token that the
// client has sent.
func TestClient_isPrintedWithoutToken(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	defer srv.Close()
	require.NoError(t, srv.Listen(""))
	one, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithBaseURL(srv.URL()))
	require.NoError(t, err)
	defer one.Close()
	_, err = one.Users.List(t.Context(), appsandbooks.UserFilter{})
	require.NoError(t, err)
	other, err := appsandbooks.NewClient("another", appsandbooks.WithBaseURL(srv.URL()))
	require.NoError(t, err)
	defer other.Close()
	var output assertionOutput
	assert.Equal(&output, one, other)
	assert.Equal(&output, *one, *other)
	require.NotEmpty(t, output)
	require.NotContains(t, string(output), srv.Unit().Token()[:20])
}

// assertionOutput collects the messages of failed assertions as text.
type assertionOutput string

func (s *assertionOutput) Errorf(format string, args ...any) {
	*s += assertionOutput(fmt.Sprintf(format, args...))
}

// Errors and log lines of the client contain no token, no user id and no control character.
func TestError_hidesTokenAndUserIDs(t *testing.T) {
	var log bytes.Buffer
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	answers := []func() (*http.Response, error){
		func() (*http.Response, error) { return nil, refused },
		func() (*http.Response, error) {
			body := "<html>you sent\x1b[31m Bearer " + stoken + "\n</html>" + strings.Repeat("x", 10_000)
			return &http.Response{StatusCode: 418, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) {
			body := `{"errorNumber":9622,"errorMessage":"bad token ` + stoken + `"}`
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // the token is repeated with an escape sequence of JSON
			body := `{"errorNumber":9622,"errorMessage":"bad token ` + strings.ReplaceAll(stoken, "=", `\u003d`) + `"}`
			return &http.Response{StatusCode: 401, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // large, and not JSON
			body := "<html>" + stoken + strings.Repeat("x", 10_000)
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // truncated
			body := io.MultiReader(strings.NewReader("<html>"+stoken), iotest.ErrReader(io.ErrUnexpectedEOF))
			return &http.Response{StatusCode: 200, Body: io.NopCloser(body), Header: http.Header{}}, nil
		},
		func() (*http.Response, error) { // the RoundTripper returns a *url.Error
			return nil, &url.Error{Op: "Get", URL: "https://proxy.example.com/?clientUserId=person", Err: refused}
		},
	}
	for i, answer := range answers {
		rt := roundTripper(func(*http.Request) (*http.Response, error) { return answer() })
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}),
			appsandbooks.WithRetry(1, 0, 0),
			appsandbooks.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{ClientUserID: "person@example.com"})
		e := isError(t, err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", e), e.Excerpt, e.Message, log.String()} {
			assert.NotContains(t, text, stoken, i)
			assert.NotContains(t, text, stoken[:40], i)
			assert.NotContains(t, text, "person", i)
			assert.NotContains(t, text, "\x1b", i)
		}
		assert.LessOrEqual(t, len(e.Excerpt), 512)
		var u *url.Error
		assert.NotErrorAs(t, err, &u)
	}
}

// The answers, the logs and the printed form of a notification handler contain neither the secret
// of notifications nor the value of a panic.
func TestNotificationHandler_keepsSecretsOutOfAnswersAndLogs(t *testing.T) {
	const canary = "canary-4f1c9b"
	var logged bytes.Buffer
	opts := []appsandbooks.NotificationOption{
		appsandbooks.WithNotificationLogger(slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		appsandbooks.WithNotificationLimits(2000, 0),
		withSecrets(canary),
	}
	var texts strings.Builder
	for _, h := range []*appsandbooks.NotificationHandler{
		newHandlerOf(t, func(context.Context, *appsandbooks.Notification) error { panic(errors.New(canary)) }, opts...),
		newHandlerOf(t, nil, opts...), // a handler without a hook, which logs unknown notifications
	} {
		for _, body := range []string{assetCountNotification("1", "1"), "<html>", strings.Repeat(" ", 3000), notificationJSON("NEW", `{}`)} {
			for _, header := range []string{"Bearer " + canary, "Basic " + canary, canary, "Bearer x" + canary} {
				r := notificationRequest(body)
				r.Header.Set("Authorization", header)
				texts.WriteString(post(h, r).Body.String())
			}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&texts, verb, h)
			fmt.Fprintf(&texts, verb, struct {
				h *appsandbooks.NotificationHandler
			}{h})
			fmt.Fprintf(&texts, verb, struct{ H http.Handler }{h})
			fmt.Fprintf(&texts, verb, opts)
		}
	}
	_, err := appsandbooks.NewNotificationHandler(nil, withSecrets(canary, ""))
	fmt.Fprint(&texts, err)
	texts.WriteString(logged.String())
	assert.NotContains(t, texts.String(), canary)
	assert.NotContains(t, texts.String(), fmt.Sprintf("%x", canary))
	for _, message := range []string{
		"panic in a notification hook", "*errors.errorString", `"status":500`, `"status":401`, `"status":400`, `"status":413`,
		"notification of an unknown type or form", `"notificationId":"1"`,
	} {
		assert.Contains(t, logged.String(), message)
	}
}

// findSecret returns a part of a test secret (canary) that text contains, in any form in which
// fmt prints strings. It returns "" if text contains none.
func findSecret(text string) string {
	lower := strings.ToLower(text)
	for _, secret := range []string{canaryToken, canaryInner, canarySecret} {
		// The text must not contain even half of a secret.
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

var formatVerbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%t", "%o", "%U", "%e", "%w", "%!"}

// printEveryWay returns the text of v, formatted with every verb, logged and encoded, alone and
// inside other values.
func printEveryWay(v any) string {
	var b strings.Builder
	type exported struct{ V any }
	type unexported struct{ v any }
	for _, w := range []any{v, &v, exported{v}, &exported{v}, unexported{v}, &unexported{v}, []any{v}, map[string]any{"k": v}} {
		for _, verb := range formatVerbs {
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

// When a value of the SDK is formatted, logged or encoded, the output does not show the secrets
// that the value contains.
func TestSecret_isNeverPrinted(t *testing.T) {
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
		op, report, opErr := stoppedOperation(t, opts)
		byValue := *client // A copy of a Client is not useful, but must not show the token either.
		type (
			embedsToken   struct{ appsandbooks.Token }
			embedsSecret  struct{ appsandbooks.Secret }
			embedsClient  struct{ *appsandbooks.Client }
			embedsHandler struct {
				*appsandbooks.NotificationHandler
			}
			unexportedFields struct {
				token   appsandbooks.Token
				secret  appsandbooks.Secret
				config  appsandbooks.ClientConfig
				update  *appsandbooks.Registration
				client  *appsandbooks.Client
				handler *appsandbooks.NotificationHandler
				op      *appsandbooks.Operation
				err     *appsandbooks.OperationError
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
			"unexported": unexportedFields{token, secret, config, &update, client, handler, op, opErr}, "pointer to unexported": &unexportedFields{token, secret, config, &update, client, handler, op, opErr},
			"operation": op, "operation error": opErr, "report": report, "progress": op.Progress(), "plan": op.Plan(),
			"reasons": slices.Collect(report.Reasons()), "outcomes": slices.Collect(report.Outcomes()),
			"options": opts,
		} {
			require.Empty(t, findSecret(printEveryWay(v)), name)
		}
	}
	// The test checks that findSecret finds a secret in each form in which fmt prints it.
	for _, verb := range []string{"%v", "%x", "%X", "%q", "%d", "% x"} {
		require.NotEmpty(t, findSecret(fmt.Sprintf(verb, []byte(canarySecret))), verb)
	}
}

// stoppedOperation returns an operation that was stopped by an answer that contains the token,
// with its report and its error.
func stoppedOperation(t *testing.T, opts []appsandbooks.Option) (*appsandbooks.Operation, *appsandbooks.Report, *appsandbooks.OperationError) {
	t.Helper()
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		status, body := 200, `{"uId":"1","limits":{"maxAssets":1}}`
		if r.Method == http.MethodPost {
			status, body = 401, `{"errorNumber":9621,"errorMessage":"expired: `+canaryToken+`"}`
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c, err := appsandbooks.NewClient(canaryToken, append(slices.Clone(opts), appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1"}}, SerialNumbers: []string{"PERSONAL-SERIAL"}})
	require.NoError(t, err)
	report, err := op.Wait(t.Context())
	var opErr *appsandbooks.OperationError
	require.ErrorAs(t, err, &opErr)
	require.ErrorIs(t, err, appsandbooks.ErrTokenExpired)
	require.Equal(t, 1, report.Unsent)
	for name, v := range map[string]any{"operation": op, "operation error": opErr, "report": report} {
		encoded, err := json.Marshal(v)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %s %q ", v, v, v, v, v)+string(encoded), "PERSONAL", "the %s shows a serial number", name)
	}
	return op, report, opErr
}

// When an answer or a network error repeats a secret, errors, logs at debug level and panics do
// not contain it.
func TestError_hidesSecretsThatAnswersRepeat(t *testing.T) {
	for name, call := range map[string]struct {
		sends string
		call  func(context.Context, *appsandbooks.Client) error
	}{
		"read": {canaryToken, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOf(c.Users.List(ctx, appsandbooks.UserFilter{}))
		}},
		"write": {canaryToken, func(ctx context.Context, c *appsandbooks.Client) error {
			return c.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"u"}})
		}},
		"operation": {canaryToken, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOfWait(ctx)(c.Assets.Revoke(ctx, matrixTargets))
		}},
		"configuration": {canaryToken + " and " + canarySecret, func(ctx context.Context, c *appsandbooks.Client) error {
			return errorOf(c.Config.UpdateClientConfig(ctx, appsandbooks.Registration{NotificationAuthToken: appsandbooks.NewSecret(canarySecret)}))
		}},
	} {
		for answer, rt := range echoingTransports("you sent " + call.sends) {
			t.Run(name+" "+answer, func(t *testing.T) {
				var log bytes.Buffer
				c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}),
					appsandbooks.WithRetry(2, 0, 0), appsandbooks.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
				require.NoError(t, err)
				defer c.Close()
				err = call.call(t.Context(), c)
				require.Empty(t, findSecret(log.String()))
				if err == nil {
					return
				}
				require.Empty(t, findSecret(printEveryWay(fmt.Errorf("context: %w", err))))
				require.Empty(t, findSecret(panicText(err)))
				for e := err; e != nil; e = errors.Unwrap(e) { // each link of the chain
					require.Empty(t, findSecret(printEveryWay(e)))
				}
			})
		}
	}
}

// echoingTransports returns RoundTrippers whose answers or errors contain text, in a map by name.
func echoingTransports(text string) map[string]http.RoundTripper {
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
			"late":            strings.NewReader(strings.Repeat("x", 400) + text), // the excerpt ends inside text
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

// panicText panics with v, and returns the value and the stack of the panic as text.
func panicText(v any) (text string) {
	defer func() { text = fmt.Sprint(recover()) + string(debug.Stack()) }()
	panic(v)
}

// A saved operation and its journal contain no part of the token.
func TestOperation_Save_savesNoSecrets(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	defer srv.Close()
	token := srv.Unit().Token()
	var journal bytes.Buffer
	c, err := appsandbooks.NewClient(token, appsandbooks.WithHTTPClient(srv.Client()))
	require.NoError(t, err)
	defer c.Close()
	srv.AddFault(appsandbookstest.Fault{Path: "assets/associate", Status: 502, Body: "you sent " + token, Times: 1})
	op, _ := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5), SerialNumbers: names("C02", 3)},
		appsandbooks.WithJournal(func(_ context.Context, entry []byte) error { journal.Write(entry); return nil }))
	require.NotNil(t, op)
	saved, err := op.Save()
	require.NoError(t, err)
	for _, text := range []string{string(saved), journal.String(), fmt.Sprintf("%+v %v", op.Report(), op.Plan())} {
		require.NotContains(t, text, token[:len(token)/2])
	}
	require.Contains(t, string(saved), "C0200000") // the change itself is saved
}
