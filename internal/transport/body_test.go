package transport_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// The body of an answer that reports success has at most Config.MaxBody bytes. A longer one is an
// error.
func TestConfig_MaxBody(t *testing.T) {
	for size, ok := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		n := script(answer(200, strings.Repeat("x", size)))
		r := newRequest(transport.Read)
		var got string
		r.Decode = decodeInto(&got)
		f := newTransport(n).Do(t.Context(), r)
		require.Len(t, n.requests(), 1, "it is not repeated")
		if ok {
			require.Nil(t, f)
			require.Len(t, got, size)
			continue
		}
		var tooLarge *http.MaxBytesError
		require.NotNil(t, f)
		require.ErrorAs(t, f.Err, &tooLarge)
		require.Empty(t, got)
		require.False(t, f.Cut)
	}
}

// Of the body of an answer whose status is not 2xx, Inspect gets only the first Config.MaxError
// bytes.
func TestConfig_MaxError(t *testing.T) {
	for size, want := range map[int]int{1 << 10: 1 << 10, 1 << 20: 1 << 10} {
		n := script(answer(404, strings.Repeat("x", size)))
		f := newTransport(n).Do(t.Context(), newRequest(transport.Read))
		require.NotNil(t, f)
		var e *answerError
		require.ErrorAs(t, f.Err, &e)
		require.Len(t, e.text, want)
	}
}

// A false Content-Length header costs no memory and does not change the result of a request.
func TestTransport_Do_falseContentLength(t *testing.T) {
	for _, length := range []int64{-1, 0, 1, 2, 1 << 20, 1 << 40, 1 << 62} {
		n := script(func(r *http.Request) (*http.Response, error) {
			resp, err := success(r)
			resp.ContentLength = length
			return resp, err
		})
		r := newRequest(transport.Read)
		var got string
		r.Decode = decodeInto(&got)
		require.Nil(t, newTransport(n).Do(t.Context(), r))
		require.Equal(t, "ok", got)
	}
}

// If the body of an answer repeats the token of the request, the token is removed before Inspect
// and Decode get the body.
func TestTransport_Do_tokenInBody(t *testing.T) {
	r := newRequest(transport.Read)
	var got string
	r.Decode = decodeInto(&got)
	require.Nil(t, newTransport(script(answer(200, `{"token":"`+token+`"}`))).Do(t.Context(), r))
	require.Equal(t, `{"token":"[REDACTED]"}`, got)
}

// A token of fewer than 16 characters is not removed from the body of a successful answer,
// because it could be an ordinary word.
func TestTransport_Do_shortTokenInBody(t *testing.T) {
	for secret, want := range map[string]string{
		"fifteen letters":  "ok: fifteen letters",
		"sixteen  letters": "ok: [REDACTED]",
	} {
		r := newRequest(transport.Read)
		var got string
		r.Decode = decodeInto(&got)
		tr := newTransport(script(answer(200, "ok: "+secret)), tokens(secret))
		require.Nil(t, tr.Do(t.Context(), r))
		require.Equal(t, want, got)
	}
}

// If the body of an answer is cut off within the token, the beginning of the token is also
// removed, unless it has fewer than four characters.
func TestTransport_Do_tokenCutInBody(t *testing.T) {
	for n, want := range map[int]string{
		3: "refused: the", 4: "refused: [REDACTED]", 11: "refused: [REDACTED]", len(token): "refused: [REDACTED]",
	} {
		f := newTransport(script(cutAnswer(400, "refused: "+token[:n]))).Do(t.Context(), newRequest(transport.Read))
		require.NotNil(t, f)
		require.EqualError(t, f.Err, "status 400: "+want)
	}
}

// After an answer whose buffer is too large for the pool of buffers, the next answer is read
// correctly.
func TestTransport_Do_largeBody(t *testing.T) {
	n := script(answer(200, strings.Repeat("x", 5<<20)), answer(200, "small"))
	tr := newTransport(n, func(cfg *transport.Config) { cfg.MaxBody = 32 << 20 })
	for _, size := range []int{5 << 20, 5} {
		r := newRequest(transport.Read)
		var got string
		r.Decode = decodeInto(&got)
		require.Nil(t, tr.Do(t.Context(), r))
		require.Len(t, got, size)
	}
}
