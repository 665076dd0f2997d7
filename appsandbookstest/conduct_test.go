package appsandbookstest_test

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// The 30 seconds of RulePollInterval begin when a PENDING answer is sent.
func TestRulePollInterval(t *testing.T) {
	inVirtualTime(t, []fake.Option{fake.WithEventDelay(100 * time.Second), fake.WithLatency(200 * time.Millisecond)},
		func(t *testing.T, srv *fake.Server, u *fake.Unit, c *caller) {
			one, two := c.event("users/create", usersBody("a")), c.event("users/create", usersBody("b"))
			time.Sleep(5 * time.Second)
			c.get("status?eventId=" + one)
			c.get("status?eventId=" + two)
			time.Sleep(30*time.Second - 200*time.Millisecond)
			c.get("status?eventId=" + one)
			require.Empty(t, rules(srv), "30 s after the answer")
			time.Sleep(30*time.Second - 1)
			c.get("status?eventId=" + one)
			require.Equal(t, []fake.Rule{fake.RulePollInterval}, rules(srv))
			v := srv.Violations()[0]
			require.Equal(t, u.UID(), v.Unit)
			require.Equal(t, time.Now().Add(-200*time.Millisecond), v.Time)
			require.Contains(t, v.String(), "poll-interval: ")
			require.Contains(t, v.Detail, one)

			time.Sleep(40 * time.Second)
			require.Equal(t, "COMPLETE", c.get("status?eventId=" + one)["eventStatus"])
			c.get("status?eventId=" + one)
			require.Len(t, srv.Violations(), 1, "the status of a finished event can be requested at any time")

			// A PENDING answer that is lost does not start the 30 seconds.
			three := c.event("users/create", usersBody("c"))
			srv.AddFault(fake.Fault{Path: "status", Kind: fake.FaultResetAfter, Times: 1})
			require.Error(t, c.observe(http.MethodGet, "status?eventId="+three, nil).err)
			c.get("status?eventId=" + three)
			require.Len(t, srv.Violations(), 1)
		})
}

// RuleRequestRate counts all requests of a unit in any interval of one second.
func TestRuleRequestRate(t *testing.T) {
	limits := fake.DefaultLimits()
	limits.MaxRequestPerSecond = 3
	inVirtualTime(t, []fake.Option{fake.WithLimits(limits)}, func(t *testing.T, srv *fake.Server, _ *fake.Unit, c *caller) {
		other := *c
		other.token = srv.NewUnit("other").Token()
		open := *c
		open.token = ""
		for range 5 {
			for range 3 {
				c.get("users")
				other.get("users")
				open.get("service/config")
			}
			time.Sleep(time.Second)
		}
		require.Empty(t, rules(srv))
		c.get("users")
		time.Sleep(time.Second - 1)
		c.get("service/config")
		c.get("users")
		require.Empty(t, rules(srv))
		c.get("users")
		require.Equal(t, []fake.Rule{fake.RuleRequestRate}, rules(srv), "the first request is still in the interval")
		time.Sleep(time.Nanosecond)
		c.get("users")
		require.Len(t, rules(srv), 2, "the first request is not in the interval, but three others are")
	})
	inVirtualTime(t, []fake.Option{fake.WithLimits(limits), fake.WithRateLimit()}, func(t *testing.T, srv *fake.Server, _ *fake.Unit, c *caller) {
		for range 3 {
			c.get("users")
		}
		c.refused(429, 9646, http.MethodGet, "users", nil)
		require.Equal(t, []fake.Rule{fake.RuleRequestRate}, rules(srv))
		time.Sleep(time.Second)
		c.get("users")
	})
}

// More than five pages that a unit reads at the same time are violations. Pages
// that are read by cursor do not count.
func TestRuleParallelPages(t *testing.T) {
	inVirtualTime(t, []fake.Option{fake.WithLatency(time.Second)}, func(t *testing.T, srv *fake.Server, _ *fake.Unit, c *caller) {
		read := func(n int, path string) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { c.get(path) })
			}
			wg.Wait()
		}
		read(5, "assignments")
		read(5, "users")
		read(9, "subscriptions")
		read(9, "service/config")
		require.Empty(t, rules(srv))
		read(7, "assets")
		require.Equal(t, []fake.Rule{fake.RuleParallelPages, fake.RuleParallelPages}, rules(srv))
	})
}

// Requests before the end of a Retry-After, in seconds or as a date, are
// violations. An invalid Retry-After has no effect.
func TestRuleRetryAfter(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *fake.Server, _ *fake.Unit, c *caller) {
		answer := func(value string) {
			srv.ResetRequests()
			srv.AddFault(fake.Fault{Number: 9603, Times: 1, Header: http.Header{"Retry-After": {value}}})
			c.refused(500, 9603, http.MethodGet, "users", nil)
		}
		answer("120")
		time.Sleep(120*time.Second - 1)
		c.get("assets")
		require.Equal(t, []fake.Rule{fake.RuleRetryAfter}, rules(srv))
		time.Sleep(time.Nanosecond)
		c.get("assets")
		require.Len(t, rules(srv), 1)

		answer(time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
		c.get("assets")
		require.Equal(t, []fake.Rule{fake.RuleRetryAfter}, rules(srv))
		time.Sleep(time.Minute)

		for _, value := range []string{"0", "soon", "-5", "1.5", ""} {
			answer(value)
			c.get("assets")
			require.Empty(t, rules(srv), value)
			time.Sleep(time.Second)
		}
		answer("9223372036854775807")
		time.Sleep(24 * time.Hour)
		c.get("assets")
		require.Equal(t, []fake.Rule{fake.RuleRetryAfter}, rules(srv))
	})
}

