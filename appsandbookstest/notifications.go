package appsandbookstest

import (
	"slices"
	"time"
)

// A notification has one of these types. A unit can subscribe to
// NotificationUnlimitedAsset, but Apple does not document its payload, and the
// server does not send it.
const (
	NotificationTest                   = "TEST_NOTIFICATION"
	NotificationAssetManagement        = "ASSET_MANAGEMENT"
	NotificationAssetCount             = "ASSET_COUNT"
	NotificationUserManagement         = "USER_MANAGEMENT"
	NotificationUserAssociated         = "USER_ASSOCIATED"
	NotificationSubscriptionManagement = "SUBSCRIPTION_MANAGEMENT"
	NotificationSubscriptionCount      = "SUBSCRIPTION_COUNT"
	NotificationUnlimitedAsset         = "UNLIMITED_ASSET"
)

// notificationTypes are the types that service/config announces.
var notificationTypes = []string{
	NotificationAssetManagement, NotificationUserManagement, NotificationUserAssociated, NotificationAssetCount,
	NotificationSubscriptionManagement, NotificationSubscriptionCount, NotificationUnlimitedAsset,
}

// subscribed reports whether the unit is subscribed to notifications of a type.
// The lock must be held.
func (u *Unit) subscribed(typ string) bool {
	return u.config.NotificationURL != "" && slices.Contains(u.config.NotificationTypes, typ)
}

// notify sends a notification if the unit is subscribed to its type. The lock
// must be held.
func (u *Unit) notify(typ string, at time.Time, payload any) {
	if u.subscribed(typ) {
		u.sender.send(at, u.envelope(typ, payload))
	}
}

// envelope returns a notification with a new id. The lock must be held.
func (u *Unit) envelope(typ string, payload any) wireNotification {
	return wireNotification{
		Notification:     payload,
		NotificationID:   u.srv.random.uuid(u.randomLabel("notification"), u.nextNumber()),
		NotificationType: typ,
		UID:              u.uid,
	}
}

// SendNotification sends a notification with any type and any payload that can
// be encoded as JSON. It does nothing if the unit has no notification URL. Use
// it to test how a receiver handles unknown types and unusual payloads.
func (u *Unit) SendNotification(typ string, payload any) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if u.config.NotificationURL != "" {
		u.sender.send(time.Now(), u.envelope(typ, payload))
	}
}
