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

// Redacted stands where a secret or an id was.
const Redacted = "[REDACTED]"

// secrets are what this call must keep to itself: the tokens of its attempts,
// what they decode to, and what the body holds.
func (c *call) secrets() []string {
	var all []string
	for _, token := range c.tokens {
		all = append(all, token)
		if inner, err := base64.StdEncoding.DecodeString(token); err == nil {
			all = append(all, string(inner))
		}
	}
	if c.req.Secret != "" {
		all = append(all, c.req.Secret)
	}
	return all
}

// clean takes out of a text what the other side, or what stands between us and
// it, repeats of the request: secrets, in whole or in part, and the ids of users
// and devices, in capitals or not, and however they are escaped.
func (c *call) clean(text string) string { return c.without(text, true) }

func (c *call) without(text string, ids bool) string {
	if text == "" {
		return ""
	}
	secrets, names := c.secrets(), []string(nil)
	if ids && c.req.IDs != nil {
		names = c.req.IDs()
	}
	plain := unescape(text)
	if spans := found(plain, secrets, names); plain != text && len(spans) > len(found(text, secrets, names)) {
		text = plain // some of it is escaped
	}
	var b strings.Builder
	at := 0
	for _, s := range merged(found(text, secrets, names)) {
		b.WriteString(text[at:s.from])
		b.WriteString(Redacted)
		at = s.to
	}
	return b.String() + text[at:]
}

// span is a piece of a text.
type span struct{ from, to int }

// found are the pieces of a text that tell a secret or an id.
func found(text string, secrets, ids []string) (spans []span) {
	folded := asciiLower(text)
	for _, secret := range secrets {
		spans = append(spans, runs(folded, asciiLower(secret))...)
	}
	for _, id := range ids {
		if len(id) < 3 { // it would be found in many a word, and tells nobody anything
			continue
		}
		id = asciiLower(id)
		for at := 0; ; {
			i := strings.Index(folded[at:], id)
			if i < 0 {
				break
			}
			s := span{at + i, at + i + len(id)}
			if len(id) >= 8 || !inWord(folded, s) {
				spans = append(spans, s)
			}
			at = s.from + 1
		}
	}
	return spans
}

// runs are the pieces of a text that stand in the secret, too: all of it, or so
// much that it is of use.
func runs(text, secret string) (spans []span) {
	enough := min(12, len(secret))
	for at := 0; enough > 0 && at+enough <= len(text); {
		end := at + enough
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

// inWord tells whether a short piece is but a part of a word: the 509 of x509.
func inWord(text string, s span) bool {
	letter := func(i int) bool {
		return i >= 0 && i < len(text) && ('0' <= text[i] && text[i] <= '9' || 'a' <= text[i] && text[i] <= 'z')
	}
	return letter(s.from-1) && letter(s.from) || letter(s.to-1) && letter(s.to)
}

// merged sorts pieces and joins those that touch.
func merged(spans []span) (joined []span) {
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	for _, s := range spans {
		if n := len(joined); n > 0 && s.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, s.to)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// escapes are those of JSON and of URLs.
var escapes = regexp.MustCompile(`\\u00[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}|\\/`)

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

// asciiLower is strings.ToLower, byte by byte.
func asciiLower(s string) string {
	lower := []byte(s)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// redact takes a secret out of an answer that echoes it, before anything of
// the answer is decoded, and also its beginning if the answer was cut there. The
// search costs a small part of what decoding does.
func (c *call) redact(secret string, cut bool) (found bool) {
	if secret == "" || c.buf == nil {
		return false
	}
	spellings := []string{secret}
	if sent, err := json.Marshal(secret); err == nil && len(sent) > len(secret)+2 {
		spellings = append(spellings, string(sent[1:len(sent)-1]))
	}
	for _, s := range spellings {
		if body := c.buf.Bytes(); bytes.Contains(body, []byte(s)) {
			body = bytes.ReplaceAll(body, []byte(s), []byte(Redacted))
			c.buf.Reset()
			c.buf.Write(body)
			found = true
		}
	}
	const tell = 4 // so few characters of a secret give nothing away
	for n := min(len(secret)-1, c.buf.Len()); cut && n >= tell; n-- {
		if bytes.HasSuffix(c.buf.Bytes(), []byte(secret[:n])) {
			c.buf.Truncate(c.buf.Len() - n)
			c.buf.WriteString(Redacted)
			return true
		}
	}
	return found
}
