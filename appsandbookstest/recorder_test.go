package appsandbookstest_test

import (
	"net/http"
	"testing"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Requests are recorded with their answers, without the token, up to the limit
// of WithRequestLog.
func TestServer_Requests(t *testing.T) {
	inVirtualTime(t, []fake.Option{fake.WithRequestLog(4)}, func(t *testing.T, srv *fake.Server, u *fake.Unit, c *caller) {
		c.event("users/create", usersBody("a"))
		c.refused(400, 9650, http.MethodGet, "users?pageIndex=7", nil)
		r := srv.Requests()
		require.Len(t, r, 2)
		require.Equal(t, "users/create", r[0].Path)
		require.JSONEq(t, `{"users":[{"clientUserId":"a"}]}`, string(r[0].Body))
		require.Equal(t, "[REDACTED]", r[0].Header.Get("Authorization"))
		require.Equal(t, u.UID(), r[0].Unit)
		require.Equal(t, 200, r[0].Status)
		require.Equal(t, 9650, r[1].ErrorNumber)
		require.Equal(t, "7", r[1].Query.Get("pageIndex"))
		require.Equal(t, time.Now(), r[1].Time)
		for range 9 {
			c.get("assets")
		}
		require.Len(t, srv.Requests(), 4)
		require.Equal(t, "assets", srv.Requests()[0].Path)
		srv.ResetRequests()
		require.Empty(t, srv.Requests())
	})
	inVirtualTime(t, []fake.Option{fake.WithRequestLog(0)}, func(t *testing.T, srv *fake.Server, _ *fake.Unit, c *caller) {
		for range 16 {
			c.get("assets")
		}
		require.Empty(t, srv.Requests())
		require.Len(t, srv.Violations(), 1)
	})
}
