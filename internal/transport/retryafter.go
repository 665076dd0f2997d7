package transport

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ParseRetryAfter reads a Retry-After header: whole seconds or an HTTP date in
// any of its three layouts. It saturates instead of overflowing, and is zero
// for a header that is absent, in the past, or not understood. Of several the
// longest counts.
func ParseRetryAfter(values []string, now time.Time) (longest time.Duration) {
	for _, v := range values {
		longest = max(longest, parseRetryAfter(strings.TrimSpace(v), now))
	}
	return longest
}

func parseRetryAfter(v string, now time.Time) time.Duration {
	if isDigits(v) {
		const longest = int64(math.MaxInt64 / int64(time.Second))
		seconds, err := strconv.ParseInt(v, 10, 64)
		if err != nil || seconds > longest { // out of range: digits only
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// serverTime is the time by the clock that a date of the answer goes by.
func serverTime(resp *http.Response) time.Time {
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return at
	}
	return time.Now()
}

func isDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}
