package appsandbooks

import (
	"encoding/json"
	"errors"
	"iter"
)

// payload describes how notifications of one type store their payload.
type payload struct {
	typ NotificationType
	// decode decodes raw into the payload field of n.
	decode func(n *Notification, raw json.RawMessage) error
	// get returns the payload field of n, or nil if the field is not set.
	get func(n *Notification) any
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
			v := new(T)
			err := decodeObject(raw, v)
			if err == nil {
				*field(n) = v
			}
			return err
		},
		get: func(n *Notification) any {
			if v := *field(n); v != nil {
				return v
			}
			return nil
		},
	}
}

// subscriptionCountPayload returns the payload of NotificationSubscriptionCount. It reads
// only the fields of a [Subscription] that Apple documents for the notification.
func subscriptionCountPayload() payload {
	p := payloadOf(NotificationSubscriptionCount, func(n *Notification) **Subscription { return &n.SubscriptionCount })
	p.decode = func(n *Notification, raw json.RawMessage) error {
		var v struct {
			ParentAdamID *int64             `json:"parentAdamId"`
			AdamID       int64              `json:"adamId"`
			Counts       SubscriptionCounts `json:"counts"`
		}
		if err := decodeObject(raw, &v); err != nil {
			return err
		}
		n.SubscriptionCount = &Subscription{ParentAdamID: v.ParentAdamID, AdamID: v.AdamID, Counts: v.Counts}
		return nil
	}
	return p
}

// noPayload returns the payload of notifications of a type whose payload Apple does not
// document.
func noPayload(typ NotificationType) payload {
	return payload{
		typ: typ,
		decode: func(_ *Notification, raw json.RawMessage) error {
			if !json.Valid(raw) {
				return errors.New("the payload is not JSON")
			}
			return nil
		},
		get: func(*Notification) any { return nil },
	}
}

func decodeObject(raw json.RawMessage, v any) error {
	if len(raw) == 0 || raw[0] != '{' {
		return errors.New("the payload is not an object")
	}
	return json.Unmarshal(raw, v)
}

// decodePayload decodes Raw into the payload field of the notification's type. It
// returns an error if Raw is not a payload of that type. For a type that the SDK does
// not know, it returns an error if Raw is not JSON.
func (n *Notification) decodePayload() error {
	for _, p := range payloads {
		if p.typ == n.Type {
			return p.decode(n, n.Raw)
		}
	}
	return noPayload(n.Type).decode(n, n.Raw)
}

// payload returns the payload of the notification that is set, or nil if none is set.
func (n *Notification) payload() any {
	for _, p := range payloads {
		if v := p.get(n); v != nil {
			return v
		}
	}
	return nil
}

// eventPayload returns the payload of the notification if it reports what an event did,
// and nil otherwise.
func (n *Notification) eventPayload() eventPayload {
	if n == nil {
		return nil
	}
	for _, p := range payloads {
		if v, ok := p.get(n).(eventPayload); ok {
			return v
		}
	}
	return nil
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
// The Adam ID of a subscription is converted to a decimal string. The PricingParam is
// STDQ for a subscription, and for an asset without one. An element that is a user has
// only a ClientUserID.
func (n *Notification) Elements() iter.Seq[AssetPair] {
	if p := n.eventPayload(); p != nil {
		return p.elements()
	}
	return func(func(AssetPair) bool) {}
}

func (r *EventResult) event() *EventResult { return r }
