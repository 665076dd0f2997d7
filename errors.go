package appsandbooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// ErrTakenOver marks a write that was not sent because another device
// management service has taken the organizational unit over: see [WithOwner].
var ErrTakenOver = errors.New("appsandbooks: another service manages the organizational unit")

// ErrAnswerDiffers marks a change of settings that the service accepted, but whose
// answer does not show the settings that were sent.
var ErrAnswerDiffers = errors.New("appsandbooks: the service's answer does not match what was sent")

// Error is every answer of the service that is not a success, and every
// request that got no usable answer: an Apple error (also one inside HTTP
// 200), a gateway's page, an empty or cut body, a redirect, a broken
// connection. Failures inside a finished event have the same type, with
// StatusCode 0.
//
// Ask what it means with errors.Is and a sentinel such as [ErrTokenRevoked],
// or with a predicate such as [IsRetryable].
type Error struct {
	StatusCode int         // HTTP status; 0 when there was no HTTP answer of its own
	Number     ErrorNumber // Apple's errorNumber; 0 when the answer carried none
	Message    string      // Apple's errorMessage: for people, never to be compared
	Info       *ErrorInfo  // the parts of the request that failed, when Apple names them

	Method     string        // of the request
	Path       string        // without the query, which names users and devices
	Attempts   int           // requests sent, this one included
	RetryAfter time.Duration // the pause the service asked for last; 0 when it asked for none
	Ambiguous  bool          // a write that may have been carried out: see ErrAmbiguous
	Excerpt    string        // the first 512 bytes of an answer that is no Apple error, unless it is the JSON of a success

	err        error
	cut, ended bool // of the answer not all came; the caller's context has ended
}

// Error says what happened, for a person. It never holds the token, the query
// or a header.
func (e *Error) Error() string {
	if e == nil {
		return "no error"
	}
	var b strings.Builder
	if e.Method != "" {
		fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	}
	switch {
	case e.Number != 0:
		b.WriteString(e.Number.Error())
		if e.Message != "" {
			fmt.Fprintf(&b, ": %s", clean(shorten(e.Message, maxMessage)))
		}
	case e.err != nil:
		b.WriteString(e.err.Error())
	case e.Message != "":
		b.WriteString(clean(shorten(e.Message, maxMessage)))
	case e.StatusCode != 0:
		fmt.Fprintf(&b, "unexpected answer %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	default:
		b.WriteString("failed without a reason")
	}
	if e.Number != 0 && e.StatusCode != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.StatusCode)
	}
	if e.Info != nil && !e.Info.empty() {
		fmt.Fprintf(&b, " [%s]", e.Info)
	}
	if e.Excerpt != "" && e.StatusCode/100 != 2 {
		fmt.Fprintf(&b, ": %s", shorten(e.Excerpt, 120))
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; the service asks for a pause of %s", e.RetryAfter.Round(time.Second))
	}
	if e.Ambiguous {
		b.WriteString("; it may have been carried out")
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (%d attempts)", e.Attempts)
	}
	return b.String()
}

// LogValue implements [slog.LogValuer]: as text, for the JSON names people.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Is matches Apple's number and the sentinels [ErrAmbiguous] and [ErrRedirect].
func (e *Error) Is(target error) bool {
	if e == nil {
		return false
	}
	switch target {
	case ErrAmbiguous:
		return e.Ambiguous
	case ErrRedirect:
		return e.StatusCode/100 == 3
	}
	n, ok := target.(ErrorNumber)
	return ok && n != 0 && n == e.Number
}

// Unwrap is the cause when there was no usable answer: a network error, the
// context's error, a decoding error.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.err
}

// errorBody is Apple's ErrorResponse.
type errorBody struct {
	Number  ErrorNumber `json:"errorNumber"`
	Message string      `json:"errorMessage,omitzero"`
	Info    *ErrorInfo  `json:"errorInfo,omitzero"`
}

// UnmarshalJSON reads Apple's ErrorResponse, the form that an [EventStatus] or
// a notification holds.
func (e *Error) UnmarshalJSON(data []byte) error {
	var b errorBody
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	*e = Error{Number: b.Number, Message: b.Message, Info: b.Info}
	return nil
}

// MarshalJSON writes Apple's ErrorResponse.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(errorBody{Number: e.Number, Message: e.Message, Info: e.Info})
}

// ErrorInfo names the parts of a request that failed.
//
// Apple documents no field for subscriptions; what else the object holds is
// kept in Raw.
type ErrorInfo struct {
	Assets        []AssetID
	ClientUserIDs []string
	SerialNumbers []string
	Raw           json.RawMessage // the object as it came; nil for one made by hand
}

type errorInfoBody struct {
	Assets        []AssetID `json:"assets,omitzero"`
	ClientUserIDs []string  `json:"clientUserIds,omitzero"`
	SerialNumbers []string  `json:"serialNumbers,omitzero"`
}

// UnmarshalJSON keeps the raw object beside the fields that are documented.
func (i *ErrorInfo) UnmarshalJSON(data []byte) error {
	var b errorInfoBody
	// A field of an unexpected type must not hide the error number next to it.
	_ = json.Unmarshal(data, &b)
	*i = ErrorInfo{b.Assets, b.ClientUserIDs, b.SerialNumbers, slices.Clone(data)}
	return nil
}

// MarshalJSON writes Raw if there is one.
func (i *ErrorInfo) MarshalJSON() ([]byte, error) {
	if i.Raw != nil {
		return i.Raw, nil
	}
	return json.Marshal(errorInfoBody{i.Assets, i.ClientUserIDs, i.SerialNumbers})
}

func (i *ErrorInfo) empty() bool {
	return len(i.Assets) == 0 && len(i.ClientUserIDs) == 0 && len(i.SerialNumbers) == 0
}

