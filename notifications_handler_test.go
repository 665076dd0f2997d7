package appsandbooks_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/appsandbooks/appsandbooks"
)

const hookSecret = "s3cret-of-the-receiver"

type hook = func(context.Context, *appsandbooks.Notification) error

// newHandler makes a handler that accepts hookSecret.
func newHandler(t testing.TB, f hook, opts ...appsandbooks.NotificationOption) *appsandbooks.NotificationHandler {
	t.Helper()
	return newHandlerOf(t, f, append([]appsandbooks.NotificationOption{withSecrets(hookSecret)}, opts...)...)
}

// newHandlerOf makes a handler that accepts what the options say.
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

// notice is a request as the service makes it.
func notice(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://mdm.example.com/notifications", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+hookSecret)
	return r
}

func post(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// counted is an ASSET_COUNT notification.
func counted(id, uid string) string {
	return fmt.Sprintf(`{"notification":{"adamId":"361309726","countDelta":25,"pricingParam":"STDQ"},`+
		`"notificationId":%q,"notificationType":"ASSET_COUNT","uId":%q}`, id, uid)
}

// diary collects the ids that a hook gets.
type diary struct {
	mu  sync.Mutex
	ids []string
}

func (d *diary) write(_ context.Context, n *appsandbooks.Notification) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids = append(d.ids, n.ID)
	return nil
}

// The hook gets every notification, with the payload of its type if it has one
// that can be read.
func TestHookGetsEveryType(t *testing.T) {
	var typed, all, told []appsandbooks.NotificationType
	h := newHandler(t, func(_ context.Context, n *appsandbooks.Notification) error {
		all = append(all, n.Type)
		for typ, set := range map[appsandbooks.NotificationType]bool{
			appsandbooks.NotificationAssetManagement:        n.AssetManagement != nil,
			appsandbooks.NotificationAssetCount:             n.AssetCount != nil,
			appsandbooks.NotificationUserManagement:         n.UserManagement != nil,
			appsandbooks.NotificationUserAssociated:         n.UserAssociated != nil,
			appsandbooks.NotificationSubscriptionManagement: n.SubscriptionManagement != nil,
			appsandbooks.NotificationSubscriptionCount:      n.SubscriptionCount != nil,
		} {
			if set {
				assert.Equal(t, n.Type, typ)
				typed = append(typed, typ)
			}
		}
		return nil
	}, appsandbooks.WithNotify(func(n *appsandbooks.Notification) { told = append(told, n.Type) }))
	var want, wantTyped []appsandbooks.NotificationType
	deliver := func(typ appsandbooks.NotificationType, payload string) {
		body := fmt.Sprintf(`{"notification":%s,"notificationId":"%d","notificationType":%q,"uId":"1"}`, payload, len(want), typ)
		want = append(want, typ)
		assert.Equal(t, http.StatusOK, post(h, notice(body)).Code, typ)
	}
	for _, typ := range append(appsandbooks.NotificationTypes(), "MOON_PHASE") {
		if typ != "MOON_PHASE" && typ != appsandbooks.NotificationUnlimitedAsset {
			wantTyped = append(wantTyped, typ)
		}
		deliver(typ, `{}`)
	}
	deliver(appsandbooks.NotificationSubscriptionCount, `{"counts":7}`) // unreadable
	assert.Equal(t, want, all)
	assert.Equal(t, wantTyped, typed)
	assert.Equal(t, want, told)

	assert.Equal(t, http.StatusOK, post(h, notice(enveloped(appsandbooks.NotificationTest, `{}`))).Code)
	assert.Equal(t, want, all, "a test is answered by the handler itself")
	assert.Len(t, told, len(want)+1, "and tells that there is a way in")
}

func TestAcknowledgedAfterTheHook(t *testing.T) {
	calls := 0
	h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
		switch calls++; calls {
		case 1:
			return errors.New("the database is away")
		case 2:
			return errors.New("so is the other")
		case 3:
			panic("at the disco")
		case 4:
			panic(http.ErrAbortHandler)
		}
		return nil
	})
	var codes []int
	for range 6 {
		codes = append(codes, post(h, notice(counted("1", "2"))).Code)
	}
	assert.Equal(t, []int{503, 503, 500, 500, 200, 200}, codes)
	assert.Equal(t, 5, calls, "the last delivery is a duplicate of one that is done")
}

