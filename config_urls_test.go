package appsandbooks_test

import (
	"net/http"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// The token goes to the configured host, over TLS 1.2 at least, and nowhere else.
func TestServiceConfig_doesNotSendTokenToOtherHosts(t *testing.T) {
	authorized := map[string]string{}
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		authorized[r.URL.Scheme+"://"+r.URL.Host] = r.Header.Get("Authorization")
		body := `{"versionId":"v","urls":{"getUsers":"https://thief.example.com/users","getAssets":"http://vpp.itunes.apple.com/mdm/v2/assets"}}`
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
