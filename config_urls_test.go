package appsandbooks_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// The client sends the content token only to the configured host and over https, whatever
// URLs the service configuration names.
func TestServiceConfig_doesNotSendTokenToOtherHosts(t *testing.T) {
	authorized := map[string]string{}
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		authorized[r.URL.Scheme+"://"+r.URL.Host] = r.Header.Get("Authorization")
		body := `{"versionId":"v","urls":{"getUsers":"https://other.example.com/users","getAssets":"http://vpp.itunes.apple.com/mdm/v2/assets"}}`
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: readCloser(body)}, nil
	})
	c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.NoError(t, drain(c.Users.All(t.Context(), appsandbooks.UserFilter{})))
	require.NoError(t, drain(c.Assets.All(t.Context(), appsandbooks.AssetFilter{})))
	require.Equal(t, map[string]string{"https://vpp.itunes.apple.com": "Bearer " + canaryToken}, authorized)
}

// The client uses a URL from the service configuration only if its host is the host of the
// base URL or, for Apple's service, if it is an https URL with the default port on a host
// of apple.com.
func TestServiceConfig_urlsAreUsedOnlyWhenSafe(t *testing.T) {
	for _, test := range []struct{ base, named, want string }{
		{appsandbooks.DefaultBaseURL, "https://vpp.itunes.apple.com/mdm/v3/users", "https://vpp.itunes.apple.com/mdm/v3/users"},
		{appsandbooks.DefaultBaseURL, "https://other.apple.com/users", "https://other.apple.com/users"},
		{appsandbooks.DefaultBaseURL, "http://vpp.itunes.apple.com/mdm/v2/users", ""},
		{appsandbooks.DefaultBaseURL, "https://apple.com.example.com/users", ""},
		{appsandbooks.DefaultBaseURL, "https://notapple.com/users", ""},
		{appsandbooks.DefaultBaseURL, "https://x@other.apple.com/users", ""},
		{appsandbooks.DefaultBaseURL, "https://other.apple.com:8443/users", ""},
		{appsandbooks.DefaultBaseURL, "://", ""},
		{"http://127.0.0.1:9/mdm/v2", "http://127.0.0.1:9/elsewhere/users", "http://127.0.0.1:9/elsewhere/users"},
		// A test server sends Apple's URLs.
		{"http://127.0.0.1:9/mdm/v2", "https://vpp.itunes.apple.com/mdm/v2/users", ""},
		{"http://127.0.0.1:9/mdm/v2", "http://127.0.0.1:10/mdm/v2/users", ""},
	} {
		r := &recordedAnswers{t: t, answers: []string{fmt.Sprintf(`{"limits":{},"urls":{"getUsers":%q}}`, test.named), `{}`}}
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(test.base), appsandbooks.WithHTTPClient(&http.Client{Transport: r}))
		require.NoError(t, err)
		_, err = c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		if test.want == "" {
			test.want = test.base + "/users"
		}
		require.Equal(t, test.want, r.requests[1].URL.String())
		c.Close()
	}
}
