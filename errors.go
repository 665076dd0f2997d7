package appsandbooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

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

// ErrorNumber is Apple's errorNumber. The constants below are error values:
//
//	if errors.Is(err, appsandbooks.ErrTokenExpired) { … }
//
// A number newer than the SDK is compared as ErrorNumber(n).
//
// Source: https://developer.apple.com/documentation/devicemanagement/handling-error-responses
type ErrorNumber int32

// Errors of the service, by number. The comment gives what to do about it.
const (
	ErrLoginRequired                  ErrorNumber = 9601 // authenticate
	ErrInvalidArgument                ErrorNumber = 9602 // correct the request
	ErrInternal                       ErrorNumber = 9603 // try again later; done by the SDK
	ErrUserNotFound                   ErrorNumber = 9609 // create the user, and wait for it
	ErrTokenExpired                   ErrorNumber = 9621 // download a new content token
	ErrTokenMalformed                 ErrorNumber = 9622 // pass the whole .vpptoken content; not in Apple's v2 table, seen live
	ErrInvalidPushToken               ErrorNumber = 9623 // no v2 field takes one
	ErrTokenRevoked                   ErrorNumber = 9625 // download a new content token; somebody replaced this one
	ErrServiceRemoved                 ErrorNumber = 9634 // update the SDK
	ErrAccountNotAssociable           ErrorNumber = 9635 // check the Managed Apple Account
	ErrForbiddenFacilitator           ErrorNumber = 9637 // use a content manager's token
	ErrAccountAlreadyAssociated       ErrorNumber = 9641 // the Apple Account belongs to another user
	ErrMaintenance                    ErrorNumber = 9644 // try again later; done by the SDK
	ErrTooManyRequests                ErrorNumber = 9646 // slow down; done by the SDK
	ErrLegacyToken                    ErrorNumber = 9647 // download a token for the organizational unit
	ErrInvalidPageIndex               ErrorNumber = 9650 // start the walk again
	ErrTooManyAssets                  ErrorNumber = 9700 // split; done by the SDK
	ErrTooManyClientUserIDs           ErrorNumber = 9701 // split; done by the SDK
	ErrTooManySerialNumbers           ErrorNumber = 9702 // split; done by the SDK
	ErrDuplicateAssets                ErrorNumber = 9703 // name each once; done by the SDK
	ErrDuplicateClientUserIDs         ErrorNumber = 9704 // name each once; done by the SDK
	ErrDuplicateSerialNumbers         ErrorNumber = 9705 // name each once; done by the SDK
	ErrAssetNotRevocable              ErrorNumber = 9706 // books stay where they are
	ErrAssetNotDeviceAssignable       ErrorNumber = 9707 // assign it to a user
	ErrEventNotFound                  ErrorNumber = 9708 // read the data instead
	ErrNotEnoughLicenses              ErrorNumber = 9709 // buy more, or take some back
	ErrNotificationConfigIncomplete   ErrorNumber = 9710 // give URL and token together
	ErrNotificationConfigTooLong      ErrorNumber = 9711 // keep to maxNotificationLength
	ErrNotificationURLInvalid         ErrorNumber = 9712 // https, host and path only
	ErrMDMMetadataTooLong             ErrorNumber = 9713 // keep to maxMdmMetadataLength
	ErrTooManyUsers                   ErrorNumber = 9714 // split; done by the SDK
	ErrDuplicateUsers                 ErrorNumber = 9715 // name each once; done by the SDK
	ErrUserAlreadyExists              ErrorNumber = 9716 // update it instead
	ErrInvalidEmail                   ErrorNumber = 9717 // correct the address
	ErrAssetRequired                  ErrorNumber = 9718 // name an asset
	ErrAssigneeRequired               ErrorNumber = 9719 // name a user or a device
	ErrUsersRequired                  ErrorNumber = 9720 // name a user
	ErrInvalidVersionID               ErrorNumber = 9721 // read everything
	ErrInvalidAuthHeader              ErrorNumber = 9722 // pass the whole .vpptoken content
	ErrMDMInfoIncomplete              ErrorNumber = 9723 // give id, name and metadata together
	ErrMDMIDTooLong                   ErrorNumber = 9724 // keep to maxMdmIdLength
	ErrMDMNameTooLong                 ErrorNumber = 9725 // keep to maxMdmNameLength
	ErrMethodNotAllowed               ErrorNumber = 9726 // update the SDK
	ErrUnsupportedContentType         ErrorNumber = 9727 // update the SDK
	ErrNotificationURLUnreachable     ErrorNumber = 9728 // start the receiver first, reachable from Apple
	ErrServiceUnavailable             ErrorNumber = 9729 // try again later; done by the SDK
	ErrInvalidSubscriptionAssociation ErrorNumber = 9811 // correct the request
	ErrInvalidCursor                  ErrorNumber = 9812 // start the walk again
	ErrInvalidAdamID                  ErrorNumber = 9813 // correct the Adam ID
	ErrUserNotAssociated              ErrorNumber = 9814 // the user has to accept the invitation first
	ErrSubscriptionNotAssigned        ErrorNumber = 9815 // nothing to take back
	ErrTooManySubscriptions           ErrorNumber = 9816 // split; done by the SDK
	ErrSubscriptionAssignedByGroup    ErrorNumber = 9817 // the user has it through a group
	ErrSubscriptionsExist             ErrorNumber = 9818 // wait until the unit has none
)

