package appsandbooks_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// clientWithAnswer returns a client whose every request gets the same answer. The client makes two
// attempts for a call, without a pause between them, and is closed at the end of the test.
func clientWithAnswer(t *testing.T, status int, header http.Header, body string, opts ...appsandbooks.Option) *appsandbooks.Client {
	if header == nil {
		header = http.Header{}
	}
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: readCloser(body)}, nil
	})
	return clientWithTransport(t, rt, append([]appsandbooks.Option{appsandbooks.WithRetry(2, 0, 0)}, opts...)...)
}

// unlimitedRate is a Limiter that never delays a request.
type unlimitedRate struct{}

func (unlimitedRate) Acquire(context.Context, time.Duration) (func(), error) { return func() {}, nil }

func (unlimitedRate) Pause(time.Duration) {}

func (unlimitedRate) SetRate(int) {}

// isError returns the *Error that err wraps, and fails the test if err wraps none.
func isError(t testing.TB, err error) *appsandbooks.Error {
	t.Helper()
	var e *appsandbooks.Error
	require.ErrorAs(t, err, &e)
	return e
}

// roundTripper is a function type that implements http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var ourMDM = appsandbooks.MDMInfo{ID: "522d5c43-44ca-4f7e-ba7a-53570cf60765", Name: "My MDM Server", Metadata: "1.0.0"}

const receiverURL = "https://mdm.example.com/notifications"

// newServerWithReceiver returns a stand-in that delivers its notifications to receiver, and a client
// of the stand-in's default unit. Both are closed at the end of the test.
func newServerWithReceiver(t *testing.T, receiver http.Handler, opts ...appsandbooks.Option) (*appsandbookstest.Server, *appsandbooks.Client) {
	t.Helper()
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(receiver)))
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	c := newClient(t, srv, opts...)
	t.Cleanup(c.Close)
	return srv, c
}

// sameAnswerClient returns a client whose every request gets the same answer, and the number of the
// client's requests. The client makes one attempt for a call. The caller closes the client.
func sameAnswerClient(t *testing.T, status int, body []byte, opts ...appsandbooks.Option) (*appsandbooks.Client, *atomic.Int32) {
	t.Helper()
	requests := new(atomic.Int32)
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		requests.Add(1)
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, nil
	})
	c, err := appsandbooks.NewClient(stoken, append([]appsandbooks.Option{
		appsandbooks.WithHTTPClient(&http.Client{Transport: rt}), appsandbooks.WithRetry(1, 0, 0),
	}, opts...)...)
	require.NoError(t, err)
	return c, requests
}

