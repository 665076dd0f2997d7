package appsandbookstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

const receiverURL = "https://mdm.example.com/notifications"

// notified runs a test in virtual time with a unit whose notifications go to
// a receiver.
func notified(
	t *testing.T, opts []fake.Option, test func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, c *caller),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("secret")
		opts := append([]fake.Option{fake.WithNotificationTransport(fake.HandlerTransport(r))}, opts...)
		srv, u, c := inMemory(t, opts...)
		c.post("client/config", clientConfig(receiverURL, "secret"))
		require.Len(t, r.of("TEST_NOTIFICATION"), 1)
		test(t, r, srv, u, c)
	})
}

func TestNotificationsAreSplit(t *testing.T) {
	notified(t, nil, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		u.AddAsset(fake.Asset{AdamID: "1", Total: 150})
		u.AddAsset(fake.Asset{AdamID: "2", Total: 130})
		u.AddUser(fake.User{ClientUserID: "a"})
		id := c.event("assets/associate", manage([]string{"1", "2"}, []string{"a"}, ids("S", 149)))
		time.Sleep(49 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, r.of("ASSET_MANAGEMENT"), "not before the event is done")
		time.Sleep(time.Millisecond)
		synctest.Wait()

		type part struct {
			adamID, result string
			n              int
		}
		var parts []part
		seen := make(map[string]bool)
		for _, n := range r.of("ASSET_MANAGEMENT") {
			payload := n["notification"].(object)
			require.Equal(t, id, payload["eventId"])
			require.Equal(t, "ASSOCIATE", payload["type"])
			list := items(t, payload, "assignments")
			for _, a := range list {
				require.Equal(t, list[0]["adamId"], a["adamId"], "one product each")
				seen[fmt.Sprint(a["adamId"], a["clientUserId"], a["serialNumber"])] = true
			}
			if payload["result"] == "FAILURE" {
				failure := payload["error"].(object)
				require.EqualValues(t, 9709, failure["errorNumber"])
				require.Len(t, failure["errorInfo"].(object)["serialNumbers"], len(list))
			} else {
				require.NotContains(t, payload, "error")
			}
			parts = append(parts, part{list[0]["adamId"].(string), payload["result"].(string), len(list)})
		}
		require.Equal(t, []part{
			{"1", "SUCCESS", 100},
			{"1", "SUCCESS", 50},
			{"2", "SUCCESS", 100},
			{"2", "SUCCESS", 30},
			{"2", "FAILURE", 20},
		}, parts)
		require.Len(t, seen, 300)

		c.finished(u, "assets/revoke", manage(nil, []string{"a"}, ids("S", 3)))
		synctest.Wait()
		revoked := r.of("ASSET_MANAGEMENT")[5:]
		require.Len(t, revoked, 2)
		require.Equal(t, "REVOKE", revoked[0]["notification"].(object)["type"])
	})
}

func TestUserNotifications(t *testing.T) {
	notified(t, nil, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		c.finished(u, "users/create", object{"users": []object{{"clientUserId": "a", "email": "a@x.example"}}})
		c.finished(u, "users/create", users("a", "b"))
		u.AcceptInvitation("a")
		c.finished(u, "users/retire", users("a"))
		synctest.Wait()

		got := r.of("USER_MANAGEMENT")
		require.Len(t, got, 4)
		created := items(t, got[0]["notification"].(object), "users")[0]
		require.Equal(t, "Registered", created["status"])
		require.Len(t, created["inviteCode"], 32)
		require.Equal(t, "FAILURE", got[2]["notification"].(object)["result"])
		require.Equal(t, object{"clientUserId": "a"}, items(t, got[2]["notification"].(object), "users")[0])
		retired := items(t, got[3]["notification"].(object), "users")[0]
		require.Equal(t, "Retired", retired["status"])

		accepted := r.of("USER_ASSOCIATED")
		require.Len(t, accepted, 1)
		person := items(t, accepted[0]["notification"].(object), "associatedUsers")[0]
		require.Equal(t, created["inviteCode"], person["inviteCode"])
		require.Equal(t, "Associated", person["status"])
	})
}

func TestOnlySubscribedTypesAreSent(t *testing.T) {
	notified(t, []fake.Option{fake.WithEventDelay(0)}, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		u.AddAsset(fake.Asset{AdamID: "1", Total: 5})
		out := c.post("client/config", object{"notificationTypes": []string{"ASSET_COUNT", "TEST_NOTIFICATION", "ASSET_COUNT"}})
		require.Equal(t, []any{"ASSET_COUNT"}, out["subscribedNotificationTypes"])
		require.Equal(t, receiverURL, out["notificationUrl"], "what is absent stays")
		require.Len(t, r.of("TEST_NOTIFICATION"), 1, "no test without a URL")

		c.event("assets/associate", manage([]string{"1"}, nil, []string{"S"}))
		u.Purchase("1", "", 1)
		u.Purchase("1", "", -1)
		synctest.Wait()
		require.Empty(t, r.of("ASSET_MANAGEMENT"))
		require.Len(t, r.of("ASSET_COUNT"), 2)
		require.EqualValues(t, -1, r.of("ASSET_COUNT")[1]["notification"].(object)["countDelta"])

		require.Empty(t, c.post("client/config", object{"notificationTypes": []string{}})["subscribedNotificationTypes"])
		u.Purchase("1", "", 1)
		u.SendNotification("NEWS_OF_TOMORROW", object{"x": 1})
		synctest.Wait()
		require.Len(t, r.of("ASSET_COUNT"), 2)
		require.Len(t, r.of("NEWS_OF_TOMORROW"), 1)
	})
	_, u, _ := inMemory(t)
	u.SendNotification("NEWS", nil) // goes nowhere
}

