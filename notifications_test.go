package appsandbooks_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

const (
	notificationUID = "2049025000431439"
	someEvent       = "954910a8-3d9c-4fde-948d-253e5aef431a"
)

// enveloped is a notification as the service writes it.
func enveloped(typ appsandbooks.NotificationType, payload string) string {
	return `{"notification":` + payload + `,"notificationId":"6e7a2c1b-4f0d-4c55-9a58-0d1f6c2b7e90",` +
		`"notificationType":"` + string(typ) + `","uId":"` + notificationUID + `"}`
}

// The shapes that Apple publishes, beside those of the walkthrough, with values
// of our own.
var publishedNotifications = map[string]struct {
	typ     appsandbooks.NotificationType
	payload string
	check   func(t *testing.T, n *appsandbooks.Notification)
}{
	"test": {appsandbooks.NotificationTest, `{}`, func(t *testing.T, n *appsandbooks.Notification) {
		assert.Empty(t, n.EventID())
	}},
	"disassociate": {
		appsandbooks.NotificationAssetManagement,
		`{"assignments":[{"adamId":"1000","pricingParam":"STDQ","serialNumber":"C02XK0AAJG5J"},{"adamId":"1000","pricingParam":"STDQ","serialNumber":"C02XK0ABJG5J"}],
			"eventId":"` + someEvent + `","result":"SUCCESS","type":"DISASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			m := n.AssetManagement
			assert.Equal(t, appsandbooks.EventDisassociate, m.Type)
			assert.Equal(t, appsandbooks.NotificationSuccess, m.Result)
			assert.Equal(t, []appsandbooks.Assignment{
				{AssetPair: appsandbooks.AssetPair{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02XK0AAJG5J"}},
				{AssetPair: appsandbooks.AssetPair{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02XK0ABJG5J"}},
			}, m.Assignments)
			assert.Nil(t, m.Error)
			assert.Equal(t, someEvent, n.EventID())
		},
	},
	"revoke": {
		appsandbooks.NotificationAssetManagement,
		`{"assignments":[{"adamId":"1001","clientUserId":"u1","pricingParam":"PLUS"}],"eventId":"e","result":"SUCCESS","type":"REVOKE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.EventRevoke, n.AssetManagement.Type)
		},
	},
	"failure of users and devices": {
		appsandbooks.NotificationAssetManagement,
		`{"assignments":[{"adamId":"1000","pricingParam":"STDQ","serialNumber":"C02"},{"adamId":"1000","clientUserId":"u1","pricingParam":"STDQ"}],
			"error":{"errorInfo":{"assets":[{"adamId":"1000","pricingParam":"STDQ"}],"clientUserIds":["u1"],"serialNumbers":["C02"]},
				"errorMessage":"Not enough licenses","errorNumber":9709},
			"eventId":"e","result":"FAILURE","type":"ASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			m := n.AssetManagement
			assert.Equal(t, appsandbooks.NotificationFailure, m.Result)
			require.ErrorIs(t, m.Error, appsandbooks.ErrNotEnoughLicenses)
			assert.Equal(t, []string{"u1"}, m.Error.Info.ClientUserIDs)
		},
	},
	"users updated": {
		appsandbooks.NotificationUserManagement,
		`{"eventId":"e","result":"SUCCESS","type":"UPDATE","users":[{"clientUserId":"u1","email":"u1@example.com","inviteCode":"abc","status":"Registered"}]}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.EventUpdate, n.UserManagement.Type)
			assert.Equal(t, "u1@example.com", n.UserManagement.Users[0].Email)
		},
	},
	"users retired": {
		appsandbooks.NotificationUserManagement,
		`{"eventId":"e","result":"SUCCESS","type":"RETIRE","users":[{"clientUserId":"u1","status":"Retired"}]}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.EventRetire, n.UserManagement.Type)
			assert.Equal(t, "e", n.EventID())
		},
	},
	"users associated": {
		appsandbooks.NotificationUserAssociated,
		`{"associatedUsers":[{"clientUserId":"u1","email":"u1@example.com","idHash":"rRVS8rlBrJjRqYwL8aNGDJG2CbU=","inviteCode":"abc","status":"Associated"}]}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, "u1", n.UserAssociated.AssociatedUsers[0].ClientUserID)
			assert.Empty(t, n.EventID())
		},
	},
	"licences sold": {
		appsandbooks.NotificationAssetCount,
		`{"adamId":"1000","countDelta":-3,"pricingParam":"PLUS"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, appsandbooks.AssetCount{AssetID: appsandbooks.AssetID{AdamID: "1000", PricingParam: appsandbooks.PricingPLUS}, CountDelta: -3}, *n.AssetCount)
		},
	},
	"seats assigned": {
		appsandbooks.NotificationSubscriptionManagement,
		`{"assignments":[{"adamId":67890,"clientUserId":"u1","renewing":false}],"eventId":"e","result":"SUCCESS","type":"ASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.EqualValues(t, 67890, n.SubscriptionManagement.Assignments[0].AdamID)
			assert.Equal(t, "e", n.EventID())
		},
	},
	"seats not taken back": {
		appsandbooks.NotificationSubscriptionManagement,
		`{"assignments":[{"adamId":67890,"clientUserId":"u1","renewing":true}],"error":{"errorMessage":"no","errorNumber":9815},
			"eventId":"e","result":"FAILURE","type":"DISASSOCIATE"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			require.ErrorIs(t, n.SubscriptionManagement.Error, appsandbooks.ErrSubscriptionNotAssigned)
		},
	},
	"seats counted": {
		appsandbooks.NotificationSubscriptionCount,
		`{"adamId":67890,"counts":{"available":{"expiring":0,"renewing":9},"total":{"expiring":2,"renewing":10}},"parentAdamId":1000}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, 10, n.SubscriptionCount.Counts.Total.Renewing)
			assert.EqualValues(t, 1000, *n.SubscriptionCount.ParentAdamID)
		},
	},
	"unlimited asset": {
		appsandbooks.NotificationUnlimitedAsset,
		`{"adamId":"1000","whatever":[1,2,{"x":null}]}`,
		func(t *testing.T, n *appsandbooks.Notification) { assert.Empty(t, n.EventID()) },
	},
	"a type of tomorrow": {
		"MOON_PHASE",
		`{"phase":"full"}`,
		func(t *testing.T, n *appsandbooks.Notification) { jsonEqual(t, `{"phase":"full"}`, string(n.Raw)) },
	},
	"fields of tomorrow": {
		appsandbooks.NotificationAssetCount,
		`{"adamId":"1000","countDelta":1,"pricingParam":"STDQ","reason":"gift"}`,
		func(t *testing.T, n *appsandbooks.Notification) {
			assert.Equal(t, 1, n.AssetCount.CountDelta)
			assert.Contains(t, string(n.Raw), "gift")
		},
	},
	"a payload of another form": {
		appsandbooks.NotificationAssetCount,
		`{"adamId":1000,"countDelta":"many"}`,
		func(t *testing.T, n *appsandbooks.Notification) { assert.Nil(t, n.AssetCount) },
	},
	"no payload": {
		appsandbooks.NotificationAssetCount, `null`,
		func(t *testing.T, n *appsandbooks.Notification) { assert.Nil(t, n.AssetCount) },
	},
}

