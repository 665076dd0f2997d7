package appsandbooks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// maxTokenLength is the largest length of a content token, in bytes: far more than a
// real token (some hundred bytes), and little enough for an HTTP header.
const maxTokenLength = 8 << 10

// A Token has the information that a content token (sToken) contains. It prints as
// [REDACTED] with every fmt verb, in slog and in JSON.
//
// A content token is the whole content of a .vpptoken file: a JSON object in base64.
// The service rejects the "token" value from inside that object.
//
// Source: https://developer.apple.com/documentation/devicemanagement/getting-started-with-the-management-api
type Token struct {
	// ExpirationDate is when the token expires; zero if the token has no date. A token
	// can become invalid earlier: when a newer token is downloaded, or when the password
	// of the account that downloaded it changes.
	ExpirationDate   time.Time
	OrganizationName string // "" if the token has no name

	// The secret is a closure and not a string: if a Token is in an unexported field of a
	// struct, fmt prints its strings without calling Format.
	secret func() string
}

// ParseToken parses the content of a .vpptoken file. It ignores white space and byte
// order marks. The error wraps [ErrInvalid] and does not contain the token.
//
// [NewClient] also accepts a token that ParseToken rejects, as long as the token can be
// sent in a header. The service decides whether the token is valid.
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
		return Token{}, fmt.Errorf("%w: the content token does not contain a JSON object; pass the whole content of the .vpptoken file, not the token value inside it", ErrInvalid)
	}
	if body.Token == "" {
		return Token{}, fmt.Errorf("%w: the content token has no token value", ErrInvalid)
	}
	t := Token{OrganizationName: body.OrgName, secret: func() string { return text }}
	if body.ExpDate != "" {
		if t.ExpirationDate, err = parseTime(body.ExpDate); err != nil {
			return Token{}, fmt.Errorf("%w: the content token has an invalid expDate", ErrInvalid)
		}
	}
	return t, nil
}

// cleanToken removes white space and byte order marks from a content token. It returns
// an error if the rest cannot be sent in a header.
func cleanToken(content string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(content), "Bearer ") {
		return "", fmt.Errorf("%w: the content token begins with \"Bearer \"; pass only the content of the .vpptoken file", ErrInvalid)
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
			return "", fmt.Errorf("%w: the content token contains a character that is not visible ASCII", ErrInvalid)
		}
	}
	return text, nil
}

// Format implements [fmt.Formatter]. It writes [REDACTED] for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText implements [encoding.TextMarshaler]. It returns [REDACTED]; encoding/json
// uses it.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