func TestHandlerIsNotMadeWithoutSecret(t *testing.T) {
	for name, secrets := range map[string][]string{"none": nil, "empty": {""}, "one empty": {"a", ""}} {
		t.Run(name, func(t *testing.T) {
			h, err := appsandbooks.NewNotificationHandler(nil, withSecrets(secrets...))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			assert.Nil(t, h)
		})
	}
	_, err := appsandbooks.NewNotificationHandler(nil)
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	for name, opt := range map[string]appsandbooks.NotificationOption{
		"body":    appsandbooks.WithNotificationLimits(-1, 1),
		"places":  appsandbooks.WithNotificationLimits(1, -1),
		"reading": appsandbooks.WithNotificationTimeouts(-1, 1),
		"hook":    appsandbooks.WithNotificationTimeouts(1, -1),

		"no option":          nil,
		"no request secrets": appsandbooks.WithRequestSecrets(nil),
		"no unit secrets":    appsandbooks.WithUnitSecrets(nil),
		"no notify":          appsandbooks.WithNotify(nil),
		"no deduper":         appsandbooks.WithDeduper(nil),
		"no logger":          appsandbooks.WithNotificationLogger(nil),
	} {
		t.Run(name, func(t *testing.T) {
			h, err := appsandbooks.NewNotificationHandler(nil, withSecrets("a"), opt)
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			assert.Nil(t, h)
		})
	}
}

// Without the right secret the body is not read.
func TestAuthorizationOfNotifications(t *testing.T) {
	var d diary
	h := newHandlerOf(t, d.write, withSecrets(hookSecret, "previous-secret"))
	for name, test := range map[string]struct {
		headers []string
		code    int
	}{
		"right":               {[]string{"Bearer " + hookSecret}, 200},
		"previous":            {[]string{"Bearer previous-secret"}, 200},
		"scheme of any case":  {[]string{"bEaReR " + hookSecret}, 200},
		"more spaces":         {[]string{"Bearer   " + hookSecret + " "}, 200},
		"none":                {nil, 401},
		"empty":               {[]string{""}, 401},
		"scheme only":         {[]string{"Bearer"}, 401},
		"empty secret":        {[]string{"Bearer "}, 401},
		"secret only":         {[]string{hookSecret}, 401},
		"other scheme":        {[]string{"Basic " + hookSecret}, 401},
		"other secret":        {[]string{"Bearer x" + hookSecret[1:]}, 401},
		"prefix":              {[]string{"Bearer " + hookSecret[:len(hookSecret)-1]}, 401},
		"longer":              {[]string{"Bearer " + hookSecret + "x"}, 401},
		"other case":          {[]string{"Bearer " + strings.ToUpper(hookSecret)}, 401},
		"two headers":         {[]string{"Bearer " + hookSecret, "Bearer " + hookSecret}, 401},
		"two, the second bad": {[]string{"Bearer " + hookSecret, "Bearer no"}, 401},
		"list":                {[]string{"Bearer " + hookSecret + ", Bearer " + hookSecret}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := notice(counted(name, "1"))
			if test.code != 200 {
				r.Body = io.NopCloser(iotest.ErrReader(errors.New("the body was read")))
			}
			r.Header["Authorization"] = test.headers
			before := len(d.ids)
			w := post(h, r)
			assert.Equal(t, test.code, w.Code)
			if test.code != 200 {
				assert.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
				assert.Equal(t, "Unauthorized\n", w.Body.String(), "no reason is given")
				assert.Len(t, d.ids, before)
			} else {
				assert.Len(t, d.ids, before+1)
			}
		})
	}
}

