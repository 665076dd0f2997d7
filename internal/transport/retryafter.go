package transport

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ParseRetryAfter returns the pause that Retry-After headers request: whole
// seconds, or an HTTP date in any of its three layouts relative to now. It
// returns the longest pause of several headers, 0 for a header that is absent,
// in the past or invalid, and the largest Duration for a number that overflows.
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
		if err != nil || seconds > longest { // a string of digits fails only if the number is too large
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// serverTime returns the time of the answer's Date header, or the local time without this header.
// A date in Retry-After follows the clock of the sender.
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