// An accepted write must not be sent again, except in the documented cases.
func TestRuleRepeatedWrite(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *fake.Server, u *fake.Unit, c *caller) {
		u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
		body := assetsBody([]string{"1"}, nil, []string{"S"})
		c.event("assets/associate", body)
		c.event("assets/associate", assetsBody([]string{"1"}, nil, []string{"T"}))
		require.Empty(t, rules(srv))
		c.event("assets/associate", body)
		require.Equal(t, []fake.Rule{fake.RuleRepeatedWrite}, rules(srv))

		// Accepted writes to another endpoint in between allow the same write
		// again.
		srv.ResetRequests()
		c.event("assets/disassociate", body)
		c.event("assets/associate", body)
		c.event("assets/disassociate", body)
		require.Empty(t, rules(srv))

		// A failed event allows the same write again.
		u.FailNextEvent(9603)
		u.FinishEvents()
		time.Sleep(time.Second)
		u.FailTarget("S", 9644)
		c.event("assets/associate", body)
		u.FinishEvents()
		c.event("assets/associate", body)
		require.Empty(t, rules(srv))

		// An event that has been PENDING for ten minutes allows the same write
		// again.
		u.HoldEvents(true)
		body = assetsBody([]string{"1"}, nil, []string{"U"})
		c.event("assets/associate", body)
		time.Sleep(10*time.Minute - 1)
		c.event("assets/associate", body)
		require.Equal(t, []fake.Rule{fake.RuleRepeatedWrite}, rules(srv))
		time.Sleep(10 * time.Minute)
		c.event("assets/associate", body)
		require.Len(t, rules(srv), 1)

		// A refused write may be sent again. A write whose answer was lost
		// may not, since the server accepted it.
		srv.ResetRequests()
		srv.AddFault(fake.Fault{Number: 9603, Times: 1})
		c.refused(500, 9603, http.MethodPost, "users/create", usersBody("a"))
		c.event("users/create", usersBody("a"))
		srv.AddFault(fake.Fault{Number: 9603, Process: true, Times: 1})
		c.refused(500, 9603, http.MethodPost, "users/create", usersBody("c"))
		c.event("users/create", usersBody("c"))
		srv.AddFault(fake.Fault{Kind: fake.FaultResetAfter, Times: 1})
		require.Error(t, c.observe(http.MethodPost, "users/create", usersBody("b")).err)
		require.Empty(t, rules(srv))
		c.event("users/create", usersBody("b"))
		require.Equal(t, []fake.Rule{fake.RuleRepeatedWrite}, rules(srv))
	})
}

// Repeated items, missing fields with undocumented defaults, and a wrong number
// of Authorization headers are violations.
func TestRule_itemsDefaultsAndAuthorization(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *fake.Server, u *fake.Unit, c *caller) {
		u.AddSubscriptionAssignments(fake.SubscriptionAssignment{AdamID: 7, ClientUserID: "a"})
		c.refused(400, 9704, http.MethodPost, "assets/revoke", assetsBody(nil, []string{"a", "a"}, nil))
		c.refused(400, 9811, http.MethodPost, "subscriptions/associate", object{"adamIds": []int{7, 7}, "clientUserIds": []string{"a"}, "renewing": true})
		require.Equal(t, []fake.Rule{fake.RuleDuplicateItems, fake.RuleDuplicateItems}, rules(srv))

		srv.ResetRequests()
		c.event("subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}})
		c.event("assets/associate", object{"assets": []object{{"adamId": "1"}}, "serialNumbers": []string{"S"}})
		require.Equal(t, []fake.Rule{fake.RuleUndocumentedDefault, fake.RuleUndocumentedDefault}, rules(srv))

		srv.ResetRequests()
		token := c.token
		c.token = ""
		c.get("service/config")
		require.Empty(t, rules(srv))
		c.refused(401, 9722, http.MethodGet, "users", nil)
		c.token = token
		req := c.request(http.MethodGet, "users", nil)
		req.Header.Add("Authorization", "Bearer "+token)
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, []fake.Rule{fake.RuleAuthorization, fake.RuleAuthorization}, rules(srv))
	})
}

// A receiver must refuse forged notifications and accept the others.
func TestRule_receivers(t *testing.T) {
	forging := []fake.Option{fake.WithNotifications(fake.NotificationOptions{Forge: 1, RetryInterval: time.Minute})}
	withReceiver(t, forging, func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
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
		require.Regexp(t, `^the receiver did not accept ASSET_COUNT \S+ in 3 attempts$`, v.Detail)
	})

	// A receiver that accepts any secret violates RuleForgedNotification.
	synctest.Test(t, func(t *testing.T) {
		gullible := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		srv, u, c := newServer(t, append(forging, fake.WithNotificationTransport(fake.HandlerTransport(gullible)))...)
		c.post("client/config", clientConfig(receiverURL, "secret"))
		u.Purchase("1", "", 1)
		time.Sleep(time.Second)
		require.Equal(t, []fake.Rule{fake.RuleForgedNotification}, rules(srv))
	})
}
