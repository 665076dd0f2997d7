package appsandbookstest_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// An unknown path is answered with 404 and HTML. An unknown method is answered
// with the allowed methods.
func TestServer_unknownPaths(t *testing.T) {
	srv, _, c := newServer(t)
	for _, path := range []string{"nothing", "assets/", "../v1/assets"} {
		resp, err := c.client.Do(c.request(http.MethodGet, path, nil))
		require.NoError(t, err)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.Equal(t, 404, resp.StatusCode, path)
		require.Contains(t, string(body), "<html>")
	}
	resp, err := c.client.Do(c.request(http.MethodPost, "assets", nil))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, []string{"GET"}, resp.Header["Allow"])

	require.NotEmpty(t, srv.Requests())
}
