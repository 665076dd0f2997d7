package appsandbookstest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// seatsOf returns what a unit has of its only subscription.
func seatsOf(t *testing.T, u *fake.Unit) (assigned, available, total fake.Seats) {
	t.Helper()
	s := u.Subscriptions()
	require.Len(t, s, 1)
	require.Equal(t, s[0].Total.Renewing+s[0].Total.Expiring,
		s[0].Assigned.Renewing+s[0].Assigned.Expiring+s[0].Available.Renewing+s[0].Available.Expiring)
	return s[0].Assigned, s[0].Available, s[0].Total
}

func seats(renewing, expiring int) fake.Seats {
	return fake.Seats{Renewing: renewing, Expiring: expiring}
}

func TestSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("secret")
		_, u, c := inMemory(t, fake.WithEventDelay(0), fake.WithNotificationTransport(fake.HandlerTransport(r)))
		c.post("client/config", clientConfig("https://mdm.example.com/n", "secret"))
		for _, id := range []string{"a", "b", "c", "d"} {
			u.AddUser(fake.User{ClientUserID: id, Status: fake.UserAssociated})
		}
		u.AddSubscription(fake.Subscription{AdamID: 7, Total: seats(2, 1), PeriodEndDate: "2027-01-15"})
		associate := func(renewing bool, users ...string) object {
			return c.finished(u, "subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": users, "renewing": renewing})
		}
		check := func(assigned, available, total fake.Seats) {
			t.Helper()
			a, b, c := seatsOf(t, u)
			require.Equal(t, [3]fake.Seats{assigned, available, total}, [3]fake.Seats{a, b, c})
		}

		require.Equal(t, "COMPLETE", associate(true, "a")["eventStatus"])
		check(seats(1, 0), seats(1, 1), seats(2, 1))
		require.Equal(t, "COMPLETE", associate(false, "b", "c")["eventStatus"])
		check(seats(1, 2), seats(0, 0), seats(2, 1))
		require.Equal(t, "COMPLETE", associate(true, "a")["eventStatus"], "once is enough")

		status := associate(true, "a", "d")
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, 1, status["numCompleted"])
		f := items(t, status, "failures")[0]
		require.EqualValues(t, 9709, f["errorNumber"])
		require.Equal(t, object{"clientUserIds": []any{"d"}}, f["errorInfo"])

		// c sits on a renewing licence and can renew; b cannot.
		status = associate(true, "b", "c")
		require.EqualValues(t, 1, status["numCompleted"])
		check(seats(2, 1), seats(0, 0), seats(2, 1))
		require.Equal(t, "COMPLETE", associate(false, "c")["eventStatus"])
		check(seats(1, 2), seats(0, 0), seats(2, 1))

		u.EndBillingPeriod()
		check(seats(1, 0), seats(1, 0), seats(2, 0))
		require.Equal(t, "2027-02-15", u.Subscriptions()[0].PeriodEndDate)

		status = c.finished(u, "subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}})
		require.Equal(t, "COMPLETE", status["eventStatus"])
		require.Equal(t, "DISASSOCIATE", status["eventType"])
		check(seats(0, 0), seats(2, 0), seats(2, 0))

		// A flip that moves from an expiring licence to a renewing one.
		u.PurchaseSubscription(7, 0, 1)
		associate(false, "a")
		check(seats(0, 1), seats(2, 0), seats(2, 1))
		associate(true, "a")
		check(seats(1, 0), seats(1, 1), seats(2, 1))

		u.PurchaseSubscription(7, -9, -9)
		check(seats(1, 0), seats(0, 0), seats(1, 0))
		u.AddSubscription(fake.Subscription{AdamID: 7})
		check(seats(1, 0), seats(0, 0), seats(1, 0))

		synctest.Wait()
		n := r.of("SUBSCRIPTION_MANAGEMENT")
		require.Equal(t, "SUCCESS", n[0]["notification"].(object)["result"])
		require.Equal(t, []any{object{"adamId": 7.0, "clientUserId": "d", "renewing": true}},
			n[4]["notification"].(object)["assignments"])
		require.EqualValues(t, 9709, n[4]["notification"].(object)["error"].(object)["errorNumber"])
		require.Len(t, r.of("SUBSCRIPTION_COUNT"), 3)
		require.NotContains(t, r.of("SUBSCRIPTION_COUNT")[0]["notification"].(object)["counts"], "assigned")
	})
}

