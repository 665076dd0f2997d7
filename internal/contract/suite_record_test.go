package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/dnaeon/go-vcr.v4/pkg/cassette"
	"gopkg.in/dnaeon/go-vcr.v4/pkg/recorder"

	"github.com/appsandbooks/appsandbooks"
)

// recordAnswers runs testReads against a service and records its answers, redacted. It
// then runs testReads against the recorded answers. It writes the file only if both
// runs pass.
func recordAnswers(t *testing.T, token, base string, rt http.RoundTripper, file string) {
	recorded := filepath.Join(t.TempDir(), "service.yaml")
	t.Run("record", func(t *testing.T) {
		testReads(t, token, appsandbooks.WithBaseURL(base), appsandbooks.WithHTTPClient(recordingClient(t, recorded, base, rt)))
	})
	require.False(t, t.Failed(), "the recorded answers were not changed")
	t.Run("replay", func(t *testing.T) {
		testReads(t, "any", appsandbooks.WithHTTPClient(replayingClient(t, recorded)))
	})
	require.False(t, t.Failed(), "the recorded answers were not changed")
	content, err := os.ReadFile(recorded)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o644))
}

// recordingClient returns an HTTP client that writes the answers of the service, redacted,
// to a file.
func recordingClient(t *testing.T, file, base string, rt http.RoundTripper) *http.Client {
	r := &redactor{base: base, placeholders: map[string]string{}}
	rec, err := recorder.New(strings.TrimSuffix(file, ".yaml"),
		recorder.WithMode(recorder.ModeRecordOnly),
		recorder.WithRealTransport(rt),
		recorder.WithHook(r.interaction, recorder.BeforeSaveHook))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rec.Stop()) })
	return &http.Client{Transport: rec}
}

// replayingClient returns an HTTP client that takes all answers from a file with recorded
// answers.
func replayingClient(t *testing.T, file string) *http.Client {
	rec, err := recorder.New(strings.TrimSuffix(file, ".yaml"),
		recorder.WithMode(recorder.ModeReplayOnly),
		recorder.WithSkipRequestLatency(true),
		recorder.WithMatcher(func(r *http.Request, recorded cassette.Request) bool {
			u, err := url.Parse(recorded.URL)
			return err == nil && r.Method == recorded.Method && r.URL.RequestURI() == u.RequestURI()
		}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rec.Stop()) })
	return &http.Client{Transport: rec}
}

// redactor removes everything from an answer that is not known to be harmless. It
// keeps the keys of the API, and for some keys the values of a certain form. It
// replaces any other text with a placeholder, which is the same for the same text, and
// any other number with 0.
type redactor struct {
	base         string // URL of the service
	mu           sync.Mutex
	placeholders map[string]string // by text
}

var (
	word   = regexp.MustCompile(`^[A-Za-z_]{1,40}$`)
	digits = regexp.MustCompile(`^[0-9]{1,20}$`)
	date   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

// harmlessTexts contains the JSON keys whose texts are kept in recorded answers, and the
// form that the texts must have. These texts reveal about an organization only which apps
// and books it owns.
var harmlessTexts = map[string]*regexp.Regexp{
	"adamId": digits, "parentAdamId": digits, "pricingParam": word, "productType": word, "supportedPlatforms": word,
	"status": word, "userStatus": word, "eventStatus": word, "eventType": word,
	"periodEndDate": date, "countryISO2ACode": word, "defaultPlatform": word,
	"notificationTypes": word, "subscribedNotificationTypes": word,
}

// harmlessNumbers matches the JSON keys whose numbers are kept in recorded answers.
var harmlessNumbers = regexp.MustCompile(`^(errorNumber|adamId|parentAdamId|size|[a-zA-Z]+Count|[a-zA-Z]+PageIndex|totalPages|num[A-Z][a-z]+|max[A-Z][a-zA-Z]+)$`)

// apiKeys returns the JSON keys of the API. Any other key in an answer can be a name.
var apiKeys = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{"limits": true, "urls": true}
	for _, t := range []reflect.Type{
		reflect.TypeFor[appsandbooks.ServiceConfig](), reflect.TypeFor[appsandbooks.ClientConfig](),
		reflect.TypeFor[appsandbooks.User](), reflect.TypeFor[appsandbooks.Asset](), reflect.TypeFor[appsandbooks.Assignment](),
		reflect.TypeFor[appsandbooks.Subscription](), reflect.TypeFor[appsandbooks.SubscriptionAssignment](), reflect.TypeFor[appsandbooks.SubscriptionAdmin](),
		reflect.TypeFor[appsandbooks.EventStatus](),
	} {
		addKeys(known, t)
	}
	for _, key := range []string{
		"users", "assets", "unlimitedAssets", "assignments", "subscriptions", "admins",
		"currentPageIndex", "nextPageIndex", "size", "totalPages", "nextCursor", "versionId",
		"errorNumber", "errorMessage", "errorInfo", "clientUserIds", "serialNumbers",
	} {
		known[key] = true
	}
	return known
})

