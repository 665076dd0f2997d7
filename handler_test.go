package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

const hookSecret = "s3cret-of-the-receiver"

// deliver sends a notification to a handler as the service does.
func deliver(h http.Handler, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "https://mdm.example.com/notifications", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if len(header) == 0 {
		header = []string{"Bearer " + hookSecret}
	}
	for _, v := range header {
		r.Header.Add("Authorization", v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// count is an ASSET_COUNT notification.
func count(id string) string {
	return fmt.Sprintf(`{"notification":{"adamId":"361309726","countDelta":25,"pricingParam":"STDQ"},
		"notificationId":%q,"notificationType":"ASSET_COUNT","uId":"2049025000431439"}`, id)
}

func TestHandlerHooks(t *testing.T) {
	var got, all []appsandbooks.NotificationType
	take := func(into *[]appsandbooks.NotificationType) func(context.Context, *appsandbooks.Notification) error {
		return func(_ context.Context, n *appsandbooks.Notification) error {
			*into = append(*into, n.Type)
			return nil
		}
	}
	h, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
		Any: take(&all), AssetCount: take(&got), UserManagement: take(&got), AssetManagement: take(&got),
	}, hookSecret)
	require.NoError(t, err)
	for _, name := range []string{
		"07-user-management", "09-asset-count", "15-asset-management",
	} {
		w := deliver(h, fixture(t, "walkthrough/"+name+".notification.json"))
		assert.Equal(t, http.StatusOK, w.Code, name)
	}
	want := []appsandbooks.NotificationType{
		appsandbooks.NotificationUserManagement, appsandbooks.NotificationAssetCount, appsandbooks.NotificationAssetManagement,
	}
	assert.Equal(t, want, got)
	assert.Equal(t, want, all)

	assert.Equal(t, http.StatusOK, deliver(h, `{"notification":{},"notificationId":"t","notificationType":"TEST_NOTIFICATION","uId":"1"}`).Code)
	assert.Len(t, all, 3, "a test is answered by the handler itself")
}

func TestHandlerAcknowledgesAfterTheHooks(t *testing.T) {
	var calls atomic.Int32
	fail := errors.New("the database is away")
	h, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
		AssetCount: func(context.Context, *appsandbooks.Notification) error {
			switch calls.Add(1) {
			case 1:
				return fail
			case 2:
				panic("a secret value")
			}
			return nil
		},
	}, hookSecret)
	require.NoError(t, err)
	var codes []int
	for range 4 {
		codes = append(codes, deliver(h, count("one")).Code)
	}
	assert.Equal(t, []int{503, 500, 200, 200}, codes)
	assert.EqualValues(t, 3, calls.Load(), "the fourth delivery is a duplicate of one that is done")
}
