package appsandbookstest_test

import (
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Units share no tokens, assets or events.
func TestServer_NewUnit_separateLibraries(t *testing.T) {
	srv, one, c := newServer(t)
	two := srv.NewUnit("ORG12345")
	require.NotEqual(t, one.UID(), two.UID())
	require.NotEqual(t, one.Token(), two.Token())
	two.AddAsset(fake.Asset{AdamID: "1", Total: 3})
	require.Empty(t, c.get("assets")["assets"])
	id := c.event("assets/associate", assetsBody([]string{"1"}, nil, []string{"S"}))
	c.token = two.Token()
	require.Len(t, c.get("assets")["assets"], 1)
	c.refused(400, 9708, http.MethodGet, "status?eventId="+id, nil)
	require.Equal(t, "ORG12345", c.get("client/config")["locationName"])

	other, err := fake.NewServer(fake.WithSeed(2))
	require.NoError(t, err)
	defer other.Close()
	require.NotEqual(t, one.Token(), other.Unit().Token())
}