func TestDeferredDisassociation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("secret")
		_, u, c := inMemory(t, fake.WithNotificationTransport(fake.HandlerTransport(r)))
		c.post("client/config", clientConfig("https://mdm.example.com/n", "secret"))
		u.AddSubscriptionAssignments(
			fake.SubscriptionAssignment{AdamID: 7, ClientUserID: "a", Renewing: true},
			fake.SubscriptionAssignment{AdamID: 7, ClientUserID: "b", Renewing: true},
			fake.SubscriptionAssignment{AdamID: 7, ClientUserID: "c", Renewing: false},
			fake.SubscriptionAssignment{AdamID: 7, ClientUserID: "c", Renewing: true},
		)
		id := c.event("subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"a", "b"}, "deferred": true})
		require.True(t, u.Events()[0].Deferred)
		time.Sleep(30 * 24 * time.Hour)
		require.Equal(t, "PENDING", c.get("status?eventId=" + id)["eventStatus"])
		u.FinishEvents()
		require.Equal(t, []fake.SubscriptionAssignment{
			{AdamID: 7, ClientUserID: "a"}, {AdamID: 7, ClientUserID: "b"}, {AdamID: 7, ClientUserID: "c", Renewing: true},
		}, u.SubscriptionAssignments())
		require.Empty(t, r.of("SUBSCRIPTION_MANAGEMENT"))

		// Somebody changes their mind.
		c.finished(u, "subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"b"}, "renewing": true})
		u.EndBillingPeriod()
		require.Equal(t, []fake.SubscriptionAssignment{
			{AdamID: 7, ClientUserID: "b", Renewing: true}, {AdamID: 7, ClientUserID: "c", Renewing: true},
		}, u.SubscriptionAssignments())
		status := c.get("status?eventId=" + id)
		require.Equal(t, "COMPLETE", status["eventStatus"])
		require.EqualValues(t, 2, status["numCompleted"])
		synctest.Wait()
		require.Len(t, r.of("SUBSCRIPTION_MANAGEMENT"), 2)

		u.FailNextEvent(9603)
		status = c.finished(u, "subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"b"}, "deferred": true})
		require.Equal(t, "FAILED", status["eventStatus"])
		require.Len(t, u.SubscriptionAssignments(), 2)
	})
}

func TestSubscriptionManagement(t *testing.T) {
	srv, u, c := inMemory(t)
	out := c.post("subscriptions/enable", nil)
	require.Equal(t, true, out["subscriptionManagement"])
	require.True(t, u.SubscriptionsEnabled())
	require.Equal(t, true, c.post("subscriptions/enable", nil)["subscriptionManagement"])

	u.PurchaseSubscription(7, 1, 0)
	c.refused(400, 9818, http.MethodPost, "subscriptions/disable", nil)
	u.PurchaseSubscription(7, -1, 0)
	require.Equal(t, false, c.post("subscriptions/disable", nil)["subscriptionManagement"])
	sub := items(t, c.get("subscriptions"), "subscriptions")[0]
	require.Nil(t, sub["parentAdamId"])
	require.Contains(t, sub, "parentAdamId")
	require.Empty(t, srv.Violations(), "to repeat this is fine")
}

func TestSubscriptionReads(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddSubscription(fake.Subscription{AdamID: 7, ParentAdamID: 70})
	u.AddSubscription(fake.Subscription{AdamID: 8, ParentAdamID: 70})
	u.AddSubscription(fake.Subscription{AdamID: 9, ParentAdamID: 90})
	for _, id := range []int64{7, 8, 9} {
		u.AddSubscriptionAssignments(
			fake.SubscriptionAssignment{AdamID: id, ClientUserID: "a"},
			fake.SubscriptionAssignment{AdamID: id, ClientUserID: "b,c", Renewing: true},
		)
	}
	c.post("subscriptions/admins/add", object{"adamIds": []int{7, 9}, "clientUserIds": []string{"a", "b,c"}})
	version := c.get("subscriptions/admins")["versionId"]
	require.Equal(t, version, c.post("subscriptions/admins/add", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}})["versionId"], "nothing new")

	for path, want := range map[string]int{
		"subscriptions":                                     3,
		"subscriptions?adamId=7":                            1,
		"subscriptions?adamId=7&adamId=9":                   2,
		"subscriptions?adamId=7,9":                          2,
		"subscriptions?parentAdamId=70":                     2,
		"subscriptions?parentAdamId=70&adamId=9":            0,
		"subscriptions/assignments":                         6,
		"subscriptions/assignments?parentAdamId=70":         4,
		"subscriptions/assignments?clientUserId=b,c":        3,
		"subscriptions/assignments?adamId=7&clientUserId=a": 1,
		"subscriptions/admins":                              4,
		"subscriptions/admins?adamId=9":                     2,
		"subscriptions/admins?adamId=8":                     0,
	} {
		out := c.get(path)
		n := 0
		for _, name := range []string{"subscriptions", "assignments", "admins"} {
			if list, ok := out[name].([]any); ok {
				n = len(list)
			}
		}
		require.Equal(t, want, n, path)
		require.NotContains(t, out, "nextCursor")
		require.NotContains(t, out, "mdmInfo")
	}

	admin := items(t, c.get("subscriptions/admins?adamId=7"), "admins")[0]
	require.NotContains(t, admin, "userStatus")
	require.Len(t, admin["idHash"], 28)
	require.Equal(t, "Associated", items(t, c.get("subscriptions/admins?adamId=7&includeUserState=true"), "admins")[0]["userStatus"])

	removed := c.post("subscriptions/admins/remove", object{"adamIds": []int{7, 8}, "clientUserIds": []string{"a"}})
	require.NotEqual(t, version, removed["versionId"])
	require.Equal(t, []string{"b,c"}, u.SubscriptionAdmins(7))
	require.Equal(t, u.UID(), removed["uId"])
}
