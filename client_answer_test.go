package appsandbooks_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A redirect is an error, and nothing is sent to where it points.
func TestClient_doesNotFollowRedirects(t *testing.T) {
	var elsewhere atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(thief.URL, status))
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(srv.URL))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.ErrorIs(t, err, appsandbooks.ErrRedirect)
		require.Equal(t, status, isError(t, err).StatusCode)
		c.Close()
		srv.Close()
	}
	require.Zero(t, elsewhere.Load())
}

// A compressed answer is read like any other, and bounded by what it expands to.
func TestClient_limitsSizeOfDecompressedAnswer(t *testing.T) {
	inVirtualTime(t, slowPages(time.Millisecond), func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		fillPages(srv, 0, 1)
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Kind: appsandbookstest.FaultGzipBomb, Times: 1})
		_, err := c.Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
		var tooLarge *http.MaxBytesError
		require.ErrorAs(t, err, &tooLarge)
		page, err := c.Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
		require.NoError(t, err)
		require.Len(t, page.Items, 2)
	})
}
