package appsandbooks_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ConfigService.Register sets the URL and the secret of the receiver, the notification
// types (all types by default) and the owner. Unregister removes the types and keeps the
// owner.
func TestConfigService_Register_setsReceiverTypesAndOwner(t *testing.T) {
	h := newHandlerOf(t, nil, withSecrets("another-units-secret"))
	srv, c := newServerWithReceiver(t, h)
	config, err := c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ourMDM, Handler: h,
	})
	require.NoError(t, err)
	require.Equal(t, receiverURL, config.NotificationURL)
	require.ElementsMatch(t, appsandbooks.NotificationTypes(), config.SubscribedNotificationTypes)
	registered := srv.Unit().ClientConfig()
	require.Equal(t, hookSecret, registered.NotificationAuthToken)
	require.Equal(t, ourMDM.ID, registered.MDMInfo.ID)

	config, err = c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
		NotificationTypes: []appsandbooks.NotificationType{appsandbooks.NotificationAssetCount},
	})
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.NotificationType{appsandbooks.NotificationAssetCount}, config.SubscribedNotificationTypes)

	config, err = c.Config.Unregister(t.Context())
	require.NoError(t, err)
	require.Empty(t, config.SubscribedNotificationTypes)
	require.Equal(t, ourMDM, *config.MDMInfo, "Unregister keeps the owner")
}

// While Register replaces the secret, the handler accepts the old and the new secret.
func TestConfigService_Register_replacesSecretWithoutGap(t *testing.T) {
	for name, fails := range map[string]bool{"registration succeeds": false, "registration fails": true} {
		t.Run(name, func(t *testing.T) {
			h := newHandlerOf(t, nil, withSecrets("old"))
			accepts := func(secret string) bool {
				r := notificationRequest(notificationJSON(appsandbooks.NotificationTest, `{}`))
				r.Header.Set("Authorization", "Bearer "+secret)
				return post(h, r).Code == http.StatusOK
			}
			var during []bool
			proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				during = append(during, accepts("old"), accepts("new"))
				if fails {
					http.Error(w, "no", http.StatusBadGateway)
					return
				}
				h.ServeHTTP(w, r)
			})
			_, c := newServerWithReceiver(t, proxy)
			_, err := c.Config.Register(t.Context(), appsandbooks.Registration{
				NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret("new"), Handler: h,
			})
			assert.Equal(t, []bool{true, true}, during)
			assert.True(t, accepts("old"), "the old secret is accepted until it is removed")
			if fails {
				require.ErrorIs(t, err, appsandbooks.ErrNotificationURLUnreachable)
				assert.False(t, accepts("new"), "the service did not store the new secret")
				return
			}
			require.NoError(t, err)
			h.RemoveSecret(appsandbooks.NewSecret("old"))
			assert.False(t, accepts("old"))
			assert.True(t, accepts("new"))
		})
	}
}

// When a registration fails, the handler still accepts the secrets that it accepted before.
func TestConfigService_Register_keepsOldSecretWhenRefused(t *testing.T) {
	h := newHandler(t, nil)
	_, c := newServerWithReceiver(t, http.NotFoundHandler())
	_, err := c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
	})
	require.ErrorIs(t, err, appsandbooks.ErrNotificationURLUnreachable)
	require.Equal(t, http.StatusOK, post(h, notificationRequest(assetCountNotification("1", "1"))).Code)
}

