package appsandbookstest

import (
	"slices"
	"time"
)

// The types of notifications.
const (
	NotificationTest                   = "TEST_NOTIFICATION"
	NotificationAssetManagement        = "ASSET_MANAGEMENT"
	NotificationAssetCount             = "ASSET_COUNT"
	NotificationUserManagement         = "USER_MANAGEMENT"
	NotificationUserAssociated         = "USER_ASSOCIATED"
	NotificationSubscriptionManagement = "SUBSCRIPTION_MANAGEMENT"
	NotificationSubscriptionCount      = "SUBSCRIPTION_COUNT"
	NotificationUnlimitedAsset         = "UNLIMITED_ASSET" // can be subscribed to; nobody knows what it looks like
)

// notificationTypes are the types that service/config lists.
var notificationTypes = []string{
	NotificationAssetManagement, NotificationUserManagement, NotificationUserAssociated, NotificationAssetCount,
	NotificationSubscriptionManagement, NotificationSubscriptionCount, NotificationUnlimitedAsset,
}

// subscribed reports whether notifications of a type are sent. The lock is
// held.
func (u *Unit) subscribed(typ string) bool {
	return u.config.NotificationURL != "" && slices.Contains(u.config.NotificationTypes, typ)
}

// notify sends a notification if its type is subscribed to. The lock is held.
func (u *Unit) notify(typ string, at time.Time, payload any) {
	if u.subscribed(typ) {
		u.sender.send(at, u.envelope(typ, payload))
	}
}

// envelope returns a notification with an id of its own. The lock is held.
func (u *Unit) envelope(typ string, payload any) wireNotification {
	return wireNotification{
		Notification:     payload,
		NotificationID:   u.srv.random.uuid(u.randomLabel("notification"), u.nextNumber()),
		NotificationType: typ,
		UID:              u.uid,
	}
}

// SendNotification sends a notification of any type and with any payload that
// can be encoded as JSON, if the unit has a notification URL. It shows how a
// client takes what is unknown or odd.
func (u *Unit) SendNotification(typ string, payload any) {
	u.lockAndUpdate()
	defer u.mu.Unlock()
	if u.config.NotificationURL != "" {
		u.sender.send(time.Now(), u.envelope(typ, payload))
	}
}