// addKeys adds the JSON keys of a struct of the SDK, and of the types of its fields.
func addKeys(known map[string]bool, t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[appsandbooks.Meta]().PkgPath() {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			known[name] = true
		}
		if f.IsExported() {
			addKeys(known, f.Type)
		}
	}
}

// harmlessParameters contains the query parameters whose values are kept in recorded
// requests, and the form that the values must have.
var harmlessParameters = map[string]*regexp.Regexp{
	"adamId": digits, "pageIndex": digits, "pricingParam": word, "includeUserState": word,
}

// redactedParameters contains the query parameters whose values come from an answer. These
// values are replaced with the same placeholders as in the answer.
var redactedParameters = map[string]bool{"clientUserId": true, "serialNumber": true, "sinceVersionId": true, "eventId": true, "cursor": true}

// madeUp contains values that the tests make up. These values are not secret.
var madeUp = map[string]bool{noEvent: true, noVersion: true}

// placeholder returns the text that replaces a text in recorded answers. It does not
// replace an empty text or values that the tests make up.
func (r *redactor) placeholder(text string) string {
	if text == "" || madeUp[text] {
		return text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.placeholders[text] == "" {
		r.placeholders[text] = fmt.Sprintf("redacted-%d", len(r.placeholders)+1)
	}
	return r.placeholders[text]
}

// interaction redacts a recorded request and its answer. It fails if the request has a path
// or a query parameter that the redactor does not know.
func (r *redactor) interaction(i *cassette.Interaction) error {
	u, err := url.Parse(i.Request.URL)
	if err != nil {
		return err
	}
	base, err := url.Parse(r.base)
	if err != nil {
		return err
	}
	q := url.Values{}
	for key, values := range u.Query() {
		for _, v := range values {
			switch {
			case harmlessParameters[key] != nil && harmlessParameters[key].MatchString(v):
				q.Add(key, v)
			case redactedParameters[key]:
				q.Add(key, r.placeholder(v))
			default:
				return fmt.Errorf("the redactor does not know the query parameter %q", key)
			}
		}
	}
	path := strings.TrimPrefix(u.Path, base.Path+"/")
	endpoint, err := url.Parse(appsandbooks.DefaultBaseURL + "/" + path)
	if err != nil || strings.Trim(path, "abcdefghijklmnopqrstuvwxyz/-") != "" {
		return fmt.Errorf("the redactor does not know the path %q", path)
	}
	endpoint.RawQuery = q.Encode()
	i.Request = cassette.Request{Method: i.Request.Method, URL: endpoint.String(), Host: endpoint.Host}

	kept := http.Header{}
	if kind, _, err := mime.ParseMediaType(i.Response.Headers.Get("Content-Type")); err == nil && slices.Contains([]string{"application/json", "text/html", "text/plain"}, kind) {
		kept.Set("Content-Type", kind)
	}
	if v := i.Response.Headers.Get("Retry-After"); digits.MatchString(v) {
		kept.Set("Retry-After", v)
	}
	body := r.body(i.Response.Body, path == "service/config")
	i.Response = cassette.Response{
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Status: fmt.Sprintf("%d %s", i.Response.Code, http.StatusText(i.Response.Code)), Code: i.Response.Code,
		Headers: kept, Body: body, ContentLength: int64(len(body)),
	}
	return nil
}

// body redacts the body of an answer. If the body is not JSON, nothing of it is kept. If
// public is set, the parts of the service configuration that are the same for every unit
// are not redacted.
func (r *redactor) body(text string, public bool) string {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return "redacted"
	}
	all, _ := v.(map[string]any)
	kept := map[string]any{}
	for _, key := range []string{"errorCodes", "limits", "notificationTypes", "urls"} {
		if part, ok := all[key]; public && ok {
			kept[key] = part
			delete(all, key)
		}
	}
	v = r.value("", v)
	if redacted, ok := v.(map[string]any); ok {
		maps.Copy(redacted, kept)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(v); err != nil {
		return "redacted"
	}
	return out.String()
}

// value redacts the JSON value of a key in an answer.
func (r *redactor) value(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		redacted := map[string]any{}
		for k, inner := range v {
			if apiKeys()[k] {
				redacted[k] = r.value(k, inner)
			} else {
				redacted[r.placeholder(k)] = r.value("", inner)
			}
		}
		return redacted
	case []any:
		for i, inner := range v {
			v[i] = r.value(key, inner)
		}
	case json.Number:
		if !harmlessNumbers.MatchString(key) {
			return 0
		}
	case string:
		switch form := harmlessTexts[key]; {
		case key == "tokenExpirationDate": // the expiration date identifies the content token
			return "2031-01-01T00:00:00+0000"
		case form == nil || !form.MatchString(v):
			return r.placeholder(v)
		}
	}
	return v
}

