package appsandbookstest_test

import (
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// subscriptionSeats returns the counts of seats of a unit's only subscription.
func subscriptionSeats(t *testing.T, u *fake.Unit) (assigned, available, total fake.Seats) {
	t.Helper()
	s := u.Subscriptions()
	require.Len(t, s, 1)
	require.Equal(t, s[0].Total.Renewing+s[0].Total.Expiring,
		s[0].Assigned.Renewing+s[0].Assigned.Expiring+s[0].Available.Renewing+s[0].Available.Expiring)
	return s[0].Assigned, s[0].Available, s[0].Total
}

// seats returns a fake.Seats with these numbers of seats.
func seats(renewing, expiring int) fake.Seats {
	return fake.Seats{Renewing: renewing, Expiring: expiring}
}

// Every change of assignments, every purchase and the end of the billing period
// change the counts of the subscription.
func TestUnit_Subscriptions_countsSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("secret")
		_, u, c := newServer(t, fake.WithEventDelay(0), fake.WithNotificationTransport(fake.HandlerTransport(r)))
		c.post("client/config", clientConfig("https://mdm.example.com/n", "secret"))
		for _, id := range []string{"a", "b", "c", "d"} {
			u.AddUser(fake.User{ClientUserID: id, Status: fake.UserAssociated})
		}
		u.AddSubscription(fake.Subscription{AdamID: 7, Total: seats(2, 1), PeriodEndDate: "2027-01-15"})
		associate := func(renewing bool, users ...string) object {
			return c.finish(u, "subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": users, "renewing": renewing})
		}
		check := func(assigned, available, total fake.Seats) {
			t.Helper()
			a, b, c := subscriptionSeats(t, u)
			require.Equal(t, [3]fake.Seats{assigned, available, total}, [3]fake.Seats{a, b, c})
		}

		require.Equal(t, "COMPLETE", associate(true, "a")["eventStatus"])
		check(seats(1, 0), seats(1, 1), seats(2, 1))
		require.Equal(t, "COMPLETE", associate(false, "b", "c")["eventStatus"])
		check(seats(1, 2), seats(0, 0), seats(2, 1))
		require.Equal(t, "COMPLETE", associate(true, "a")["eventStatus"], "a repeated associate uses no second license")

		status := associate(true, "a", "d")
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, 1, status["numCompleted"])
		f := items(t, status, "failures")[0]
		require.EqualValues(t, 9709, f["errorNumber"])
		require.Equal(t, object{"clientUserIds": []any{"d"}}, f["errorInfo"])

		// User c uses a renewing license, so the assignment can become
		// renewing. User b uses an expiring license, and no renewing license is
		// available.
		status = associate(true, "b", "c")
		require.EqualValues(t, 1, status["numCompleted"])
		check(seats(2, 1), seats(0, 0), seats(2, 1))
		require.Equal(t, "COMPLETE", associate(false, "c")["eventStatus"])
		check(seats(1, 2), seats(0, 0), seats(2, 1))

		u.EndBillingPeriod()
		check(seats(1, 0), seats(1, 0), seats(2, 0))
		require.Equal(t, "2027-02-15", u.Subscriptions()[0].PeriodEndDate)

		status = c.finish(u, "subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}})
		require.Equal(t, "COMPLETE", status["eventStatus"])
		require.Equal(t, "DISASSOCIATE", status["eventType"])
		check(seats(0, 0), seats(2, 0), seats(2, 0))

		// An assignment that becomes renewing moves to a renewing license.
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

// A deferred disassociation finishes at the end of the billing period, and
// skips a user that has the seat again.
func TestUnit_EndBillingPeriod_deferredDisassociation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("secret")
		_, u, c := newServer(t, fake.WithNotificationTransport(fake.HandlerTransport(r)))
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

		// User b is associated again before the end of the billing period.
		c.finish(u, "subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"b"}, "renewing": true})
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
		status = c.finish(u, "subscriptions/disassociate", object{"adamIds": []int{7}, "clientUserIds": []string{"b"}, "deferred": true})
		require.Equal(t, "FAILED", status["eventStatus"])
		require.Len(t, u.SubscriptionAssignments(), 2)
	})
}
