package appsandbooks

import (
	"encoding/json"
	"errors"
	"iter"
)

// payloads has a row for each type of notification that has a payload: everything
// that depends on the type is derived from it. To add a type, add its constant,
// its payload type and field in notifications.go, and a row here.
var payloads = []payload{
	payloadOf(NotificationAssetManagement, func(n *Notification) **AssetManagement { return &n.AssetManagement }),
	payloadOf(NotificationAssetCount, func(n *Notification) **AssetCount { return &n.AssetCount }),
	payloadOf(NotificationUserManagement, func(n *Notification) **UserManagement { return &n.UserManagement }),
	payloadOf(NotificationUserAssociated, func(n *Notification) **UsersAssociated { return &n.UserAssociated }),
	payloadOf(NotificationSubscriptionManagement, func(n *Notification) **SubscriptionManagement { return &n.SubscriptionManagement }),
	payloadOf(NotificationSubscriptionCount, func(n *Notification) **Subscription { return &n.SubscriptionCount }),
}

type payload struct {
	typ    NotificationType
	decode func(n *Notification, raw json.RawMessage) error
	get    func(n *Notification) any // nil when the notification does not have this payload
}

// eventPayload is a payload that reports what an event did.
type eventPayload interface {
	event() *EventResult
	elements() iter.Seq[AssetPair]
}

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

// decodePayload sets the payload field of the notification's type. An error says
// that Raw is not a payload of the type, or not JSON.
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

// payload returns the payload that is set; nil if none is.
func (n *Notification) payload() any {
	for _, p := range payloads {
		if v := p.get(n); v != nil {
			return v
		}
	}
	return nil
}

// eventPayload returns the payload if it reports what an event did; nil otherwise.
func (n *Notification) eventPayload() eventPayload {
	if n == nil {
		return nil
	}
	p, _ := n.payload().(eventPayload)
	return p
}

// EventID returns the id of the event that the notification is about. It is empty
// when the notification is about none.
func (n *Notification) EventID() string {
	if p := n.eventPayload(); p != nil {
		return p.event().EventID
	}
	return ""
}

// Elements yields the pairs, or the users, that an event's notification names.
// Other notifications have none. A subscription's Adam ID is written in decimal,
// and an empty PricingParam of an asset or a subscription is given as STDQ.
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
