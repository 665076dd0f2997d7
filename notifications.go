package appsandbooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	if n.parsePlain(data) {
		return n, nil
	}
	if err := n.parse(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return n, nil
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

// parse reads any form of a notification.
func (n *Notification) parse(data []byte) error {
	var b notificationBody
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	if b.Type == "" {
		return errors.New("no notificationType")
	}
	if b.ID == "" && b.Type != NotificationTest {
		return errors.New("no notificationId")
	}
	*n = Notification{ID: b.ID, Type: b.Type, UID: b.UID, Raw: b.Notification}
	_ = n.decodePayload() // Raw stands
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	maps.DeleteFunc(all, func(key string, _ json.RawMessage) bool { return isEnvelope(key) })
	if len(all) > 0 {
		n.Other = all
	}
	return nil
}

// isEnvelope tells whether encoding/json takes a key for one of the envelope's.
func isEnvelope(key string) bool {
	return slices.ContainsFunc([]string{"notification", "notificationId", "notificationType", "uId"},
		func(k string) bool { return strings.EqualFold(k, key) })
}

// parsePlain reads a notification of the form in which the service writes
// them: the envelope has its four fields once each, with strings of ASCII
// without escapes. It spares encoding/json two more passes over a payload of a
// hundred elements. False says nothing about the notification.
func (n *Notification) parsePlain(data []byte) bool {
	id, typ, uid, payload, ok := splitPlain(data)
	if !ok || len(typ) == 0 || len(id) == 0 {
		return false
	}
	*n = Notification{ID: string(id), Type: NotificationType(typ), UID: string(uid), Raw: payload}
	return n.decodePayload() == nil
}

// splitPlain takes a plain envelope apart. It finds the end of the payload,
// which is valid JSON if the whole is, and does not check it.
func splitPlain(data []byte) (id, typ, uid, payload []byte, ok bool) {
	i := skipSpace(data, 0)
	for more := byte('{'); ; more = ',' {
		if i == len(data) || data[i] != more {
			break
		}
		key, next := plainString(data, skipSpace(data, i+1))
		i = skipSpace(data, next)
		if i == len(data) || data[i] != ':' {
			return
		}
		i = skipSpace(data, i+1)
		var field *[]byte
		switch string(key) {
		case "notification":
			if payload != nil {
				return
			}
			next = skipObject(data, i)
			payload, i = data[i:next:next], skipSpace(data, next)
			if len(payload) == 0 {
				return
			}
			continue
		case "notificationId":
			field = &id
		case "notificationType":
			field = &typ
		case "uId":
			field = &uid
		}
		if field == nil || *field != nil {
			return
		}
		*field, next = plainString(data, i)
		if *field == nil {
			return
		}
		i = skipSpace(data, next)
	}
	end := i < len(data) && data[i] == '}' && skipSpace(data, i+1) == len(data)
	return id, typ, uid, payload, end && payload != nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// plainString is the string that begins at i, and where it ends; nil if it has
// anything in it that needs a thought.
func plainString(data []byte, i int) (s []byte, next int) {
	if i >= len(data) || data[i] != '"' {
		return nil, i
	}
	for j := i + 1; j < len(data); j++ {
		switch c := data[j]; {
		case c == '"':
			return data[i+1 : j : j], j + 1
		case c == '\\' || c < ' ' || c > '~':
			return nil, i
		}
	}
	return nil, i
}

// skipObject is where the object that begins at i ends; i if it does not.
func skipObject(data []byte, i int) int {
	depth := 0
	for j := i; j < len(data); j++ {
		switch data[j] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return j + 1
			}
		case '"':
			for j++; j < len(data) && data[j] != '"'; j++ {
				if data[j] == '\\' {
					j++
				}
			}
		}
		if depth == 0 {
			break
		}
	}
	return i
}

// decodePayload sets the payload pointer of the type. An error says that Raw is
// not of the type, or not even JSON.
func (n *Notification) decodePayload() error {
	var err error
	switch n.Type {
	case NotificationAssetManagement:
		n.AssetManagement, err = payload[AssetManagement](n.Raw)
	case NotificationAssetCount:
		n.AssetCount, err = payload[AssetCount](n.Raw)
	case NotificationUserManagement:
		n.UserManagement, err = payload[UserManagement](n.Raw)
	case NotificationUserAssociated:
		n.UserAssociated, err = payload[UsersAssociated](n.Raw)
	case NotificationSubscriptionManagement:
		n.SubscriptionManagement, err = payload[SubscriptionManagement](n.Raw)
	case NotificationSubscriptionCount:
		n.SubscriptionCount, err = payload[SubscriptionCount](n.Raw)
	default:
		if !json.Valid(n.Raw) {
			err = errors.New("the payload is not JSON")
		}
	}
	return err
}

// payload is nil for one that cannot be read.
func payload[T any](raw json.RawMessage) (*T, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, errors.New("the payload is not an object")
	}
	p := new(T)
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, err
	}
	return p, nil
}

// MarshalJSON writes a notification as the service does: with Raw as its
// payload, or, if there is none, with the one that is set. Whoever changes a
// payload sets Raw to nil.
func (n Notification) MarshalJSON() ([]byte, error) {
	b := notificationBody{n.Raw, n.ID, n.Type, n.UID}
	if len(b.Notification) == 0 {
		raw, err := json.Marshal(n.payload())
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

// payload is the one that is set; an empty one if none is.
func (n *Notification) payload() any {
	switch {
	case n.AssetManagement != nil:
		return n.AssetManagement
	case n.AssetCount != nil:
		return n.AssetCount
	case n.UserManagement != nil:
		return n.UserManagement
	case n.UserAssociated != nil:
		return n.UserAssociated
	case n.SubscriptionManagement != nil:
		return n.SubscriptionManagement
	case n.SubscriptionCount != nil:
		return n.SubscriptionCount
	}
	return struct{}{}
}

// EventID is the event that the notification is about; empty when it is about none.
func (n *Notification) EventID() string {
	switch {
	case n == nil:
		return ""
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
// goroutine, with notifications of other units and of other clients' events
// too, twice, or never: the status of an event stays the truth. It does not
// block. The notification must not be changed afterwards.
//
// [NotificationHooks] has a place for it. From the first notification on, which
// is the service's test while it carries out [ConfigService.Register], waiters
// expect to be woken: see [WithNotifications].
func (c *Client) Notify(n *Notification) {
	if n != nil {
		c.hints.deliver(n)
	}
}
