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

func (r request) decode(body []byte, out any) error {
	if len(body) == 0 {
		return errors.New("it is empty")
	}
	// Empty objects take little in a body, and much in memory.
	const most = 1 << 20
	if bytes.Count(body, []byte("{")) > most {
		return fmt.Errorf("it has more than %d objects", most)
	}
	if p, ok := out.(plainPage); ok && r.page && p.decodePlain(body) {
		return nil
	}
	return json.Unmarshal(body, out)
}

// failure completes the error of a call.
func (c *Client) failure(r request, f *transport.Failure) error {
	if f.Attempts == 0 && errors.Is(f.Err, ErrNoToken) {
		return fmt.Errorf("%s %s: %w", r.method, r.path, f.Err)
	}
	e := &Error{StatusCode: f.Status, err: f.Err}
	var inner *Error // made by inspect
	if errors.As(f.Err, &inner) {
		e.Number, e.Message, e.Info = inner.Number, inner.Message, inner.Info
		if inner == f.Err { //nolint:errorlint // the question is whether it is wrapped
			e.err = nil // no need to wrap what e says itself
		}
	}
	// The JSON of a success holds other people's names, and settings.
	if json := strings.IndexAny(strings.TrimLeft(f.Excerpt, " \t\r\n\ufeff"), "{[") == 0; e.Number == 0 && !(json && f.Status/100 == 2) {
		e.Excerpt = clean(strings.ToValidUTF8(f.Excerpt, "?"))
	}
	e.Method, e.Path = clean(r.method), r.path
	e.Attempts, e.RetryAfter, e.Ambiguous = f.Attempts, f.RetryAfter, f.Ambiguous
	e.cut, e.ended = f.Cut, f.Ended
	return e
}

// inspect judges a complete answer. Only one that speaks of an error is looked
// at more closely.
func inspectAnswer(status int, body []byte, clean func(string) string) transport.Verdict {
	serverTrouble := status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
	if mentionsError(status, body) {
		var b struct {
			errorBody
			EventID string `json:"eventId"`
		}
		err := json.Unmarshal(body, &b) // a field of an unexpected type must not hide the number
		if syntax := (*json.SyntaxError)(nil); status/100 != 2 && errors.As(err, &syntax) {
			b.Number = findErrorNumber(body)
		}
		if b.Number != 0 || status/100 == 2 && b.Message != "" {
			e := &Error{StatusCode: status, Number: b.Number, Message: shorten(clean(shorten(b.Message, 8*maxMessage)), maxMessage), Info: b.Info}
			_, known := meanings[b.Number]
			return transport.Verdict{
				Err:       e,
				Apple:     b.Number > 0 && b.EventID == "", // an event would mean that something was started
				Retryable: hasError(e, 0, retryableNumbers...) || !known && serverTrouble,
			}
		}
	}
	if status/100 == 2 {
		return transport.Verdict{}
	}
	return transport.Verdict{Err: &Error{StatusCode: status}, Retryable: serverTrouble}
}

// maxMessage bounds what is kept of Apple's errorMessage.
const maxMessage = 1 << 10

var numberInside = regexp.MustCompile(`"errorNumber"\s*:\s*"?(\d{1,9})\b`)

// looseNumber finds the error number in a body that is no JSON, such as one that was cut.
func findErrorNumber(body []byte) ErrorNumber {
	m := numberInside.FindSubmatch(body)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return ErrorNumber(n)
}

// mentionsError looks for an error number or message. In an answer that passes
// for a success they stand before or behind the one part that can be long, so
// the middle needs no look.
func mentionsError(status int, body []byte) bool {
	const edge = 4 << 10
	key := []byte(`"error`)
	if status/100 != 2 || len(body) <= 2*edge {
		return bytes.Contains(body, key)
	}
	return bytes.Contains(body[:edge], key) || bytes.Contains(body[len(body)-edge:], key)
}
