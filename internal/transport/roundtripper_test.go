package transport_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// countingCloser is a network that counts how often its idle connections are closed.
type countingCloser struct {
	*network
	closed int
}

func (c *countingCloser) CloseIdleConnections() { c.closed++ }

// A failure does not close the idle connections of the RoundTripper, because
// other requests can use them.
func TestTransport_Do_keepsIdleConnections(t *testing.T) {
	for _, reply := range []reply{lost, busy, refused} {
		rt := &countingCloser{network: script(reply)}
		require.NotNil(t, newTransport(rt).Do(t.Context(), newRequest(transport.Read)))
		require.Zero(t, rt.closed)
	}
}

// The transport does not change the header of a redirect in place: its
// RoundTripper may share it.
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