// The error of a failed registration states what the caller must check.
func TestConfigService_Register_explainsRefusals(t *testing.T) {
	good := appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ourMDM}
	long := strings.Repeat("x", 513)
	for name, test := range map[string]struct {
		change  func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler)
		proxy   func(h http.Handler) http.Handler // proxy wraps the handler; nil means no proxy
		wantErr error
		sent    bool   // whether the registration request reaches the service
		text    string // in the error
	}{
		"no URL": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) { r.NotificationURL = "" }, wantErr: appsandbooks.ErrNotificationConfigIncomplete, text: "NotificationURL and NotificationAuthToken"},
		"no secret": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationAuthToken = appsandbooks.Secret{}
		}, wantErr: appsandbooks.ErrNotificationConfigIncomplete, text: "NotificationURL and NotificationAuthToken"},
		"http URL": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationURL = "http://mdm.example.com/"
		}, wantErr: appsandbooks.ErrNotificationURLInvalid, text: "must be https://"},
		"URL with query": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationURL += "?unit=1"
		}, wantErr: appsandbooks.ErrNotificationURLInvalid, text: "without user, query"},
		"URL without host": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationURL = "https:///notifications"
		}, wantErr: appsandbooks.ErrNotificationURLInvalid, text: "host and path"},
		"secret with a space": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationAuthToken = appsandbooks.NewSecret("pass word")
		}, wantErr: appsandbooks.ErrInvalid, text: "letters, digits"},
		"incomplete owner": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.MDMInfo = &appsandbooks.MDMInfo{ID: "1"}
		}, wantErr: appsandbooks.ErrMDMInfoIncomplete, text: "the ID, the Name and the Metadata"},
		"secret too long": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationAuthToken = appsandbooks.NewSecret(long)
		}, wantErr: appsandbooks.ErrNotificationConfigTooLong, sent: true, text: "the URL has 37 characters and the secret has 513; the service accepts at most 512 in each"},
		"receiver not found": {
			proxy:   func(http.Handler) http.Handler { return http.NotFoundHandler() },
			wantErr: appsandbooks.ErrNotificationURLUnreachable, sent: true, text: "the receiver must run, accept the secret and answer 2xx",
		},
		"URL does not lead to the handler": {
			change:  func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			proxy:   func(http.Handler) http.Handler { return http.NotFoundHandler() },
			wantErr: appsandbooks.ErrNotificationURLUnreachable, sent: true, text: "no request reached the handler",
		},
		"Authorization header removed": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			proxy: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Authorization")
					h.ServeHTTP(w, r)
				})
			},
			wantErr: appsandbooks.ErrNotificationURLUnreachable, sent: true, text: "a proxy that removes or replaces the Authorization header",
		},
		"body removed": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			proxy: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Body, r.ContentLength = http.NoBody, 0
					h.ServeHTTP(w, r)
				})
			},
			wantErr: appsandbooks.ErrNotificationURLUnreachable, sent: true, text: "the handler refused it or failed",
		},
		"answer lost": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			proxy: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					post(h, r)
					panic(http.ErrAbortHandler)
				})
			},
			wantErr: appsandbooks.ErrNotificationURLUnreachable, sent: true, text: "the handler accepted a test",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t, nil)
			var proxy http.Handler = h
			if test.proxy != nil {
				proxy = test.proxy(h)
			}
			srv, c := newServerWithReceiver(t, proxy)
			r := good
			if test.change != nil {
				test.change(&r, h)
			}
			config, err := c.Config.Register(t.Context(), r)
			require.ErrorIs(t, err, test.wantErr)
			require.Nil(t, config)
			require.ErrorContains(t, err, "registering for notifications: ")
			require.ErrorContains(t, err, test.text)
			require.Equal(t, test.sent, len(srv.Requests()) == 1)
			if test.sent {
				var e *appsandbooks.Error
				require.ErrorAs(t, err, &e)
			} else {
				require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			}
			if secret := r.NotificationAuthToken.Reveal(); secret != "" {
				require.NotContains(t, fmt.Sprintf("%v %+v", err, r), secret)
			}
		})
	}
}

// Register fails with ErrAnswerDiffers when the configuration in the answer differs from
// the configuration in the request. An answer without the secret does not differ.
func TestConfigService_Register_failsWhenAnswerDiffers(t *testing.T) {
	types := `["ASSET_MANAGEMENT","USER_MANAGEMENT","USER_ASSOCIATED","ASSET_COUNT","SUBSCRIPTION_MANAGEMENT","SUBSCRIPTION_COUNT"]`
	for name, test := range map[string]struct {
		answer string
		text   string // in the error; "" for success
	}{
		"as in Apple's sample": {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":` + types + `}`, ""},
		"secret repeated":      {`{"notificationUrl":"` + receiverURL + `","notificationAuthToken":"` + hookSecret + `","subscribedNotificationTypes":` + types + `}`, ""},
		"other URL":            {`{"notificationUrl":"https://other.example.com/","subscribedNotificationTypes":` + types + `}`, "notificationUrl"},
		"other secret":         {`{"notificationUrl":"` + receiverURL + `","notificationAuthToken":"x","subscribedNotificationTypes":` + types + `}`, "notificationAuthToken"},
		"missing type":         {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":["ASSET_MANAGEMENT"]}`, "type USER_MANAGEMENT is missing, type USER_ASSOCIATED is missing"},
		"additional type":      {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":` + types[:len(types)-1] + `,"MOON_PHASE"]}`, "type MOON_PHASE was not requested"},
		"empty answer":         {`{}`, "notificationUrl"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := recordedClient(t, test.answer)
			config, err := c.Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret)})
			require.NotNil(t, config)
			if test.text == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
			require.ErrorContains(t, err, test.text)
			require.NotContains(t, err.Error(), hookSecret)
		})
	}
	c, _ := recordedClient(t, `{"notificationUrl":"`+receiverURL+`","mdmInfo":{"id":"theirs","name":"x","metadata":"y"},"subscribedNotificationTypes":`+types+`}`)
	_, err := c.Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ourMDM})
	require.ErrorContains(t, err, "mdmInfo")

	c, _ = recordedClient(t, `{"uId":"u"}`, `{"subscribedNotificationTypes":["ASSET_COUNT"]}`)
	_, err = c.Config.Unregister(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)

	// An answer that is not a client configuration is an error, because it does not prove
	// that MDMInfo is empty.
	c, r := recordedClient(t, `{}`)
	_, err = c.Config.Unregister(t.Context())
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.Len(t, r.requests, 1)
}
