package appsandbookstest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A write with a body needs the content type JSON, and a body of at most 8 MiB.
func TestServer_contentTypeAndBodySize(t *testing.T) {
	_, _, c := newServer(t)
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

	c.refused(400, 9602, http.MethodPost, "users/create", strings.Repeat(" ", 9<<20)+"{}")
}
