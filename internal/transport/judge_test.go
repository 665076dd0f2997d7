package transport_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// A request is repeated only if its class and the last answer allow a retry. Only a write whose
// result is unknown is ambiguous.
func TestTransport_Do_judgment(t *testing.T) {
	type result struct {
		attempts  int // of at most two
		ambiguous bool
	}
	final, repeated, unknown := result{1, false}, result{2, false}, result{1, true}
	results := func(read, write, poll result) map[transport.Class]result {
		return map[transport.Class]result{
			transport.Read: read, transport.Write: write, transport.Poll: poll, transport.Repeatable: read,
		}
	}
	always := results(repeated, repeated, repeated)
	never := results(final, final, final)
	unlessStarted := results(repeated, unknown, final)
	neverButUnknown := results(final, unknown, final)
	for name, test := range map[string]struct {
		reply reply
		want  map[transport.Class]result
	}{
		"Apple, temporary":             {busy, always},
		"Apple, temporary, in a 200":   {answer(200, "busy"), always},
		"Apple, temporary, cut":        {cutAnswer(503, "busy"), always},
		"Apple, final":                 {refused, never},
		"Apple, final, in a 500":       {answer(500, "refused"), never},
		"429 of a gateway":             {answer(429, "slow down"), always},
		"404 of a gateway":             {answer(404, "not here"), never},
		"307":                          {answer(307, ""), never},
		"500 of a gateway":             {answer(500, "<html>"), unlessStarted},
		"502 of a gateway":             {answer(502, "<html>"), unlessStarted},
		"502 of a gateway, cut":        {cutAnswer(502, "<ht"), unlessStarted},
		"501":                          {answer(501, "no"), neverButUnknown},
		"301":                          {answer(301, ""), neverButUnknown},
		"302":                          {answer(302, ""), neverButUnknown},
		"303":                          {answer(303, ""), neverButUnknown},
		"308":                          {answer(308, ""), never},
		"200 with an unknown error":    {answer(200, "error"), neverButUnknown},
		"200, cut":                     {cutAnswer(200, "o"), unlessStarted},
		"200, too large":               {answer(200, strings.Repeat("x", 1<<20+1)), neverButUnknown},
		"no connection":                {notSent, always},
		"no answer":                    {lost, unlessStarted},
		"an error of the RoundTripper": {failing(errLost), unlessStarted},
	} {
		for class, want := range test.want {
			n := script(test.reply)
			f := newTransport(n, attempts(2)).Do(t.Context(), newRequest(class))
			require.NotNil(t, f, "%s, class %d", name, class)
			require.Error(t, f.Err)
			require.Equal(t, want, result{f.Attempts, f.Ambiguous}, "%s, class %d", name, class)
			require.Len(t, n.requests(), want.attempts)

			n = script(test.reply, success)
			f = newTransport(n, attempts(2)).Do(t.Context(), newRequest(class))
			require.Equal(t, want.attempts == 2, f == nil, "%s, then a success, class %d", name, class)
		}
	}
}

// Config.Inspect gets the status and the whole body of each answer.
func TestTransport_Do_inspect(t *testing.T) {
	n := script(answer(503, "busy now"), answer(404, "not here"))
	type seen struct {
		status int
		body   string
	}
	var all []seen
	tr := newTransport(n, func(cfg *transport.Config) {
		cfg.Inspect = func(status int, body []byte, clean func(string) string) transport.Verdict {
			all = append(all, seen{status, string(body)})
			return inspect(status, body, clean)
		}
	})
	require.NotNil(t, tr.Do(t.Context(), newRequest(transport.Read)))
	require.Equal(t, []seen{{503, "busy now"}, {404, "not here"}}, all)
}

// When an answer is cut off, its status and the received part of its body are judged.
func TestFailure_cut(t *testing.T) {
	for _, test := range []struct {
		reply  reply
		cut    bool
		status int
		err    string
	}{
		{cutAnswer(404, "not he"), true, 404, "status 404: not he"},
		{cutAnswer(200, "o"), true, 200, "unexpected EOF"},
		{lost, false, 0, errLost.Error()},
		{answer(404, "x"), false, 404, "status 404: x"},
		{answer(404, strings.Repeat("x", 1<<10+1)), false, 404, "status 404: " + strings.Repeat("x", 1<<10)},
		{answer(200, strings.Repeat("x", 1<<20+1)), false, 200, "http: request body too large"},
	} {
		f := newTransport(script(test.reply), attempts(1)).Do(t.Context(), newRequest(transport.Read))
		require.NotNil(t, f)
		require.EqualError(t, f.Err, test.err)
		require.Equal(t, test.cut, f.Cut, test.err)
		require.Equal(t, test.status, f.Status)
	}
}

