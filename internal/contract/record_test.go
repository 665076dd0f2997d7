package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/dnaeon/go-vcr.v4/pkg/cassette"
	"gopkg.in/dnaeon/go-vcr.v4/pkg/recorder"

	"github.com/appsandbooks/appsandbooks"
)

// recording is a client whose answers are kept in a file, redacted.
func recording(t *testing.T, file string, rt http.RoundTripper) *http.Client {
	name, ok := strings.CutSuffix(file, ".yaml")
	require.True(t, ok, "recordings are .yaml files")
	r := &redactor{names: map[string]string{}}
	rec, err := recorder.New(name,
		recorder.WithMode(recorder.ModeRecordOnly),
		recorder.WithRealTransport(rt),
		recorder.WithHook(r.interaction, recorder.BeforeSaveHook))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rec.Stop()) })
	return &http.Client{Transport: rec}
}

// replaying is a client that answers out of such a file, and from nowhere else.
func replaying(t *testing.T, file string) *http.Client {
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

// redactor replaces every text of an answer by a number, always the same for
// the same text, except under keys that are known to be harmless. What it does
// not know it does not let through.
type redactor struct {
	mu    sync.Mutex
	names map[string]string
}

// harmless are the keys whose texts tell nothing about an organization but
// which apps and books it owns.
var harmless = map[string]bool{
	"adamId": true, "pricingParam": true, "productType": true, "supportedPlatforms": true,
	"status": true, "userStatus": true, "eventStatus": true, "eventType": true,
	"tokenExpirationDate": true, "periodEndDate": true, "countryISO2ACode": true, "defaultPlatform": true,
	"notificationTypes": true, "subscribedNotificationTypes": true,
}

// public are the paths whose answer is the same for everybody.
var public = map[string]bool{"service/config": true}

// ours are parameters whose values the tests choose, out of harmless ones.
var ours = map[string]bool{
	"adamId": true, "pageIndex": true, "pricingParam": true, "includeUserState": true,
}

func (r *redactor) name(text string) string {
	if text == "" || strings.HasPrefix(text, "contract-") {
		return text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[text] == "" {
		r.names[text] = fmt.Sprintf("redacted-%d", len(r.names)+1)
	}
	return r.names[text]
}

func (r *redactor) interaction(i *cassette.Interaction) error {
	u, err := url.Parse(i.Request.URL)
	if err != nil {
		return err
	}
	q := u.Query()
	for key, values := range q {
		for n := range values {
			if !ours[key] {
				values[n] = r.name(values[n])
			}
		}
	}
	u.RawQuery = q.Encode()
	i.Request = cassette.Request{Method: i.Request.Method, URL: u.String(), Host: u.Host}

	body := i.Response.Body
	if !public[strings.TrimPrefix(u.Path, "/mdm/v2/")] {
		body = r.body(body)
	}
	kept := http.Header{}
	for _, key := range []string{"Content-Type", "Retry-After"} {
		if v := i.Response.Headers.Values(key); v != nil {
			kept[key] = v
		}
	}
	i.Response = cassette.Response{
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Status: i.Response.Status, Code: i.Response.Code,
		Headers: kept, Body: body, ContentLength: int64(len(body)),
	}
	return nil
}

// body redacts JSON, and keeps nothing of anything else.
func (r *redactor) body(text string) string {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return "redacted"
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r.value("", v)); err != nil {
		return "redacted"
	}
	return out.String()
}

func (r *redactor) value(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = r.value(k, inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = r.value(key, inner)
		}
	case string:
		if !harmless[key] {
			return r.name(v)
		}
	}
	return v
}

// What is recorded gives no name, id or secret away, and can be replayed.
func TestRecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service.yaml")
	srv := standIn(t)
	token := srv.Unit().Token()
	c := newClient(t, token, appsandbooks.WithHTTPClient(srv.Client()))
	_, err := c.Config.SetClient(t.Context(), appsandbooks.ClientConfigUpdate{
		MDMInfo: &appsandbooks.MDMInfo{ID: "canary-id", Name: "canary-name", Metadata: "canary-metadata"},
	})
	require.NoError(t, err)
	t.Run("record", func(t *testing.T) {
		reads(t, token, appsandbooks.WithHTTPClient(recording(t, file, srv.Transport())))
	})
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, secret := range []string{token, token[:20], srv.Unit().UID(), srv.Unit().Name(), "canary", "example.com"} {
		require.False(t, bytes.Contains(bytes.ToLower(content), []byte(strings.ToLower(secret))), secret)
	}
	require.Contains(t, string(content), "361309726")
	t.Run("replay", func(t *testing.T) {
		reads(t, "any", appsandbooks.WithHTTPClient(replaying(t, file)))
	})

	r := &redactor{names: map[string]string{}}
	for _, text := range []string{"<html>canary</html>", `"canary"`, `["canary"]`, `{"new":{"deep":["canary"]}}`, `{"errorMessage":"canary"}`} {
		require.NotContains(t, r.body(text), "canary")
	}
	require.JSONEq(t, `{"n":9007199254740993,"b":true,"x":null,"status":"Associated"}`, r.body(`{"n":9007199254740993,"b":true,"x":null,"status":"Associated"}`))
}