// exampleService returns a stand-in with two assets, two users and a subscription, and a client of
// the stand-in. The client polls an event for the first time after 1 ms, so that examples run fast.
func exampleService() (*appsandbookstest.Server, *appsandbooks.Client) {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	if err != nil {
		log.Fatal(err)
	}
	unit := srv.Unit()
	unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 3})
	unit.AddAsset(appsandbookstest.Asset{AdamID: "409201541", Total: 100})
	unit.AddUser(appsandbookstest.User{ClientUserID: "user-1", Status: appsandbookstest.UserAssociated})
	unit.AddUser(appsandbookstest.User{ClientUserID: "user-2", Status: appsandbookstest.UserAssociated})
	unit.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726})
	unit.PurchaseSubscription(67890, 25, 0)
	client, err := appsandbooks.NewClient(unit.Token(),
		appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithRetry(5, time.Millisecond, 10*time.Millisecond),
		appsandbooks.WithPolling(time.Millisecond, 30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	return srv, client
}

func decodeBody(r *http.Request, out any) error { return json.NewDecoder(r.Body).Decode(out) }

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// TestMain fails if a goroutine is still running after all tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortestTimeOfPages returns the shortest time in which a client can read a list of n pages: first
// the first page, which has the number of pages, and then five pages at a time.
func shortestTimeOfPages(n int, latency time.Duration) time.Duration {
	return latency + time.Duration((n-1+4)/5)*latency
}

// slowPages returns the options of a stand-in that answers after a latency, with two records on a
// page of a list, and that accepts 1000 requests per second.
func slowPages(latency time.Duration, more ...appsandbookstest.Option) []appsandbookstest.Option {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxRequestPerSecond = 1000
	return append([]appsandbookstest.Option{
		appsandbookstest.WithLatency(latency), appsandbookstest.WithLimits(limits),
		appsandbookstest.WithPageSize(2), appsandbookstest.WithCursorPageSize(2),
	}, more...)
}

// fillPages adds assignments that fill n pages of a stand-in with the options of slowPages.
// firstPage is the number of pages that earlier calls of fillPages have filled.
func fillPages(srv *appsandbookstest.Server, firstPage, n int) {
	var list []appsandbookstest.Assignment
	for i := range 2 * n {
		list = append(list, appsandbookstest.Assignment{AdamID: "1", SerialNumber: fmt.Sprintf("D%06d", 2*firstPage+i)})
	}
	srv.Unit().AddAssignments(list...)
}

// pageIndexes reads a list and returns the indexes of its pages. It fails the test on an error.
func pageIndexes(t *testing.T, pages iter.Seq2[*appsandbooks.Page[appsandbooks.Assignment], error]) (all []int) {
	t.Helper()
	for page, err := range pages {
		require.NoError(t, err)
		all = append(all, page.Index)
	}
	return all
}

// numbersUpTo returns the n numbers from 0 to n-1.
func numbersUpTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// hookSecret is the bearer token of notifications that the handler of newHandler accepts.
const hookSecret = "s3cret-of-the-receiver"

// newHandler returns a notification handler that accepts hookSecret.
func newHandler(t testing.TB, f hook, opts ...appsandbooks.NotificationOption) *appsandbooks.NotificationHandler {
	t.Helper()
	return newHandlerOf(t, f, append([]appsandbooks.NotificationOption{withSecrets(hookSecret)}, opts...)...)
}

// newHandlerOf returns a notification handler with the given options. It adds no secret to them.
func newHandlerOf(t testing.TB, f hook, opts ...appsandbooks.NotificationOption) *appsandbooks.NotificationHandler {
	t.Helper()
	h, err := appsandbooks.NewNotificationHandler(f, opts...)
	require.NoError(t, err)
	return h
}

func withSecrets(all ...string) appsandbooks.NotificationOption {
	return appsandbooks.WithNotificationSecrets(secretsOf(all)...)
}

func secretsOf(all []string) (secrets []appsandbooks.Secret) {
	for _, s := range all {
		secrets = append(secrets, appsandbooks.NewSecret(s))
	}
	return secrets
}

// notificationRequest returns the HTTP request of a notification, as the service sends it.
func notificationRequest(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://mdm.example.com/notifications", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+hookSecret)
	return r
}

// post passes a request to an HTTP handler and returns the handler's answer.
func post(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// assetCountNotification returns the JSON of an ASSET_COUNT notification with the given ids.
func assetCountNotification(id, uid string) string {
	return fmt.Sprintf(`{"notification":{"adamId":"361309726","countDelta":25,"pricingParam":"STDQ"},`+
		`"notificationId":%q,"notificationType":"ASSET_COUNT","uId":%q}`, id, uid)
}

// idRecorder records the ids of the notifications that a hook receives.
type idRecorder struct {
	mu  sync.Mutex
	ids []string
}

func (r *idRecorder) write(_ context.Context, n *appsandbooks.Notification) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = append(r.ids, n.ID)
	return nil
}

const (
	notificationUID = "2049025000431439"
	someEventID     = "954910a8-3d9c-4fde-948d-253e5aef431a"
)

// notificationJSON returns the JSON of a notification with the given type and payload, as the
// service writes it.
func notificationJSON(typ appsandbooks.NotificationType, payload string) string {
	return `{"notification":` + payload + `,"notificationId":"6e7a2c1b-4f0d-4c55-9a58-0d1f6c2b7e90",` +
		`"notificationType":"` + string(typ) + `","uId":"` + notificationUID + `"}`
}

// publishedNotifications has notifications of the forms that Apple documents outside its
// walkthrough, with made-up values, and notifications with unknown or invalid payloads. The
// function check tests the decoded notification. The name of a notification has the word "payload"
// or "unlimited" if the notification cannot be encoded without its field Raw.
var publishedNotifications = map[string]struct {
	typ     appsandbooks.NotificationType
	payload string
	check   func(t *testing.T, n *appsandbooks.Notification)
}{
	"test": {appsandbooks.NotificationTest, `{}`, func(t *testing.T, n *appsandbooks.Notification) {
		assert.Empty(t, n.EventID())
	}},
	"disassociate": {
		appsandbooks.NotificationAssetManagement,
		`{"assignments":[{"adamId":"1000","pricingParam":"STDQ","serialNumber":"C02XK0AAJG5J"},{"adamId":"1000","pricingParam":"STDQ","serialNumber":"C02XK0ABJG5J"}],
			"eventId":"` + someEventID + `","result":"SUCCESS","type":"DISASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			m := n.AssetManagement
			assert.Equal(t, appsandbooks.EventDisassociate, m.Type)
			assert.Equal(t, appsandbooks.NotificationSuccess, m.Result)
			assert.Equal(t, []appsandbooks.Assignment{
				{AssetPair: appsandbooks.AssetPair{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02XK0AAJG5J"}},
				{AssetPair: appsandbooks.AssetPair{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02XK0ABJG5J"}},
			}, m.Assignments)
			assert.Nil(t, m.Error)
			assert.Equal(t, someEventID, n.EventID())
		},
	},
	"revoke": {
		appsandbooks.NotificationAssetManagement,
		`{"assignments":[{"adamId":"1001","clientUserId":"u1","pricingParam":"PLUS"}],"eventId":"e","result":"SUCCESS","type":"REVOKE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.EventRevoke, n.AssetManagement.Type)
		},
	},
	"failure of a user and a device": {
		appsandbooks.NotificationAssetManagement,
		`{"assignments":[{"adamId":"1000","pricingParam":"STDQ","serialNumber":"C02"},{"adamId":"1000","clientUserId":"u1","pricingParam":"STDQ"}],
			"error":{"errorInfo":{"assets":[{"adamId":"1000","pricingParam":"STDQ"}],"clientUserIds":["u1"],"serialNumbers":["C02"]},
				"errorMessage":"Not enough licenses","errorNumber":9709},
			"eventId":"e","result":"FAILURE","type":"ASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			m := n.AssetManagement
			assert.Equal(t, appsandbooks.NotificationFailure, m.Result)
			require.ErrorIs(t, m.Error, appsandbooks.ErrNotEnoughLicenses)
			assert.Equal(t, []string{"u1"}, m.Error.Info.ClientUserIDs)
		},
	},
	"users updated": {
		appsandbooks.NotificationUserManagement,
		`{"eventId":"e","result":"SUCCESS","type":"UPDATE","users":[{"clientUserId":"u1","email":"u1@example.com","inviteCode":"abc","status":"Registered"}]}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.EventUpdate, n.UserManagement.Type)
			assert.Equal(t, "u1@example.com", n.UserManagement.Users[0].Email)
		},
	},
	"users retired": {
		appsandbooks.NotificationUserManagement,
		`{"eventId":"e","result":"SUCCESS","type":"RETIRE","users":[{"clientUserId":"u1","status":"Retired"}]}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.EventRetire, n.UserManagement.Type)
			assert.Equal(t, "e", n.EventID())
		},
	},
	"users associated": {
		appsandbooks.NotificationUserAssociated,
		`{"associatedUsers":[{"clientUserId":"u1","email":"u1@example.com","idHash":"rRVS8rlBrJjRqYwL8aNGDJG2CbU=","inviteCode":"abc","status":"Associated"}]}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, "u1", n.UserAssociated.AssociatedUsers[0].ClientUserID)
			assert.Empty(t, n.EventID())
		},
	},
	"licenses reduced": {
		appsandbooks.NotificationAssetCount,
		`{"adamId":"1000","countDelta":-3,"pricingParam":"PLUS"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.AssetCount{AssetID: appsandbooks.AssetID{AdamID: "1000", PricingParam: appsandbooks.PricingPLUS}, CountDelta: -3}, *n.AssetCount)
		},
	},
	"seats assigned": {
		appsandbooks.NotificationSubscriptionManagement,
		`{"assignments":[{"adamId":67890,"clientUserId":"u1","renewing":false}],"eventId":"e","result":"SUCCESS","type":"ASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.EqualValues(t, 67890, n.SubscriptionManagement.Assignments[0].AdamID)
			assert.Equal(t, "e", n.EventID())
		},
	},
	"seats not removed": {
		appsandbooks.NotificationSubscriptionManagement,
		`{"assignments":[{"adamId":67890,"clientUserId":"u1","renewing":true}],"error":{"errorMessage":"no","errorNumber":9815},
			"eventId":"e","result":"FAILURE","type":"DISASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			require.ErrorIs(t, n.SubscriptionManagement.Error, appsandbooks.ErrSubscriptionNotAssigned)
		},
	},
	"seat counts": {
		appsandbooks.NotificationSubscriptionCount,
		`{"adamId":67890,"counts":{"available":{"expiring":0,"renewing":9},"total":{"expiring":2,"renewing":10}},"parentAdamId":1000}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, 10, n.SubscriptionCount.Counts.Total.Renewing)
			assert.EqualValues(t, 1000, *n.SubscriptionCount.ParentAdamID)
		},
	},
	"unlimited asset": {
		appsandbooks.NotificationUnlimitedAsset,
		`{"adamId":"1000","whatever":[1,2,{"x":null}]}`,
		func(t *testing.T, n *appsandbooks.Notification) { assert.Empty(t, n.EventID()) },
	},
	"unknown type with a payload": {
		"MOON_PHASE",
		`{"phase":"full"}`,
		func(t *testing.T, n *appsandbooks.Notification) { jsonEqual(t, `{"phase":"full"}`, string(n.Raw)) },
	},
	"payload with an unknown field": {
		appsandbooks.NotificationAssetCount,
		`{"adamId":"1000","countDelta":1,"pricingParam":"STDQ","reason":"gift"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, 1, n.AssetCount.CountDelta)
			assert.Contains(t, string(n.Raw), "gift")
		},
	},
	"payload with wrong types": {
		appsandbooks.NotificationAssetCount,
		`{"adamId":1000,"countDelta":"many"}`,
		func(t *testing.T, n *appsandbooks.Notification) { assert.Nil(t, n.AssetCount) },
	},
	"no payload": {
		appsandbooks.NotificationAssetCount, `null`,
		func(t *testing.T, n *appsandbooks.Notification) { assert.Nil(t, n.AssetCount) },
	},
}

// inVirtualTime runs f in virtual time with a stand-in in memory and a client of the stand-in's
// default unit. It fails the test if the stand-in has recorded a violation of its rules of conduct.
func inVirtualTime(t *testing.T, options []appsandbookstest.Option, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(options...)
		require.NoError(t, err)
		defer srv.Close()
		c := newClient(t, srv)
		defer c.Close()
		f(t, srv, c)
		require.Empty(t, srv.Violations())
	})
}

// newClient returns a client of the stand-in's default unit. The caller closes it.
func newClient(t testing.TB, srv *appsandbookstest.Server, opts ...appsandbooks.Option) *appsandbooks.Client {
	t.Helper()
	c, err := appsandbooks.NewClient(srv.Unit().Token(), append([]appsandbooks.Option{
		appsandbooks.WithHTTPClient(srv.Client()),
	}, opts...)...)
	require.NoError(t, err)
	return c
}

// names returns n different names that begin with prefix: prefix00000, prefix00001 and so on.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%05d", prefix, i)
	}
	return all
}

// addAssets adds n assets to the default unit of a stand-in and returns their ids, of which the
// first has the Adam ID 1000. Each asset has the given number of licenses.
func addAssets(srv *appsandbookstest.Server, n, licenses int) []appsandbooks.AssetID {
	ids := make([]appsandbooks.AssetID, n)
	for i := range ids {
		ids[i] = appsandbooks.AssetID{AdamID: fmt.Sprint(1000 + i), PricingParam: appsandbooks.PricingSTDQ}
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: ids[i].AdamID, Total: licenses})
	}
	return ids
}

// addUsers adds n users to the default unit of a stand-in and returns their ids.
func addUsers(srv *appsandbookstest.Server, n int) []string {
	ids := names("user-", n)
	for _, id := range ids {
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: id, Status: appsandbookstest.UserAssociated})
	}
	return ids
}

// countPath returns how many requests with a path the stand-in received.
func countPath(srv *appsandbookstest.Server, path string) int {
	n := 0
	for _, r := range srv.Requests() {
		if r.Path == path {
			n++
		}
	}
	return n
}

// requireLedgerAgrees compares each outcome of an association with the stand-in's record: a pair
// that succeeded must be in the ledger, and a pair that failed must not.
func requireLedgerAgrees(t testing.TB, srv *appsandbookstest.Server, r *appsandbooks.Report) {
	t.Helper()
	seen := map[appsandbookstest.Assignment]bool{}
	totals := map[appsandbooks.OutcomeStatus]int{}
	for o := range r.Outcomes() {
		a := appsandbookstest.Assignment{
			AdamID: o.AdamID, PricingParam: string(o.PricingParam), ClientUserID: o.ClientUserID, SerialNumber: o.SerialNumber,
		}
		require.False(t, seen[a], "%v has two outcomes", a)
		seen[a] = true
		totals[o.Status]++
		inLedger := srv.Unit().HasAssignment(a)
		switch o.Status {
		case appsandbooks.OutcomeSucceeded:
			require.True(t, inLedger, "%v succeeded, but is not in the ledger", a)
			require.NoError(t, o.Err)
		case appsandbooks.OutcomeFailed:
			require.False(t, inLedger, "%v failed (%v), but is in the ledger", a, o.Err)
			require.Error(t, o.Err)
		case appsandbooks.OutcomeUnsent:
			require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
		default:
			require.Error(t, o.Err)
		}
	}
	require.Len(t, seen, r.Total)
	require.Equal(t, r.Succeeded, totals[appsandbooks.OutcomeSucceeded])
	require.Equal(t, r.Failed, totals[appsandbooks.OutcomeFailed])
	require.Equal(t, r.Unconfirmed, totals[appsandbooks.OutcomeUnconfirmed])
	require.Equal(t, r.Unsent, totals[appsandbooks.OutcomeUnsent])
}

// deviceAssignments returns assignments of asset 1000 to the devices with the given serial numbers.
func deviceAssignments(serials []string) (all []appsandbookstest.Assignment) {
	for _, s := range serials {
		all = append(all, appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: s})
	}
	return all
}

// deviceChange returns an AssetChange of asset 1000 and the devices with the given serial numbers.
func deviceChange(serials []string) appsandbooks.AssetChange {
	return appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: serials}
}

// answersWithoutList has answers to a request for assignments. No answer has a usable list.
var answersWithoutList = []string{
	`{}`, `null`, `{"status":"ok"}`, `{"assignments":null}`,
	`{"errorNumber":"INTERNAL","errorMessage":"try later"}`, `{"errorMessage":"try later","assignments":[]}`,
}

// errorOf takes the two results of a call, and returns the error and drops the value.
func errorOf[T any](_ T, err error) error { return err }

// drain reads a list to its end and returns the error of the list.
func drain[T any](seq iter.Seq2[T, error]) error { return errorOf(appsandbooks.Collect(seq)) }

// errCrash is the error of a journal in tests that simulate a crash of the process.
var errCrash = errors.New("crashed")

// canaryInner is the secret part of canaryToken, and canarySecret is a secret of notifications.
// Tests search everything that a program can print for these two texts.
const (
	canaryInner  = "canary-inner-token"
	canarySecret = "canary-notification-secret"
)

// canaryToken is a content token that contains canaryInner.
var canaryToken = base64.StdEncoding.EncodeToString([]byte(`{"token":"` + canaryInner + `","expDate":"2099-01-01T00:00:00+0000","orgName":"Org"}`))

// clientWithTransport returns a client that sends its requests through rt. It is closed at the end
// of the test.
func clientWithTransport(t *testing.T, rt roundTripper, opts ...appsandbooks.Option) *appsandbooks.Client {
	t.Helper()
	c, err := appsandbooks.NewClient(stoken, append([]appsandbooks.Option{appsandbooks.WithHTTPClient(&http.Client{Transport: rt})}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// associateOne adds asset 1000 with one license and associates it with the device C02.
func associateOne(ctx context.Context, srv *appsandbookstest.Server, c *appsandbooks.Client, opts ...appsandbooks.OperationOption) (*appsandbooks.Operation, error) {
	return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: addAssets(srv, 1, 1), SerialNumbers: []string{"C02"}}, opts...)
}

// stoken is a content token that is well-formed and that no service accepts.
const stoken = "eyJ0b2tlbiI6Im5vdGhpbmciLCJleHBEYXRlIjoiMjAzMC0xMS0wOFQyMjozMzoyMiswMDAwIiwib3JnTmFtZSI6Ik9SRzEyMzQ1In0="

// recordedAnswers is an HTTP transport that returns its answers one after another, each with status
// 200, and records the requests and their bodies. It fails the test on a request for which no
// answer is left.
type recordedAnswers struct {
	t        *testing.T
	answers  []string // file names below testdata, or JSON objects
	requests []*http.Request
	bodies   []string
}

func (r *recordedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	r.requests, r.bodies = append(r.requests, req), append(r.bodies, body)
	if len(r.requests) > len(r.answers) {
		r.t.Errorf("unexpected request %s %s", req.Method, req.URL)
		return &http.Response{StatusCode: http.StatusTeapot, Body: http.NoBody, Header: http.Header{}, Request: req}, nil
	}
	answer := r.answers[len(r.requests)-1]
	if !strings.HasPrefix(answer, "{") {
		answer = fixture(r.t, answer)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(answer)), ContentLength: int64(len(answer)), Request: req,
	}, nil
}

// fixture returns the content of a file below testdata.
func fixture(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(data)
}

// recordedClient returns a client whose requests get the given answers one after another, and the
// client's transport.
func recordedClient(t *testing.T, answers ...string) (*appsandbooks.Client, *recordedAnswers) {
	t.Helper()
	r := &recordedAnswers{t: t, answers: answers}
	// The base URL differs from Apple's, so that the test notices a request with a fixed URL.
	c, err := appsandbooks.NewClient(stoken,
		appsandbooks.WithBaseURL("https://vpp.example.com/base/mdm/v2"),
		appsandbooks.WithHTTPClient(&http.Client{Transport: r}))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, r
}

// jsonEqual fails the test if two JSON texts have different values.
func jsonEqual(t testing.TB, want, got string) {
	t.Helper()
	var w, g any
	require.NoError(t, json.Unmarshal([]byte(want), &w))
	require.NoError(t, json.Unmarshal([]byte(got), &g), "got %s", got)
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("JSON differs (-want +got):\n%s", d)
	}
}
