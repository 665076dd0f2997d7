package appsandbooks_test

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

func TestNewClient_refusesOldTLSVersions(t *testing.T) {
	for version, fine := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		srv.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
		srv.StartTLS()
		c, err := appsandbooks.NewClient(canaryToken, appsandbooks.WithBaseURL(srv.URL), appsandbooks.WithRetry(1, 0, 0))
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.Error(t, err)
		// With a version that will do, it is the certificate that will not.
		require.Equal(t, fine, strings.Contains(err.Error(), "certificate"), "%x: %v", version, err)
		c.Close()
		srv.Close()
	}
}