func TestSecretsChange(t *testing.T) {
	h := newHandlerOf(t, nil, withSecrets("old"))
	works := func(secret string) bool {
		r := notice(counted("1", "1"))
		r.Header.Set("Authorization", "Bearer "+secret)
		return post(h, r).Code == http.StatusOK
	}
	require.True(t, works("old"))
	require.False(t, works("new"))
	require.NoError(t, h.AddSecret(appsandbooks.NewSecret("new")))
	require.NoError(t, h.AddSecret(appsandbooks.NewSecret("new")))
	require.True(t, works("old"))
	require.True(t, works("new"))
	h.RemoveSecret(appsandbooks.NewSecret("old"))
	require.False(t, works("old"))
	require.True(t, works("new"))
	h.RemoveSecret(appsandbooks.NewSecret("new"))
	require.False(t, works("new"))
	require.False(t, works(""))
	require.ErrorIs(t, h.AddSecret(appsandbooks.NewSecret("")), appsandbooks.ErrInvalid)
}

// One handler for many units, each with a URL of its own.
func TestSecretsByPath(t *testing.T) {
	units := map[string][]string{"a": {"secret-a"}, "b": {"secret-b", "secret-b-before"}, "c": {""}}
	var d diary
	h := newHandlerOf(t, d.write, appsandbooks.WithRequestSecrets(func(r *http.Request) ([]appsandbooks.Secret, error) {
		if r.PathValue("unit") == "broken" {
			return nil, errors.New("the database is away")
		}
		return secretsOf(units[r.PathValue("unit")]), nil
	}))
	mux := http.NewServeMux()
	mux.Handle("/notifications/{unit}", h)
	for i, test := range []struct {
		path, secret string
		code         int
	}{
		{"a", "secret-a", 200},
		{"a", "secret-b", 401},
		{"b", "secret-b", 200},
		{"b", "secret-b-before", 200},
		{"c", "", 401},
		{"d", "secret-a", 401},
		{"broken", "secret-a", 503},
	} {
		r := httptest.NewRequest(http.MethodPost, "/notifications/"+test.path, strings.NewReader(counted(strconv.Itoa(i), test.path)))
		r.Header.Set("Authorization", "Bearer "+test.secret)
		assert.Equal(t, test.code, post(mux, r).Code, "%s with %q", test.path, test.secret)
	}
	assert.Equal(t, []string{"0", "2", "3"}, d.ids)
}

// One handler and one URL for many units, which cannot speak for each other.
func TestSecretsByUnit(t *testing.T) {
	var d diary
	units := map[string][]string{"a": {"secret-a"}, "b": {"secret-b"}, "c": {""}, "z": {"secret-z"}}
	h := newHandlerOf(t, d.write, withSecrets("secret-a", "secret-b"),
		appsandbooks.WithUnitSecrets(func(_ context.Context, uid string) ([]appsandbooks.Secret, error) {
			if uid == "broken" {
				return nil, errors.New("the database is away")
			}
			return secretsOf(units[uid]), nil
		}))
	for i, test := range []struct {
		uid, secret string
		code        int
	}{
		{"a", "secret-a", 200},
		{"b", "secret-b", 200},
		{"b", "secret-a", 401},
		{"", "secret-a", 401},
		{"c", "secret-a", 401},
		{"z", "secret-z", 401}, // not let in to begin with
		{"broken", "secret-a", 503},
	} {
		r := notice(counted(strconv.Itoa(i), test.uid))
		r.Header.Set("Authorization", "Bearer "+test.secret)
		assert.Equal(t, test.code, post(h, r).Code, "%s with %q", test.uid, test.secret)
		r = notice(fmt.Sprintf(`{"notification":{},"notificationId":"t","notificationType":"TEST_NOTIFICATION","uId":%q}`, test.uid))
		r.Header.Set("Authorization", "Bearer "+test.secret)
		assert.Equal(t, test.code, post(h, r).Code, "a test for %s with %q", test.uid, test.secret)
	}
	assert.Equal(t, []string{"0", "1"}, d.ids)
}