// An answer that reports success but cannot be decoded is an error. The request is not repeated,
// and a write is ambiguous: the service may have started work that the answer describes.
func TestTransport_Do_decodeFails(t *testing.T) {
	errSyntax := errors.New("invalid character")
	for class, ambiguous := range map[transport.Class]bool{
		transport.Read: false, transport.Write: true, transport.Poll: false, transport.Repeatable: false,
	} {
		n := script(success)
		r := newRequest(class)
		r.Decode = func([]byte) error { return errSyntax }
		f := newTransport(n).Do(t.Context(), r)
		requireFailure(t, f, errSyntax)
		require.EqualError(t, f.Err, "unreadable answer: invalid character")
		require.Equal(t, ambiguous, f.Ambiguous)
		require.Equal(t, http.StatusOK, f.Status)
		require.Len(t, n.requests(), 1)
	}
}

// Request.Decode gets the body of a successful answer only.
func TestTransport_Do_decode(t *testing.T) {
	var got []string
	r := newRequest(transport.Read)
	r.Decode = func(body []byte) error {
		got = append(got, string(body))
		return nil
	}
	require.Nil(t, newTransport(script(busy, answer(201, "the page"))).Do(t.Context(), r))
	require.Equal(t, []string{"the page"}, got)
}

// Before the last call of Inspect for an error, the request's secret is removed from the body, in
// any spelling of JSON. So an error cannot contain the secret, even if Inspect does not clean a
// text. A successful answer may return the secret to the caller.
func TestRequest_Secret(t *testing.T) {
	const secret = "pass <word> 123"
	var last string
	tr := func(n *network) *transport.Transport {
		return newTransport(n, func(cfg *transport.Config) {
			cfg.Inspect = func(status int, body []byte, clean func(string) string) transport.Verdict {
				last = string(body)
				return inspect(status, body, clean)
			}
		})
	}
	r := newRequest(transport.Write)
	r.Secret = secret
	f := tr(script(answer(400, `refused: "`+secret+`", "pass \u003cword\u003e 123"`))).Do(t.Context(), r)
	require.NotNil(t, f)
	const want = `refused: "[REDACTED]", "[REDACTED]"`
	require.Equal(t, want, last)
	require.Equal(t, want, f.Excerpt)

	var got string
	r.Decode = decodeInto(&got)
	require.Nil(t, tr(script(answer(200, "ok "+secret))).Do(t.Context(), r))
	require.Equal(t, "ok "+secret, got)
}

// If the body of an error is cut off within the request's secret, the beginning of the secret is
// also removed.
func TestRequest_Secret_cut(t *testing.T) {
	r := newRequest(transport.Write)
	r.Secret = "pass word 123"
	for _, status := range []int{200, 400} {
		f := newTransport(script(cutAnswer(status, "refused: pass w"))).Do(t.Context(), r)
		require.NotNil(t, f)
		require.Equal(t, "refused: [REDACTED]", f.Excerpt)
	}
}

// The Retry-After header of an answer is used only if a later attempt can succeed. A date in the
// header is relative to the Date header of the answer.
func TestTransport_Do_retryAfter(t *testing.T) {
	for name, test := range map[string]struct {
		reply reply
		want  time.Duration
	}{
		"503":           {answer(503, "busy", "Retry-After", "60"), time.Minute},
		"final 500":     {answer(500, "refused", "Retry-After", "60"), time.Minute},
		"429":           {answer(429, "x", "Retry-After", "60"), time.Minute},
		"busy in a 200": {answer(200, "busy", "Retry-After", "60"), time.Minute},
		"several":       {answer(503, "busy", "Retry-After", "5", "Retry-After", "60"), time.Minute},
		"404":           {answer(404, "x", "Retry-After", "60"), 0},
		"junk":          {answer(503, "busy", "Retry-After", "soon"), 0},
		"none":          {busy, 0},
		"another clock": {answer(503, "busy", "Date", "Fri, 31 Dec 1999 22:00:00 GMT", "Retry-After", "Fri, 31 Dec 1999 22:01:00 GMT"), time.Minute},
		"no clock":      {answer(503, "busy", "Retry-After", "Sat, 01 Jan 2000 00:01:00 GMT"), time.Minute}, // virtual time starts in 2000
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				pace := transport.NewPace(10)
				f := newTransport(script(test.reply), attempts(1), limitedBy(pace)).Do(t.Context(), newRequest(transport.Read))
				require.NotNil(t, f)
				require.Equal(t, test.want, f.RetryAfter)
				require.Equal(t, test.want, elapsed(func() { acquire(t, pace) }), "the pause of the limiter")
			})
		})
	}
}

// An answer whose body ends with a read error is judged like an answer that was cut off.
func TestTransport_Do_bodyError(t *testing.T) {
	errBody := errors.New("invalid chunk")
	n := script(func(*http.Request) (*http.Response, error) {
		return response(200, io.MultiReader(strings.NewReader("o"), errorReader{errBody})), nil
	}, success)
	require.Nil(t, newTransport(n).Do(t.Context(), newRequest(transport.Read)))
	require.Len(t, n.requests(), 2)
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
