package appsandbooks

import (
	"bytes"
	"encoding/json"
	"fmt"
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
// always has the payload as it came.
//
// Source: https://developer.apple.com/documentation/devicemanagement/subscribing-to-notifications
type Notification struct {
	ID   string // distinct for each notification; opaque
	Type NotificationType
	UID  string // of the organizational unit
	Raw  json.RawMessage

	AssetManagement        *AssetManagement
	AssetCount             *AssetCount
	UserManagement         *UserManagement
	UserAssociated         *UsersAssociated
	SubscriptionManagement *SubscriptionManagement
	SubscriptionCount      *SubscriptionCount
}

// Result tells whether the elements of a notification succeeded. (An event
// that failed says FAILED; a notification says FAILURE.)
type Result string

// Results.
const (
	ResultSuccess Result = "SUCCESS"
	ResultFailure Result = "FAILURE"
)

// EventResult is the part that the notifications of an event have in common.
type EventResult struct {
	EventID string    `json:"eventId"`
	Result  Result    `json:"result"`
	Type    EventType `json:"type"`
	Error   *Error    `json:"error,omitzero"` // of all elements, with ResultFailure
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
	AdamID       string       `json:"adamId"`
	PricingParam PricingParam `json:"pricingParam"`
	CountDelta   int          `json:"countDelta"`
}

// SubscriptionCount reports the seats of a subscription: all of them, not a
// difference. A late one may be older than what is known already.
type SubscriptionCount struct {
	ParentAdamID *int64             `json:"parentAdamId"`
	AdamID       int64              `json:"adamId"`
	Counts       SubscriptionCounts `json:"counts"`
}

// UsersAssociated reports people who accepted their invitation.
type UsersAssociated struct {
	AssociatedUsers []User `json:"associatedUsers,omitzero"`
}

type notificationBody struct {
	Notification json.RawMessage  `json:"notification"`
	ID           string           `json:"notificationId"`
	Type         NotificationType `json:"notificationType"`
	UID          string           `json:"uId"`
}

// ParseNotification reads a notification as the service sends it: the body of
// one request. What is not complete JSON, or has no notificationType or (but
// for a test) no notificationId, is [ErrInvalid]. A type that the SDK does not
// know is no error, nor is a payload that it cannot read: see [Notification].
func ParseNotification(data []byte) (*Notification, error) {
	return parseNotification(bytes.Clone(data))
}

// parseNotification keeps data.
func parseNotification(data []byte) (*Notification, error) {
	n := new(Notification)
	if err := n.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return n, nil
}

// UnmarshalJSON is [ParseNotification] for encoding/json.
func (n *Notification) UnmarshalJSON(data []byte) error {
	var b notificationBody
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if b.Type == "" {
		return invalidf("no notificationType")
	}
	if b.ID == "" && b.Type != NotificationTest {
		return invalidf("no notificationId")
	}
	*n = Notification{ID: b.ID, Type: b.Type, UID: b.UID, Raw: b.Notification}
	switch b.Type {
	case NotificationAssetManagement:
		n.AssetManagement = payload[AssetManagement](n.Raw)
	case NotificationAssetCount:
		n.AssetCount = payload[AssetCount](n.Raw)
	case NotificationUserManagement:
		n.UserManagement = payload[UserManagement](n.Raw)
	case NotificationUserAssociated:
		n.UserAssociated = payload[UsersAssociated](n.Raw)
	case NotificationSubscriptionManagement:
		n.SubscriptionManagement = payload[SubscriptionManagement](n.Raw)
	case NotificationSubscriptionCount:
		n.SubscriptionCount = payload[SubscriptionCount](n.Raw)
	}
	return nil
}

// payload is nil for one that cannot be read: Raw still has it.
func payload[T any](raw json.RawMessage) *T {
	p := new(T)
	if len(raw) == 0 || json.Unmarshal(raw, p) != nil {
		return nil
	}
	return p
}

// MarshalJSON writes the payload if one is set, and Raw otherwise.
func (n Notification) MarshalJSON() ([]byte, error) {
	b := notificationBody{n.Raw, n.ID, n.Type, n.UID}
	var p any
	switch {
	case n.AssetManagement != nil:
		p = n.AssetManagement
	case n.AssetCount != nil:
		p = n.AssetCount
	case n.UserManagement != nil:
		p = n.UserManagement
	case n.UserAssociated != nil:
		p = n.UserAssociated
	case n.SubscriptionManagement != nil:
		p = n.SubscriptionManagement
	case n.SubscriptionCount != nil:
		p = n.SubscriptionCount
	}
	if p != nil {
		raw, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		b.Notification = raw
	} else if len(b.Notification) == 0 {
		b.Notification = json.RawMessage("{}")
	}
	return json.Marshal(b)
}

// EventID is the event that the notification is about; empty when it is about none.
func (n *Notification) EventID() string {
	switch {
	case n.AssetManagement != nil:
		return n.AssetManagement.EventID
	case n.UserManagement != nil:
		return n.UserManagement.EventID
	case n.SubscriptionManagement != nil:
		return n.SubscriptionManagement.EventID
	}
	return ""
}

// Notify tells the client of a notification for its organizational unit, so
// that whoever waits for its event looks at once. It may be called from any
// goroutine, with notifications of other units' events too, twice, or never.
func (c *Client) Notify(n *Notification) {
	if n != nil {
		c.hints.deliver(n)
	}
}