// The recorded answers contain no names, ids or secrets, and the tests of reads pass with
// the recorded answers.
func TestRecording_redactsAnswers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service.yaml")
	srv := newStandIn(t)
	token := srv.Unit().Token()
	c := newClient(t, token, appsandbooks.WithHTTPClient(srv.Client()))
	_, err := c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{
		MDMInfo: &appsandbooks.MDMInfo{ID: "canary-id", Name: "canary-name", Metadata: "canary-metadata"},
	})
	require.NoError(t, err)
	recordAnswers(t, token, appsandbooks.DefaultBaseURL, srv.Transport(), file)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, secret := range []string{token, token[:20], srv.Unit().UID(), srv.Unit().Name(), "canary", "example.com"} {
		require.False(t, bytes.Contains(bytes.ToLower(content), []byte(strings.ToLower(secret))), secret)
	}
	require.Contains(t, string(content), "361309726")

	r := &redactor{base: appsandbooks.DefaultBaseURL, placeholders: map[string]string{}}
	for _, text := range []string{
		"<html>canary</html>", `"canary"`, `["canary"]`, `{"new":{"deep":["canary"]}}`, `{"errorMessage":"canary"}`, `{"canary":1}`, `{"canary":{"status":"canary-x"}}`,
		`{"status":"canary and more","adamId":"canary","productType":["canary-x"],"uId":123456789,"phone":123456789,"periodEndDate":"canary"}`,
		`{"users":[{"clientUserId":"contract-canary"}]}`, `{"limits":{"canary-x":"y"},"uId":"canary"}`,
	} {
		require.NotRegexp(t, "canary|123456789", r.body(text, false))
	}
	require.NotContains(t, r.body(`{"limits":{"maxAssets":25},"uId":"canary","mdmInfo":{"id":"canary"}}`, true), "canary")
	require.JSONEq(t, `{"size":9007199254740993,"renewing":true,"users":null,"assignments":[{"userStatus":"Associated","adamId":"1"}]}`,
		r.body(`{"size":9007199254740993,"renewing":true,"users":null,"assignments":[{"userStatus":"Associated","adamId":"1"}]}`, false))

	i := &cassette.Interaction{
		Request: cassette.Request{Method: "GET", URL: "https://user:canary@canary.example.com/mdm/v2/users?clientUserId=canary&pageIndex=1#canary", Headers: http.Header{"Authorization": {"canary"}}},
		Response: cassette.Response{Code: 401, Status: "401 canary", Body: "canary", Headers: http.Header{
			"Content-Type": {"text/html; x=canary"}, "Retry-After": {"canary"}, "Set-Cookie": {"canary"}, "X": {"canary"},
		}},
	}
	require.NoError(t, r.interaction(i))
	require.NotContains(t, fmt.Sprintf("%+v", i), "canary")
	require.Equal(t, "https://vpp.itunes.apple.com/mdm/v2/users?clientUserId=redacted-1&pageIndex=1", strings.ReplaceAll(i.Request.URL, r.placeholder("canary"), "redacted-1"))
}

// If recording the answers fails, the file with the recorded answers does not change.
func TestRecording_failureKeepsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service.yaml")
	require.NoError(t, os.WriteFile(file, []byte("old content"), 0o600))
	unauthorized := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"errorNumber":9625}`, http.StatusUnauthorized)
	}))
	defer unauthorized.Close()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestService$", "-token-file", file, "-url", unauthorized.URL, "-record")
	command.Dir = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(command.Dir, "testdata"), 0o700))
	recorded := filepath.Join(command.Dir, fixture)
	require.NoError(t, os.WriteFile(recorded, []byte("old content"), 0o600))
	out, err := command.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "the recorded answers were not changed")
	content, err := os.ReadFile(recorded)
	require.NoError(t, err)
	require.Equal(t, "old content", string(content))
}
