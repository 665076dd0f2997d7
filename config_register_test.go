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
	require.Equal(t, ourMDM, *config.MDMInfo, "the unit is still ours")
}

// At no moment of a rotation is a notification refused, whichever secret it carries.
func TestConfigService_Register_replacesSecretWithoutGap(t *testing.T) {
	for name, fails := range map[string]bool{"accepted": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			h := newHandlerOf(t, nil, withSecrets("old"))
			accepts := func(secret string) bool {
				r := notificationRequest(notificationJSON(appsandbooks.NotificationTest, `{}`))
				r.Header.Set("Authorization", "Bearer "+secret)
				return post(h, r).Code == http.StatusOK
			}
			var during []bool
			front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				during = append(during, accepts("old"), accepts("new"))
				if fails {
					http.Error(w, "no", http.StatusBadGateway)
					return
				}
				h.ServeHTTP(w, r)
			})
			_, c := newServerWithReceiver(t, front)
			_, err := c.Config.Register(t.Context(), appsandbooks.Registration{
				NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret("new"), Handler: h,
			})
			assert.Equal(t, []bool{true, true}, during)
			assert.True(t, accepts("old"), "until it is removed")
			if fails {
				require.ErrorIs(t, err, appsandbooks.ErrNotificationURLUnreachable)
				assert.False(t, accepts("new"), "the service has not taken it")
				return
			}
			require.NoError(t, err)
			h.RemoveSecret(appsandbooks.NewSecret("old"))
			assert.False(t, accepts("old"))
			assert.True(t, accepts("new"))
		})
	}
}

// A secret that was accepted before a refused registration still is.
func TestConfigService_Register_keepsOldSecretWhenRefused(t *testing.T) {
	h := newHandler(t, nil)
	_, c := newServerWithReceiver(t, http.NotFoundHandler())
	_, err := c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
	})
	require.ErrorIs(t, err, appsandbooks.ErrNotificationURLUnreachable)
	require.Equal(t, http.StatusOK, post(h, notificationRequest(assetCountNotification("1", "1"))).Code)
}

// Each refusal says what to do.
func TestConfigService_Register_explainsRefusals(t *testing.T) {
	good := appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ourMDM}
	long := strings.Repeat("x", 513)
	for name, test := range map[string]struct {
		change func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler)
		front  func(h http.Handler) http.Handler
		is     error
		sent   bool // to the service
		says   string
	}{
		"no URL": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) { r.NotificationURL = "" }, is: appsandbooks.ErrNotificationConfigIncomplete, says: "NotificationURL and NotificationAuthToken"},
		"no secret": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationAuthToken = appsandbooks.Secret{}
		}, is: appsandbooks.ErrNotificationConfigIncomplete, says: "NotificationURL and NotificationAuthToken"},
		"http": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationURL = "http://mdm.example.com/"
		}, is: appsandbooks.ErrNotificationURLInvalid, says: "must be https://"},
		"query": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationURL += "?unit=1"
		}, is: appsandbooks.ErrNotificationURLInvalid, says: "without user, query"},
		"no host": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationURL = "https:///notifications"
		}, is: appsandbooks.ErrNotificationURLInvalid, says: "host and path"},
		"secret": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationAuthToken = appsandbooks.NewSecret("pass word")
		}, is: appsandbooks.ErrInvalid, says: "letters, digits"},
		"half an owner": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.MDMInfo = &appsandbooks.MDMInfo{ID: "1"}
		}, is: appsandbooks.ErrMDMInfoIncomplete, says: "the ID, the Name and the Metadata"},
		"too long": {change: func(r *appsandbooks.Registration, _ *appsandbooks.NotificationHandler) {
			r.NotificationAuthToken = appsandbooks.NewSecret(long)
		}, is: appsandbooks.ErrNotificationConfigTooLong, sent: true, says: "the URL has 37 characters and the secret has 513; the service accepts at most 512 in each"},
		"receiver elsewhere": {
			front: func(http.Handler) http.Handler { return http.NotFoundHandler() },
			is:    appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "the receiver must run, accept the secret and answer 2xx",
		},
		"leads elsewhere": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			front:  func(http.Handler) http.Handler { return http.NotFoundHandler() },
			is:     appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "no request reached the handler",
		},
		"header lost": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Authorization")
					h.ServeHTTP(w, r)
				})
			},
			is: appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "a proxy that removes or replaces the Authorization header",
		},
		"body changed": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Body, r.ContentLength = http.NoBody, 0
					h.ServeHTTP(w, r)
				})
			},
			is: appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "not a valid notification",
		},
		"answer lost": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					post(h, r)
					panic(http.ErrAbortHandler)
				})
			},
			is: appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "the handler accepted a test",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t, nil)
			var front http.Handler = h
			if test.front != nil {
				front = test.front(h)
			}
			srv, c := newServerWithReceiver(t, front)
			r := good
			if test.change != nil {
				test.change(&r, h)
			}
			config, err := c.Config.Register(t.Context(), r)
			require.ErrorIs(t, err, test.is)
			require.Nil(t, config)
			require.ErrorContains(t, err, "registering for notifications: ")
			require.ErrorContains(t, err, test.says)
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

// An answer that repeats something else is no success.
func TestConfigService_Register_failsWhenAnswerDiffers(t *testing.T) {
	types := `["ASSET_MANAGEMENT","USER_MANAGEMENT","USER_ASSOCIATED","ASSET_COUNT","SUBSCRIPTION_MANAGEMENT","SUBSCRIPTION_COUNT"]`
	for name, test := range map[string]struct {
		answer string
		says   string // "" for success
	}{
		"as in Apple's sample": {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":` + types + `}`, ""},
		"secret repeated":      {`{"notificationUrl":"` + receiverURL + `","notificationAuthToken":"` + hookSecret + `","subscribedNotificationTypes":` + types + `}`, ""},
		"other URL":            {`{"notificationUrl":"https://other.example.com/","subscribedNotificationTypes":` + types + `}`, "notificationUrl"},
		"other secret":         {`{"notificationUrl":"` + receiverURL + `","notificationAuthToken":"x","subscribedNotificationTypes":` + types + `}`, "notificationAuthToken"},
		"a type is missing":    {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":["ASSET_MANAGEMENT"]}`, "type USER_MANAGEMENT is missing, type USER_ASSOCIATED is missing"},
		"a type too many":      {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":` + types[:len(types)-1] + `,"MOON_PHASE"]}`, "type MOON_PHASE was not requested"},
		"nothing":              {`{}`, "notificationUrl"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := recordedClient(t, test.answer)
			config, err := c.Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret)})
			require.NotNil(t, config)
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), hookSecret)
		})
	}
	c, _ := recordedClient(t, `{"notificationUrl":"`+receiverURL+`","mdmInfo":{"id":"theirs","name":"x","metadata":"y"},"subscribedNotificationTypes":`+types+`}`)
	_, err := c.Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ourMDM})
	require.ErrorContains(t, err, "mdmInfo")

	c, _ = recordedClient(t, `{"uId":"u"}`, `{"subscribedNotificationTypes":["ASSET_COUNT"]}`)
	_, err = c.Config.Unregister(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)

	// What is no configuration at all does not say that there is no MDMInfo.
	c, r := recordedClient(t, `{}`)
	_, err = c.Config.Unregister(t.Context())
	require.Equal(t, 200, isError(t, err).StatusCode)
	require.Len(t, r.requests, 1)
}
