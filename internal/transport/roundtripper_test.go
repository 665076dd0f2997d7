package transport_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// countingCloser is a network of the tests that counts the calls of CloseIdleConnections.
type countingCloser struct {
	*network
	closed int
}

func (c *countingCloser) CloseIdleConnections() { c.closed++ }

// After a failed request, the idle connections of the RoundTripper stay open, because other
// requests can use them.
func TestTransport_Do_keepsIdleConnections(t *testing.T) {
	for _, reply := range []reply{lost, busy, refused} {
		rt := &countingCloser{network: script(reply)}
		require.NotNil(t, newTransport(rt).Do(t.Context(), newRequest(transport.Read)))
		require.Zero(t, rt.closed)
	}
}

// The transport does not modify the header of a redirect in place, because the RoundTripper may
// use the same header elsewhere.
func TestTransport_Do_redirectHeaderIsKept(t *testing.T) {
	header := http.Header{"Location": {"https://elsewhere.test/"}}
	rt := script(func(r *http.Request) (*http.Response, error) {
		resp, err := answer(http.StatusFound, "")(r)
		resp.Header = header
		return resp, err
	})
	require.NotNil(t, newTransport(rt).Do(t.Context(), newRequest(transport.Read)))
	require.Equal(t, http.Header{"Location": {"https://elsewhere.test/"}}, header)
}