// meanings are in our words; the number decides, never a text.
var meanings = map[ErrorNumber]string{
	ErrLoginRequired:                  "not authenticated",
	ErrInvalidArgument:                "an argument is invalid",
	ErrInternal:                       "internal error of the service",
	ErrUserNotFound:                   "no such registered user",
	ErrTokenExpired:                   "the content token has expired",
	ErrTokenMalformed:                 "the content token is not usable",
	ErrInvalidPushToken:               "the push token is invalid",
	ErrTokenRevoked:                   "the content token was revoked",
	ErrServiceRemoved:                 "the service no longer offers this",
	ErrAccountNotAssociable:           "the Apple Account cannot be associated with this user",
	ErrForbiddenFacilitator:           "not allowed with a facilitator account",
	ErrAccountAlreadyAssociated:       "the Apple Account is associated with another user",
	ErrMaintenance:                    "the service is in maintenance",
	ErrTooManyRequests:                "too many requests for the organization",
	ErrLegacyToken:                    "not supported for legacy tokens",
	ErrInvalidPageIndex:               "the page index is out of range",
	ErrTooManyAssets:                  "too many assets in one request",
	ErrTooManyClientUserIDs:           "too many clientUserIds in one request",
	ErrTooManySerialNumbers:           "too many serialNumbers in one request",
	ErrDuplicateAssets:                "duplicate assets in one request",
	ErrDuplicateClientUserIDs:         "duplicate clientUserIds in one request",
	ErrDuplicateSerialNumbers:         "duplicate serialNumbers in one request",
	ErrAssetNotRevocable:              "the asset cannot be taken back",
	ErrAssetNotDeviceAssignable:       "the asset cannot be assigned to devices",
	ErrEventNotFound:                  "no such event",
	ErrNotEnoughLicenses:              "not enough licences",
	ErrNotificationConfigIncomplete:   "the notification URL and token must come together",
	ErrNotificationConfigTooLong:      "the notification URL or token is too long",
	ErrNotificationURLInvalid:         "the notification URL is not a valid https URL",
	ErrMDMMetadataTooLong:             "mdmInfo.metadata is too long",
	ErrTooManyUsers:                   "too many users in one request",
	ErrDuplicateUsers:                 "duplicate users in one request",
	ErrUserAlreadyExists:              "the clientUserId is already registered",
	ErrInvalidEmail:                   "the e-mail address is invalid",
	ErrAssetRequired:                  "no asset given",
	ErrAssigneeRequired:               "neither users nor devices given",
	ErrUsersRequired:                  "no users given",
	ErrInvalidVersionID:               "the sinceVersionId is invalid",
	ErrInvalidAuthHeader:              "the Authorization header is not as expected",
	ErrMDMInfoIncomplete:              "mdmInfo needs id, name and metadata together",
	ErrMDMIDTooLong:                   "mdmInfo.id is too long",
	ErrMDMNameTooLong:                 "mdmInfo.name is too long",
	ErrMethodNotAllowed:               "the HTTP method is not allowed here",
	ErrUnsupportedContentType:         "the content type is not supported",
	ErrNotificationURLUnreachable:     "the notification URL could not be reached",
	ErrServiceUnavailable:             "the service is temporarily unavailable",
	ErrInvalidSubscriptionAssociation: "the subscription request is invalid",
	ErrInvalidCursor:                  "the cursor is invalid",
	ErrInvalidAdamID:                  "the Adam ID is invalid",
	ErrUserNotAssociated:              "the user is not associated with an Apple Account",
	ErrSubscriptionNotAssigned:        "the user does not hold this subscription",
	ErrTooManySubscriptions:           "too many subscriptions or users in one request",
	ErrSubscriptionAssignedByGroup:    "the user has the subscription through a group",
	ErrSubscriptionsExist:             "the organizational unit still has subscriptions",
}

