package appsandbooks

import (
	"encoding/json"
	"errors"
	"iter"
)

// payloads has one element for each type of notification that has a payload. All code
// that depends on the type uses it. To add a type, add its constant, its payload type
// and its field of [Notification] in notifications.go, and an element here.
var payloads = []payload{
	payloadOf(NotificationAssetManagement, func(n *Notification) **AssetManagement { return &n.AssetManagement }),
	payloadOf(NotificationAssetCount, func(n *Notification) **AssetCount { return &n.AssetCount }),
	payloadOf(NotificationUserManagement, func(n *Notification) **UserManagement { return &n.UserManagement }),
	payloadOf(NotificationUserAssociated, func(n *Notification) **UsersAssociated { return &n.UserAssociated }),
	payloadOf(NotificationSubscriptionManagement, func(n *Notification) **SubscriptionManagement { return &n.SubscriptionManagement }),
	payloadOf(NotificationSubscriptionCount, func(n *Notification) **Subscription { return &n.SubscriptionCount }),
}

// payload says how notifications of one type store their payload.
type payload struct {
	typ    NotificationType
	decode func(n *Notification, raw json.RawMessage) error // decodes raw into the payload field
	get    func(n *Notification) any                        // returns the payload field, or nil if it is not set
}

// eventPayload is a payload that reports what an event did.
type eventPayload interface {
	event() *EventResult
	elements() iter.Seq[AssetPair]
}

// payloadOf returns the payload of notifications of a type. field returns the address
// of the payload field.
func payloadOf[T any](typ NotificationType, field func(*Notification) **T) payload {
	return payload{
		typ: typ,
		decode: func(n *Notification, raw json.RawMessage) error {
			if len(raw) == 0 || raw[0] != '{' {
				return errors.New("the payload is not an object")
			}
			v := new(T)
			if err := json.Unmarshal(raw, v); err != nil {
				return err
			}
			*field(n) = v
			return nil
		},
		get: func(n *Notification) any {
			if v := *field(n); v != nil {
				return v
			}
			return nil
		},
	}
}

// decodePayload decodes Raw into the payload field of the notification's type. It
// returns an error if Raw is not a payload of that type. For a type without a payload
// field, it only checks that Raw is valid JSON.
func (n *Notification) decodePayload() error {
	for _, p := range payloads {
		if p.typ == n.Type {
			return p.decode(n, n.Raw)
		}
	}
	if !json.Valid(n.Raw) {
		return errors.New("the payload is not JSON")
	}
	return nil
}

// payload returns the payload that is set, or nil if none is set.
func (n *Notification) payload() any {
	for _, p := range payloads {
		if v := p.get(n); v != nil {
			return v
		}
	}
	return nil
}

// eventPayload returns the payload if it reports what an event did, and nil otherwise.
func (n *Notification) eventPayload() eventPayload {
	if n == nil {
		return nil
	}
	p, _ := n.payload().(eventPayload)
	return p
}

// EventID returns the id of the event whose result the notification reports. It is
// empty for a notification that reports no event, such as a count.
func (n *Notification) EventID() string {
	if p := n.eventPayload(); p != nil {
		return p.event().EventID
	}
	return ""
}

// Elements returns an iterator over the pairs, or the users, whose result the
// notification reports. It yields nothing for a notification that reports no event.
// The Adam ID of a subscription is converted to a decimal string. The PricingParam of
// a subscription, and an empty one of an asset, is STDQ. An element that is a user has
// only a ClientUserID.
func (n *Notification) Elements() iter.Seq[AssetPair] {
	if p := n.eventPayload(); p != nil {
		return p.elements()
	}
	return func(func(AssetPair) bool) {}
}

func (r *EventResult) event() *EventResult { return r }

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
