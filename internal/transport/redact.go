package transport

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"net/url"
	"strings"
)

// Redacted stands where a secret or an id was.
const Redacted = "[REDACTED]"

// secrets are what this call must keep to itself: the tokens of its attempts,
// what they decode to, and what the body holds, plain and as it was sent.
func (c *call) secrets() []string {
	var all []string
	for _, token := range c.tokens {
		all = append(all, token)
		if inner, err := base64.StdEncoding.DecodeString(token); err == nil {
			all = append(all, string(inner))
		}
	}
	if secret := c.req.Secret; secret != "" {
		all = append(all, secret)
		if sent, err := json.Marshal(secret); err == nil {
			all = append(all, string(sent[1:len(sent)-1]))
		}
	}
	return all
}

// clean takes out of a text what the other side, or what stands between us and
// it, repeats of the request: secrets, in whole or in part and however they are
// escaped, and the ids of users and devices.
func (c *call) clean(text string) string {
	if text == "" {
		return ""
	}
	for _, secret := range c.secrets() {
		text = withoutRuns(text, secret)
	}
	if c.req.IDs == nil {
		return text
	}
	for _, id := range c.req.IDs() {
		if len(id) < 3 { // it would be found in many a word, and tells nobody anything
			continue
		}
		for _, spelling := range []string{id, url.QueryEscape(id), url.PathEscape(id), html.EscapeString(id)} {
			text = strings.ReplaceAll(text, spelling, Redacted)
		}
		if plain := html.UnescapeString(text); strings.Contains(plain, id) { // escaped in a way of its own
			text = strings.ReplaceAll(plain, id, Redacted)
		}
	}
	return text
}

// withoutRuns replaces whatever of a text stands in the secret too, in capitals
// or not: the whole secret, or a run of it that is long enough to be of use.
// Between two escaped characters a token has such runs.
func withoutRuns(text, secret string) string {
	const enough = 12
	text = strings.ReplaceAll(text, secret, Redacted)
	if len(secret) < enough {
		return text
	}
	folded, secret := asciiLower(text), asciiLower(secret)
	var b strings.Builder
	at := 0
	for at+enough <= len(text) {
		end := at + enough
		if !strings.Contains(secret, folded[at:end]) {
			b.WriteByte(text[at])
			at++
			continue
		}
		for end < len(text) && strings.Contains(secret, folded[at:end+1]) {
			end++
		}
		b.WriteString(Redacted)
		at = end
	}
	return b.String() + text[at:]
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
	body := c.buf.Bytes()
	if bytes.Contains(body, []byte(secret)) {
		body = bytes.ReplaceAll(body, []byte(secret), []byte(Redacted))
		c.buf.Reset()
		c.buf.Write(body)
		found = true
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

// scrub drops the URL that net/http puts into its errors, a second one of a
// transport that is a client itself included: its query names users and devices.
// It also drops what net/http quotes of an answer that it cannot parse.
func scrub(err error) error {
	for u := (*url.Error)(nil); errors.As(err, &u); {
		err = u.Err
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	if at := strings.IndexByte(text, '"'); at >= 0 && strings.Contains(text[:at], "malformed ") {
		return errors.New(strings.TrimRight(text[:at], ": "))
	}
	return err
}

// scrub also drops what a transport of the caller's own says, if it says a secret.
func (c *call) scrub(err error) error {
	err = scrub(err)
	if err == nil {
		return nil
	}
	if text := c.clean(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}
