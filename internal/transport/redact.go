package transport

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Redacted is the text that replaces secrets and ids in errors and logs.
const Redacted = "[REDACTED]"

// secrets returns the secrets of the call: the tokens of its attempts, their
// decoded content, and the secret in the body.
func (c *callState) secrets() []string {
	var all []string
	for _, token := range c.tokens {
		all = append(all, token)
		if decoded, err := base64.StdEncoding.DecodeString(token); err == nil {
			all = append(all, string(decoded))
		}
	}
	if c.req.Secret != "" {
		all = append(all, c.req.Secret)
	}
	return all
}

// ids returns the ids of users and devices that the request contains.
func (c *callState) ids() []string {
	if c.req.IDs == nil {
		return nil
	}
	return c.req.IDs()
}

// redactText replaces secrets and ids of the request that a text of the service or of a proxy
// repeats: parts of secrets, and the ids of users and devices, in upper or lower case, also
// escaped.
func (c *callState) redactText(text string) string {
	if text == "" {
		return ""
	}
	return redactSpans(text, c.secrets(), c.ids())
}

// redactSpans replaces all parts of secrets and all ids in text with Redacted.
func redactSpans(text string, secrets, ids []string) string {
	plain := unescape(text)
	spans := findSpans(text, secrets, ids)
	if plain != text {
		if more := findSpans(plain, secrets, ids); len(more) > len(spans) {
			text, spans = plain, more // some spans were escaped
		}
	}
	var b strings.Builder
	at := 0
	for _, s := range mergeSpans(spans) {
		b.WriteString(text[at:s.from])
		b.WriteString(Redacted)
		at = s.to
	}
	return b.String() + text[at:]
}

// span is the part of a text from one byte index up to, not including, another.
type span struct{ from, to int }

// findSpans returns the spans of text that contain a part of a secret or an id.
// They can overlap.
func findSpans(text string, secrets, ids []string) (spans []span) {
	folded := asciiLower(text)
	for _, secret := range secrets {
		spans = append(spans, commonSpans(folded, asciiLower(secret))...)
	}
	for _, id := range ids {
		if len(id) < 3 { // A shorter id would match ordinary words, and is too short to identify a person.
			continue
		}
		id = asciiLower(id)
		for at := 0; ; {
			i := strings.Index(folded[at:], id)
			if i < 0 {
				break
			}
			s := span{at + i, at + i + len(id)}
			if len(id) >= 8 || !insideWord(folded, s) {
				spans = append(spans, s)
			}
			at = s.from + 1
		}
	}
	return spans
}

// commonSpans returns the spans of text that are also part of secret. A span has at least 12
// bytes, or the length of the secret if the secret is shorter.
func commonSpans(text, secret string) (spans []span) {
	shortest := min(12, len(secret))
	for at := 0; shortest > 0 && at+shortest <= len(text); {
		end := at + shortest
		if !strings.Contains(secret, text[at:end]) {
			at++
			continue
		}
		for end < len(text) && strings.Contains(secret, text[at:end+1]) {
			end++
		}
		spans = append(spans, span{at, end})
		at = end
	}
	return spans
}

// insideWord reports whether a span is only a part of a longer word, such as the 509 of x509. The
// text must be in lower case.
func insideWord(text string, s span) bool {
	alphanumeric := func(i int) bool {
		return i >= 0 && i < len(text) && ('0' <= text[i] && text[i] <= '9' || 'a' <= text[i] && text[i] <= 'z')
	}
	return alphanumeric(s.from-1) && alphanumeric(s.from) || alphanumeric(s.to-1) && alphanumeric(s.to)
}

// mergeSpans sorts spans and merges those that overlap or touch.
func mergeSpans(spans []span) (merged []span) {
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	for _, s := range spans {
		if n := len(merged); n > 0 && s.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// escapes matches the escapes of single bytes in JSON and in URLs.
var escapes = regexp.MustCompile(`\\u00[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}|\\/`)

// unescape decodes the escapes of JSON, URLs and HTML in text. Other text stays unchanged.
func unescape(text string) string {
	return html.UnescapeString(escapes.ReplaceAllStringFunc(text, func(s string) string {
		if s == `\/` {
			return "/"
		}
		code, err := strconv.ParseUint(s[len(s)-2:], 16, 8)
		if err != nil {
			return s
		}
		return string([]byte{byte(code)})
	}))
}

// asciiLower is like strings.ToLower, but changes only ASCII letters, so that the byte indexes in
// the text stay the same.
func asciiLower(s string) string {
	lower := []byte(s)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// redactBody replaces secret in the body of the answer, before the body is
// decoded. If the body was truncated, it also replaces the beginning of secret
// at the end of the body. It reports whether it replaced anything.
func (c *callState) redactBody(secret string, truncated bool) (found bool) {
	if secret == "" || c.body == nil {
		return false
	}
	spellings := []string{secret}
	if escaped, err := json.Marshal(secret); err == nil && len(escaped) > len(secret)+2 {
		spellings = append(spellings, string(escaped[1:len(escaped)-1]))
	}
	for _, s := range spellings {
		if body := c.body.Bytes(); bytes.Contains(body, []byte(s)) {
			body = bytes.ReplaceAll(body, []byte(s), []byte(Redacted))
			c.body.Reset()
			c.body.Write(body)
			found = true
		}
	}
	const shortest = 4 // Fewer bytes than this at the end of a body reveal nothing of a secret.
	for n := min(len(secret)-1, c.body.Len()); truncated && n >= shortest; n-- {
		if bytes.HasSuffix(c.body.Bytes(), []byte(secret[:n])) {
			c.body.Truncate(c.body.Len() - n)
			c.body.WriteString(Redacted)
			return true
		}
	}
	return found
}
