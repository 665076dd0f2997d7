package appsandbookstest

import (
	"maps"
	"net/http"
	"slices"
)

// Numbers of the errors that the stand-in produces by itself. Every other
// number of the service can be produced with a [Fault].
const (
	numLoginRequired           = 9601
	numInvalidArgument         = 9602
	numInternal                = 9603
	numUserNotFound            = 9609
	numTokenExpired            = 9621
	numTokenMalformed          = 9622
	numTokenRevoked            = 9625
	numAccountNotAssociable    = 9635
	numNotPermitted            = 9637
	numAccountTaken            = 9641
	numTooManyRequests         = 9646
	numInvalidPageIndex        = 9650
	numTooManyAssets           = 9700
	numTooManyClientUserIDs    = 9701
	numTooManySerialNumbers    = 9702
	numDuplicateAssets         = 9703
	numDuplicateClientUserIDs  = 9704
	numDuplicateSerialNumbers  = 9705
	numNotRevocable            = 9706
	numNotDeviceAssignable     = 9707
	numEventNotFound           = 9708
	numNotEnoughLicences       = 9709
	numNotificationPair        = 9710
	numNotificationTooLong     = 9711
	numNotificationURL         = 9712
	numMetadataTooLong         = 9713
	numTooManyUsers            = 9714
	numDuplicateUsers          = 9715
	numUserExists              = 9716
	numInvalidEmail            = 9717
	numAssetRequired           = 9718
	numAssigneeRequired        = 9719
	numUsersRequired           = 9720
	numInvalidVersion          = 9721
	numAuthorizationHeader     = 9722
	numMDMInfoIncomplete       = 9723
	numMDMIDTooLong            = 9724
	numMDMNameTooLong          = 9725
	numMethodNotAllowed        = 9726
	numUnsupportedContentType  = 9727
	numNotificationUnreachable = 9728
	numInvalidSubscription     = 9811
	numInvalidCursor           = 9812
	numInvalidAdamID           = 9813
	numUserNotAssociated       = 9814
	numSubscriptionNotHeld     = 9815
	numTooManySubscriptions    = 9816
	numSubscriptionByGroup     = 9817
	numSubscriptionsExist      = 9818
)

// An errorCode is what is known about one error number: the HTTP status of a
// synchronous answer, and a message in our own words (clients must compare
// numbers, never messages).
type errorCode struct {
	status  int
	message string
}

