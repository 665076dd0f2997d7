package appsandbookstest

import "time"

// The types of this file are the JSON of the API. They share nothing with the
// types of the SDK, so that the tests of the SDK find a mistake in its types.

// wireTime is the layout of the service's timestamps: ISO 8601 with an offset
// without a colon.
const wireTime = "2006-01-02T15:04:05-0700"

// wireDate is the layout of the end of a subscription's billing period.
const wireDate = "2006-01-02"

func formatTime(t time.Time) string { return t.UTC().Format(wireTime) }

// wireCommon is part of every answer for a unit, except for pages read by
// cursor.
type wireCommon struct {
	MDMInfo             *MDMInfo `json:"mdmInfo,omitempty"`
	TokenExpirationDate string   `json:"tokenExpirationDate,omitempty"`
	UID                 string   `json:"uId"`
}

// wireError is the body of an error, a failure of an event, and the error in a
// notification.
type wireError struct {
	Info    *wireErrorInfo `json:"errorInfo,omitempty"`
	Message string         `json:"errorMessage"`
	Number  int            `json:"errorNumber"`
}

func newWireError(number int, info *wireErrorInfo) wireError {
	return wireError{Number: number, Message: messageOf(number), Info: info}
}

// wireErrorInfo names the items of a request that failed.
type wireErrorInfo struct {
	Assets        []wireAssetID `json:"assets,omitempty"`
	ClientUserIDs []string      `json:"clientUserIds,omitempty"`
	SerialNumbers []string      `json:"serialNumbers,omitempty"`
}

// wireAssetID identifies an asset.
type wireAssetID struct {
	AdamID       string `json:"adamId"`
	PricingParam string `json:"pricingParam,omitempty"`
}

type wireServiceConfig struct {
	ErrorCodes        []wireError       `json:"errorCodes"`
	Limits            map[string]int    `json:"limits"`
	NotificationTypes []string          `json:"notificationTypes"`
	URLs              map[string]string `json:"urls"`
}

type wireClientConfigRequest struct {
	MDMInfo *struct {
		ID       *string `json:"id"`
		Name     *string `json:"name"`
		Metadata *string `json:"metadata"`
	} `json:"mdmInfo"`
	NotificationURL       *string   `json:"notificationUrl"`
	NotificationAuthToken *string   `json:"notificationAuthToken"`
	NotificationTypes     *[]string `json:"notificationTypes"`
}

type wireClientConfig struct {
	wireCommon
	CountryISO2ACode            string   `json:"countryISO2ACode"`
	DefaultPlatform             string   `json:"defaultPlatform"`
	LocationName                string   `json:"locationName"`
	NotificationAuthToken       string   `json:"notificationAuthToken,omitempty"`
	NotificationURL             string   `json:"notificationUrl,omitempty"`
	SubscribedNotificationTypes []string `json:"subscribedNotificationTypes"`
	WebsiteURL                  string   `json:"websiteURL"`
}

// wirePage is part of every page that is read by index.
type wirePage struct {
	CurrentPageIndex int    `json:"currentPageIndex"`
	NextPageIndex    *int   `json:"nextPageIndex,omitempty"`
	Size             int    `json:"size"`
	TotalPages       int    `json:"totalPages"`
	VersionID        string `json:"versionId"`
}

type wireUser struct {
	ClientUserID string `json:"clientUserId"`
	Email        string `json:"email,omitempty"`
	IDHash       string `json:"idHash,omitempty"`
	InviteCode   string `json:"inviteCode,omitempty"`
	Status       string `json:"status,omitempty"`
}

type wireUsersPage struct {
	wireCommon
	wirePage
	Users []wireUser `json:"users"`
}

type wireManageUsers struct {
	Users []struct {
		ClientUserID   string `json:"clientUserId"`
		Email          string `json:"email"`
		ManagedAppleID string `json:"managedAppleId"`
	} `json:"users"`
}

type wireAsset struct {
	AdamID             string   `json:"adamId"`
	AssignedCount      int      `json:"assignedCount"`
	AvailableCount     int      `json:"availableCount"`
	DeviceAssignable   bool     `json:"deviceAssignable"`
	PricingParam       string   `json:"pricingParam"`
	ProductType        string   `json:"productType"`
	RetiredCount       int      `json:"retiredCount"`
	Revocable          bool     `json:"revocable"`
	SupportedPlatforms []string `json:"supportedPlatforms"`
	TotalCount         int      `json:"totalCount"`
}

type wireUnlimitedAsset struct {
	AdamID             string   `json:"adamId"`
	AssignedCount      int      `json:"assignedCount"`
	DeviceAssignable   bool     `json:"deviceAssignable"`
	PricingParam       string   `json:"pricingParam"`
	ProductType        string   `json:"productType"`
	Revocable          bool     `json:"revocable"`
	SupportedPlatforms []string `json:"supportedPlatforms"`
}

type wireAssetsPage struct {
	wireCommon
	wirePage
	Assets          []wireAsset           `json:"assets"`
	UnlimitedAssets *[]wireUnlimitedAsset `json:"unlimitedAssets,omitempty"`
}

