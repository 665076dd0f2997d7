package appsandbooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// decode decodes the JSON body of a successful answer into out.
func (r request) decode(body []byte, out any) error {
	if len(body) == 0 {
		return errors.New("the body is empty")
	}
	// Limit the number of JSON objects: an empty object takes two bytes in a body, but
	// much more in memory.
	const maxObjects = 1 << 20
	if bytes.Count(body, []byte("{")) > maxObjects {
		return fmt.Errorf("the body has more than %d objects", maxObjects)
	}
	if p, ok := out.(plainPage); ok && r.page && p.decodePlain(body) {
		return nil
	}
	return json.Unmarshal(body, out)
}

// acceptance is the answer to a write that the service accepted. Only the event id matters: an odd
// value in another field must not hide it.
type acceptance struct {
	EventID string // id of the event; "" if the answer has none
	Meta
}

// UnmarshalJSON reads a JSON object. A field of Meta of an unexpected type stays at its zero value.
func (a *acceptance) UnmarshalJSON(data []byte) error {
	var in struct {
		EventID             json.RawMessage `json:"eventId"`
		UID                 json.RawMessage `json:"uId"`
		TokenExpirationDate json.RawMessage `json:"tokenExpirationDate"`
		MDMInfo             json.RawMessage `json:"mdmInfo"`
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return errors.New("the answer is not a JSON object")
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*a = acceptance{}
	if in.EventID != nil {
		if err := json.Unmarshal(in.EventID, &a.EventID); err != nil {
			return fmt.Errorf("eventId: %w", err)
		}
	}
	decodeOrSkip(in.UID, &a.UID)
	decodeOrSkip(in.TokenExpirationDate, &a.TokenExpirationDate)
	decodeOrSkip(in.MDMInfo, &a.MDMInfo)
	return nil
}

// noteUnit remembers the organizational unit of an answer.
func (c *Client) noteUnit(m *Meta) {
	if known := c.unit.Load(); m.UID != "" && (known == nil || *known != m.UID) {
		uid := strings.Clone(m.UID) // not a part of a large answer
		c.unit.Store(&uid)
	}
}

// knownUnit returns the uId of the latest answer that had one, or "" before the first one.
func (c *Client) knownUnit() string {
	if uid := c.unit.Load(); uid != nil {
		return *uid
	}
	return ""
}

// failure returns the error of a call that ended without success.
func (c *Client) failure(r request, f *transport.Failure) error {
	if f.Attempts == 0 && errors.Is(f.Err, ErrNoToken) {
		return fmt.Errorf("%s %s: %w", r.method, r.path, f.Err)
	}
	e := &Error{StatusCode: f.Status, err: f.Err}
	var inner *Error // from inspectAnswer
	if errors.As(f.Err, &inner) {
		e.Number, e.Message, e.Info = inner.Number, inner.Message, inner.Info
		if inner == f.Err { //nolint:errorlint // must be false for a wrapped error
			e.err = nil // the new Error already has all information of the inner one
		}
	}
	// Leave out the JSON of a success: it contains names of people, and settings.
	if json := strings.IndexAny(strings.TrimLeft(f.Excerpt, " \t\r\n\ufeff"), "{[") == 0; e.Number == 0 && !(json && f.Status/100 == 2) {
		e.Excerpt = clean(strings.ToValidUTF8(f.Excerpt, "?"))
	}
	e.Method, e.Path = clean(r.method), r.path
	e.Attempts, e.RetryAfter, e.Ambiguous = f.Attempts, f.RetryAfter, f.Ambiguous
	e.incomplete, e.contextEnded = f.Cut, f.Ended
	return e
}

// inspectAnswer judges a complete answer: it returns Apple's error, if the body
// contains one, and whether the request may succeed later. It decodes the body only
// if the body mentions an error.
func inspectAnswer(status int, body []byte, clean func(string) string) transport.Verdict {
	temporaryStatus := status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
	if mentionsError(status, body) {
		var b struct {
			errorBody
			EventID string `json:"eventId"`
		}
		err := json.Unmarshal(body, &b) // ignore a type error: the other fields are decoded anyway
		if syntax := (*json.SyntaxError)(nil); status/100 != 2 && errors.As(err, &syntax) {
			b.Number = findErrorNumber(body)
		}
		if b.Number != 0 || status/100 == 2 && b.Message != "" {
			e := &Error{StatusCode: status, Number: b.Number, Message: shorten(clean(shorten(b.Message, 8*maxMessage)), maxMessage), Info: b.Info}
			_, known := meanings[b.Number]
			return transport.Verdict{
				Err:       e,
				Apple:     b.Number > 0 && b.EventID == "", // an event id in an error answer shows that the service started something
				Unsure:    b.Number == ErrInternal,
				Retryable: hasError(e, 0, retryableNumbers...) || !known && temporaryStatus,
			}
		}
	}
	if status/100 == 2 {
		return transport.Verdict{}
	}
	return transport.Verdict{Err: &Error{StatusCode: status}, Retryable: temporaryStatus}
}

// maxMessage is the largest number of bytes of Apple's errorMessage that an Error
// contains.
const maxMessage = 1 << 10

// errorNumberPattern matches an errorNumber in JSON, as a number or as a string.
var errorNumberPattern = regexp.MustCompile(`"errorNumber"\s*:\s*"?(\d{1,9})\b`)

// findErrorNumber returns the error number in a body that is not valid JSON, such as
// an incomplete one. It returns 0 if it finds none.
func findErrorNumber(body []byte) ErrorNumber {
	m := errorNumberPattern.FindSubmatch(body)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return ErrorNumber(n)
}

// mentionsError reports whether a body may contain an error number or message. In a
// large answer with a 2xx status it searches the beginning and the end only: the
// fields of an error come before or after the one long field.
func mentionsError(status int, body []byte) bool {
	const edge = 4 << 10
	key := []byte(`"error`)
	if status/100 != 2 || len(body) <= 2*edge {
		return bytes.Contains(body, key)
	}
	return bytes.Contains(body[:edge], key) || bytes.Contains(body[len(body)-edge:], key)
}
