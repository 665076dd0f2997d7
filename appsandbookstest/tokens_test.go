package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A token is refused with 9621 from the time at which it expires. With
// WithLateTokenExpirationDate tokenExpirationDate appears 15 days before the
// token expires.
func TestWithTokenLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		_, u, c := newServer(t, fake.WithTokenLifetime(30*day), fake.WithLateTokenExpirationDate())
		require.NotContains(t, c.get("assets"), "tokenExpirationDate")
		time.Sleep(16 * day)
		require.Equal(t, "2000-01-31T00:00:00+0000", c.get("assets")["tokenExpirationDate"])
		time.Sleep(14*day - 1)
		c.get("assets")
		time.Sleep(time.Nanosecond)
		c.refused(401, 9621, http.MethodGet, "assets", nil)
		c.token = u.AddToken()
		c.get("assets")
	})
}

// A request needs exactly one Authorization header with a known bearer token,
// except for service/config.
func TestServer_authorization(t *testing.T) {
	srv, u, c := newServer(t)
	send := func(path string, values ...string) (int, object) {
		t.Helper()
		req := c.request(http.MethodGet, path, nil)
		req.Header["Authorization"] = values
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode, decode(t, resp)
	}
	for _, tt := range []struct {
		name           string
		values         []string
		status, number int
	}{
		{"missing", nil, 401, 9722},
		{"twice", []string{"Bearer " + u.Token(), "Bearer " + u.Token()}, 401, 9722},
		{"joined", []string{"Bearer " + u.Token() + ", Bearer " + u.Token()}, 401, 9722},
		{"scheme", []string{"Basic " + u.Token()}, 401, 9722},
		{"without scheme", []string{u.Token()}, 401, 9722},
		{"empty", []string{"Bearer "}, 401, 9722},
		{"unknown", []string{"Bearer abc"}, 401, 9601},
		{"inner token", []string{"Bearer " + innerToken(t, u.Token())}, 200, 9622},
		{"lower case", []string{"bearer " + u.Token()}, 200, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out := send("client/config", tt.values...)
			require.Equal(t, tt.status, status)
			number, _ := out["errorNumber"].(float64)
			require.EqualValues(t, tt.number, number)
			status, _ = send("service/config", tt.values...)
			require.Equal(t, 200, status, "service/config needs no token")
		})
	}
	require.NotContains(t, fmt.Sprintf("%+v", srv.Requests()), u.Token())
}

// In each token state except TokenValid, the server refuses requests with the error
// number of that state; in TokenReadOnly it refuses only writes. ReplaceToken revokes the
// earlier tokens.
func TestUnit_SetTokenState(t *testing.T) {
	_, u, c := newServer(t, fake.WithMalformedTokenStatus(http.StatusUnauthorized))
	for state, want := range map[fake.TokenState][2]int{
		fake.TokenExpired:   {401, 9621},
		fake.TokenRevoked:   {401, 9625},
		fake.TokenMalformed: {401, 9622},
	} {
		u.SetTokenState(state)
		c.refused(want[0], want[1], http.MethodGet, "assets", nil)
	}
	u.SetTokenState(fake.TokenReadOnly)
	c.get("assets")
	c.refused(403, 9637, http.MethodPost, "users/create", usersBody("a"))
	u.SetTokenState(fake.TokenValid)
	c.get("assets")

	second := u.AddToken()
	require.NotEqual(t, c.token, second)
	c.get("assets")
	newest := u.ReplaceToken()
	c.refused(401, 9625, http.MethodGet, "assets", nil)
	c.token = second
	c.refused(401, 9625, http.MethodGet, "assets", nil)
	c.token = newest
	require.Equal(t, newest, u.Token())
	require.Equal(t, u.UID(), c.get("assets")["uId"])
}
