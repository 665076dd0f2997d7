package appsandbooks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// maxTokenLength bounds a content token: far above real ones (some hundred
// bytes), far below what a header may hold.
const maxTokenLength = 8 << 10

// Token is what a content token (sToken) says about itself. It prints as
// [REDACTED] with every fmt verb, in slog and in JSON.
//
// A content token is the whole content of a .vpptoken file: base64 of a JSON
// object. The inner "token" value alone is refused by the service.
//
// Source: https://developer.apple.com/documentation/devicemanagement/getting-started-with-the-management-api
type Token struct {
	// ExpirationDate is advisory: a token also dies when it is replaced, or
	// when the password of the account that downloaded it changes. Zero when
	// the token does not say.
	ExpirationDate time.Time
	// OrganizationName is the name of the organization.
	OrganizationName string

	// A closure, not a string: fmt prints unexported strings of a struct
	// inside another struct without asking any method.
	secret func() string
}

// ParseToken reads the content of a .vpptoken file. White space anywhere in it
// and a byte order mark are tolerated. The error wraps [ErrInvalid] and says
// what is wrong without repeating the token.
//
// [NewClient] does not insist on a token that parses: the service is the judge.
func ParseToken(content string) (Token, error) {
	text, err := cleanToken(content)
	if err != nil {
		return Token{}, err
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		if decoded, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return Token{}, fmt.Errorf("%w: the content token is not base64; pass the whole content of the .vpptoken file", ErrInvalid)
		}
	}
	var body struct {
		Token   string `json:"token"`
		ExpDate string `json:"expDate"`
		OrgName string `json:"orgName"`
	}
	if err := json.Unmarshal(decoded, &body); err != nil {
		return Token{}, fmt.Errorf("%w: the content token holds no JSON object; pass the whole content of the .vpptoken file, not the token value inside it", ErrInvalid)
	}
	if body.Token == "" {
		return Token{}, fmt.Errorf("%w: the content token has no token value", ErrInvalid)
	}
	t := Token{OrganizationName: body.OrgName, secret: func() string { return text }}
	if body.ExpDate != "" {
		if t.ExpirationDate, err = parseTime(body.ExpDate); err != nil {
			return Token{}, fmt.Errorf("%w: the content token has an unreadable expDate", ErrInvalid)
		}
	}
	return t, nil
}

// cleanToken removes white space and checks that the rest can stand in a header.
func cleanToken(content string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(content), "Bearer ") {
		return "", fmt.Errorf("%w: the content token begins with Bearer; pass the content of the .vpptoken file alone", ErrInvalid)
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\ufeff' {
			return -1
		}
		return r
	}, content)
	switch {
	case text == "":
		return "", fmt.Errorf("%w: the content token is empty", ErrInvalid)
	case len(text) > maxTokenLength:
		return "", fmt.Errorf("%w: the content token is longer than %d bytes", ErrInvalid, maxTokenLength)
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return "", fmt.Errorf("%w: the content token holds a character that is not visible ASCII", ErrInvalid)
		}
	}
	return text, nil
}

// Format implements [fmt.Formatter], for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText implements [encoding.TextMarshaler], and so JSON.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
