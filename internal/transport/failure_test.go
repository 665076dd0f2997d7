package transport_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// The excerpt in a Failure is the beginning of the last answer, at most 512 bytes.
func TestFailure_Excerpt(t *testing.T) {
	for body, want := range map[string]string{
		"":                                    "",
		"refused":                             "refused",
		"refused " + strings.Repeat("x", 504): "refused " + strings.Repeat("x", 504),
		"refused " + strings.Repeat("x", 505): "refused " + strings.Repeat("x", 504),
	} {
		f := newTransport(script(answer(404, body))).Do(t.Context(), newRequest(transport.Read))
		require.NotNil(t, f)
		require.Equal(t, want, f.Excerpt)
	}
}

// An id or a secret at the end of the excerpt is redacted as a whole, also if
// the excerpt would cut it.
func TestFailure_Excerpt_redactsBeforeCut(t *testing.T) {
	for _, secret := range []string{"ada.lovelace", token} {
		for padding := 512 - len(secret); padding <= 512; padding++ {
			body := strings.Repeat("-", padding) + secret + strings.Repeat("-", 100)
			f := newTransport(script(answer(404, body))).Do(t.Context(), newRequest(transport.Read))
			require.NotNil(t, f)
			require.LessOrEqual(t, len(f.Excerpt), 512)
			require.Equal(t, (strings.Repeat("-", padding) + transport.Redacted + strings.Repeat("-", 100))[:512], f.Excerpt)
		}
	}
}

// A request that was not sent because of a pause returns the rest of the pause in
// Failure.RetryAfter.
func TestFailure_RetryAfter_pause(t *testing.T) {
	virtual(t, func(t *testing.T) {
		pace := transport.NewPace(1)
		pace.Pause(time.Hour)
		time.Sleep(time.Minute)
		n := script(success)
		f := newTransport(n, limitedBy(pace)).Do(t.Context(), newRequest(transport.Write))
		require.NotNil(t, f)
		require.Equal(t, &transport.Failure{Err: f.Err, RetryAfter: 59 * time.Minute}, f)
		requirePaused(t, f.Err, 59*time.Minute)
		require.Empty(t, n.requests())
	})
}

// If the context ended and the attempt failed with the error of the context, the text of the
// Failure has this error only once.
func TestFailure_Err_contextOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f := newTransport(script(after(time.Hour, success))).Do(ctx, newRequest(transport.Read))
		require.NotNil(t, f)
		require.EqualError(t, f.Err, "context deadline exceeded")
	})
}
