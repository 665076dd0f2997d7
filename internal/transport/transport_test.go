package transport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// New changes nothing in the caller's HTTP client, and a request sends no cookies.
func TestNew_callersClient(t *testing.T) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	u, err := url.Parse(target)
	require.NoError(t, err)
	jar.SetCookies(u, []*http.Cookie{{Name: "session", Value: "1"}})
	n := script(answer(http.StatusOK, "ok", "Set-Cookie", "other=2"))
	hc := &http.Client{Transport: n, Jar: jar}
	tr := newTransport(n, func(cfg *transport.Config) { cfg.HTTPClient = hc })
	require.Nil(t, tr.Do(t.Context(), newRequest(transport.Read)))
	require.Empty(t, n.requests()[0].header.Get("Cookie"))
	require.Len(t, jar.Cookies(u), 1, "no cookie is stored")
	require.Equal(t, &http.Client{Transport: n, Jar: jar}, hc)
}

// A Transport whose HTTP client has no RoundTripper uses http.DefaultTransport.
func TestNew_defaultTransport(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	defer srv.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	tr := newTransport(nil, func(cfg *transport.Config) { cfg.HTTPClient = &http.Client{} })
	r := newRequest(transport.Read)
	var err error
	r.URL, err = url.Parse(srv.URL)
	require.NoError(t, err)
	var got string
	r.Decode = decodeInto(&got)
	require.Nil(t, tr.Do(t.Context(), r))
	require.Equal(t, "ok", got)
}

// A request has the headers that the fields of Request require, and no others.
func TestTransport_Do_headers(t *testing.T) {
	for name, test := range map[string]struct {
		body []byte
		auth bool
		want http.Header
	}{
		"everything": {[]byte(`{}`), true, http.Header{
			"Accept": {"application/json"}, "Authorization": {"Bearer " + token},
			"Content-Type": {"application/json"}, "User-Agent": {"test/1"},
		}},
		"no body":     {nil, true, http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer " + token}, "User-Agent": {"test/1"}}},
		"no token":    {nil, false, http.Header{"Accept": {"application/json"}, "User-Agent": {"test/1"}}},
		"empty body":  {[]byte{}, false, http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"test/1"}}},
		"only a body": {[]byte(`[]`), false, http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"test/1"}}},
	} {
		n := script(success)
		r := newRequest(transport.Read)
		r.Body, r.Auth = test.body, test.auth
		require.Nil(t, newTransport(n).Do(t.Context(), r), name)
		require.Len(t, n.requests(), 1)
		require.Equal(t, test.want, n.requests()[0].header, name)
		require.Equal(t, string(test.body), n.requests()[0].body, name)
	}
}

// A redirect is judged like any other answer: the transport does not follow it.
func TestTransport_Do_redirect(t *testing.T) {
	for _, location := range []string{"https://elsewhere.test/", "https://elsewhere.test/%zz"} {
		n := script(answer(http.StatusTemporaryRedirect, "moved", "Location", location))
		f := newTransport(n).Do(t.Context(), newRequest(transport.Read))
		require.NotNil(t, f)
		require.Equal(t, http.StatusTemporaryRedirect, f.Status)
		require.EqualError(t, f.Err, "status 307: moved")
		require.Len(t, n.requests(), 1)
	}
}

// A request that net/http cannot send fails before its first attempt, and the error does not
// contain the ids of its URL.
func TestTransport_Do_invalidRequest(t *testing.T) {
	n := script(success)
	for name, change := range map[string]func(*transport.Request){
		"method": func(r *transport.Request) { r.Method = "GET /" },
		"URL":    func(r *transport.Request) { r.URL.Host = "service test" },
	} {
		r := newRequest(transport.Write)
		change(r)
		f := newTransport(n).Do(t.Context(), r)
		require.NotNil(t, f, name)
		require.Error(t, f.Err)
		require.NotContains(t, f.Err.Error(), "ada.lovelace")
		require.Zero(t, f.Attempts)
		require.False(t, f.Ambiguous)
	}
	require.Empty(t, n.requests())
}

// Each of several concurrent requests receives the answer to itself.
func TestTransport_Do_concurrent(t *testing.T) {
	n := script(func(r *http.Request) (*http.Response, error) {
		return answer(http.StatusOK, "page "+strings.Repeat(r.URL.RawQuery, 100))(r)
	})
	tr := newTransport(n)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			r := newRequest(transport.Read)
			r.URL.RawQuery = fmt.Sprintf("<%d>", i)
			var got string
			r.Decode = decodeInto(&got)
			assert.Nil(t, tr.Do(t.Context(), r))
			assert.Equal(t, "page "+strings.Repeat(r.URL.RawQuery, 100), got)
		})
	}
	wg.Wait()
}

// When a write was sent over a kept connection and gets no answer, neither the transport nor
// net/http sends the write a second time.
func TestTransport_Do_writeOnClosedConnection(t *testing.T) {
	var writes atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if writes.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	defer srv.Close()
	tr := newTransport(nil, func(cfg *transport.Config) { cfg.HTTPClient = srv.Client() })
	write := func() *transport.Failure {
		r := newRequest(transport.Write)
		r.URL, _ = url.Parse(srv.URL)
		return tr.Do(t.Context(), r)
	}
	require.Nil(t, write())
	f := write()
	require.NotNil(t, f)
	require.True(t, f.Ambiguous)
	require.Equal(t, 1, f.Attempts)
	require.EqualValues(t, 2, writes.Load())
	require.Nil(t, write())
}

// When a RoundTripper breaks the contract of http.RoundTripper, the request fails without a
// panic.
func TestTransport_Do_invalidRoundTripper(t *testing.T) {
	for name, rt := range map[string]reply{
		"no body": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusBadGateway, Header: http.Header{}}, nil
		},
		"status 0": func(*http.Request) (*http.Response, error) {
			return &http.Response{Header: http.Header{}, Body: io.NopCloser(strings.NewReader("ok"))}, nil
		},
		"no header": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusBadGateway, Body: io.NopCloser(strings.NewReader("x"))}, nil
		},
		"no answer and no error": func(*http.Request) (*http.Response, error) { return nil, nil },
	} {
		f := newTransport(script(rt)).Do(t.Context(), newRequest(transport.Read))
		require.NotNil(t, f, name)
		require.Error(t, f.Err, name)
		require.Equal(t, 5, f.Attempts, name)
	}
}

// The transport does not call Config.Token for a request that sends no token.
func TestTransport_Do_withoutToken(t *testing.T) {
	tr := newTransport(script(success), func(cfg *transport.Config) {
		cfg.Token = func(context.Context) (string, error) {
			t.Error("the token was requested")
			return "", nil
		}
	})
	r := newRequest(transport.Read)
	r.Auth = false
	require.Nil(t, tr.Do(t.Context(), r))
}
