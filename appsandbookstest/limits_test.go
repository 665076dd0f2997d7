package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// service/config announces the limits, requests are checked against them, and
// both follow a change.
func TestServer_SetLimits(t *testing.T) {
	srv, _, c := newServer(t, fake.WithLimits(fake.Limits{MaxUsers: 2}))
	require.Equal(t, object{"maxUsers": 2.0}, c.get("service/config")["limits"])
	c.refused(400, 9714, http.MethodPost, "users/create", usersBody("a", "b", "c"))
	c.refused(400, 9700, http.MethodPost, "assets/associate", assetsBody(ids("1", 26), nil, []string{"S"}))
	for i := range 30 {
		c.post("users/create", usersBody(fmt.Sprint(i)))
	}
	require.Empty(t, srv.Violations(), "a rate of zero turns the check off")

	srv.SetLimits(func(l *fake.Limits) { l.MaxUsers = 3; l.MaxRequestPerSecond = 1 })
	require.Equal(t, object{"maxUsers": 3.0, "maxRequestPerSecond": 1.0}, c.get("service/config")["limits"])
	c.post("users/create", usersBody("a", "b", "c"))
}