func TestWhatIsNoNotification(t *testing.T) {
	var d diary
	h := newHandler(t, d.write, appsandbooks.WithNotificationLimits(1000, 0))
	fits := counted("fits", "1")
	fits += strings.Repeat(" ", 1000-len(fits))
	chunked := func(body string) io.Reader { return struct{ io.Reader }{strings.NewReader(body)} }
	for name, test := range map[string]struct {
		method string
		body   io.Reader
		code   int
	}{
		"at the limit":          {"POST", strings.NewReader(fits), 200},
		"at the limit, chunked": {"POST", chunked(fits), 200},
		"too large":             {"POST", strings.NewReader(fits + " "), 413},
		"too large, chunked":    {"POST", chunked(fits + " "), 413},
		"far too large":         {"POST", chunked(strings.Repeat(" ", 1<<20)), 413},
		"in small pieces":       {"POST", iotest.OneByteReader(chunked(counted("pieces", "1"))), 200},
		"GET":                   {"GET", nil, 405},
		"PUT":                   {"PUT", strings.NewReader(fits), 405},
		"empty":                 {"POST", nil, 400},
		"HTML":                  {"POST", strings.NewReader("<html>"), 400},
		"no id":                 {"POST", strings.NewReader(`{"notification":{},"notificationType":"ASSET_COUNT"}`), 400},
		"broken off":            {"POST", io.MultiReader(strings.NewReader(fits[:20]), iotest.ErrReader(io.ErrUnexpectedEOF)), 408},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "https://mdm.example.com/notifications", test.body)
			r.Header.Set("Authorization", "Bearer "+hookSecret)
			w := post(h, r)
			assert.Equal(t, test.code, w.Code)
			if test.code == 405 {
				assert.Equal(t, "POST", w.Header().Get("Allow"))
			}
		})
	}
	slices.Sort(d.ids)
	assert.Equal(t, []string{"fits", "pieces"}, slices.Compact(d.ids))
}

// pipes is a listener in memory, for servers in virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// served runs f in virtual time with a handler that is served, and a client of
// it that keeps no connections.
func served(
	t *testing.T, hook hook, timeouts appsandbooks.NotificationOption,
	f func(send func(body io.Reader) (*http.Response, error), stop func() error),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, hook, timeouts)
		l, result := newPipes(), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { result <- h.Serve(ctx, l) }()
		client := &http.Client{Transport: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}
		f(func(body io.Reader) (*http.Response, error) {
			r, err := http.NewRequest(http.MethodPost, "http://mdm.example.com/notifications", body)
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+hookSecret)
			resp, err := client.Do(r)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			return resp, err
		}, func() error {
			cancel()
			return <-result
		})
	})
}

func TestSlowBody(t *testing.T) {
	var d diary
	served(t, d.write, appsandbooks.WithNotificationTimeouts(7*time.Second, 0),
		func(send func(io.Reader) (*http.Response, error), stop func() error) {
			began := time.Now()
			slow, writer := io.Pipe()
			go func() {
				_, err := io.WriteString(writer, counted("slow", "1")[:30])
				assert.NoError(t, err)
			}()
			resp, err := send(slow)
			require.NoError(t, err)
			assert.Equal(t, http.StatusRequestTimeout, resp.StatusCode)
			assert.Equal(t, 7*time.Second, time.Since(began))
			_ = writer.Close()

			resp, err = send(strings.NewReader(counted("fast", "1")))
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			require.NoError(t, stop())
			assert.Equal(t, []string{"fast"}, d.ids)
		})
}