// Error gives the meaning and the number.
func (n ErrorNumber) Error() string {
	if m, ok := meanings[n]; ok {
		return m + " (" + strconv.Itoa(int(n)) + ")"
	}
	if n == errUnreadable {
		return "an error whose number cannot be read"
	}
	return "error " + strconv.Itoa(int(n))
}

// errUnreadable takes the place of an errorNumber that is none.
const errUnreadable = -1

// UnmarshalJSON reads the number in any spelling, such as in quotes or with a
// fraction of zero, and anything else as -1: an error must not get lost over its
// spelling.
func (n *ErrorNumber) UnmarshalJSON(data []byte) error {
	*n = errUnreadable
	if string(data) == "null" {
		*n = 0
	} else if v, err := strconv.ParseFloat(strings.Trim(string(data), `" `), 64); err == nil && v == math.Trunc(v) && math.Abs(v) <= math.MaxInt32 {
		*n = ErrorNumber(v)
	}
	return nil
}

// IsAuth tells whether the content token was refused: missing, malformed,
// expired or revoked. Nothing will work until there is another token.
func IsAuth(err error) bool {
	return has(err, http.StatusUnauthorized,
		ErrLoginRequired, ErrTokenExpired, ErrTokenMalformed, ErrTokenRevoked, ErrInvalidAuthHeader)
}

// IsForbidden tells whether the token is good, but not for this call.
func IsForbidden(err error) bool {
	return has(err, http.StatusForbidden, ErrForbiddenFacilitator, ErrLegacyToken)
}

// IsRetryable tells whether the same call may succeed later: the service said so,
// it could not be reached, its answer was cut, or it asked for a pause. The SDK
// has already tried again where that was safe. A write of unknown fate
// ([ErrAmbiguous]) is not: settle it first.
func IsRetryable(err error) bool {
	return !errors.Is(err, ErrAmbiguous) && (has(err, 0, ErrInternal, ErrMaintenance, ErrTooManyRequests, ErrServiceUnavailable) ||
		has(err, http.StatusTooManyRequests) || has(err, http.StatusInternalServerError) || has(err, http.StatusBadGateway) ||
		has(err, http.StatusServiceUnavailable) || has(err, http.StatusGatewayTimeout) || anyError(err, (*Error).unreached))
}

// unreached tells an error of the way to the service and back.
func (e *Error) unreached() bool {
	return e.Number == 0 && e.err != nil && (e.StatusCode == 0 || e.cut) && !e.ended &&
		!transport.IsCertificateError(e.err) && !errors.Is(e.err, ErrInvalid)
}

// IsLimit tells whether the request was larger than the service allows now.
func IsLimit(err error) bool {
	return has(err, 0, ErrTooManyAssets, ErrTooManyClientUserIDs, ErrTooManySerialNumbers, ErrTooManyUsers,
		ErrTooManySubscriptions, ErrNotificationConfigTooLong, ErrMDMMetadataTooLong, ErrMDMIDTooLong, ErrMDMNameTooLong)
}

// IsDuplicate tells whether the request named something twice.
func IsDuplicate(err error) bool {
	return has(err, 0, ErrDuplicateAssets, ErrDuplicateClientUserIDs, ErrDuplicateSerialNumbers, ErrDuplicateUsers)
}

// IsNotFound tells whether a user, an event or a subscription named in the
// request does not exist.
func IsNotFound(err error) bool {
	return has(err, 0, ErrUserNotFound, ErrEventNotFound, ErrInvalidAdamID, ErrUserNotAssociated, ErrSubscriptionNotAssigned)
}

// has looks for an *Error with the HTTP status (if not 0) or one of the numbers.
func has(err error, status int, numbers ...ErrorNumber) bool {
	if status != 0 && anyError(err, func(e *Error) bool { return e.StatusCode == status }) {
		return true
	}
	return slices.ContainsFunc(numbers, func(n ErrorNumber) bool { return errors.Is(err, n) })
}

// anyError tells whether one of the errors that err wraps is an *Error of some kind.
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

// clean makes text of the other side safe for one log line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// notSentError is ErrNotSent with the reason.
type notSentError struct{ why error }

func (e *notSentError) Error() string   { return "not sent: " + e.why.Error() }
func (e *notSentError) Unwrap() []error { return []error{ErrNotSent, e.why} }
