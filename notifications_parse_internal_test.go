package appsandbooks

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// For each notification that the fast parser accepts, it returns the same value as the full
// parser.
func FuzzParsePlain(f *testing.F) {
	for _, typ := range append(NotificationTypes(), NotificationTest, "MOON_PHASE") {
		for _, payload := range []string{
			`{}`, `null`, `[]`, `{"a":"}"}`, `{"a":"\\"}`, `{"a":"\""}`, `{"a":[{}]}`, `{"a":}`, `{"eventId":"e","assignments":[]}`,
			`{"adamId":"1","countDelta":1}`, `{"adamId":1,"counts":{}}`,
		} {
			f.Add(fmt.Appendf(nil, `{"notification":%s,"notificationId":"1","notificationType":%q,"uId":"2"}`, payload, typ))
		}
	}
	f.Add([]byte(`{"notificationId":"1","notificationType":"X","uId":"2","notification":{}} `))
	f.Add([]byte(`{"notificationId":"1","notificationType":"X","notification":{},"notification":{"b":1}}`))
	f.Add([]byte(`{"notificationId":"1","notificationType":"X","notification":{},"Notification":{"b":1}}`))
	f.Add([]byte("{\"notificationId\":\"1\xff\",\"notificationType\":\"X\",\"notification\":{}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fast, full := new(Notification), new(Notification)
		if !fast.parsePlain(data) {
			return
		}
		require.NoError(t, full.parse(data))
		require.Equal(t, full, fast)
	})
}

// The fast parser of notifications accepts the form in which the service writes them.
func TestParseNotification_takesFastPathForUsualForm(t *testing.T) {
	for _, data := range []string{
		`{"notification":{"adamId":"361309726","countDelta":25,"pricingParam":"STDQ"},"notificationId":"4a7801be","notificationType":"ASSET_COUNT","uId":"2049"}`,
		"{\n\"notification\": {\n\"x\": [\"a\\\\\", \"}\"]\n},\n\"notificationId\": \"4a7801be\",\n\"notificationType\": \"NEW\",\n\"uId\": \"2049\"\n}\n",
	} {
		require.True(t, json.Valid([]byte(data)))
		require.True(t, new(Notification).parsePlain([]byte(data)))
	}
}
