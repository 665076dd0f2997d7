package appsandbookstest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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
	for value, status := range map[string]int{
		"text/plain": 415, "": 415, "application/json; charset=utf-8": 200, "APPLICATION/JSON": 200,
	} {
		req := c.request(http.MethodPost, "users/create", usersBody("a"))
		req.Header.Set("Content-Type", value)
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		out := decode(t, resp)
		require.Equal(t, status, resp.StatusCode, value)
		if status == 415 {
			require.EqualValues(t, 9727, out["errorNumber"])
		}
	}
	c.post("subscriptions/enable", nil)

	resp, err := c.client.Do(c.request(http.MethodPost, "assets", nil))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, []string{"GET"}, resp.Header["Allow"])

	c.refused(400, 9602, http.MethodPost, "users/create", strings.Repeat(" ", 9<<20)+"{}")
	require.NotEmpty(t, srv.Requests())
}
