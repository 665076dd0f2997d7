package appsandbooks_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type hook = func(context.Context, *appsandbooks.Notification) error

// The notification handler answers after the hook has returned: with 200 for nil, with 503
// for an error and with 500 for a panic.
func TestNotificationHandler_answersOnlyAfterHooks(t *testing.T) {
	calls := 0
	h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
		switch calls++; calls {
		case 1:
			return errors.New("the database is unreachable")
		case 2:
			return errors.New("the database is still unreachable")
		case 3:
			panic("a bug in the hook")
		case 4:
			panic(http.ErrAbortHandler)
		}
		return nil
	})
	var codes []int
	for range 6 {
		codes = append(codes, post(h, notificationRequest(assetCountNotification("1", "2"))).Code)
	}
	assert.Equal(t, []int{503, 503, 500, 500, 200, 200}, codes)
	assert.Equal(t, 5, calls, "the last delivery is a duplicate, for which the hook is not called")
}

// A delivery without an accepted secret gets 401, and the handler does not read the
// delivery's body.
func TestNotificationHandler_readsBodyOnlyWithRightSecret(t *testing.T) {
	var d idRecorder
	h := newHandlerOf(t, d.write, withSecrets(hookSecret, "previous-secret"))
	for name, test := range map[string]struct {
		headers []string
		code    int
	}{
		"right secret":                       {[]string{"Bearer " + hookSecret}, 200},
		"previous secret":                    {[]string{"Bearer previous-secret"}, 200},
		"scheme of any case":                 {[]string{"bEaReR " + hookSecret}, 200},
		"more spaces":                        {[]string{"Bearer   " + hookSecret + " "}, 200},
		"no header":                          {nil, 401},
		"empty header":                       {[]string{""}, 401},
		"scheme only":                        {[]string{"Bearer"}, 401},
		"empty secret":                       {[]string{"Bearer "}, 401},
		"secret without scheme":              {[]string{hookSecret}, 401},
		"other scheme":                       {[]string{"Basic " + hookSecret}, 401},
		"other secret":                       {[]string{"Bearer x" + hookSecret[1:]}, 401},
		"secret without its last character":  {[]string{"Bearer " + hookSecret[:len(hookSecret)-1]}, 401},
		"secret with one more character":     {[]string{"Bearer " + hookSecret + "x"}, 401},
		"secret in upper case":               {[]string{"Bearer " + strings.ToUpper(hookSecret)}, 401},
		"two equal headers":                  {[]string{"Bearer " + hookSecret, "Bearer " + hookSecret}, 401},
		"two headers with different secrets": {[]string{"Bearer " + hookSecret, "Bearer no"}, 401},
		"two values in one header":           {[]string{"Bearer " + hookSecret + ", Bearer " + hookSecret}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := notificationRequest(assetCountNotification(name, "1"))
			if test.code != 200 {
				r.Body = io.NopCloser(iotest.ErrReader(errors.New("the body was read")))
			}
			r.Header["Authorization"] = test.headers
			before := len(d.ids)
			w := post(h, r)
			assert.Equal(t, test.code, w.Code)
			if test.code != 200 {
				assert.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
				assert.Equal(t, "Unauthorized\n", w.Body.String(), "the answer gives no reason")
				assert.Len(t, d.ids, before)
			} else {
				assert.Len(t, d.ids, before+1)
			}
		})
	}
}

