package transport_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// logged returns a function that sets Config.Logger to a logger of text without times, which
// writes to b.
func logged(b *bytes.Buffer) func(*transport.Config) {
	return func(cfg *transport.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))
	}
}

// Every attempt writes one log record with the attributes of docs/operations.md: a warning if the
// attempt failed, a debug record if not.
func TestConfig_Logger(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var b bytes.Buffer
		n := script(
			after(200*time.Millisecond, answer(503, "busy", "Retry-After", "7")),
			after(time.Second, lost),
			after(300*time.Millisecond, success),
		)
		require.Nil(t, newTransport(n, logged(&b)).Do(t.Context(), newRequest(transport.Read)))
		require.Equal(t, `level=WARN msg="appsandbooks: request" method=GET path=users attempt=1 status=503 took=200ms error="status 503: busy" again=true wait=7s
level=WARN msg="appsandbooks: request" method=GET path=users attempt=2 status=0 took=1s error="connection reset by peer" again=true wait=0s
level=DEBUG msg="appsandbooks: request" method=GET path=users attempt=3 status=200 took=300ms
`, b.String())

		b.Reset()
		require.NotNil(t, newTransport(script(refused), logged(&b)).Do(t.Context(), newRequest(transport.Write)))
		require.Equal(t, `level=WARN msg="appsandbooks: request" method=POST path=users attempt=1 status=400 took=0s error="status 400: refused" again=false
`, b.String())
	})
}

// The log records of a request contain neither the token nor the ids of the request.
func TestConfig_Logger_noSecrets(t *testing.T) {
	var b bytes.Buffer
	n := script(
		answer(503, "busy: token "+token+" of ada.lovelace"),
		func(r *http.Request) (*http.Response, error) { return nil, errors.New("cannot send " + r.URL.String()) },
	)
	require.NotNil(t, newTransport(n, logged(&b)).Do(t.Context(), newRequest(transport.Read)))
	require.Contains(t, b.String(), "attempt=5")
	require.Contains(t, b.String(), transport.Redacted)
	require.NotContains(t, b.String(), token)
	require.NotContains(t, b.String(), "ada")
}
