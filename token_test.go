package appsandbooks_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// ParseToken returns a token or ErrInvalid. When the token or the error is printed, it does not
// show the content of the token.
func FuzzParseToken(f *testing.F) {
	for _, s := range []string{
		stoken, stoken + "\n", "\ufeff" + stoken, "e30=", "WzFd", "ab!c", "bm90aGluZw==", "eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoic29vbiJ9",
		"eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoiMjAzMC0xMS0wOFQxNTozMzoyMi0wNzAwIiwib3JnTmFtZSI6Ik9SRzEyMzQ1In0=", "ä", strings.Repeat("a", 9000), "\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		token, err := appsandbooks.ParseToken(content)
		_, clientErr := appsandbooks.NewClient(content)
		if err == nil {
			require.NoError(t, clientErr)
			require.Equal(t, "[REDACTED]", fmt.Sprint(token))
			return
		}
		for _, err := range []error{err, clientErr} {
			if err == nil {
				continue // NewClient accepts some content that only the service can check.
			}
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			require.Less(t, len(err.Error()), 250) // The error does not repeat long content of a token.
			if secret := strings.TrimSpace(content); len(secret) > 12 {
				require.NotContains(t, err.Error(), secret)
			}
		}
	})
}

// ParseToken accepts white space, line breaks and a byte order mark in a token, and refuses
// invalid content. The printed form of a Token never shows the content.
func TestParseToken_acceptsUsualFormsAndRefusesOthers(t *testing.T) {
	want := time.Date(2030, 11, 8, 22, 33, 22, 0, time.UTC)
	for name, content := range map[string]string{
		"unchanged":          stoken,
		"newline":            stoken + "\n",
		"blank lines":        "\r\n\n  " + stoken + "\n\n",
		"line breaks inside": stoken[:20] + "\n" + stoken[20:60] + "\r\n" + stoken[60:],
		"byte order mark":    "\ufeff" + stoken,
		"other time zone":    "eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoiMjAzMC0xMS0wOFQxNTozMzoyMi0wNzAwIiwib3JnTmFtZSI6Ik9SRzEyMzQ1In0=",
	} {
		token, err := appsandbooks.ParseToken(content)
		require.NoError(t, err, name)
		require.True(t, want.Equal(token.ExpirationDate), name)
		require.Equal(t, "ORG12345", token.OrganizationName)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, v := range []any{token, &token, struct{ t appsandbooks.Token }{token}, struct{ T appsandbooks.Token }{token}, []any{token}} {
				printed := fmt.Sprintf(verb, v)
				require.NotContains(t, printed, stoken[:16])
				require.NotContains(t, printed, fmt.Sprintf("%x", stoken[:16]))
			}
		}
		var b strings.Builder
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "token", token, "in", struct{ T appsandbooks.Token }{token})
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "token", token, "in", struct{ T appsandbooks.Token }{token})
		require.NotContains(t, b.String(), stoken[:16])
	}
	for name, content := range map[string]string{
		"empty": " \n", "not base64": "ab!c", "base64 of plain text": "bm90aGluZw==", "base64 of an array": "WzFd", "base64 of an empty object": "e30=",
		"unreadable date": "eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoic29vbiJ9", "not ASCII": "ab\u00e4", "too long": strings.Repeat("a", 9000),
	} {
		_, err := appsandbooks.ParseToken(content)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, name)
	}
}