func TestNotificationsAreRetried(t *testing.T) {
	opts := []fake.Option{fake.WithNotifications(fake.NotificationOptions{Delay: time.Second, RetryInterval: time.Minute})}
	for answers, want := range map[string][2]int{ // attempts and arrivals
		"ok": {1, 1}, "500 ok": {2, 1}, "500 302 ok": {3, 1}, "500 404 503 ok": {3, 0}, "panic ok": {2, 1}, "hang ok": {2, 1},
	} {
		t.Run(answers, func(t *testing.T) {
			notified(t, opts, func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
				plan := strings.Fields(answers)
				r.mu.Lock()
				r.hits = 0
				r.status = func(n int) int {
					switch plan[n] {
					case "panic":
						panic("receiver")
					case "hang":
						time.Sleep(time.Minute)
						return http.StatusInternalServerError
					case "ok":
						return http.StatusNoContent
					}
					var status int
					_, _ = fmt.Sscan(plan[n], &status)
					return status
				}
				r.mu.Unlock()
				start := time.Now()
				u.Purchase("1", "", 1)
				time.Sleep(10 * time.Minute)
				require.Len(t, r.of("ASSET_COUNT"), want[1])

				all := srv.Deliveries()[1:]
				require.Len(t, all, want[0])
				for i, d := range all {
					require.Equal(t, i+1, d.Attempt)
					require.Equal(t, all[0].NotificationID, d.NotificationID)
					require.Equal(t, all[0].Body, d.Body)
					require.Equal(t, receiverURL, d.URL)
					require.Equal(t, "ASSET_COUNT", d.NotificationType)
					if answers != "hang ok" {
						require.Equal(t, start.Add(time.Second+time.Duration(i)*time.Minute), d.Time)
					}
				}
				switch answers {
				case "hang ok":
					require.ErrorIs(t, all[0].Err, context.DeadlineExceeded)
					require.Equal(t, start.Add(11*time.Second), all[0].Time)
				case "panic ok":
					require.Error(t, all[0].Err)
				case "500 ok":
					require.Equal(t, 500, all[0].Status)
				}
			})
		})
	}
}

func TestBadNetworkForNotifications(t *testing.T) {
	const n = 200
	send := func(o fake.NotificationOptions, seed uint64) (order []string, deliveries int) {
		notified(t, []fake.Option{fake.WithNotifications(o), fake.WithSeed(seed)},
			func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
				for i := range n {
					u.Purchase("1", "", i+1)
				}
				time.Sleep(time.Minute)
				seen := make(map[string]bool)
				for _, x := range r.of("ASSET_COUNT") {
					deliveries++
					if id := x["notificationId"].(string); !seen[id] {
						seen[id] = true
						order = append(order, fmt.Sprint(x["notification"].(object)["countDelta"]))
					}
				}
			})
		return order, deliveries
	}

	order, deliveries := send(fake.NotificationOptions{}, 1)
	require.Equal(t, n, deliveries)
	for i, delta := range order {
		require.Equal(t, fmt.Sprint(i+1), delta)
	}

	order, deliveries = send(fake.NotificationOptions{Duplicate: 0.5}, 1)
	require.Len(t, order, n)
	require.InDelta(t, 1.5*n, deliveries, 0.15*n)

	order, deliveries = send(fake.NotificationOptions{Loss: 0.5}, 1)
	require.Equal(t, len(order), deliveries)
	require.InDelta(t, 0.5*n, deliveries, 0.15*n)

	mixed, deliveries := send(fake.NotificationOptions{Reorder: 0.5}, 1)
	require.Len(t, mixed, n)
	require.Equal(t, n, deliveries)
	same, _ := send(fake.NotificationOptions{Reorder: 0.5}, 1)
	require.Equal(t, mixed, same, "the seed decides")
	other, _ := send(fake.NotificationOptions{Reorder: 0.5}, 2)
	require.NotEqual(t, mixed, other)
	sorted, _ := send(fake.NotificationOptions{}, 1)
	require.NotEqual(t, sorted, mixed)
	require.ElementsMatch(t, sorted, mixed)
}

