package transport_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// errorOf sends a request with these ids whose only attempt fails with err, and returns the error
// of the request.
func errorOf(t *testing.T, err error, ids []string, changes ...func(*transport.Config)) error {
	t.Helper()
	r := newRequest(transport.Read)
	r.IDs = func() []string { return ids }
	f := newTransport(script(failing(err)), append(changes, attempts(1))...).Do(t.Context(), r)
	require.NotNil(t, f)
	return f.Err
}

// The URL that net/http adds to an error is removed, also the second URL of a RoundTripper that
// is itself a client.
func TestFailure_Err_withoutURL(t *testing.T) {
	for _, err := range []error{
		errLost,
		&url.Error{Op: "Get", URL: target, Err: errLost},
		&url.Error{Op: "Get", URL: target, Err: &url.Error{Op: "Post", URL: target, Err: errLost}},
		fmt.Errorf("middleware: %w", &url.Error{Op: "Get", URL: target, Err: errLost}),
	} {
		require.Equal(t, errLost, errorOf(t, err, nil))
	}
}

// The part of an invalid answer that net/http quotes is removed. errors.Is still
// finds the error, but errors.As does not find its type.
func TestFailure_Err_malformedAnswer(t *testing.T) {
	err := errorOf(t, fmt.Errorf("net/http: %w", &net.OpError{
		Op: "malformed HTTP response", Net: `"no user with the password 1234"`, Err: syscall.EBADMSG,
	}), nil)
	require.EqualError(t, err, "net/http: malformed HTTP response")
	require.ErrorIs(t, err, syscall.EBADMSG)
	var op *net.OpError
	require.NotErrorAs(t, err, &op)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "1234")

	quoted := errors.New(`invalid header "X-Y"`)
	require.Equal(t, quoted, errorOf(t, quoted, nil), "other quotations stay")
}

// An error whose text contains an id of the request is redacted, but errors.As still finds its
// types.
func TestFailure_Err_id(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}, Err: syscall.ECONNREFUSED}
	err := errorOf(t, refused, []string{"443"})
	require.EqualError(t, err, "dial tcp 127.0.0.1:[REDACTED]: connection refused")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	var op *net.OpError
	require.ErrorAs(t, err, &op)

	err = errorOf(t, fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}), []string{"unknown"})
	require.NotContains(t, err.Error(), "unknown")
	require.True(t, transport.IsCertificateError(err))
}

// When the text of an error contains the token, errors.As finds none of its types, because their
// fields contain the token, too. No verb of package fmt prints the token.
func TestFailure_Err_token(t *testing.T) {
	secret := strings.Repeat("canary", 9)
	err := errorOf(t, &net.OpError{Op: secret, Err: syscall.ECONNREFUSED}, nil, tokens(secret))
	require.EqualError(t, err, "[REDACTED]: connection refused")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NotErrorIs(t, err, syscall.ECONNRESET)
	var op *net.OpError
	require.NotErrorAs(t, err, &op)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "canary")
}

// An error that contains no secrets and no ids is returned unchanged.
func TestFailure_Err_unchanged(t *testing.T) {
	require.Same(t, errLost, errorOf(t, errLost, []string{"ada"}))
}

// The time limit of an attempt does not look like the end of the caller's context, neither in the
// error of the call nor in that of an attempt. The end of the caller's context does.
func TestTransport_Do_timeoutIsNotTheCallers(t *testing.T) {
	for _, body := range []bool{false, true} {
		virtual(t, func(t *testing.T) {
			slow := after(time.Hour, success)
			if body {
				slow = func(r *http.Request) (*http.Response, error) {
					return response(200, &slowReader{r.Context()}), nil
				}
			}
			var all []transport.Attempt
			tr := newTransport(script(slow), attempts(2), traced(&all), func(cfg *transport.Config) { cfg.HTTPClient.Timeout = time.Minute })
			f := tr.Do(t.Context(), newRequest(transport.Read))
			require.NotNil(t, f)
			require.Len(t, all, 2)
			for _, err := range []error{f.Err, all[0].Err, all[1].Err} {
				require.NotErrorIs(t, err, context.DeadlineExceeded)
				require.NotErrorIs(t, err, context.Canceled)
				require.ErrorContains(t, err, "deadline exceeded")
				var timeout net.Error
				require.ErrorAs(t, err, &timeout)
				require.True(t, timeout.Timeout())
			}
			require.False(t, f.Ended)

			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			f = tr.Do(ctx, newRequest(transport.Read))
			requireFailure(t, f, context.DeadlineExceeded)
			require.ErrorIs(t, all[2].Err, context.DeadlineExceeded)
			require.True(t, f.Ended)
		})
	}
}

// slowReader is a body that ends with the context of its request.
type slowReader struct{ ctx context.Context }

func (r *slowReader) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

// A connection whose deadline is that of the caller can fail a moment before the caller's context
// ends. The error is that of the caller's context.
func TestTransport_Do_deadlineOfConnection(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx := deadlineOnly{t.Context(), time.Now()}
		f := newTransport(script(failing(os.ErrDeadlineExceeded))).Do(ctx, newRequest(transport.Write))
		requireFailure(t, f, context.DeadlineExceeded)
		require.True(t, f.Ended)
		require.True(t, f.Ambiguous)
	})
}

// deadlineOnly is a context whose deadline has passed and that has not ended yet.
type deadlineOnly struct {
	context.Context
	deadline time.Time
}

func (c deadlineOnly) Deadline() (time.Time, bool) { return c.deadline, true }
