package appsandbooks_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The hook receives notifications of every type. The Notification's field for the type is
// set if the SDK has such a field and can read the payload.
func TestNewNotificationHandler_hookReceivesEveryType(t *testing.T) {
	var typed, all, notified []appsandbooks.NotificationType
	h := newHandler(t, func(_ context.Context, n *appsandbooks.Notification) error {
		all = append(all, n.Type)
		for typ, set := range map[appsandbooks.NotificationType]bool{
			appsandbooks.NotificationAssetManagement:        n.AssetManagement != nil,
			appsandbooks.NotificationAssetCount:             n.AssetCount != nil,
			appsandbooks.NotificationUserManagement:         n.UserManagement != nil,
			appsandbooks.NotificationUserAssociated:         n.UserAssociated != nil,
			appsandbooks.NotificationSubscriptionManagement: n.SubscriptionManagement != nil,
			appsandbooks.NotificationSubscriptionCount:      n.SubscriptionCount != nil,
		} {
			if set {
				assert.Equal(t, n.Type, typ)
				typed = append(typed, typ)
			}
		}
		return nil
	}, appsandbooks.WithNotify(func(n *appsandbooks.Notification) { notified = append(notified, n.Type) }))
	var want, wantTyped []appsandbooks.NotificationType
	deliver := func(typ appsandbooks.NotificationType, payload string) {
		body := fmt.Sprintf(`{"notification":%s,"notificationId":"%d","notificationType":%q,"uId":"1"}`, payload, len(want), typ)
		want = append(want, typ)
		assert.Equal(t, http.StatusOK, post(h, notificationRequest(body)).Code, typ)
	}
	for _, typ := range append(appsandbooks.NotificationTypes(), "MOON_PHASE") {
		if typ != "MOON_PHASE" && typ != appsandbooks.NotificationUnlimitedAsset {
			wantTyped = append(wantTyped, typ)
		}
		deliver(typ, `{}`)
	}
	deliver(appsandbooks.NotificationSubscriptionCount, `{"counts":7}`) // an unreadable payload
	assert.Equal(t, want, all)
	assert.Equal(t, wantTyped, typed)
	assert.Equal(t, want, notified)

	assert.Equal(t, http.StatusOK, post(h, notificationRequest(notificationJSON(appsandbooks.NotificationTest, `{}`))).Code)
	assert.Equal(t, want, all, "a test notification does not reach the hook")
	assert.Len(t, notified, len(want)+1, "a test notification reaches WithNotify")
}

// Notification.Elements yields the pairs or users that the notification of an event names,
// and nothing for other notifications.
func TestNotification_Elements(t *testing.T) {
	for body, want := range map[string][]appsandbooks.AssetPair{
		`{"notificationId":"1","notificationType":"ASSET_MANAGEMENT","uId":"u","notification":{"eventId":"e","result":"SUCCESS","type":"ASSOCIATE",
			"assignments":[{"adamId":"1","pricingParam":"PLUS","serialNumber":"C02"},{"adamId":"2","clientUserId":"a"}]}}`: {
			{AdamID: "1", PricingParam: appsandbooks.PricingPLUS, SerialNumber: "C02"},
			{AdamID: "2", PricingParam: appsandbooks.PricingSTDQ, ClientUserID: "a"},
		},
		`{"notificationId":"2","notificationType":"SUBSCRIPTION_MANAGEMENT","uId":"u","notification":{"eventId":"e","result":"SUCCESS","type":"ASSOCIATE",
			"assignments":[{"adamId":67890,"clientUserId":"a","renewing":true}]}}`: {
			{AdamID: "67890", PricingParam: appsandbooks.PricingSTDQ, ClientUserID: "a"},
		},
		`{"notificationId":"3","notificationType":"USER_MANAGEMENT","uId":"u","notification":{"eventId":"e","result":"SUCCESS","type":"CREATE",
			"users":[{"clientUserId":"a","status":"Registered"}]}}`: {{ClientUserID: "a"}},
		`{"notificationId":"4","notificationType":"ASSET_COUNT","uId":"u","notification":{"adamId":"1","pricingParam":"STDQ","countDelta":5}}`: nil,
		`{"notificationId":"5","notificationType":"SOMETHING_NEW","uId":"u","notification":{"eventId":"e"}}`:                                   nil,
	} {
		n, err := appsandbooks.ParseNotification([]byte(body))
		require.NoError(t, err)
		require.Equal(t, want, slices.Collect(n.Elements()))
		require.Equal(t, want != nil, n.EventID() == "e", body)
	}
}

// A SUBSCRIPTION_COUNT notification is read also when it has fields of a Subscription that
// are not documented for the notification, whatever the types of these fields are.
func TestNotification_subscriptionCountReadsDocumentedFields(t *testing.T) {
	n, err := appsandbooks.ParseNotification([]byte(`{"notificationId":"1","notificationType":"SUBSCRIPTION_COUNT","uId":"u","notification":{
		"adamId":5,"parentAdamId":7,"status":1,"periodEndDate":2,"counts":{"total":{"renewing":3,"expiring":1}}}}`))
	require.NoError(t, err)
	require.Equal(t, &appsandbooks.Subscription{
		AdamID: 5, ParentAdamID: appsandbooks.Ptr(int64(7)),
		Counts: appsandbooks.SubscriptionCounts{Total: &appsandbooks.SeatCounts{Renewing: 3, Expiring: 1}},
	}, n.SubscriptionCount)
}

// NotificationTypes returns every documented type except the type of test notifications.
func TestNotificationTypes(t *testing.T) {
	require.ElementsMatch(t, []appsandbooks.NotificationType{
		"ASSET_MANAGEMENT", "ASSET_COUNT", "USER_MANAGEMENT", "USER_ASSOCIATED",
		"SUBSCRIPTION_MANAGEMENT", "SUBSCRIPTION_COUNT", "UNLIMITED_ASSET",
	}, appsandbooks.NotificationTypes())
}
