package appsandbooks

import (
	"math"
	"strconv"
	"strings"
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
