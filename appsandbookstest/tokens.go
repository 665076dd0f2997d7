package appsandbookstest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// A TokenState is a state of all tokens of a unit.
type TokenState int

// A unit's tokens are in one of these states. In each state except TokenValid, the
// server refuses requests with the error number of the state; in TokenReadOnly it
// refuses only writes.
const (
	// TokenValid is the state of a new unit. The server accepts the unit's tokens
	// that are not revoked and have not expired.
	TokenValid TokenState = iota

	// TokenExpired makes the server refuse requests with error number 9621.
	TokenExpired

	// TokenRevoked makes the server refuse requests with error number 9625.
	TokenRevoked

	// TokenMalformed makes the server refuse requests with error number 9622.
	// See [WithMalformedTokenStatus].
	TokenMalformed

	// TokenReadOnly makes the server refuse writes with error number 9637. Reads
	// are served.
	TokenReadOnly
)

// A token is one content token of a unit.
type token struct {
	unit    *Unit
	revoked bool
	expires time.Time
}

// issueToken adds a new token of a unit and returns its value. The server's
// lock must be held.
func (s *Server) issueToken(u *Unit) string {
	u.issued++
	expires := time.Now().Add(s.opts.tokenLifetime).Truncate(time.Second)
	inner := s.random.secret(u.randomLabel("token"), u.issued)
	content, _ := json.MarshalIndent(struct {
		Token   string `json:"token"`
		ExpDate string `json:"expDate"`
		OrgName string `json:"orgName"`
	}{inner, formatTime(expires), u.name}, "", "  ") // encoding strings cannot fail
	t := &token{unit: u, expires: expires}
	value := base64.StdEncoding.EncodeToString(content)
	s.tokensByValue[value] = t
	s.tokensByInner[inner] = t
	return value
}

// Token returns the unit's newest content token. It has the form of a
// downloaded .vpptoken file: base64 of a JSON object with token, expDate and
// orgName.
func (u *Unit) Token() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	return u.token
}

// AddToken adds a token of the same unit and returns it. It simulates a
// download by another content manager. Earlier tokens stay valid.
func (u *Unit) AddToken() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	u.token = u.srv.issueToken(u)
	return u.token
}

// ReplaceToken revokes all tokens of the unit and returns a new one.
func (u *Unit) ReplaceToken() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	for _, t := range u.srv.tokensByValue {
		if t.unit == u {
			t.revoked = true
		}
	}
	u.token = u.srv.issueToken(u)
	return u.token
}

// SetTokenState sets the state of all tokens of the unit.
func (u *Unit) SetTokenState(state TokenState) {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	u.state = state
}

// tokenExpiry returns the time at which the newest token expires.
func (u *Unit) tokenExpiry() time.Time {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	return u.srv.tokensByValue[u.token].expires
}

// expirationDate returns the value of tokenExpirationDate in answers. It is
// empty when answers leave the field out.
func (u *Unit) expirationDate() string {
	const warning = 15 * 24 * time.Hour
	expires := u.tokenExpiry()
	if u.srv.opts.lateExpirationDate && time.Until(expires) > warning {
		return ""
	}
	return formatTime(expires)
}

// lookup returns the token in the Authorization header of a request, or nil if
// the server does not know this token.
func (s *Server) lookup(h http.Header) *token {
	value, ok := bearer(h)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokensByValue[value]; t != nil {
		return t
	}
	return s.tokensByInner[value]
}

// bearer returns the value of an Authorization header of the form "Bearer
// value". It returns false if the header is missing, occurs twice or has
// another form.
func bearer(h http.Header) (string, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, value, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || value == "" || strings.ContainsAny(value, " ,\t") {
		return "", false
	}
	return value, true
}

// authenticate refuses a call without a token that is valid for the endpoint.
func (c *call) authenticate(op endpoint) *apiError {
	value, ok := bearer(c.header)
	switch {
	case !ok:
		return refuse(numAuthorizationHeader)
	case c.token == nil:
		return refuse(numLoginRequired)
	}

	c.srv.mu.Lock()
	isInner := c.srv.tokensByValue[value] == nil
	revoked := c.token.revoked
	state := c.token.unit.state
	c.srv.mu.Unlock()

	switch {
	case isInner || state == TokenMalformed:
		e := refuse(numTokenMalformed)
		e.status = c.srv.opts.malformedTokenStatus
		return e
	case revoked || state == TokenRevoked:
		return refuse(numTokenRevoked)
	case state == TokenExpired || !time.Now().Before(c.token.expires):
		return refuse(numTokenExpired)
	case state == TokenReadOnly && op.write:
		return refuse(numNotPermitted)
	}
	return nil
}