// A hook has its own time limit; neither the time for reading the body nor a
// sender that hangs up shortens it.
func TestHooksHaveTime(t *testing.T) {
	took := make(chan time.Duration, 1)
	timeouts := appsandbooks.WithNotificationTimeouts(time.Second, 20*time.Second)
	hook := func(ctx context.Context, n *appsandbooks.Notification) error {
		began := time.Now()
		wait := 10 * time.Second
		if n.ID == "endless" {
			wait = time.Hour
		}
		defer func() { took <- time.Since(began) }()
		select {
		case <-time.After(wait):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	served(t, hook, timeouts, func(send func(io.Reader) (*http.Response, error), stop func() error) {
		resp, err := send(strings.NewReader(counted("long", "1")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, 10*time.Second, <-took)

		resp, err = send(strings.NewReader(counted("endless", "1")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		assert.Equal(t, 20*time.Second, <-took)
		require.NoError(t, stop())
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, hook, timeouts)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.Equal(t, http.StatusOK, post(h, notice(counted("long", "1")).WithContext(ctx)).Code)
	})
}

// Serve answers what is under way before it returns.
func TestServeDrains(t *testing.T) {
	var d diary
	served(t, func(ctx context.Context, n *appsandbooks.Notification) error {
		time.Sleep(5 * time.Second)
		return d.write(ctx, n)
	}, appsandbooks.WithNotificationTimeouts(0, 0), func(send func(io.Reader) (*http.Response, error), stop func() error) {
		stopped := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			stopped <- stop()
			assert.Equal(t, []string{"last"}, d.ids)
		}()
		resp, err := send(strings.NewReader(counted("last", "1")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, <-stopped)
		_, err = send(strings.NewReader(counted("after", "1")))
		require.Error(t, err)
	})
	// What never ends is left alone at last.
	served(t, func(context.Context, *appsandbooks.Notification) error {
		time.Sleep(time.Minute)
		return nil
	}, appsandbooks.WithNotificationTimeouts(time.Second, 2*time.Second), func(send func(io.Reader) (*http.Response, error), stop func() error) {
		go func() { _, _ = send(strings.NewReader(counted("stuck", "1"))) }()
		synctest.Wait()
		began := time.Now()
		require.ErrorIs(t, stop(), context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
		time.Sleep(time.Hour)
	})
}

func TestServeTellsOfABrokenListener(t *testing.T) {
	l := newPipes()
	require.NoError(t, l.Close())
	require.ErrorIs(t, newHandler(t, nil).Serve(t.Context(), l), net.ErrClosed)
}

// What is too much at once waits a little; what waits too long is to come again.
func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			time.Sleep(1500 * time.Millisecond)
			return nil
		}, appsandbooks.WithNotificationLimits(0, 3))
		codes := make(chan int, 10)
		for i := range 10 {
			go func() { codes <- post(h, notice(counted(strconv.Itoa(i), "1"))).Code }()
		}
		got := map[int]int{}
		for range 10 {
			got[<-codes]++
		}
		assert.Equal(t, map[int]int{200: 6, 503: 4}, got) // three at once, three after 1.5 s, and the rest after 2 s
		assert.EqualValues(t, 3, most.Load())
		assert.Equal(t, http.StatusOK, post(h, notice(counted("later", "1"))).Code)
	})
}

// A duplicate is not acknowledged before the first is done, and takes over when
// the first fails.
func TestDuplicatesAtTheSameTime(t *testing.T) {
	for name, fails := range map[string]bool{"first succeeds": false, "first fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
					first := calls.Add(1) == 1
					time.Sleep(time.Second)
					if first && fails {
						return errors.New("no")
					}
					return nil
				})
				began := time.Now()
				type answer struct {
					code  int
					after time.Duration
				}
				answers := make(chan answer, 5)
				for range 5 {
					go func() {
						code := post(h, notice(counted("1", "1"))).Code
						answers <- answer{code, time.Since(began)}
					}()
				}
				got := map[answer]int{}
				for range 5 {
					got[<-answers]++
				}
				if fails {
					assert.Equal(t, map[answer]int{{503, time.Second}: 1, {200, 2 * time.Second}: 4}, got)
					assert.EqualValues(t, 2, calls.Load())
				} else {
					assert.Equal(t, map[answer]int{{200, time.Second}: 5}, got)
					assert.EqualValues(t, 1, calls.Load())
				}
			})
		})
	}
}

// The same id of another unit is another notification.
func TestUnitsAreDeduplicatedApart(t *testing.T) {
	var d diary
	h := newHandler(t, d.write)
	long := strings.Repeat("x", 4000)
	for _, body := range []string{
		counted("1", "a"), counted("1", "b"), counted("1", "a"),
		counted(long, "a"), counted(long+"x", "a"), counted(long, "a"),
	} {
		require.Equal(t, http.StatusOK, post(h, notice(body)).Code)
	}
	assert.Equal(t, []string{"1", "1", long, long + "x"}, d.ids)
}

