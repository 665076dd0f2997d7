package appsandbooks_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

var ours = appsandbooks.MDMInfo{ID: "522d5c43-44ca-4f7e-ba7a-53570cf60765", Name: "My MDM Server", Metadata: "1.0.0"}

const receiverURL = "https://mdm.example.com/notifications"

// registrar is a stand-in and a client of it; front stands between the service
// and the handler.
func registrar(t *testing.T, front http.Handler, opts ...appsandbooks.Option) (*appsandbookstest.Server, *appsandbooks.Client) {
	t.Helper()
	srv := appsandbookstest.NewServer(appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(front)))
	t.Cleanup(srv.Close)
	c := newClient(t, srv, opts...)
	t.Cleanup(c.Close)
	return srv, c
}

func TestRegister(t *testing.T) {
	h := newHandlerOf(t, nil, withSecrets("another-units-secret"))
	srv, c := registrar(t, h)
	config, err := c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ours, Handler: h,
	})
	require.NoError(t, err)
	require.Equal(t, receiverURL, config.NotificationURL)
	require.ElementsMatch(t, appsandbooks.NotificationTypes(), config.SubscribedNotificationTypes)
	registered := srv.Unit().ClientConfig()
	require.Equal(t, hookSecret, registered.NotificationAuthToken)
	require.Equal(t, ours.ID, registered.MDMInfo.ID)

	config, err = c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
		NotificationTypes: []appsandbooks.NotificationType{appsandbooks.NotificationAssetCount},
	})
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.NotificationType{appsandbooks.NotificationAssetCount}, config.SubscribedNotificationTypes)

	config, err = c.Config.Unregister(t.Context())
	require.NoError(t, err)
	require.Empty(t, config.SubscribedNotificationTypes)
	require.Equal(t, ours, *config.MDMInfo, "the unit is still ours")
}

