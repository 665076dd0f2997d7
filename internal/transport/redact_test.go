package transport_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// tokens returns a function that sets Config.Token, so that each attempt gets the next of the
// given tokens. After the last token, all further attempts get the last token.
func tokens(all ...string) func(*transport.Config) {
	return func(cfg *transport.Config) {
		calls := 0
		cfg.Token = func(context.Context) (string, error) {
			calls++
			return all[min(calls, len(all))-1], nil
		}
	}
}

// cleaned returns text after the clean function that Inspect receives has removed secrets and ids
// from it. The request has these ids and this secret, and makes one attempt with each token in
// all.
func cleaned(t *testing.T, text string, ids []string, secret string, all ...string) (got string) {
	t.Helper()
	if len(all) == 0 {
		all = []string{""}
	}
	tr := newTransport(script(busy), attempts(len(all)), tokens(all...), func(cfg *transport.Config) {
		cfg.Inspect = func(status int, body []byte, clean func(string) string) transport.Verdict {
			got = clean(text)
			return inspect(status, body, clean)
		}
	})
	r := newRequest(transport.Read)
	r.Secret, r.IDs = secret, func() []string { return ids }
	if ids == nil {
		r.IDs = nil
	}
	require.NotNil(t, tr.Do(t.Context(), r))
	return got
}

// The ids of a request are redacted, in upper and lower case and escaped. A word stays as it is
// if it only contains the letters of a short id.
func TestRequest_IDs(t *testing.T) {
	for text, want := range map[string]string{
		"no user ada":                "no user [REDACTED]",
		"no user ADA, ada&#46; adam": "no user [REDACTED], [REDACTED]&#46; adam",
		"&#97;da, ada&#46;":          "[REDACTED], [REDACTED].",
		"Canada":                     "Canada",
		"xxada.lovelacexx":           "xx[REDACTED]xx",
		"x509: certificate":          "x509: certificate",
		"code 509.":                  "code [REDACTED].",
		"509":                        "[REDACTED]",
		"ab":                         "ab",
		"":                           "",
		"a &amp; b %zz \\u00zz":      "a &amp; b %zz \\u00zz",
		"ada\\u002elovelace":         "[REDACTED]",
		"ada%2Elovelace":             "[REDACTED]",
		`c:\/ada\/lovelace`:          `c:\/[REDACTED]\/lovelace`,
		`no user org\/eve`:           "no user [REDACTED]",
		"ada ada.lovelace ada":       "[REDACTED] [REDACTED] [REDACTED]",
		"Ünïcode ADA":                "Ünïcode [REDACTED]",
	} {
		got := cleaned(t, text, []string{"ada", "ada.lovelace", "509", "ab", "org/eve"}, "")
		require.Equal(t, want, got, text)
	}
	require.Equal(t, "no user ada", cleaned(t, "no user ada", nil, ""), "a request without ids")
}

// The text [REDACTED] that replaces an id is not searched for other ids.
func TestRequest_IDs_partOfRedacted(t *testing.T) {
	var ids []string
	for from := range transport.Redacted {
		for to := from + 1; to <= len(transport.Redacted); to++ {
			if to-from < len(transport.Redacted) {
				ids = append(ids, transport.Redacted[from:to])
			}
		}
	}
	require.Equal(t, "no user [REDACTED]", cleaned(t, "no user RED", ids, ""))
}

// Every part of a token with 12 or more characters is redacted. The same holds for the token of
// an earlier attempt, for the decoded content of a token, and for the secret in the body.
func TestRedacted_secrets(t *testing.T) {
	inner := `{"token":"0123456789abcdef","orgName":"ORG"}`
	encoded := base64.StdEncoding.EncodeToString([]byte(inner))
	const second, secret = "the-second-token-of-the-unit", "a short one"
	for text, want := range map[string]string{
		"bad token " + encoded + "!":              "bad token [REDACTED]!",
		"bad token " + strings.ToUpper(encoded):   "bad token [REDACTED]",
		"part <" + encoded[5:17] + ">":            "part <[REDACTED]>",
		"part <" + encoded[5:16] + ">":            "part <" + encoded[5:16] + ">",
		"decoded " + inner + ".":                  "decoded [REDACTED].",
		"field 0123456789abcdef.":                 "field [REDACTED].",
		"both " + second + " and " + encoded[:20]: "both [REDACTED] and [REDACTED]",
		"said '" + secret + "'":                   "said '[REDACTED]'",
		"said 'a%20short%20one'":                  "said '[REDACTED]'",
		"a short two":                             "a short two",
		"the ordinary text of an ordinary answer": "the ordinary text of an ordinary answer",
	} {
		require.Equal(t, want, cleaned(t, text, nil, secret, encoded, second), text)
	}
}

// An empty token or an empty secret does not redact any text.
func TestRedacted_noSecrets(t *testing.T) {
	require.Equal(t, "some text", cleaned(t, "some text", nil, "", ""))
	require.Equal(t, "some text", cleaned(t, "some text", nil, "", "a token", ""))
}
