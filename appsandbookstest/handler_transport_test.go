package appsandbookstest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// HandlerTransport passes on requests and answers as a server does, and
// respects the context.
func TestHandlerTransport(t *testing.T) {
	rt := fake.HandlerTransport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Early", r.Host+r.RequestURI)
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "1")
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(body)
	}))
	c := http.Client{Transport: rt}
	resp, err := c.Post("https://mdm.example.com/a?b=c", "text/plain", strings.NewReader("hello"))
	require.NoError(t, err)
	body, _ := io.ReadAll(resp.Body)
	require.Equal(t, "hello", string(body))
	require.Equal(t, 202, resp.StatusCode)
	require.Equal(t, "mdm.example.com/a?b=c", resp.Header.Get("X-Early"))
	require.Empty(t, resp.Header.Get("X-Late"))

	_, err = c.Post("https://mdm.example.com/", "text/plain", io.MultiReader(errReader{}))
	require.ErrorIs(t, err, errBody)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://mdm.example.com/", nil)
	_, err = c.Do(req)
	require.ErrorIs(t, err, context.Canceled)

	silent := http.Client{Transport: fake.HandlerTransport(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
	resp, err = silent.Get("https://mdm.example.com/")
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
}
