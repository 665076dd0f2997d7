package appsandbooks

import (
	"bytes"
	"encoding/json"
	"maps"
)

// NotificationType is what a notification is about. Values newer than the SDK
// are kept.
type NotificationType string

// Types of notifications.
const (
	NotificationTest                   NotificationType = "TEST_NOTIFICATION" // sent by the service while it carries out SetClient
	NotificationAssetManagement        NotificationType = "ASSET_MANAGEMENT"
	NotificationAssetCount             NotificationType = "ASSET_COUNT"
	NotificationUserManagement         NotificationType = "USER_MANAGEMENT"
	NotificationUserAssociated         NotificationType = "USER_ASSOCIATED"
	NotificationSubscriptionManagement NotificationType = "SUBSCRIPTION_MANAGEMENT"
	NotificationSubscriptionCount      NotificationType = "SUBSCRIPTION_COUNT"
	NotificationUnlimitedAsset         NotificationType = "UNLIMITED_ASSET" // its payload is not documented
)

// NotificationTypes are the types to subscribe to: all but the test, which is
// sent anyway.
func NotificationTypes() []NotificationType {
	return []NotificationType{
		NotificationAssetManagement, NotificationUserManagement, NotificationUserAssociated, NotificationAssetCount,
		NotificationSubscriptionManagement, NotificationSubscriptionCount, NotificationUnlimitedAsset,
	}
}

// Notification is what the service POSTs to the notification URL. Delivery is
// best effort: notifications get lost, come twice (with the same ID) and in any
// order, and carry no time. At most 100 elements come in one, so a large event
// makes many.
//
// Exactly one of the payload pointers is set, by Type; none for a test, and for
// a type that the SDK does not know, or whose payload it cannot read. Raw
// always has the payload as it came, with the fields that the SDK does not know.
//
// Source: https://developer.apple.com/documentation/devicemanagement/subscribing-to-notifications
type Notification struct {
	ID   string // distinct for each notification; opaque
	Type NotificationType
	UID  string // of the organizational unit
	Raw  json.RawMessage

	Other map[string]json.RawMessage // fields beside the payload that the SDK has no field for; nil when there are none

	AssetManagement        *AssetManagement
	AssetCount             *AssetCount
	UserManagement         *UserManagement
	UserAssociated         *UsersAssociated
	SubscriptionManagement *SubscriptionManagement
	// SubscriptionCount has the seats of a subscription, not a difference: AdamID,
	// ParentAdamID and Counts, without Counts.Assigned. A late notification may be
	// older than what is known already.
	SubscriptionCount *Subscription
}

// NotificationResult is the result of all elements of a notification. (An event
// that failed has the state FAILED; a notification has the result FAILURE.)
type NotificationResult string

// Results of notifications. Values newer than the SDK are kept.
const (
	NotificationSuccess NotificationResult = "SUCCESS"
	NotificationFailure NotificationResult = "FAILURE"
)

// EventResult is the part that the notifications of an event have in common.
type EventResult struct {
	EventID string             `json:"eventId"`
	Result  NotificationResult `json:"result"`
	Type    EventType          `json:"type"`
	Error   *Error             `json:"error,omitzero"` // of all elements, with NotificationFailure
}

// AssetManagement reports assignments that an event made or removed, or could not.
type AssetManagement struct {
	Assignments []Assignment `json:"assignments,omitzero"`
	EventResult
}

// UserManagement reports users that an event created, updated or retired, or could not.
type UserManagement struct {
	Users []User `json:"users,omitzero"`
	EventResult
}

// SubscriptionManagement reports seats that an event assigned or took back, or
// could not. A deferred disassociation is reported at the end of the period.
type SubscriptionManagement struct {
	Assignments []SubscriptionAssignment `json:"assignments,omitzero"`
	EventResult
}

// AssetCount reports licences bought, moved or refunded. The delta applies
// once for each notification ID.
type AssetCount struct {
	AssetID
	CountDelta int `json:"countDelta"`
}

// UsersAssociated reports people who accepted their invitation.
type UsersAssociated struct {
	AssociatedUsers []User `json:"associatedUsers,omitzero"`
}

// ParseNotification reads a notification as the service sends it: the body of
// one request. What is not complete JSON, or has no notificationType or (but
// for a test) no notificationId, is [ErrInvalid]. A type that the SDK does not
// know is no error, nor is a payload that it cannot read: see [Notification].
func ParseNotification(data []byte) (*Notification, error) {
	return parseNotification(bytes.Clone(data))
}

// UnmarshalJSON is [ParseNotification] for encoding/json.
func (n *Notification) UnmarshalJSON(data []byte) error {
	parsed, err := ParseNotification(data)
	if err != nil {
		return err
	}
	*n = *parsed
	return nil
}

// MarshalJSON writes a notification as the service does: with Raw as its
// payload, or, if there is none, with the one that is set. Whoever changes a
// payload sets Raw to nil.
func (n Notification) MarshalJSON() ([]byte, error) {
	b := notificationBody{n.Raw, n.ID, n.Type, n.UID}
	if len(b.Notification) == 0 {
		var p any = struct{}{}
		if set := n.payload(); set != nil {
			p = set
		}
		raw, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		b.Notification = raw
	}
	if len(n.Other) == 0 {
		return json.Marshal(b)
	}
	all := maps.Clone(n.Other)
	for key, value := range map[string]any{
		"notification": b.Notification, "notificationId": b.ID, "notificationType": b.Type, "uId": b.UID,
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		all[key] = raw
	}
	return json.Marshal(all)
}

// Notify tells the client of a notification for its organizational unit, so
// that whoever waits for its event looks at once. It may be called from any
// goroutine, with notifications of other units and of other clients' events
// too, twice, or never: the status of an event stays the truth. It does not
// block. The notification must not be changed afterwards.
//
// [WithNotify] calls it for each notification of a handler. From the first notification on, which
// is the service's test while it carries out [ConfigService.Register], waiters
// expect to be woken, and first poll an event after the interval of [WithPolling].
func (c *Client) Notify(n *Notification) {
	if n != nil {
		c.hub.deliver(n)
	}
}