// The rules for receivers: to refuse what is forged, and to take what is not.
func TestRulesForReceivers(t *testing.T) {
	forging := []fake.Option{fake.WithNotifications(fake.NotificationOptions{Forge: 1, RetryInterval: time.Minute})}
	notified(t, forging, func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
		u.Purchase("1", "", 1)
		time.Sleep(time.Second)
		require.Len(t, r.of("ASSET_COUNT"), 1)
		all := srv.Deliveries()[1:]
		require.Len(t, all, 2)
		require.True(t, all[0].Forged)
		require.Equal(t, http.StatusUnauthorized, all[0].Status)
		require.False(t, all[1].Forged)
		require.NotEqual(t, all[0].NotificationID, all[1].NotificationID)
		require.Empty(t, rules(srv))

		r.mu.Lock()
		r.hits, r.status = 0, func(n int) int { return []int{401, 500, 503, 302, 204}[n] }
		r.mu.Unlock()
		u.Purchase("1", "", 1)
		time.Sleep(time.Hour)
		require.Len(t, r.of("ASSET_COUNT"), 1)
		require.Equal(t, []fake.Rule{fake.RuleDroppedNotification}, rules(srv))
		v := srv.Violations()[0]
		require.Equal(t, u.UID(), v.Unit)
		require.Regexp(t, `^ASSET_COUNT \S+ was not taken in 3 attempts$`, v.Detail)
	})

	// A receiver that takes anything.
	synctest.Test(t, func(t *testing.T) {
		gullible := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		srv, u, c := inMemory(t, append(forging, fake.WithNotificationTransport(fake.HandlerTransport(gullible)))...)
		c.post("client/config", clientConfig(receiverURL, "secret"))
		u.Purchase("1", "", 1)
		time.Sleep(time.Second)
		require.Equal(t, []fake.Rule{fake.RuleForgedNotification}, rules(srv))
	})
}

func TestAConfigurationNeedsALiveReceiver(t *testing.T) {
	notified(t, nil, func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, c *caller) {
		before := u.ClientConfig()
		c.refused(400, 9728, http.MethodPost, "client/config", clientConfig("https://other.example/", "new-secret"))
		require.Equal(t, before, u.ClientConfig())
		d := srv.Deliveries()
		require.Equal(t, 401, d[len(d)-1].Status)
		require.Len(t, d, 2, "a test is not repeated")

		r.mu.Lock()
		r.secret = "new-secret"
		r.mu.Unlock()
		c.post("client/config", clientConfig("https://other.example/", "new-secret"))
		u.Purchase("1", "", 1)
		synctest.Wait()
		require.Len(t, r.of("ASSET_COUNT"), 1)
		require.Equal(t, "new-secret", u.ClientConfig().NotificationAuthToken)
	})

	// Nothing listens at a port that was never opened.
	_, _, c := inMemory(t)
	c.refused(400, 9728, http.MethodPost, "client/config", clientConfig("http://127.0.0.1:1/", "secret"))
}

func TestEventsAreNotifiedWithoutBeingAsked(t *testing.T) {
	notified(t, []fake.Option{fake.WithEventDelayFunc(func(e fake.Event) time.Duration {
		return map[string]time.Duration{"users/create": time.Minute, "users/retire": time.Second}[e.Path]
	})}, func(t *testing.T, r *receiver, _ *fake.Server, u *fake.Unit, c *caller) {
		c.event("users/create", users("a"))
		c.event("users/create", users("b"))
		u.HoldEvents(true)
		time.Sleep(time.Hour)
		require.Empty(t, r.of("USER_MANAGEMENT"))
		u.HoldEvents(false)
		synctest.Wait()
		require.Len(t, r.of("USER_MANAGEMENT"), 2)

		c.event("users/retire", users("a"))
		time.Sleep(500 * time.Millisecond)
		c.event("users/retire", users("b"))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, r.of("USER_MANAGEMENT"), 3)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, r.of("USER_MANAGEMENT"), 4)
	})
}

func TestHandlerTransport(t *testing.T) {
	rt := fake.HandlerTransport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Early", r.Host+r.RequestURI)
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "1")
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(body)
	}))
	c := http.Client{Transport: rt}
	resp, err := c.Post("https://mdm.example.com/a?b=c", "text/plain", strings.NewReader("hello"))
	require.NoError(t, err)
	body, _ := io.ReadAll(resp.Body)
	require.Equal(t, "hello", string(body))
	require.Equal(t, 202, resp.StatusCode)
	require.Equal(t, "mdm.example.com/a?b=c", resp.Header.Get("X-Early"))
	require.Empty(t, resp.Header.Get("X-Late"))

	_, err = c.Post("https://mdm.example.com/", "text/plain", io.MultiReader(errReader{}))
	require.ErrorIs(t, err, errBody)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://mdm.example.com/", nil)
	_, err = c.Do(req)
	require.ErrorIs(t, err, context.Canceled)

	silent := http.Client{Transport: fake.HandlerTransport(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
	resp, err = silent.Get("https://mdm.example.com/")
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
}

var errBody = errors.New("no body")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBody }

func TestDeliveriesAreValidJSON(t *testing.T) {
	notified(t, nil, func(t *testing.T, _ *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
		u.SendNotification("BAD", func() {}) // cannot be encoded
		u.Purchase("1", "", 1)
		time.Sleep(time.Minute)
		var valid int
		for _, d := range srv.Deliveries() {
			if json.Valid(d.Body) {
				valid++
			} else {
				require.Error(t, d.Err)
			}
		}
		require.Equal(t, 2, valid)
	})
}
