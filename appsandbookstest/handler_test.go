package appsandbookstest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A fault aborts the handler if the connection cannot be hijacked.
func TestServer_ServeHTTP_withoutHijacker(t *testing.T) {
	srv, u, _ := newServer(t)
	send := func(f fake.Fault) (w *httptest.ResponseRecorder, panicked any) {
		srv.ClearFaults()
		srv.AddFault(f)
		defer func() { panicked = recover() }()
		w = httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "https://vpp.itunes.apple.com/mdm/v2/service/config", nil)
		r.Header.Set("Authorization", "Bearer "+u.Token())
		srv.ServeHTTP(w, r)
		return w, nil
	}
	for _, kind := range []fake.FaultKind{fake.FaultDial, fake.FaultResetBefore, fake.FaultResetAfter, fake.FaultEOF, fake.FaultCutBody} {
		_, panicked := send(fake.Fault{Kind: kind})
		require.Equal(t, http.ErrAbortHandler, panicked, kind)
	}
	w, panicked := send(fake.Fault{Path: "nothing"})
	require.Nil(t, panicked)
	require.Contains(t, w.Body.String(), `"https://vpp.itunes.apple.com/mdm/v2/users"`)

	r := httptest.NewRequest(http.MethodPost, "/mdm/v2/users/create", errReader{})
	w = httptest.NewRecorder()
	srv.ClearFaults()
	srv.ServeHTTP(w, r)
	require.Empty(t, w.Body.String())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		srv.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/mdm/v2/users", nil).WithContext(ctx))
	})
}

// A client that closes its connection early does no harm.
func TestServer_ServeHTTP_clientDisconnects(t *testing.T) {
	srv, _, _ := newServer(t)
	require.NoError(t, srv.Listen(""))
	host := strings.TrimSuffix(strings.TrimPrefix(srv.URL(), "http://"), "/mdm/v2")
	conn, err := net.Dial("tcp", host)
	require.NoError(t, err)
	fmt.Fprintf(conn, "POST /mdm/v2/users/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
	conn.Close()
	srv.AddFault(fake.Fault{Kind: fake.FaultHugeBody, Size: 1 << 40})
	resp, err := http.Get(srv.URL() + "/service/config")
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, resp.Body, 1<<20)
	require.NoError(t, err)
	resp.Body.Close()
}

// Behind TLS, the URLs in service/config have the scheme https.
func TestServer_ServeHTTP_tls(t *testing.T) {
	srv, u, _ := newServer(t)
	front := httptest.NewTLSServer(srv)
	defer front.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/mdm/v2/service/config", nil)
	req.Header.Set("Authorization", "Bearer "+u.Token())
	resp, err := front.Client().Do(req)
	require.NoError(t, err)
	require.Equal(t, front.URL+"/mdm/v2/assets", decode(t, resp)["urls"].(object)["getAssets"])
}
