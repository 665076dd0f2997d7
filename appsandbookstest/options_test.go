package appsandbookstest_test

import (
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

func TestWithoutErrorInfo(t *testing.T) {
	_, u, c := newServer(t, fake.WithoutErrorInfo())
	require.NotContains(t, c.refused(400, 9609, http.MethodPost, "users/update", usersBody("who")), "errorInfo")

	u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
	status := c.finish(u, "assets/associate", assetsBody([]string{"1"}, nil, []string{"A", "B", "C"}))
	require.Equal(t, "FAILED", status["eventStatus"])
	failures := items(t, status, "failures")
	require.Len(t, failures, 1)
	require.NotContains(t, failures[0], "errorInfo")
}