func TestDeduper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		d := appsandbooks.NewDeduper()
		begin := func(key string) bool {
			first, err := d.Begin(ctx, key)
			require.NoError(t, err)
			return first
		}
		require.True(t, begin("a"))
		require.NoError(t, d.End(ctx, "a", false))
		require.True(t, begin("a"), "what failed is forgotten")

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := d.Begin(short, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded, "what is claimed must be waited for")

		require.NoError(t, d.End(ctx, "a", true))
		require.False(t, begin("a"))
		time.Sleep(15 * time.Minute)
		require.False(t, begin("a"), "remembered for longer than the service delivers")
		time.Sleep(time.Hour)
		require.True(t, begin("a"), "but not for ever")
		require.NoError(t, d.End(ctx, "a", true))

		// The latest 131,072 are remembered, also when they are done in a hurry.
		const n = 1 << 17
		for i := range n {
			require.True(t, begin(strconv.Itoa(i)))
			require.NoError(t, d.End(ctx, strconv.Itoa(i), true))
		}
		require.True(t, begin("a"), "made room for the others")
		require.False(t, begin("0"))
		require.False(t, begin(strconv.Itoa(n-1)))
		require.NoError(t, d.End(ctx, "a", true))
		require.True(t, begin("0"), "made room in turn")
		require.False(t, begin("1"))
	})
}

// sharedDeduper is what several machines could share.
type sharedDeduper struct {
	begin func(key string) (bool, error)
	end   func(ctx context.Context, key string, done bool) error
}

func (d sharedDeduper) Begin(_ context.Context, key string) (bool, error) { return d.begin(key) }
func (d sharedDeduper) End(ctx context.Context, key string, done bool) error {
	return d.end(ctx, key, done)
}

func TestOwnDeduper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		shared := sharedDeduper{
			begin: func(key string) (bool, error) {
				switch key {
				case "unit/busy":
					return false, errors.New("another machine has it")
				case "unit/done":
					return false, nil
				}
				return true, nil
			},
			end: func(ctx context.Context, key string, done bool) error {
				assert.NoError(t, ctx.Err(), "remembering has its own time")
				log = append(log, fmt.Sprint(key, " ", done))
				return errors.New("the cache is away")
			},
		}
		h := newHandler(t, func(ctx context.Context, n *appsandbooks.Notification) error {
			switch n.ID {
			case "late":
				<-ctx.Done()
				return ctx.Err()
			case "done", "busy":
				t.Errorf("%s came through", n.ID)
			}
			return nil
		}, appsandbooks.WithDeduper(shared))
		for id, code := range map[string]int{"new": 200, "busy": 503, "done": 200, "late": 503} {
			assert.Equal(t, code, post(h, notice(counted(id, "unit"))).Code, id)
		}
		slices.Sort(log)
		assert.Equal(t, []string{"unit/late false", "unit/new true"}, log)
	})
}