// String counts what is named; the ids themselves are personal data and stay
// out of messages.
func (i *ErrorInfo) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{len(i.Assets), "assets"}, {len(i.ClientUserIDs), "clientUserIds"}, {len(i.SerialNumbers), "serialNumbers"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

// Sentinels of the SDK itself; the service's own are the [ErrorNumber] constants.
var (
	// ErrAmbiguous marks a write that was sent and got no usable answer: it
	// may or may not have been carried out. It was not sent again.
	ErrAmbiguous = errors.New("appsandbooks: the write may or may not have been carried out")
	// ErrRedirect marks an answer with status 3xx. Redirects are not followed:
	// they could carry the token to another host.
	ErrRedirect = errors.New("appsandbooks: the service answered with a redirect")
	// ErrInvalid marks input that was refused before any request was made.
	ErrInvalid = errors.New("appsandbooks: invalid input")
	// ErrNoToken marks a call that needs a content token on a client without one.
	ErrNoToken = errors.New("appsandbooks: this call needs a content token")
	// ErrNoProgress marks a list that came back to a page it had given before.
	ErrNoProgress = errors.New("appsandbooks: the list does not advance")
	// ErrRestarted says that the data changed under a walk with Restarts. If
	// the loop goes on, the walk begins again: throw away what came before.
	ErrRestarted = errors.New("appsandbooks: the data changed, the walk begins again")
	// ErrDataChanged says that the data changed under a walk more often than
	// its Restarts. The walk is over.
	ErrDataChanged = errors.New("appsandbooks: the data changed under the walk")
	// ErrStalled marks an event that stayed PENDING for longer than the stall
	// time (see [WithStallTime]). It may still finish.
	ErrStalled = errors.New("appsandbooks: the event is still PENDING")
	// ErrClosed marks a call of a client that was closed, before or meanwhile.
	ErrClosed = errors.New("appsandbooks: the client is closed")
	// ErrOtherUnit stops an operation whose client, or whose client's token, is
	// now that of another organizational unit.
	ErrOtherUnit = errors.New("appsandbooks: the operation belongs to another organizational unit")
	// ErrPending marks a pair whose event has not finished yet.
	ErrPending = errors.New("appsandbooks: not finished yet")
	// ErrNotSent marks a pair whose request was not sent, or certainly not
	// accepted: nothing happened to it. What stopped the sending is wrapped beside it.
	ErrNotSent = errors.New("appsandbooks: not sent")
	// ErrNotVerified marks a pair whose event finished, but which reading the
	// data back did not show as done: a device that does not exist, for example.
	ErrNotVerified = errors.New("appsandbooks: reading back does not show it done")
)

// IsAuth reports whether the service refused the content token: it is missing,
// malformed, expired or revoked. Every call fails until the client has another
// token.
func IsAuth(err error) bool {
	return hasError(err, http.StatusUnauthorized, authNumbers...)
}

// IsForbidden reports whether the content token is valid but does not allow
// this call.
func IsForbidden(err error) bool {
	return hasError(err, http.StatusForbidden, forbiddenNumbers...)
}

// IsRetryable reports whether the same call may succeed later: the service
// reported a temporary error or asked for a pause, the service could not be
// reached, or its answer was cut. The SDK has already retried where that is
// safe. IsRetryable returns false for a write whose result is unknown
// ([ErrAmbiguous]): read the data back before you send it again.
func IsRetryable(err error) bool {
	return !errors.Is(err, ErrAmbiguous) && (hasError(err, 0, retryableNumbers...) ||
		hasError(err, http.StatusTooManyRequests) || hasError(err, http.StatusInternalServerError) || hasError(err, http.StatusBadGateway) ||
		hasError(err, http.StatusServiceUnavailable) || hasError(err, http.StatusGatewayTimeout) || anyError(err, (*Error).isNetworkError))
}

// isNetworkError reports whether no complete answer came, for a reason that can pass:
// a broken connection, for example. A certificate error, refused input and the
// end of the caller's context are other reasons.
func (e *Error) isNetworkError() bool {
	return e.Number == 0 && e.err != nil && (e.StatusCode == 0 || e.cut) && !e.ended &&
		!transport.IsCertificateError(e.err) && !errors.Is(e.err, ErrInvalid)
}

// isLimit reports whether a part of the request was larger than the current
// limits of the service.
func isLimit(err error) bool { return hasError(err, 0, limitNumbers...) }

// IsNotFound reports whether a user, an event or a subscription that the
// request names does not exist, is not associated with an Apple Account, or is
// not assigned.
func IsNotFound(err error) bool { return hasError(err, 0, notFoundNumbers...) }

// hasError reports whether err wraps an *Error with the HTTP status (if status is not
// 0), or one of the numbers.
func hasError(err error, status int, numbers ...ErrorNumber) bool {
	if status != 0 && anyError(err, func(e *Error) bool { return e.StatusCode == status }) {
		return true
	}
	return slices.ContainsFunc(numbers, func(n ErrorNumber) bool { return errors.Is(err, n) })
}

// anyError reports whether err is or wraps an *Error for which is returns true.
func anyError(err error, is func(*Error) bool) bool {
	if e, ok := err.(*Error); ok && e != nil && is(e) { //nolint:errorlint // this is the walk
		return true
	}
	switch w := err.(type) { //nolint:errorlint // this is the walk
	case interface{ Unwrap() error }:
		return anyError(w.Unwrap(), is)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(w.Unwrap(), func(err error) bool { return anyError(err, is) })
	}
	return false
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// notSentError is ErrNotSent with the reason.
type notSentError struct{ why error }

func (e *notSentError) Error() string { return "not sent: " + e.why.Error() }

func (e *notSentError) Unwrap() []error { return []error{ErrNotSent, e.why} }
