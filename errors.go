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

// ErrTakenOver means that a write was not sent, because another device management
// service has claimed the organizational unit: see [WithOwner].
var ErrTakenOver = errors.New("appsandbooks: another device management service manages the organizational unit")

// ErrAnswerDiffers means that the service accepted a change of settings, but that its
// answer does not contain the settings that were sent.
var ErrAnswerDiffers = errors.New("appsandbooks: the service's answer does not match what was sent")

// An Error describes an answer that is not a success, or a call that got no usable
// answer: an Apple error (also one inside an HTTP 200 answer), the page of a gateway, an
// empty or incomplete body, a redirect, or a broken connection. The failures of a
// finished event are also Errors, with StatusCode 0.
//
// Test for its meaning with errors.Is and a constant such as [ErrTokenRevoked], or with
// a predicate such as [IsRetryable].
type Error struct {
	StatusCode int         // HTTP status of the answer; 0 if no answer came, and in the failures of an event
	Number     ErrorNumber // Apple's errorNumber; 0 if the answer has none
	Message    string      // Apple's errorMessage, for people; do not compare it
	Info       *ErrorInfo  // the assets, users and devices that failed; nil if Apple does not name them

	Method     string        // HTTP method
	Path       string        // path of the endpoint, without the query, which contains ids of users and devices
	Attempts   int           // number of attempts that were started
	RetryAfter time.Duration // the pause that the service last asked for; 0 if it asked for none
	Ambiguous  bool          // true if a write may have been carried out: see ErrAmbiguous
	Excerpt    string        // the first 512 bytes of an answer that is not an Apple error; "" for the JSON of a success

	err          error
	incomplete   bool // true if the body of the answer is incomplete
	contextEnded bool // true if the caller's context has ended
}

// Error returns a text for people. It never contains the token, the query or a header.
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
		b.WriteString("the service gave no reason for the failure")
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
		b.WriteString("; the change may have been carried out")
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (%d attempts)", e.Attempts)
	}
	return b.String()
}

// LogValue implements [slog.LogValuer]. An Error is logged as text, because its JSON
// contains ids of people.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Is reports whether target is the error's Number, [ErrAmbiguous] for an ambiguous
// write, or [ErrRedirect] for a status 3xx.
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

// Unwrap returns the cause if no usable answer came: a network error, the context's
// error or a decoding error. Otherwise it returns nil.
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

// UnmarshalJSON reads Apple's ErrorResponse, as in an [EventStatus] or a notification.
func (e *Error) UnmarshalJSON(data []byte) error {
	var b errorBody
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	*e = Error{Number: b.Number, Message: b.Message, Info: b.Info}
	return nil
}

// MarshalJSON writes Apple's ErrorResponse: only Number, Message and Info.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(errorBody{Number: e.Number, Message: e.Message, Info: e.Info})
}

// ErrorInfo has the assets, users and devices of a request that failed. Apple documents
// no field for subscriptions; Raw has all fields that the service sent.
type ErrorInfo struct {
	Assets        []AssetID
	ClientUserIDs []string
	SerialNumbers []string
	Raw           json.RawMessage // the JSON object as the service sent it; nil if the program made the ErrorInfo
}

type errorInfoBody struct {
	Assets        []AssetID `json:"assets,omitzero"`
	ClientUserIDs []string  `json:"clientUserIds,omitzero"`
	SerialNumbers []string  `json:"serialNumbers,omitzero"`
}

// UnmarshalJSON reads the documented fields, and keeps the whole object in Raw. It never
// returns an error.
func (i *ErrorInfo) UnmarshalJSON(data []byte) error {
	var b errorInfoBody
	// Ignore the error: an ErrorInfo with a field of an unexpected type must not hide the
	// error number.
	_ = json.Unmarshal(data, &b)
	*i = ErrorInfo{b.Assets, b.ClientUserIDs, b.SerialNumbers, slices.Clone(data)}
	return nil
}

// MarshalJSON writes the Raw of the ErrorInfo, or its other fields if Raw is nil.
func (i *ErrorInfo) MarshalJSON() ([]byte, error) {
	if i.Raw != nil {
		return i.Raw, nil
	}
	return json.Marshal(errorInfoBody{i.Assets, i.ClientUserIDs, i.SerialNumbers})
}

func (i *ErrorInfo) empty() bool {
	return len(i.Assets) == 0 && len(i.ClientUserIDs) == 0 && len(i.SerialNumbers) == 0
}

// String returns how many assets, users and devices failed. It contains no ids, because
// they are personal data.
func (i *ErrorInfo) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{len(i.Assets), "assets"}, {len(i.ClientUserIDs), "clientUserIds"}, {len(i.SerialNumbers), "serialNumbers"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", p.what, p.n))
		}
	}
	return strings.Join(parts, ", ")
}