// errorCodes is the catalogue of the service's error numbers. Numbers that
// the service reports only for an event have the status that the stand-in
// uses when a [Fault] makes them the answer to a request.
var errorCodes = map[int]errorCode{
	numLoginRequired:           {http.StatusUnauthorized, "The request is not authenticated."},
	numInvalidArgument:         {http.StatusBadRequest, "An argument of the request is invalid."},
	numInternal:                {http.StatusInternalServerError, "The service had an internal error."},
	numUserNotFound:            {http.StatusBadRequest, "No such registered user."},
	numTokenExpired:            {http.StatusUnauthorized, "The content token has expired; a content manager must download a new one."},
	numTokenMalformed:          {http.StatusUnauthorized, "The content token cannot be used."},
	9623:                       {http.StatusBadRequest, "The push token is invalid."},
	numTokenRevoked:            {http.StatusUnauthorized, "The content token has been revoked."},
	9634:                       {http.StatusGone, "This part of the service is no longer available."},
	numAccountNotAssociable:    {http.StatusBadRequest, "The Apple Account cannot be associated with this user."},
	numNotPermitted:            {http.StatusForbidden, "The owner of this token is not permitted to do that."},
	numAccountTaken:            {http.StatusBadRequest, "The Apple Account is already associated with another user."},
	9644:                       {http.StatusServiceUnavailable, "The service is under maintenance."},
	numTooManyRequests:         {http.StatusTooManyRequests, "Too many requests for this organization."},
	9647:                       {http.StatusForbidden, "Legacy tokens are not supported here."},
	numInvalidPageIndex:        {http.StatusBadRequest, "The page index is out of range."},
	numTooManyAssets:           {http.StatusBadRequest, "The request names too many assets."},
	numTooManyClientUserIDs:    {http.StatusBadRequest, "The request names too many clientUserIds."},
	numTooManySerialNumbers:    {http.StatusBadRequest, "The request names too many serialNumbers."},
	numDuplicateAssets:         {http.StatusBadRequest, "The request names an asset more than once."},
	numDuplicateClientUserIDs:  {http.StatusBadRequest, "The request names a clientUserId more than once."},
	numDuplicateSerialNumbers:  {http.StatusBadRequest, "The request names a serialNumber more than once."},
	numNotRevocable:            {http.StatusBadRequest, "The asset cannot be taken back."},
	numNotDeviceAssignable:     {http.StatusBadRequest, "The asset cannot be assigned to devices."},
	numEventNotFound:           {http.StatusBadRequest, "No such event."},
	numNotEnoughLicences:       {http.StatusBadRequest, "There are not enough licenses available."},
	numNotificationPair:        {http.StatusBadRequest, "The notification URL and its authentication token must be set together."},
	numNotificationTooLong:     {http.StatusBadRequest, "The notification URL or its authentication token is too long."},
	numNotificationURL:         {http.StatusBadRequest, "The notification URL is not a valid HTTPS URL."},
	numMetadataTooLong:         {http.StatusBadRequest, "The metadata of mdmInfo is too long."},
	numTooManyUsers:            {http.StatusBadRequest, "The request names too many users."},
	numDuplicateUsers:          {http.StatusBadRequest, "The request names a user more than once."},
	numUserExists:              {http.StatusBadRequest, "A user with this clientUserId is already registered."},
	numInvalidEmail:            {http.StatusBadRequest, "The email address is invalid."},
	numAssetRequired:           {http.StatusBadRequest, "At least one asset is required."},
	numAssigneeRequired:        {http.StatusBadRequest, "At least one clientUserId or serialNumber is required."},
	numUsersRequired:           {http.StatusBadRequest, "At least one user is required."},
	numInvalidVersion:          {http.StatusBadRequest, "The version id is invalid."},
	numAuthorizationHeader:     {http.StatusUnauthorized, "The Authorization header is not of the form Bearer {sToken}."},
	numMDMInfoIncomplete:       {http.StatusBadRequest, "mdmInfo needs id, name and metadata."},
	numMDMIDTooLong:            {http.StatusBadRequest, "The id of mdmInfo is too long."},
	numMDMNameTooLong:          {http.StatusBadRequest, "The name of mdmInfo is too long."},
	numMethodNotAllowed:        {http.StatusMethodNotAllowed, "The HTTP method is not supported here."},
	numUnsupportedContentType:  {http.StatusUnsupportedMediaType, "The content type is not supported; send application/json."},
	numNotificationUnreachable: {http.StatusBadRequest, "The test notification could not be delivered to the notification URL."},
	9729:                       {http.StatusServiceUnavailable, "The service is temporarily unavailable."},
	numInvalidSubscription:     {http.StatusBadRequest, "The subscription request is invalid."},
	numInvalidCursor:           {http.StatusBadRequest, "The cursor is invalid."},
	numInvalidAdamID:           {http.StatusBadRequest, "The Adam ID is invalid."},
	numUserNotAssociated:       {http.StatusBadRequest, "No registered user with an associated Apple Account has this clientUserId."},
	numSubscriptionNotHeld:     {http.StatusBadRequest, "The user is not assigned this Adam ID."},
	numTooManySubscriptions:    {http.StatusBadRequest, "The request names too many subscriptions or clientUserIds."},
	numSubscriptionByGroup:     {http.StatusBadRequest, "The user already has this subscription through a group."},
	numSubscriptionsExist:      {http.StatusBadRequest, "Subscription management cannot be disabled while subscriptions exist."},
}

// unlistedCodes are the numbers that the service documents but that the
// published sample of the service configuration leaves out, besides
// everything above 9728.
var unlistedCodes = []int{9622, 9623, 9635, 9637, 9641, 9644, 9647}

// listedCodes returns the numbers that service/config lists, in order.
func listedCodes() []int {
	var numbers []int
	for _, n := range slices.Sorted(maps.Keys(errorCodes)) {
		if n <= numNotificationUnreachable && !slices.Contains(unlistedCodes, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// messageOf returns the message of an error number.
func messageOf(number int) string {
	if c, ok := errorCodes[number]; ok {
		return c.message
	}
	return "Unknown error."
}

// statusOf returns the HTTP status of an error number.
func statusOf(number int) int {
	if c, ok := errorCodes[number]; ok {
		return c.status
	}
	return http.StatusBadRequest
}

// An apiError is the refusal of a request: nothing has been queued or changed.
type apiError struct {
	status int // zero: the status of the number
	wireError
}

// refuse returns the refusal with an error number.
func refuse(number int) *apiError {
	return &apiError{wireError: newWireError(number, nil)}
}

// refuseArgument returns a refusal with number 9602 that says which argument
// is at fault.
func refuseArgument(what string) *apiError {
	e := refuse(numInvalidArgument)
	e.Message += " (" + what + ")"
	return e
}

// refuseItems returns the refusal with an error number that names the
// offending items of the request.
func refuseItems(number int, info *wireErrorInfo) *apiError {
	return &apiError{wireError: newWireError(number, info)}
}

func (e *apiError) httpStatus() int {
	if e.status != 0 {
		return e.status
	}
	return statusOf(e.Number)
}
