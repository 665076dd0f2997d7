package appsandbooks_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A notification that is parsed and encoded again has the same JSON.
func TestNotification_isUnchangedAfterDecodingAndEncoding(t *testing.T) {
	files, err := filepath.Glob("testdata/walkthrough/*notification.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	bodies := map[string]string{}
	for _, f := range files {
		bodies[filepath.Base(f)] = fixture(t, "walkthrough/"+filepath.Base(f))
	}
	for name, p := range publishedNotifications {
		bodies[name] = notificationJSON(p.typ, p.payload)
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

			// Without the field Raw, the notification is encoded from its decoded payload.
			// This works if the SDK knows all fields of the payload.
			if needsRaw := strings.Contains(name, "tomorrow") || strings.Contains(name, "payload") || strings.Contains(name, "unlimited"); !needsRaw {
				n.Raw = nil
				again, err = json.Marshal(n)
				require.NoError(t, err)
				jsonEqual(t, body, string(again))
			}
		})
	}
}

// addNotificationSeeds adds the notifications of Apple's walkthrough and of
// publishedNotifications to the seeds of a fuzz test.
func addNotificationSeeds(f *testing.F) {
	files, err := filepath.Glob("testdata/walkthrough/*notification.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add([]byte(fixture(f, "walkthrough/"+filepath.Base(file))))
	}
	for _, p := range publishedNotifications {
		f.Add([]byte(notificationJSON(p.typ, p.payload)))
	}
	f.Add([]byte(`{"notificationType":"TEST_NOTIFICATION"}`))
	f.Add([]byte(`{"notification":{"a":"\\\"}"},"notificationId":"1","NOTIFICATIONTYPE":"X","uid":"2","x":{}}`))
}

// For any input, ParseNotification returns ErrInvalid or a notification that stays the same
// when the notification is encoded and parsed again.
func FuzzParseNotification(f *testing.F) {
	addNotificationSeeds(f)
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
