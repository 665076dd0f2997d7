package transport_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// ParseRetryAfter reads seconds and dates as RFC 9110 defines them. For any other text it returns
// no pause.
func TestParseRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		" 7 ":                            7 * time.Second,
		"+7":                             0,
		"-7":                             0,
		"1.5":                            0,
		"soon":                           0,
		"٣":                              0, // an Arabic digit, which HTTP does not allow
		"9223372036":                     9223372036 * time.Second,
		"9223372037":                     math.MaxInt64,
		"9223372036854775807":            math.MaxInt64,
		"99999999999999999999999999":     math.MaxInt64,
		"Fri, 02 Jan 2026 03:05:05 GMT":  time.Minute,
		"Friday, 02-Jan-26 03:05:05 GMT": time.Minute,
		"Fri Jan  2 03:05:05 2026":       time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT":  0, // past
	} {
		require.Equal(t, want, transport.ParseRetryAfter([]string{value}, now), value)
	}
	require.Zero(t, transport.ParseRetryAfter(nil, now))
	require.Equal(t, 100*time.Second, transport.ParseRetryAfter([]string{"soon", "1", "100", "7"}, now), "the longest of several")
}

// ParseRetryAfter never returns a negative pause. For a date in the future, it returns the time
// until this date.
func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "-1", "9223372036854775807", "soon", "1e3", "0x10", "Fri, 02 Jan 2026 03:05:05 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", " 5\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := transport.ParseRetryAfter([]string{value}, now)
		require.GreaterOrEqual(t, got, time.Duration(0))
		if at, err := http.ParseTime(value); err == nil && at.After(now) {
			require.Equal(t, at.Sub(now), got)
		}
	})
}