// wireManageAssets is the body of associate, disassociate and revoke requests.
type wireManageAssets struct {
	Assets        []wireAssetID `json:"assets"`
	ClientUserIDs []string      `json:"clientUserIds"`
	SerialNumbers []string      `json:"serialNumbers"`
}

type wireAssignment struct {
	AdamID       string `json:"adamId"`
	ClientUserID string `json:"clientUserId,omitempty"`
	IDHash       string `json:"idHash,omitempty"`
	PricingParam string `json:"pricingParam"`
	SerialNumber string `json:"serialNumber,omitempty"`
	UserStatus   string `json:"userStatus,omitempty"`
}

type wireAssignmentsPage struct {
	wireCommon
	wirePage
	Assignments []wireAssignment `json:"assignments"`
}

// wireEvent is the answer to an accepted write.
type wireEvent struct {
	wireCommon
	EventID string `json:"eventId"`
}

type wireStatus struct {
	wireCommon
	EventStatus  string      `json:"eventStatus"`
	EventType    string      `json:"eventType"`
	Failures     []wireError `json:"failures,omitempty"`
	NumCompleted int         `json:"numCompleted"`
	NumRequested int         `json:"numRequested"`
}

type wireSeats struct {
	Renewing int `json:"renewing"`
	Expiring int `json:"expiring"`
}

type wireSubscriptionCounts struct {
	Assigned  *wireSeats `json:"assigned,omitempty"`
	Available wireSeats  `json:"available"`
	Total     wireSeats  `json:"total"`
}

type wireSubscription struct {
	ParentAdamID  *int64                 `json:"parentAdamId"`
	AdamID        int64                  `json:"adamId"`
	Status        string                 `json:"status,omitempty"`
	PeriodEndDate string                 `json:"periodEndDate,omitempty"`
	Counts        wireSubscriptionCounts `json:"counts"`
}

// wireCursorPage is part of every page that is read by cursor. Such pages have
// no mdmInfo.
type wireCursorPage struct {
	NextCursor          string `json:"nextCursor,omitempty"`
	TokenExpirationDate string `json:"tokenExpirationDate,omitempty"`
	UID                 string `json:"uId"`
	VersionID           string `json:"versionId"`
}

type wireSubscriptionsPage struct {
	wireCursorPage
	Subscriptions []wireSubscription `json:"subscriptions"`
}

type wireSubscriptionAssignment struct {
	AdamID       int64  `json:"adamId"`
	ClientUserID string `json:"clientUserId"`
	Renewing     bool   `json:"renewing"`
}

type wireSubscriptionAssignmentsPage struct {
	wireCursorPage
	Assignments []wireSubscriptionAssignment `json:"assignments"`
}

type wireSubscriptionAdmin struct {
	AdamID       int64  `json:"adamId"`
	ClientUserID string `json:"clientUserId"`
	IDHash       string `json:"idHash,omitempty"`
	UserStatus   string `json:"userStatus,omitempty"`
}

type wireSubscriptionAdminsPage struct {
	wireCursorPage
	Admins []wireSubscriptionAdmin `json:"admins"`
}

// wireManageSubscriptions is the body of writes to the assignments and
// administrators of subscriptions.
type wireManageSubscriptions struct {
	AdamIDs       []int64  `json:"adamIds"`
	ClientUserIDs []string `json:"clientUserIds"`
	Renewing      *bool    `json:"renewing"`
	Deferred      bool     `json:"deferred"`
}

type wireAdminsChanged struct {
	TokenExpirationDate string `json:"tokenExpirationDate,omitempty"`
	UID                 string `json:"uId"`
	VersionID           string `json:"versionId"`
}

// wireSubscriptionManagement is the answer to POST subscriptions/enable and
// POST subscriptions/disable. Its mdmInfo is null if no service has claimed the
// unit.
type wireSubscriptionManagement struct {
	MDMInfo                *MDMInfo `json:"mdmInfo"`
	SubscriptionManagement bool     `json:"subscriptionManagement"`
	TokenExpirationDate    string   `json:"tokenExpirationDate"`
	UID                    string   `json:"uId"`
}

// wireNotification is the envelope of every notification.
type wireNotification struct {
	Notification     any    `json:"notification"`
	NotificationID   string `json:"notificationId"`
	NotificationType string `json:"notificationType"`
	UID              string `json:"uId"`
}

// wireManagement is the payload of ASSET_MANAGEMENT, USER_MANAGEMENT and
// SUBSCRIPTION_MANAGEMENT.
type wireManagement struct {
	Assignments any        `json:"assignments,omitempty"`
	Error       *wireError `json:"error,omitempty"`
	EventID     string     `json:"eventId"`
	Result      string     `json:"result"`
	Type        string     `json:"type"`
	Users       []wireUser `json:"users,omitempty"`
}

type wireAssetCount struct {
	AdamID       string `json:"adamId"`
	CountDelta   int    `json:"countDelta"`
	PricingParam string `json:"pricingParam"`
}

type wireSubscriptionCount struct {
	ParentAdamID *int64                 `json:"parentAdamId"`
	AdamID       int64                  `json:"adamId"`
	Counts       wireSubscriptionCounts `json:"counts"`
}

type wireUsersAssociated struct {
	AssociatedUsers []wireUser `json:"associatedUsers"`
}
