package appsandbooks_test

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The handler answers a request that is not a complete notification with a 4xx status and
// does not pass it to the hook.
func TestNotificationHandler_refusesInvalidNotifications(t *testing.T) {
	var d idRecorder
	h := newHandler(t, d.write, appsandbooks.WithNotificationLimits(1000, 0))
	fits := assetCountNotification("fits", "1")
	fits += strings.Repeat(" ", 1000-len(fits))
	chunked := func(body string) io.Reader { return struct{ io.Reader }{strings.NewReader(body)} }
	for name, test := range map[string]struct {
		method string
		body   io.Reader
		code   int
	}{
		"at the limit":          {"POST", strings.NewReader(fits), 200},
		"at the limit, chunked": {"POST", chunked(fits), 200},
		"too large":             {"POST", strings.NewReader(fits + " "), 413},
		"too large, chunked":    {"POST", chunked(fits + " "), 413},
		"far too large":         {"POST", chunked(strings.Repeat(" ", 1<<20)), 413},
		"in small pieces":       {"POST", iotest.OneByteReader(chunked(assetCountNotification("pieces", "1"))), 200},
		"GET":                   {"GET", nil, 405},
		"PUT":                   {"PUT", strings.NewReader(fits), 405},
		"empty":                 {"POST", nil, 400},
		"HTML":                  {"POST", strings.NewReader("<html>"), 400},
		"no id":                 {"POST", strings.NewReader(`{"notification":{},"notificationType":"ASSET_COUNT"}`), 400},
		"cut body":              {"POST", io.MultiReader(strings.NewReader(fits[:20]), iotest.ErrReader(io.ErrUnexpectedEOF)), 408},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "https://mdm.example.com/notifications", test.body)
			r.Header.Set("Authorization", "Bearer "+hookSecret)
			w := post(h, r)
			assert.Equal(t, test.code, w.Code)
			if test.code == 405 {
				assert.Equal(t, "POST", w.Header().Get("Allow"))
			}
		})
	}
	slices.Sort(d.ids)
	assert.Equal(t, []string{"fits", "pieces"}, slices.Compact(d.ids))
}

// In the JSON of a notification, the fields around the payload may be unknown to the SDK,
// in any order, and written with escapes.
func TestParseNotification_acceptsUnknownFieldsAndAnyOrder(t *testing.T) {
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

// ParseNotification returns ErrInvalid for input that is not a notification.
func TestParseNotification_refusesInvalidInput(t *testing.T) {
	complete := notificationJSON(appsandbooks.NotificationAssetCount, `{"adamId":"1000","countDelta":1,"pricingParam":"STDQ"}`)
	for name, body := range map[string]string{
		"empty":                              ``,
		"HTML":                               `<html>`,
		"array":                              `[]`,
		"null":                               `null`,
		"no type":                            `{"notification":{},"notificationId":"1","uId":"2"}`,
		"no id":                              `{"notification":{},"notificationType":"ASSET_COUNT","uId":"2"}`,
		"empty id":                           `{"notification":{},"notificationId":"","notificationType":"ASSET_COUNT","uId":"2"}`,
		"id is a number":                     `{"notification":{},"notificationId":1,"notificationType":"ASSET_COUNT","uId":"2"}`,
		"truncated":                          complete[:len(complete)-1],
		"truncated in the payload":           complete[:20],
		"a second object":                    complete + `{}`,
		"trailing comma":                     strings.TrimSuffix(complete, "}") + `,}`,
		"invalid JSON in a known payload":    notificationJSON(appsandbooks.NotificationAssetCount, `{"adamId":}`),
		"invalid JSON in an unknown payload": notificationJSON("MOON_PHASE", `{"phase":full}`),
		"mismatched brackets":                notificationJSON("MOON_PHASE", `{"phase":[}]}`),
		"nested too deeply":                  notificationJSON("MOON_PHASE", strings.Repeat(`{"a":`, 20_000)+`1`+strings.Repeat(`}`, 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			n, err := appsandbooks.ParseNotification([]byte(body))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			assert.Nil(t, n)
			require.Error(t, json.Unmarshal([]byte(body), new(appsandbooks.Notification)))
		})
	}
	_, err := appsandbooks.ParseNotification([]byte(`{"notificationType":"TEST_NOTIFICATION"}`))
	require.NoError(t, err, "a test notification needs only its type")
}
