package transport

import (
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func calling(ids []string, tokens ...string) *callState {
	return &callState{transport: &Transport{}, req: &Request{IDs: func() []string { return ids }}, tokens: tokens}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"no user ada":                "no user [REDACTED]",
		"no user ADA, ada&#46; adam": "no user [REDACTED], [REDACTED]&#46; adam",
		"&#97;da, ada&#46;":          "[REDACTED], [REDACTED].",
		"Canada":                     "Canada",
		"xxada.lovelacexx":           "xx[REDACTED]xx",
		"x509: certificate":          "x509: certificate",
		"code 509.":                  "code [REDACTED].",
		"ab":                         "ab",
		"":                           "",
		"a &amp; b %zz \\u00zz":      "a &amp; b %zz \\u00zz",
		"ada\\u002elovelace":         "[REDACTED]",
	} {
		require.Equal(t, want, calling([]string{"ada", "ada.lovelace", "509", "ab"}).redactText(text), text)
	}
}

// What was put in the place of an id is not looked at again.
func TestCleanLooksOnce(t *testing.T) {
	var ids []string
	for from := range Redacted {
		for to := from + 1; to <= len(Redacted); to++ {
			ids = append(ids, Redacted[from:to])
		}
	}
	require.Equal(t, "no user [REDACTED]", calling(ids).redactText("no user RED"))
}

// What an error is can be asked although its text must not be shown; and the
// types are out of reach if they hold a secret.
func TestScrubKeepsWhatAnErrorIs(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}, Err: syscall.ECONNREFUSED}
	err := calling([]string{"443"}).redactError(refused)
	require.NotContains(t, err.Error(), "443")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	err = calling([]string{"unknown"}).redactError(fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}))
	require.True(t, IsCertificateError(err))

	token := strings.Repeat("canary", 9)
	err = calling(nil, token).redactError(&net.OpError{Op: token, Err: syscall.ECONNREFUSED})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	var op *net.OpError
	require.NotErrorAs(t, err, &op)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "canary")
}
