package appsandbooks

import (
	"strings"
	"unicode"
)

// clean replaces control characters with spaces, so that text from the service fits into
// one log line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// shorten returns the first n bytes of s, without a broken character at the end, and an
// ellipsis. It returns s if s is not longer.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
