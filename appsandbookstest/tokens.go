package appsandbookstest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// A TokenState says how the service treats the tokens of a unit.
type TokenState int

// The states of a unit's tokens.
const (
	TokenValid     TokenState = iota
	TokenExpired              // 9621
	TokenRevoked              // 9625
	TokenMalformed            // 9622, see WithMalformedTokenStatus
	TokenReadOnly             // reads are served, writes are refused with 9637
)

// A token is one content token of a unit.
type token struct {
	unit    *Unit
	revoked bool
	expires time.Time
}

// issueToken makes a new token for a unit. The server's lock is held.
func (s *Server) issueToken(u *Unit) string {
	u.issued++
	expires := time.Now().Add(s.opts.tokenLifetime).Truncate(time.Second)
	inner := s.random.secret(u.randomLabel("token"), u.issued)
	content, _ := json.MarshalIndent(struct {
		Token   string `json:"token"`
		ExpDate string `json:"expDate"`
		OrgName string `json:"orgName"`
	}{inner, formatTime(expires), u.name}, "", "  ") // strings always encode
	t := &token{unit: u, expires: expires}
	value := base64.StdEncoding.EncodeToString(content)
	s.tokensByValue[value] = t
	s.tokensByInner[inner] = t
	return value
}

// Token returns the unit's newest content token, in the form that a content
// manager downloads: base64 of a JSON object with token, expDate and orgName.
func (u *Unit) Token() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	return u.token
}

// AddToken returns a further token of the same library, such as another
// content manager downloads. Earlier tokens stay valid.
func (u *Unit) AddToken() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	u.token = u.srv.issueToken(u)
	return u.token
}

// ReplaceToken revokes the tokens of the unit and returns a new one.
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

// SetTokenState changes how the service treats all tokens of the unit.
func (u *Unit) SetTokenState(state TokenState) {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	u.state = state
}

// tokenExpiry returns when the newest token expires.
func (u *Unit) tokenExpiry() time.Time {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	return u.srv.tokensByValue[u.token].expires
}

// expirationDate returns the value of tokenExpirationDate, which is empty
// when the field is left out.
func (u *Unit) expirationDate() string {
	const warning = 15 * 24 * time.Hour
	expires := u.tokenExpiry()
	if u.srv.opts.lateExpirationDate && time.Until(expires) > warning {
		return ""
	}
	return formatTime(expires)
}

// lookup returns the token of a request, or nil.
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

// bearer returns the value of the only Authorization header, which must be of
// the form "Bearer value".
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

// authenticate checks whether the token of a call may be used for an endpoint.
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