// A notification handler accepts a secret from AddSecret until RemoveSecret, and AddSecret
// refuses an empty secret.
func TestNotificationHandler_AddSecret_acceptsSecretUntilRemoved(t *testing.T) {
	h := newHandlerOf(t, nil, withSecrets("old"))
	accepts := func(secret string) bool {
		r := notificationRequest(assetCountNotification("1", "1"))
		r.Header.Set("Authorization", "Bearer "+secret)
		return post(h, r).Code == http.StatusOK
	}
	require.True(t, accepts("old"))
	require.False(t, accepts("new"))
	require.NoError(t, h.AddSecret(appsandbooks.NewSecret("new")))
	require.NoError(t, h.AddSecret(appsandbooks.NewSecret("new")))
	require.True(t, accepts("old"))
	require.True(t, accepts("new"))
	h.RemoveSecret(appsandbooks.NewSecret("old"))
	require.False(t, accepts("old"))
	require.True(t, accepts("new"))
	h.RemoveSecret(appsandbooks.NewSecret("new"))
	require.False(t, accepts("new"))
	require.False(t, accepts(""))
	require.ErrorIs(t, h.AddSecret(appsandbooks.NewSecret("")), appsandbooks.ErrInvalid)
}

// pipeListener is a net.Listener in memory, for HTTP servers in virtual time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	clientSide, serverSide := net.Pipe()
	select {
	case p.conns <- serverSide:
		return clientSide, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// withServedHandler serves a notification handler in virtual time and runs f. The function
// send posts a notification on a new connection. The function stop ends Serve and returns
// the error of Serve.
func withServedHandler(
	t *testing.T, hook hook, timeouts appsandbooks.NotificationOption,
	f func(send func(body io.Reader) (*http.Response, error), stop func() error),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, hook, timeouts)
		l, result := newPipeListener(), make(chan error, 1)
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

// When the body of a delivery does not arrive within the time limit for reading, the
// handler answers with 408, and it serves later requests.
func TestNotificationHandler_Serve_stopsReadingSlowBody(t *testing.T) {
	var d idRecorder
	withServedHandler(t, d.write, appsandbooks.WithNotificationTimeouts(7*time.Second, 0),
		func(send func(io.Reader) (*http.Response, error), stop func() error) {
			began := time.Now()
			slow, writer := io.Pipe()
			go func() {
				_, err := io.WriteString(writer, assetCountNotification("slow", "1")[:30])
				assert.NoError(t, err)
			}()
			resp, err := send(slow)
			require.NoError(t, err)
			assert.Equal(t, http.StatusRequestTimeout, resp.StatusCode)
			assert.Equal(t, 7*time.Second, time.Since(began))
			_ = writer.Close()

			resp, err = send(strings.NewReader(assetCountNotification("fast", "1")))
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			require.NoError(t, stop())
			assert.Equal(t, []string{"fast"}, d.ids)
		})
}

// A hook has its own time limit. Neither the time limit for reading the body nor the
// cancellation of the HTTP request shortens it.
func TestNotificationHandler_givesHooksTheirOwnTimeLimit(t *testing.T) {
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
	withServedHandler(t, hook, timeouts, func(send func(io.Reader) (*http.Response, error), stop func() error) {
		resp, err := send(strings.NewReader(assetCountNotification("long", "1")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, 10*time.Second, <-took)

		resp, err = send(strings.NewReader(assetCountNotification("endless", "1")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		assert.Equal(t, 20*time.Second, <-took)
		require.NoError(t, stop())
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, hook, timeouts)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.Equal(t, http.StatusOK, post(h, notificationRequest(assetCountNotification("long", "1")).WithContext(ctx)).Code)
	})
}

// NotificationHandler.Serve answers the requests in progress before it returns.
func TestNotificationHandler_Serve_answersOpenRequestsBeforeReturning(t *testing.T) {
	var d idRecorder
	withServedHandler(t, func(ctx context.Context, n *appsandbooks.Notification) error {
		time.Sleep(5 * time.Second)
		return d.write(ctx, n)
	}, appsandbooks.WithNotificationTimeouts(0, 0), func(send func(io.Reader) (*http.Response, error), stop func() error) {
		stopped := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			stopped <- stop()
			assert.Equal(t, []string{"last"}, d.ids)
		}()
		resp, err := send(strings.NewReader(assetCountNotification("last", "1")))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, <-stopped)
		_, err = send(strings.NewReader(assetCountNotification("after", "1")))
		require.Error(t, err)
	})
	// Serve returns an error when a hook runs for longer than the time limits for reading
	// and for hooks together.
	withServedHandler(t, func(context.Context, *appsandbooks.Notification) error {
		time.Sleep(time.Minute)
		return nil
	}, appsandbooks.WithNotificationTimeouts(time.Second, 2*time.Second), func(send func(io.Reader) (*http.Response, error), stop func() error) {
		go func() { _, _ = send(strings.NewReader(assetCountNotification("stuck", "1"))) }()
		synctest.Wait()
		began := time.Now()
		require.ErrorIs(t, stop(), context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
		time.Sleep(time.Hour)
	})
}

// NotificationHandler.Serve returns the error of its net.Listener.
func TestNotificationHandler_Serve_returnsListenerError(t *testing.T) {
	l := newPipeListener()
	require.NoError(t, l.Close())
	require.ErrorIs(t, newHandler(t, nil).Serve(t.Context(), l), net.ErrClosed)
}

// When more notifications arrive than the limit of concurrent hooks allows, a notification
// waits for at most two seconds. Then the handler answers with 503, so that the service
// delivers the notification again.
func TestNotificationHandler_limitsConcurrentHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, maxRunning atomic.Int32
		h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
			if n := running.Add(1); n > maxRunning.Load() {
				maxRunning.Store(n)
			}
			defer running.Add(-1)
			time.Sleep(1500 * time.Millisecond)
			return nil
		}, appsandbooks.WithNotificationLimits(0, 3))
		codes := make(chan int, 10)
		for i := range 10 {
			go func() { codes <- post(h, notificationRequest(assetCountNotification(strconv.Itoa(i), "1"))).Code }()
		}
		got := map[int]int{}
		for range 10 {
			got[<-codes]++
		}
		// Three hooks run at once and three more after 1.5 s. The other notifications get
		// 503 after 2 s.
		assert.Equal(t, map[int]int{200: 6, 503: 4}, got)
		assert.EqualValues(t, 3, maxRunning.Load())
		assert.Equal(t, http.StatusOK, post(h, notificationRequest(assetCountNotification("later", "1"))).Code)
	})
}

