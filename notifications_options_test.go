package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// NewNotificationHandler returns ErrInvalid for missing or empty secrets, negative
// limits and nil arguments.
func TestNewNotificationHandler_refusesMissingSecretsAndNegativeLimits(t *testing.T) {
	for name, secrets := range map[string][]string{"no secret": nil, "empty secret": {""}, "second secret empty": {"a", ""}} {
		t.Run(name, func(t *testing.T) {
			h, err := appsandbooks.NewNotificationHandler(nil, withSecrets(secrets...))
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			assert.Nil(t, h)
		})
	}
	_, err := appsandbooks.NewNotificationHandler(nil)
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	for name, opt := range map[string]appsandbooks.NotificationOption{
		"negative body size":         appsandbooks.WithNotificationLimits(-1, 1),
		"negative number of hooks":   appsandbooks.WithNotificationLimits(1, -1),
		"negative time for reading":  appsandbooks.WithNotificationTimeouts(-1, 1),
		"negative time for the hook": appsandbooks.WithNotificationTimeouts(1, -1),

		"no option":          nil,
		"no request secrets": appsandbooks.WithRequestSecrets(nil),
		"no unit secrets":    appsandbooks.WithUnitSecrets(nil),
		"no notify":          appsandbooks.WithNotify(nil),
		"no deduper":         appsandbooks.WithDeduper(nil),
		"no logger":          appsandbooks.WithNotificationLogger(nil),
	} {
		t.Run(name, func(t *testing.T) {
			h, err := appsandbooks.NewNotificationHandler(nil, withSecrets("a"), opt)
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			assert.Nil(t, h)
		})
	}
}

// With WithRequestSecrets one handler accepts different secrets for the URL of each
// unit.
func TestWithRequestSecrets_checksSecretsOfPath(t *testing.T) {
	units := map[string][]string{"a": {"secret-a"}, "b": {"secret-b", "secret-b-before"}, "c": {""}}
	var d idRecorder
	h := newHandlerOf(t, d.write, appsandbooks.WithRequestSecrets(func(r *http.Request) ([]appsandbooks.Secret, error) {
		if r.PathValue("unit") == "broken" {
			return nil, errors.New("the database is unreachable")
		}
		return secretsOf(units[r.PathValue("unit")]), nil
	}))
	mux := http.NewServeMux()
	mux.Handle("/notifications/{unit}", h)
	for i, test := range []struct {
		path, secret string
		code         int
	}{
		{"a", "secret-a", 200},
		{"a", "secret-b", 401},
		{"b", "secret-b", 200},
		{"b", "secret-b-before", 200},
		{"c", "", 401},
		{"d", "secret-a", 401},
		{"broken", "secret-a", 503},
	} {
		r := httptest.NewRequest(http.MethodPost, "/notifications/"+test.path, strings.NewReader(assetCountNotification(strconv.Itoa(i), test.path)))
		r.Header.Set("Authorization", "Bearer "+test.secret)
		assert.Equal(t, test.code, post(mux, r).Code, "%s with %q", test.path, test.secret)
	}
	assert.Equal(t, []string{"0", "2", "3"}, d.ids)
}

// With WithUnitSecrets many units share one URL, and the secret of one unit is not
// accepted for a notification of another unit.
func TestWithUnitSecrets_checksSecretsOfUnit(t *testing.T) {
	var d idRecorder
	units := map[string][]string{"a": {"secret-a"}, "b": {"secret-b"}, "c": {""}, "z": {"secret-z"}}
	h := newHandlerOf(t, d.write, withSecrets("secret-a", "secret-b"),
		appsandbooks.WithUnitSecrets(func(_ context.Context, uid string) ([]appsandbooks.Secret, error) {
			if uid == "broken" {
				return nil, errors.New("the database is unreachable")
			}
			return secretsOf(units[uid]), nil
		}))
	for i, test := range []struct {
		uid, secret string
		code        int
	}{
		{"a", "secret-a", 200},
		{"b", "secret-b", 200},
		{"b", "secret-a", 401},
		{"", "secret-a", 401},
		{"c", "secret-a", 401},
		{"z", "secret-z", 401}, // this secret is not one of the secrets of WithNotificationSecrets
		{"broken", "secret-a", 503},
	} {
		r := notificationRequest(assetCountNotification(strconv.Itoa(i), test.uid))
		r.Header.Set("Authorization", "Bearer "+test.secret)
		assert.Equal(t, test.code, post(h, r).Code, "%s with %q", test.uid, test.secret)
		r = notificationRequest(fmt.Sprintf(`{"notification":{},"notificationId":"t","notificationType":"TEST_NOTIFICATION","uId":%q}`, test.uid))
		r.Header.Set("Authorization", "Bearer "+test.secret)
		assert.Equal(t, test.code, post(h, r).Code, "a test for %s with %q", test.uid, test.secret)
	}
	assert.Equal(t, []string{"0", "1"}, d.ids)
}