// What is read and written again is the same JSON.
func TestNotificationsSurvive(t *testing.T) {
	files, err := filepath.Glob("testdata/walkthrough/*notification.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	bodies := map[string]string{}
	for _, f := range files {
		bodies[filepath.Base(f)] = fixture(t, "walkthrough/"+filepath.Base(f))
	}
	for name, p := range publishedNotifications {
		bodies[name] = enveloped(p.typ, p.payload)
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			n, err := appsandbooks.ParseNotification([]byte(body))
			require.NoError(t, err)
			assert.Equal(t, notificationUID, n.UID)
			assert.NotEmpty(t, n.ID)
			if p, ok := publishedNotifications[name]; ok {
				assert.Equal(t, p.typ, n.Type)
				p.check(t, n)
			}
			again, err := json.Marshal(n)
			require.NoError(t, err)
			jsonEqual(t, body, string(again))

			same := new(appsandbooks.Notification)
			require.NoError(t, json.Unmarshal([]byte(body), same))
			assert.Equal(t, n, same)

			// Without Raw the payload itself is written.
			if payload := strings.Contains(name, "tomorrow") || strings.Contains(name, "payload") || strings.Contains(name, "unlimited"); !payload {
				n.Raw = nil
				again, err = json.Marshal(n)
				require.NoError(t, err)
				jsonEqual(t, body, string(again))
			}
		})
	}
}

