package appsandbooks

import (
	"bytes"
	"encoding/json"
	"iter"
	"maps"
)

// NotificationType is the subject of a notification. It decides which payload the
// notification has. It can be a value that the SDK has no constant for.
type NotificationType string

const (
	// NotificationTest is the test that the service sends before it answers
	// [ConfigService.Register]. It has no payload.
	NotificationTest NotificationType = "TEST_NOTIFICATION"
	// NotificationAssetManagement is the type of notifications whose payload is an
	// [AssetManagement].
	NotificationAssetManagement NotificationType = "ASSET_MANAGEMENT"
	// NotificationAssetCount is the type of notifications whose payload is an
	// [AssetCount].
	NotificationAssetCount NotificationType = "ASSET_COUNT"
	// NotificationUserManagement is the type of notifications whose payload is a
	// [UserManagement].
	NotificationUserManagement NotificationType = "USER_MANAGEMENT"
	// NotificationUserAssociated is the type of notifications whose payload is a
	// [UsersAssociated].
	NotificationUserAssociated NotificationType = "USER_ASSOCIATED"
	// NotificationSubscriptionManagement is the type of notifications whose payload is a
	// [SubscriptionManagement].
	NotificationSubscriptionManagement NotificationType = "SUBSCRIPTION_MANAGEMENT"
	// NotificationSubscriptionCount is the type of notifications whose payload is a
	// [Subscription].
	NotificationSubscriptionCount NotificationType = "SUBSCRIPTION_COUNT"
	// NotificationUnlimitedAsset is the type of notifications whose payload Apple does not
	// document.
	NotificationUnlimitedAsset NotificationType = "UNLIMITED_ASSET"
)

// NotificationTypes returns the types to subscribe to: all except [NotificationTest],
// which the service sends in any case.
func NotificationTypes() []NotificationType {
	types := make([]NotificationType, len(payloads))
	for i, p := range payloads {
		types[i] = p.typ
	}
	return types
}

// payloads has a row for each type of notification except [NotificationTest]. All code
// that depends on the type uses this table. To add a type, add its constant and its row
// here, and its payload type and field of [Notification] below. A payload that reports
// what an event did embeds [EventResult] and has a method elements.
var payloads = []payload{
	payloadOf(NotificationAssetManagement, func(n *Notification) **AssetManagement { return &n.AssetManagement }),
	payloadOf(NotificationUserManagement, func(n *Notification) **UserManagement { return &n.UserManagement }),
	payloadOf(NotificationUserAssociated, func(n *Notification) **UsersAssociated { return &n.UserAssociated }),
	payloadOf(NotificationAssetCount, func(n *Notification) **AssetCount { return &n.AssetCount }),
	payloadOf(NotificationSubscriptionManagement, func(n *Notification) **SubscriptionManagement { return &n.SubscriptionManagement }),
	subscriptionCountPayload(),
	noPayload(NotificationUnlimitedAsset),
}

// Notification is a message that the service POSTs to the notification URL. The
// service does not guarantee delivery: a notification can be lost, can arrive twice
// (with the same id), and can arrive after a later one. It contains no time. It has at
// most 100 elements, so the service sends several notifications for a large event.
//
// Type decides which of the payload pointers is set. None is set for a test, for a
// type that the SDK does not know, and for a payload that the SDK cannot read. Raw
// always has the payload as the service sent it, including the fields that the SDK
// does not know.
//
// Source: https://developer.apple.com/documentation/devicemanagement/subscribing-to-notifications
type Notification struct {
	ID   string // an id that is different for each notification of a unit; without further meaning
	Type NotificationType
	UID  string          // the uId of the organizational unit
	Raw  json.RawMessage // the payload as the service sent it

	// Other has the fields outside the payload that the SDK does not know. It is nil
	// when the notification has none.
	Other map[string]json.RawMessage

	AssetManagement        *AssetManagement
	AssetCount             *AssetCount
	UserManagement         *UserManagement
	UserAssociated         *UsersAssociated
	SubscriptionManagement *SubscriptionManagement
	// SubscriptionCount has the numbers of seats of a subscription, not a difference.
	// Only AdamID, ParentAdamID and Counts are set, and Counts.Assigned is nil. A late
	// notification can be older than the numbers that the caller already has.
	SubscriptionCount *Subscription
}

// NotificationResult is the result of every element of one notification. It can be a
// value that the SDK has no constant for. (The status of a failed event is FAILED, but
// the result of a notification is FAILURE.)
type NotificationResult string