// These are the errors of the SDK itself. The errors of the service are the
// [ErrorNumber] constants.
var (
	// ErrAmbiguous means that a write was sent and no usable answer came: the change may
	// or may not have been carried out. The write was not sent again.
	ErrAmbiguous = errors.New("appsandbooks: the write may or may not have been carried out")
	// ErrRedirect means that the service answered with status 3xx. The SDK follows no
	// redirects, because they could send the token to another host.
	ErrRedirect = errors.New("appsandbooks: the service answered with a redirect")
	// ErrInvalid means that the SDK rejected the input before it sent a request.
	ErrInvalid = errors.New("appsandbooks: invalid input")
	// ErrNoToken means that a call needs a content token and the client has none.
	ErrNoToken = errors.New("appsandbooks: this call needs a content token")
	// ErrNoProgress means that the pages of a list lead to an earlier page or to no end,
	// or that another page came than the one that was requested.
	ErrNoProgress = errors.New("appsandbooks: the list does not advance")
	// ErrRestarted means that the data changed while the list was read, and that the list
	// is read again from ListOptions.Start because ListOptions.Restarts is set. Discard the
	// records that came before. If the loop continues, the records follow again.
	ErrRestarted = errors.New("appsandbooks: the data changed; the list is read again")
	// ErrDataChanged means that the data changed more often than ListOptions.Restarts
	// allows. It ends the loop.
	ErrDataChanged = errors.New("appsandbooks: the data changed while the list was read")
	// ErrStalled means that an event was pending, or its polls failed, for the stall time (see
	// [WithStallTime]). The event may still finish.
	ErrStalled = errors.New("appsandbooks: the event is still PENDING")
	// ErrClosed means that the client was closed before or during the call.
	ErrClosed = errors.New("appsandbooks: the client is closed")
	// ErrOtherUnit means that an operation belongs to another organizational unit than
	// the client or the client's current token. It stops the operation.
	ErrOtherUnit = errors.New("appsandbooks: the operation belongs to another organizational unit")
	// ErrPending means that the result of a pair is not known yet: its request is being
	// sent, or its event has not finished.
	ErrPending = errors.New("appsandbooks: the event has not finished")
	// ErrNotSent means that the request of a pair was not sent, or that the service did
	// not accept it: the pair is [OutcomeUnsent]. The reason is wrapped together with it.
	// [Operation.Wait] still sends the request.
	ErrNotSent = errors.New("appsandbooks: the request was not sent")
	// ErrUnfinished means that [Operation.Retry] or [Operation.Undo] was called before every
	// pair of the operation has its final outcome.
	ErrUnfinished = errors.New("appsandbooks: the operation is not at its end: call Wait again at the time of Operation.Next")
	// ErrBusy means that another call carries out the operation at this moment, or that the
	// client has already continued a newer copy of the operation than this one.
	ErrBusy = errors.New("appsandbooks: another call carries out the operation")
	// ErrNotVerified means that reading back did not find the change of a pair, although
	// its event finished (one cause is a device that does not exist) or the answer to its
	// request was lost a long time ago (see [Operation.Verify]).
	ErrNotVerified = errors.New("appsandbooks: verification did not find the change")
)

// IsAuth reports whether the service rejected the content token: it is missing,
// malformed, expired or revoked. All calls fail until the client has another token.
func IsAuth(err error) bool {
	return hasError(err, http.StatusUnauthorized, authNumbers...)
}

// IsForbidden reports whether the content token is valid, but does not allow this call.
func IsForbidden(err error) bool {
	return hasError(err, http.StatusForbidden, forbiddenNumbers...)
}

// IsRetryable reports whether the same call may succeed later: the service reported a
// temporary error or asked for a pause, it could not be reached, or its answer was
// incomplete. The SDK has already retried the call where that was safe. A write whose
// result is unknown ([ErrAmbiguous]) is not retryable: first find out whether it was
// carried out.
func IsRetryable(err error) bool {
	return !errors.Is(err, ErrAmbiguous) && (hasError(err, 0, retryableNumbers...) ||
		hasError(err, http.StatusTooManyRequests) || hasError(err, http.StatusInternalServerError) || hasError(err, http.StatusBadGateway) ||
		hasError(err, http.StatusServiceUnavailable) || hasError(err, http.StatusGatewayTimeout) || anyError(err, (*Error).isNetworkError))
}

// isNetworkError reports whether a network error prevented a complete answer. It is
// false for certificate errors, and if the caller's context ended.
func (e *Error) isNetworkError() bool {
	return e.Number == 0 && e.err != nil && (e.StatusCode == 0 || e.incomplete) && !e.contextEnded &&
		!transport.IsCertificateError(e.err) && !errors.Is(e.err, ErrInvalid)
}

// isLimit reports whether err means that a request was larger than the current limits of
// the service.
func isLimit(err error) bool { return hasError(err, 0, limitNumbers...) }

// IsNotFound reports whether a user, an event or a subscription that the
// request names does not exist, is not associated with an Apple Account, or is
// not assigned.
func IsNotFound(err error) bool { return hasError(err, 0, notFoundNumbers...) }

// hasError reports whether err wraps an *Error with the HTTP status (if status is not 0)
// or one of the numbers.
func hasError(err error, status int, numbers ...ErrorNumber) bool {
	if status != 0 && anyError(err, func(e *Error) bool { return e.StatusCode == status }) {
		return true
	}
	return slices.ContainsFunc(numbers, func(n ErrorNumber) bool { return errors.Is(err, n) })
}

// anyError reports whether is returns true for an *Error in the tree of err. It visits
// all Errors of the tree until is returns true; errors.As would stop at the first Error.
func anyError(err error, is func(*Error) bool) bool {
	if e, ok := err.(*Error); ok && e != nil && is(e) { //nolint:errorlint // this function unwraps the tree itself
		return true
	}
	switch w := err.(type) { //nolint:errorlint // this function unwraps the tree itself
	case *OperationError:
		return anyError(w.Cause, is) || w.report().anyReason(func(err error) bool { return anyError(err, is) })
	case interface{ Unwrap() error }:
		return anyError(w.Unwrap(), is)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(w.Unwrap(), func(err error) bool { return anyError(err, is) })
	}
	return false
}

// withCause returns an error that wraps err and its cause, in one line. It returns err if there
// is no cause.
func withCause(err, cause error) error {
	if cause == nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// invalidf returns an error that wraps ErrInvalid.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// notSentError wraps ErrNotSent and the reason why a request was not sent.
type notSentError struct{ why error }

func (e *notSentError) Error() string { return "not sent: " + e.why.Error() }

func (e *notSentError) Unwrap() []error { return []error{ErrNotSent, e.why} }