// At no moment of a rotation is a notification refused, whichever secret it carries.
func TestRotationWithoutGap(t *testing.T) {
	for name, fails := range map[string]bool{"accepted": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			h := newHandlerOf(t, nil, withSecrets("old"))
			accepts := func(secret string) bool {
				r := notice(enveloped(appsandbooks.NotificationTest, `{}`))
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
			_, c := registrar(t, front)
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
func TestRefusedRegistrationLeavesTheHandlerAlone(t *testing.T) {
	h := newHandler(t, nil)
	_, c := registrar(t, http.NotFoundHandler())
	_, err := c.Config.Register(t.Context(), appsandbooks.Registration{
		NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
	})
	require.ErrorIs(t, err, appsandbooks.ErrNotificationURLUnreachable)
	require.Equal(t, http.StatusOK, post(h, notice(counted("1", "1"))).Code)
}

// Each refusal says what to do.
func TestRegisterExplains(t *testing.T) {
	good := appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ours}
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
		}, is: appsandbooks.ErrNotificationConfigTooLong, sent: true, says: "the URL has 37 characters and the secret 513; the service takes 512 of each"},
		"receiver elsewhere": {
			front: func(http.Handler) http.Handler { return http.NotFoundHandler() },
			is:    appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "the receiver must be up, accept the secret and answer 2xx",
		},
		"leads elsewhere": {
			change: func(r *appsandbooks.Registration, h *appsandbooks.NotificationHandler) { r.Handler = h },
			front:  func(http.Handler) http.Handler { return http.NotFoundHandler() },
			is:     appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "nothing reached the handler",
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
			is: appsandbooks.ErrNotificationURLUnreachable, sent: true, says: "did not take it for a notification",
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
			srv, c := registrar(t, front)
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
func TestRegisterComparesTheAnswer(t *testing.T) {
	types := `["ASSET_MANAGEMENT","USER_MANAGEMENT","USER_ASSOCIATED","ASSET_COUNT","SUBSCRIPTION_MANAGEMENT","SUBSCRIPTION_COUNT"]`
	for name, test := range map[string]struct {
		answer string
		says   string // "" for success
	}{
		"as in Apple's sample": {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":` + types + `}`, ""},
		"secret repeated":      {`{"notificationUrl":"` + receiverURL + `","notificationAuthToken":"` + hookSecret + `","subscribedNotificationTypes":` + types + `}`, ""},
		"other URL":            {`{"notificationUrl":"https://other.example.com/","subscribedNotificationTypes":` + types + `}`, "notificationUrl"},
		"other secret":         {`{"notificationUrl":"` + receiverURL + `","notificationAuthToken":"x","subscribedNotificationTypes":` + types + `}`, "notificationAuthToken"},
		"a type is missing":    {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":["ASSET_MANAGEMENT"]}`, "no USER_MANAGEMENT, no USER_ASSOCIATED"},
		"a type too many":      {`{"notificationUrl":"` + receiverURL + `","subscribedNotificationTypes":` + types[:len(types)-1] + `,"MOON_PHASE"]}`, "also MOON_PHASE"},
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
	_, err := c.Config.Register(t.Context(), appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), MDMInfo: &ours})
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

var theirs = appsandbookstest.MDMInfo{ID: "another-service", Name: "Another MDM", Metadata: "x"}

// takeovers collects what WithOwner tells.
type takeovers []*appsandbooks.TakeoverError

func (l *takeovers) add(e *appsandbooks.TakeoverError) { *l = append(*l, e) }

func TestOwnershipGuard(t *testing.T) {
	var lost takeovers
	h := newHandler(t, nil)
	srv, c := registrar(t, h, appsandbooks.WithOwner(ours, lost.add))
	ctx, unit := t.Context(), srv.Unit()
	assets := stock(srv, 1, 100)
	associate := func(serial string) error {
		_, err := c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{serial}})
		return err
	}

	require.NoError(t, associate("C1"), "nobody has claimed the unit: no conflict")
	_, err := c.Config.Register(ctx, appsandbooks.Registration{NotificationURL: receiverURL, NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h})
	require.NoError(t, err)
	require.Equal(t, ours.ID, unit.ClientConfig().MDMInfo.ID, "Register claims it for the owner")
	require.NoError(t, associate("C2"))
	require.Empty(t, lost)

	unit.TakeOver(theirs)
	_, err = c.Assets.List(ctx, appsandbooks.AssetFilter{})
	require.NoError(t, err, "reads go on")
	require.Len(t, lost, 1)
	require.Equal(t, unit.UID(), lost[0].UID)
	require.Equal(t, theirs.ID, lost[0].By.ID)

	srv.ResetRequests()
	for name, write := range map[string]func() error{
		"associate": func() error { return associate("C3") },
		"users": func() error {
			_, err := c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", Email: "u@example.com"}}})
			return err
		},
		"enable": func() error { return c.Subscriptions.Enable(ctx) },
		"do":     func() error { return c.Do(ctx, http.MethodPost, "assets/associate", nil, struct{}{}, nil) },
		"register": func() error {
			_, err := c.Config.UpdateClientConfig(ctx, appsandbooks.Registration{MDMInfo: &ours})
			return err
		},
		"unregister": func() error { _, err := c.Config.Unregister(ctx); return err },
	} {
		err := write()
		require.ErrorIs(t, err, appsandbooks.ErrTakenOver, name)
		var taken *appsandbooks.TakeoverError
		require.ErrorAs(t, err, &taken, name)
		require.Equal(t, theirs.Name, taken.By.Name)
		require.ErrorContains(t, err, `"Another MDM" (id "another-service")`)
		require.False(t, appsandbooks.IsRetryable(err))
	}
	require.False(t, slices.ContainsFunc(srv.Requests(), func(r appsandbookstest.Request) bool { return r.Method == "POST" }))
	_, err = c.Config.ClientConfig(ctx)
	require.NoError(t, err)
	require.Len(t, lost, 1, "it is told once")

	config, err := c.Config.Claim(ctx)
	require.NoError(t, err)
	require.Equal(t, ours, *config.MDMInfo)
	require.NoError(t, associate("C4"))

	unit.TakeOver(theirs)
	_, err = c.Assets.List(ctx, appsandbooks.AssetFilter{})
	require.NoError(t, err)
	require.Len(t, lost, 2, "the next takeover is told again")
}

// The write whose answer shows the takeover was carried out: nothing of it is
// lost, and nothing follows it.
func TestTakeoverInAnOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost takeovers
		srv := appsandbookstest.NewServer()
		defer srv.Close()
		c := newClient(t, srv, appsandbooks.WithOwner(ours, lost.add))
		defer c.Close()
		_, err := c.Config.Claim(t.Context())
		require.NoError(t, err)

		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: stock(srv, 1, 10_000), SerialNumbers: names("C02", 9500),
		}, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		require.Equal(t, 10, op.Plan().Requests)
		srv.Unit().TakeOver(theirs)
		require.NoError(t, op.Submit(t.Context()))
		require.Len(t, lost, 1)
		sent := countPath(srv, "assets/associate")
		require.Less(t, sent, 10)
		require.Len(t, op.EventIDs(), sent)

		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrTakenOver)
		require.Equal(t, sent, countPath(srv, "assets/associate"), "Wait sends nothing either")
		require.Positive(t, report.Succeeded)
		require.Equal(t, report.Total, report.Succeeded+report.Failed)
		agree(t, srv, report)
		for o := range report.Outcomes() {
			if o.Status == appsandbooks.OutcomeFailed {
				require.ErrorIs(t, o.Err, appsandbooks.ErrNotSent)
				require.ErrorIs(t, o.Err, appsandbooks.ErrTakenOver)
			}
		}

		// Claimed back, the operation goes on where it was.
		_, err = c.Config.Claim(t.Context())
		require.NoError(t, err)
		report, err = op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 9500, report.Succeeded)
		require.Equal(t, 10, countPath(srv, "assets/associate"))
		require.Empty(t, srv.Violations())
	})
}