const (
	// NotificationSuccess means that the event changed all elements of the notification.
	NotificationSuccess NotificationResult = "SUCCESS"
	// NotificationFailure means that the event changed none of the elements of the
	// notification. EventResult.Error gives the reason, if the service sent one.
	NotificationFailure NotificationResult = "FAILURE"
)

// EventResult has the fields that all notifications of an event share.
type EventResult struct {
	EventID string             `json:"eventId"`
	Result  NotificationResult `json:"result"`
	Type    EventType          `json:"type"`
	// Error is the reason for every element. It is set only with NotificationFailure.
	Error *Error `json:"error,omitzero"`
}

// AssetManagement reports assignments that an event made or removed, or that it failed
// to make or remove.
type AssetManagement struct {
	Assignments []Assignment `json:"assignments,omitzero"`
	EventResult
}

// UserManagement reports users that an event created, updated or retired, or that it
// failed to create, update or retire.
type UserManagement struct {
	Users []User `json:"users,omitzero"`
	EventResult
}

// SubscriptionManagement reports seats that an event assigned or took back, or that it
// failed to assign or take back. For a deferred disassociation, the service sends it
// at the end of the billing period.
type SubscriptionManagement struct {
	Assignments []SubscriptionAssignment `json:"assignments,omitzero"`
	EventResult
}

// AssetCount reports that licenses were bought, moved or refunded.
type AssetCount struct {
	AssetID
	// CountDelta is the change of the number of licenses. When a notification with the
	// same id arrives again, it reports the same change, so do not count it again.
	CountDelta int `json:"countDelta"`
}

// UsersAssociated reports users who accepted the invitation.
type UsersAssociated struct {
	AssociatedUsers []User `json:"associatedUsers,omitzero"`
}

func (m *AssetManagement) elements() iter.Seq[AssetPair] {
	return func(yield func(AssetPair) bool) {
		for _, a := range m.Assignments {
			pricing := a.PricingParam
			if pricing == "" {
				pricing = PricingSTDQ
			}
			if !yield(AssetPair{a.AdamID, pricing, a.ClientUserID, a.SerialNumber}) {
				return
			}
		}
	}
}

func (m *UserManagement) elements() iter.Seq[AssetPair] {
	return func(yield func(AssetPair) bool) {
		for _, u := range m.Users {
			if !yield(AssetPair{ClientUserID: u.ClientUserID}) {
				return
			}
		}
	}
}

func (m *SubscriptionManagement) elements() iter.Seq[AssetPair] {
	return func(yield func(AssetPair) bool) {
		for _, a := range m.Assignments {
			if !yield(AssetPair{AdamID: formatAdamID(a.AdamID), PricingParam: PricingSTDQ, ClientUserID: a.ClientUserID}) {
				return
			}
		}
	}
}

// ParseNotification parses the body of a request that the service POSTs. The error is
// [ErrInvalid] if data is not complete JSON, has no notificationType, or has no
// notificationId and is not a test. A type that the SDK does not know and a payload
// that it cannot read are no errors: see [Notification].
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

// MarshalJSON returns the notification in the form that the service sends. Its payload
// is Raw or, if Raw is empty, the payload that is set. After a change to a payload, set
// Raw to nil.
func (n Notification) MarshalJSON() ([]byte, error) {
	body := notificationBody{n.Raw, n.ID, n.Type, n.UID}
	if len(body.Notification) == 0 {
		var payload any = struct{}{}
		if p := n.payload(); p != nil {
			payload = p
		}
		raw, err := json.Marshal(payload)
		if err != nil {
			return nil, err
		}
		body.Notification = raw
	}
	if len(n.Other) == 0 {
		return json.Marshal(body)
	}
	fields := maps.Clone(n.Other)
	for key, value := range map[string]any{
		"notification": body.Notification, "notificationId": body.ID, "notificationType": body.Type, "uId": body.UID,
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fields[key] = raw
	}
	return json.Marshal(fields)
}

// Notify gives the client a notification, so that the calls that wait for its event
// can poll the event, or finish, before the polling interval ends. [WithNotify] makes
// a handler call Notify for each notification.
//
// Notify can be called from any goroutine. It does not block. It ignores nil. It can
// also be called with notifications of other organizational units, with those of
// events that other clients started, and twice with the same notification. Without
// Notify all waiting works the same, only later, because the client polls the status
// of each event. The caller must not change the notification afterward.
//
// After the first notification, which is usually the service's test during
// [ConfigService.Register], the client relies on notifications: it polls an event for
// the first time only after the interval of [WithPolling].
func (c *Client) Notify(n *Notification) {
	if n != nil && c != nil && c.hub != nil {
		c.hub.deliver(n)
	}
}
