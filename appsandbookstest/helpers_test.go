package appsandbookstest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// rules returns the violated rules of conduct, in the order of the violations.
func rules(srv *fake.Server) []fake.Rule {
	var out []fake.Rule
	for _, v := range srv.Violations() {
		out = append(out, v.Rule)
	}
	return out
}

// inVirtualTime runs a test with a new server in a bubble of testing/synctest.
func inVirtualTime(t *testing.T, opts []fake.Option, test func(t *testing.T, srv *fake.Server, u *fake.Unit, c *caller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, u, c := newServer(t, opts...)
		test(t, srv, u, c)
	})
}

// inMemoryAndTCP runs a test twice: with requests in memory and with requests
// over TCP.
func inMemoryAndTCP(t *testing.T, test func(t *testing.T, srv *fake.Server, c *caller)) {
	t.Run("memory", func(t *testing.T) {
		srv, _, c := newServer(t)
		test(t, srv, c)
	})
	t.Run("tcp", func(t *testing.T) {
		srv, _, c := newServer(t)
		require.NoError(t, srv.Listen("localhost:0"))
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		c.client = &http.Client{Transport: tr}
		test(t, srv, c)
	})
}

// An observedRequest is what a client sees of a request.
type observedRequest struct {
	hooks   []string
	status  int
	body    string
	err     error // error of the round trip
	bodyErr error // error of reading the body
}

// observe sends a request and returns what the client sees.
func (c *caller) observe(method, path string, body any) observedRequest {
	c.t.Helper()
	var out observedRequest
	req := c.request(method, path, body)
	hook := func(name string) { out.hooks = append(out.hooks, name) }
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn:              func(string) { hook("GetConn") },
		GotConn:              func(httptrace.GotConnInfo) { hook("GotConn") },
		WroteHeaders:         func() { hook("WroteHeaders") },
		WroteRequest:         func(httptrace.WroteRequestInfo) { hook("WroteRequest") },
		GotFirstResponseByte: func() { hook("GotFirstResponseByte") },
	}))
	resp, err := c.client.Do(req)
	if err != nil {
		out.err = err
		return out
	}
	defer resp.Body.Close()
	out.status = resp.StatusCode
	raw, err := io.ReadAll(resp.Body)
	out.body, out.bodyErr = string(raw), err
	return out
}

// An object is a decoded JSON object.
type object = map[string]any

// A caller is an HTTP client with the token of a unit.
type caller struct {
	t      testing.TB
	srv    *fake.Server
	client *http.Client
	token  string
}

// newServer returns a server, its unit, and a caller that sends requests of the
// unit in memory.
func newServer(t testing.TB, opts ...fake.Option) (*fake.Server, *fake.Unit, *caller) {
	t.Helper()
	srv, err := fake.NewServer(opts...)
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	return srv, srv.Unit(), &caller{t: t, srv: srv, client: srv.Client(), token: srv.Unit().Token()}
}

func (c *caller) request(method, path string, body any) *http.Request {
	c.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(c.t, err)
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.srv.URL()+"/"+path, r)
	require.NoError(c.t, err)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// do sends a request and returns the status and the decoded body.
func (c *caller) do(method, path string, body any) (int, object) {
	c.t.Helper()
	resp, err := c.client.Do(c.request(method, path, body))
	require.NoError(c.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	var out object
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		require.NoError(c.t, json.Unmarshal(raw, &out), "%s", raw)
	}
	return resp.StatusCode, out
}

// get sends a GET request that must succeed, and returns the body.
func (c *caller) get(path string) object {
	c.t.Helper()
	status, out := c.do(http.MethodGet, path, nil)
	require.Equal(c.t, http.StatusOK, status, "%s: %v", path, out)
	require.NotContains(c.t, out, "errorNumber")
	return out
}

// post sends a POST request that must succeed, and returns the body.
func (c *caller) post(path string, body any) object {
	c.t.Helper()
	status, out := c.do(http.MethodPost, path, body)
	require.Equal(c.t, http.StatusOK, status, "%s: %v", path, out)
	require.NotContains(c.t, out, "errorNumber")
	return out
}

// event sends a write that must succeed, and returns the id of its event.
func (c *caller) event(path string, body any) string {
	c.t.Helper()
	id, ok := c.post(path, body)["eventId"].(string)
	require.True(c.t, ok)
	return id
}

// finish sends a write, finishes all events, and returns the answer of the
// status endpoint for the write's event.
func (c *caller) finish(u *fake.Unit, path string, body any) object {
	c.t.Helper()
	id := c.event(path, body)
	u.FinishEvents()
	return c.get("status?eventId=" + id)
}

// refused sends a request that must be refused with an error number, and
// returns the body.
func (c *caller) refused(status, number int, method, path string, body any) object {
	c.t.Helper()
	got, out := c.do(method, path, body)
	require.Equal(c.t, status, got, "%s %s: %v", method, path, out)
	require.EqualValues(c.t, number, out["errorNumber"], "%s %s: %v", method, path, out)
	require.NotEmpty(c.t, out["errorMessage"])
	return out
}

// items returns the elements of a field of o. The field must be an array of
// objects.
func items(t testing.TB, o object, name string) []object {
	t.Helper()
	list, ok := o[name].([]any)
	require.True(t, ok, "%s in %v", name, o)
	out := make([]object, len(list))
	for i, x := range list {
		out[i] = x.(object)
	}
	return out
}