// An answer to what was asked before a claim is old news.
func TestTakeoverOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost takeovers
		srv := appsandbookstest.NewServer(appsandbookstest.WithLatency(4 * time.Second))
		defer srv.Close()
		c := newClient(t, srv, appsandbooks.WithOwner(ours, lost.add))
		defer c.Close()
		srv.Unit().TakeOver(theirs)
		srv.AddFault(appsandbookstest.Fault{Path: "assets", Kind: appsandbookstest.FaultSlowBody, Delay: 10 * time.Second, Times: 1})
		read := make(chan error, 1)
		go func() {
			_, err := c.Assets.List(t.Context(), appsandbooks.AssetFilter{})
			read <- err
		}()
		time.Sleep(time.Second)
		_, err := c.Config.Claim(t.Context())
		require.NoError(t, err)
		require.NoError(t, <-read)
		require.Empty(t, lost)
		_, err = c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: stock(srv, 1, 1), SerialNumbers: []string{"C"}})
		require.NoError(t, err)
	})
}

func TestTakeOverTakenAgain(t *testing.T) {
	answer := `{"mdmInfo":{"id":"theirs","name":"x","metadata":"y"},"uId":"1"}`
	r := &recorded{t: t, answers: []string{answer}}
	c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: r}), appsandbooks.WithOwner(ours, nil))
	require.NoError(t, err)
	defer c.Close()
	config, err := c.Config.Claim(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrTakenOver)
	require.Equal(t, "theirs", config.MDMInfo.ID)
	require.ErrorIs(t, c.Subscriptions.Enable(t.Context()), appsandbooks.ErrTakenOver)
}

func TestOwnerIsChecked(t *testing.T) {
	_, err := appsandbooks.NewClient(stoken, appsandbooks.WithOwner(appsandbooks.MDMInfo{ID: "1"}, nil))
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)

	c, _ := recordedClient(t)
	_, err = c.Config.Claim(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid, "there is no owner to claim for")

	c, err = appsandbooks.NewClient(stoken, appsandbooks.WithOwner(ours, nil))
	require.NoError(t, err)
	_, err = c.Config.UpdateClientConfig(context.Background(), appsandbooks.Registration{MDMInfo: &appsandbooks.MDMInfo{ID: "x", Name: "y", Metadata: "z"}})
	require.ErrorIs(t, err, appsandbooks.ErrInvalid, "a claim for somebody else")
	require.ErrorIs(t, &appsandbooks.TakeoverError{}, appsandbooks.ErrTakenOver)
}