// The envelope, too, may have fields that are newer than the SDK, be written in
// another order and with escapes.
func TestUnusualEnvelopes(t *testing.T) {
	const body = ` { "sentAt": "2030-01-02T03:04:05+0000", "uId" : "2049", "notificationType":"ASSET\u005fCOUNT",
		"notificationId":"a\"b", "notification" : {"adamId":"}\"{","countDelta":1,"pricingParam":"STDQ"}, "signed": true } `
	n, err := appsandbooks.ParseNotification([]byte(body))
	require.NoError(t, err)
	assert.Equal(t, appsandbooks.NotificationAssetCount, n.Type)
	assert.Equal(t, `a"b`, n.ID)
	assert.Equal(t, `}"{`, n.AssetCount.AdamID)
	assert.Equal(t, map[string]json.RawMessage{
		"sentAt": json.RawMessage(`"2030-01-02T03:04:05+0000"`), "signed": json.RawMessage(`true`),
	}, n.Other)
	again, err := json.Marshal(n)
	require.NoError(t, err)
	jsonEqual(t, body, string(again))
}

func TestParseNotificationRefuses(t *testing.T) {
	whole := enveloped(appsandbooks.NotificationAssetCount, `{"adamId":"1000","countDelta":1,"pricingParam":"STDQ"}`)
	for name, body := range map[string]string{
		"nothing":          ``,
		"no JSON":          `<html>`,
		"no object":        `[]`,
		"null":             `null`,
		"no type":          `{"notification":{},"notificationId":"1","uId":"2"}`,
		"no id":            `{"notification":{},"notificationType":"ASSET_COUNT","uId":"2"}`,
		"empty id":         `{"notification":{},"notificationId":"","notificationType":"ASSET_COUNT","uId":"2"}`,
		"id of other type": `{"notification":{},"notificationId":1,"notificationType":"ASSET_COUNT","uId":"2"}`,
		"cut":              whole[:len(whole)-1],
		"cut in payload":   whole[:20],
		"trailing":         whole + `{}`,
		"trailing comma":   strings.TrimSuffix(whole, "}") + `,}`,
		"bad payload":      enveloped(appsandbooks.NotificationAssetCount, `{"adamId":}`),
		"bad raw payload":  enveloped("MOON_PHASE", `{"phase":full}`),
		"mismatched":       enveloped("MOON_PHASE", `{"phase":[}]}`),
		"too deep":         enveloped("MOON_PHASE", strings.Repeat(`{"a":`, 20_000)+`1`+strings.Repeat(`}`, 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			n, err := appsandbooks.ParseNotification([]byte(body))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			assert.Nil(t, n)
			require.Error(t, json.Unmarshal([]byte(body), new(appsandbooks.Notification)))
		})
	}
	_, err := appsandbooks.ParseNotification([]byte(`{"notificationType":"TEST_NOTIFICATION"}`))
	require.NoError(t, err, "a test needs nothing else")
}

func notificationSeeds(f *testing.F) {
	files, err := filepath.Glob("testdata/walkthrough/*notification.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add([]byte(fixture(f, "walkthrough/"+filepath.Base(file))))
	}
	for _, p := range publishedNotifications {
		f.Add([]byte(enveloped(p.typ, p.payload)))
	}
	f.Add([]byte(`{"notificationType":"TEST_NOTIFICATION"}`))
	f.Add([]byte(`{"notification":{"a":"\\\"}"},"notificationId":"1","NOTIFICATIONTYPE":"X","uid":"2","x":{}}`))
}

// Whatever comes, it is read or refused; what is read survives being written.
func FuzzParseNotification(f *testing.F) {
	notificationSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := appsandbooks.ParseNotification(data)
		if err != nil {
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			return
		}
		require.True(t, json.Valid(data))
		require.NotEmpty(t, n.Type)
		written, err := json.Marshal(n)
		require.NoError(t, err)
		again, err := appsandbooks.ParseNotification(written)
		require.NoError(t, err)
		require.Equal(t, [3]string{n.ID, string(n.Type), n.UID}, [3]string{again.ID, string(again.Type), again.UID})
		require.Equal(t, n.EventID(), again.EventID())
		require.Len(t, again.Other, len(n.Other))
	})
}
