package transport_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"

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