// assetsBody returns the body of an associate, disassociate or revoke request.
func assetsBody(assets []string, users, serials []string) object {
	out := object{}
	if assets != nil {
		list := make([]object, len(assets))
		for i, id := range assets {
			list[i] = object{"adamId": id, "pricingParam": "STDQ"}
		}
		out["assets"] = list
	}
	if users != nil {
		out["clientUserIds"] = users
	}
	if serials != nil {
		out["serialNumbers"] = serials
	}
	return out
}

// A receiver is a handler that records the notifications it accepts.
type receiver struct {
	mu       sync.Mutex
	secret   string
	status   func(n int) int // returns the HTTP status of the answer to the nth request, counted from zero
	hits     int
	received []object
	arrived  chan object
}

func newReceiver(secret string) *receiver {
	return &receiver{secret: secret, arrived: make(chan object, 1000)}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := http.StatusNoContent
	r.hits++
	if r.status != nil {
		status = r.status(r.hits - 1)
	}
	if req.Header.Get("Authorization") != "Bearer "+r.secret {
		status = http.StatusUnauthorized
	}
	var n object
	if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
		status = http.StatusBadRequest
	}
	if status == http.StatusNoContent {
		r.received = append(r.received, n)
		r.arrived <- n
	}
	w.WriteHeader(status)
}

// of returns the received notifications with a type.
func (r *receiver) of(typ string) []object {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []object
	for _, n := range r.received {
		if n["notificationType"] == typ {
			out = append(out, n)
		}
	}
	return out
}

// allTypes are the types of notifications that the server sends, except for
// TEST_NOTIFICATION.
var allTypes = []string{
	"ASSET_MANAGEMENT", "USER_MANAGEMENT", "USER_ASSOCIATED", "ASSET_COUNT",
	"SUBSCRIPTION_MANAGEMENT", "SUBSCRIPTION_COUNT",
}

// clientConfig returns the body of a POST client/config that registers a
// receiver of notifications.
func clientConfig(url, secret string) object {
	return object{
		"mdmInfo":               object{"id": "522d5c43", "name": "My Service", "metadata": "1.0.0"},
		"notificationUrl":       url,
		"notificationAuthToken": secret,
		"notificationTypes":     allTypes,
	}
}

// decode returns the JSON object of an answer, and closes its body.
func decode(t testing.TB, resp *http.Response) object {
	t.Helper()
	defer resp.Body.Close()
	var out object
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
	return out
}

// innerToken returns the field "token" of a content token.
func innerToken(t testing.TB, token string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(token)
	require.NoError(t, err)
	require.Contains(t, string(raw), "\n")
	var content struct{ Token, ExpDate, OrgName string }
	require.NoError(t, json.Unmarshal(raw, &content))
	require.NotEmpty(t, content.OrgName)
	_, err = time.Parse("2006-01-02T15:04:05-0700", content.ExpDate)
	require.NoError(t, err)
	return content.Token
}

// counts returns the assigned, available, retired and total counts of an asset.
func counts(t *testing.T, u *fake.Unit, adamID string) [4]int {
	t.Helper()
	a, ok := u.Asset(adamID, "")
	require.True(t, ok)
	return [4]int{a.Assigned, a.Available, a.Retired, a.Total}
}

const receiverURL = "https://mdm.example.com/notifications"

// withReceiver runs a test in virtual time with a unit whose notifications are
// delivered to a receiver.
func withReceiver(
	t *testing.T, opts []fake.Option, test func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, c *caller),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("secret")
		opts := append([]fake.Option{fake.WithNotificationTransport(fake.HandlerTransport(r))}, opts...)
		srv, u, c := newServer(t, opts...)
		c.post("client/config", clientConfig(receiverURL, "secret"))
		require.Len(t, r.of("TEST_NOTIFICATION"), 1)
		test(t, r, srv, u, c)
	})
}

var errBody = errors.New("no body")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBody }

// readPages reads all pages of a list. It returns the values of one field of
// all records, and the pages.
func readPages(t *testing.T, c *caller, path, list, field string) (values []string, pages []object) {
	t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for index := 0; ; {
		page := c.get(fmt.Sprintf("%s%spageIndex=%d", path, sep, index))
		require.EqualValues(t, index, page["currentPageIndex"])
		records := items(t, page, list)
		require.EqualValues(t, len(records), page["size"])
		for _, r := range records {
			values = append(values, r[field].(string))
		}
		pages = append(pages, page)
		next, more := page["nextPageIndex"].(float64)
		if !more {
			require.EqualValues(t, index+1, page["totalPages"])
			return values, pages
		}
		require.EqualValues(t, index+1, next)
		index = int(next)
	}
}

// deviceAssignments returns assignments of an asset to devices.
func deviceAssignments(adamID string, serials ...string) []fake.Assignment {
	out := make([]fake.Assignment, len(serials))
	for i, s := range serials {
		out[i] = fake.Assignment{AdamID: adamID, SerialNumber: s}
	}
	return out
}

// ids returns n different ids.
func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}

// usersBody returns the body of a create, update or retire request for users.
func usersBody(ids ...string) object {
	list := make([]object, len(ids))
	for i, id := range ids {
		list[i] = object{"clientUserId": id}
	}
	return object{"users": list}
}
