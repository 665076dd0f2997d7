package appsandbooks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// A token is understood or refused, and never repeated.
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
				continue // the service is the judge
			}
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			require.Less(t, len(err.Error()), 250) // bounded, whatever came in
			if secret := strings.TrimSpace(content); len(secret) > 12 {
				require.NotContains(t, err.Error(), secret)
			}
		}
	})
}