// Whatever request is sent, the notification handler acknowledges only genuine
// notifications: test notifications, and those for which the hook returned nil.
func FuzzHandler(f *testing.F) {
	for _, p := range publishedNotifications {
		f.Add("POST", "Bearer "+hookSecret, []byte(notificationJSON(p.typ, p.payload)))
	}
	f.Add("GET", "Bearer "+hookSecret, []byte(assetCountNotification("1", "1")))
	f.Add("POST", "Basic "+hookSecret, []byte(assetCountNotification("1", "1")))
	f.Add("POST", "", []byte(assetCountNotification("fail", "1")))
	f.Fuzz(func(t *testing.T, method, header string, body []byte) {
		hookCalled := false
		h := newHandler(t, func(_ context.Context, n *appsandbooks.Notification) error {
			if hookCalled = true; n.ID == "fail" {
				return errors.New("no")
			}
			return nil
		}, appsandbooks.WithNotificationLimits(4096, 0))
		r := notificationRequest(string(body))
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
			require.False(t, hookCalled)
		case n.Type == appsandbooks.NotificationTest:
			require.Equal(t, http.StatusOK, code)
			require.False(t, hookCalled)
		case n.ID == "fail":
			require.Equal(t, http.StatusServiceUnavailable, code)
		default:
			require.Equal(t, http.StatusOK, code)
			require.True(t, hookCalled)
		}
	})
}

// The handler's time limit for reading a body also applies over TLS and HTTP/2.
func TestNotificationHandler_limitsReadingTimeOverHTTP2(t *testing.T) {
	var d idRecorder
	h := newHandler(t, d.write, appsandbooks.WithNotificationTimeouts(50*time.Millisecond, 0))
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	slow, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	go func() { _, _ = io.WriteString(writer, assetCountNotification("slow", "1")[:60]) }()
	for i, body := range []io.Reader{strings.NewReader(assetCountNotification("fast", "1")), slow} {
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
