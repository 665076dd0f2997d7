package appsandbookstest_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A compressed answer is decompressed unless the request has an
// Accept-Encoding, in memory and over TCP.
func TestServer_Transport_compressedBody(t *testing.T) {
	inMemoryAndTCP(t, func(t *testing.T, srv *fake.Server, c *caller) {
		srv.AddFault(fake.Fault{Kind: fake.FaultGzipBomb, Size: 5 << 20})
		req := c.request(http.MethodGet, "assets", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
		require.False(t, resp.Uncompressed)
		n := &byteCounter{r: resp.Body}
		zr, err := gzip.NewReader(n)
		require.NoError(t, err)
		expanded, err := io.Copy(io.Discard, zr)
		require.NoError(t, err)
		require.Greater(t, expanded, int64(5<<20))
		require.Less(t, n.n, int64(100<<10))

		req.Header.Del("Accept-Encoding")
		resp, err = c.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.True(t, resp.Uncompressed)
		require.EqualValues(t, -1, resp.ContentLength)
		require.Empty(t, resp.Header.Get("Content-Encoding"))
	})
}

type byteCounter struct {
	r io.Reader
	n int64
}

func (c *byteCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