// The secret, and what a panic carries, stay out of every text.
func TestHandlerKeepsSecrets(t *testing.T) {
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
		newHandlerOf(t, nil, opts...), // tells of what nobody looked at
	} {
		for _, body := range []string{counted("1", "1"), "<html>", strings.Repeat(" ", 3000), enveloped("NEW", `{}`)} {
			for _, header := range []string{"Bearer " + canary, "Basic " + canary, canary, "Bearer x" + canary} {
				r := notice(body)
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
	for _, said := range []string{
		"panic in a notification hook", "*errors.errorString", `"status":500`, `"status":401`, `"status":400`, `"status":413`,
		"notification of an unknown type or form", `"notificationId":"1"`,
	} {
		assert.Contains(t, logged.String(), said)
	}
}

// Whatever is sent, only a genuine notification whose hook returned nil is
// acknowledged.
func FuzzHandler(f *testing.F) {
	for _, p := range publishedNotifications {
		f.Add("POST", "Bearer "+hookSecret, []byte(enveloped(p.typ, p.payload)))
	}
	f.Add("GET", "Bearer "+hookSecret, []byte(counted("1", "1")))
	f.Add("POST", "Basic "+hookSecret, []byte(counted("1", "1")))
	f.Add("POST", "", []byte(counted("fail", "1")))
	f.Fuzz(func(t *testing.T, method, header string, body []byte) {
		hooked := false
		h := newHandler(t, func(_ context.Context, n *appsandbooks.Notification) error {
			if hooked = true; n.ID == "fail" {
				return errors.New("no")
			}
			return nil
		}, appsandbooks.WithNotificationLimits(4096, 0))
		r := notice(string(body))
		r.Method = method
		r.Header.Set("Authorization", header)
		code := post(h, r).Code
		n, err := appsandbooks.ParseNotification(body)
		scheme, secret, _ := strings.Cut(header, " ")
		genuine := method == http.MethodPost && strings.EqualFold(scheme, "Bearer") && strings.Trim(secret, " ") == hookSecret &&
			len(body) <= 4096 && err == nil
		switch {
		case !genuine:
			require.NotEqual(t, 2, code/100)
			require.NotEqual(t, 5, code/100)
			require.False(t, hooked)
		case n.Type == appsandbooks.NotificationTest:
			require.Equal(t, http.StatusOK, code)
			require.False(t, hooked)
		case n.ID == "fail":
			require.Equal(t, http.StatusServiceUnavailable, code)
		default:
			require.Equal(t, http.StatusOK, code)
			require.True(t, hooked)
		}
	})
}

// An unkind sender on a real network: everything genuine arrives once, nothing
// else does, and nothing stays behind.
func TestUnkindSender(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var d diary
	var hiccups atomic.Int32
	h := newHandler(t, func(ctx context.Context, n *appsandbooks.Notification) error {
		switch hiccups.Add(1) % 10 {
		case 3:
			return errors.New("hiccup")
		case 7:
			panic("hiccup")
		}
		return d.write(ctx, n)
	}, appsandbooks.WithNotificationTimeouts(100*time.Millisecond, 0), appsandbooks.WithNotificationLimits(8<<10, 0))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- h.Serve(ctx, l) }()

	const genuine = 400
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	send := func(secret string, body io.Reader) int {
		r, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String()+"/", body)
		assert.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+secret)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	var deliveries []func()
	for i := range genuine {
		id := fmt.Sprintf("genuine-%03d", i)
		deliver := func() {
			for send(hookSecret, strings.NewReader(counted(id, "1"))) != http.StatusOK {
			}
		}
		deliveries = append(deliveries, deliver)
		if i%10 < 3 {
			deliveries = append(deliveries, deliver)
		}
		forged := "forged-" + id
		switch i % 5 {
		case 0:
			deliveries = append(deliveries, func() {
				assert.Equal(t, 401, send("wrong", strings.NewReader(counted(forged, "1"))))
			})
		case 1:
			deliveries = append(deliveries, func() {
				body := counted(forged, "1") + strings.Repeat(" ", 100<<10)
				assert.Contains(t, []int{413, 0}, send(hookSecret, strings.NewReader(body))) // 0: it hung up before all was sent
			})
		case 2:
			deliveries = append(deliveries, func() {
				assert.Equal(t, 400, send(hookSecret, strings.NewReader(counted(forged, "1")[:60])))
			})
		case 3:
			if i%20 == 3 {
				deliveries = append(deliveries, func() {
					slow, writer := io.Pipe()
					go func() { _, _ = io.WriteString(writer, counted(forged, "1")[:60]) }()
					assert.Contains(t, []int{408, 0}, send(hookSecret, slow))
					_ = writer.Close()
				})
			}
		}
	}
	rand.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
	work := make(chan func())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for deliver := range work {
				deliver()
			}
		})
	}
	for _, deliver := range deliveries {
		work <- deliver
	}
	close(work)
	workers.Wait()
	transport.CloseIdleConnections()
	cancel()
	require.NoError(t, <-result)

	slices.Sort(d.ids)
	require.Len(t, d.ids, genuine)
	for i, id := range d.ids {
		require.Equal(t, fmt.Sprintf("genuine-%03d", i), id)
	}
}

// Over TLS and HTTP/2 the bounds hold as well.
func TestHandlerOverHTTP2(t *testing.T) {
	var d diary
	h := newHandler(t, d.write, appsandbooks.WithNotificationTimeouts(50*time.Millisecond, 0))
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	slow, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	go func() { _, _ = io.WriteString(writer, counted("slow", "1")[:60]) }()
	for i, body := range []io.Reader{strings.NewReader(counted("fast", "1")), slow} {
		r, err := http.NewRequest(http.MethodPost, srv.URL, body)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+hookSecret)
		resp, err := srv.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, 2, resp.ProtoMajor)
		require.Equal(t, []int{200, 408}[i], resp.StatusCode)
		_ = resp.Body.Close()
	}
	require.Equal(t, []string{"fast"}, d.ids)
}
