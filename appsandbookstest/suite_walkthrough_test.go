package appsandbookstest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// The requests of Apple's documentation have the documented answers over TCP.
func TestServer_walkthroughOverTCP(t *testing.T) {
	r := newReceiver("example-auth-token-value")
	receiving := httptest.NewServer(r)
	defer receiving.Close()

	srv, err := fake.NewServer(fake.WithEventDelay(0))
	require.NoError(t, err)
	defer srv.Close()
	require.NoError(t, srv.Listen(""))
	walkthrough(t, srv, r, receiving.URL+"/notifications")
}

// The requests of Apple's documentation have the documented answers in memory.
func TestServer_walkthroughInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver("example-auth-token-value")
		srv, err := fake.NewServer(
			fake.WithEventDelay(0),
			fake.WithNotificationTransport(fake.HandlerTransport(r)),
		)
		require.NoError(t, err)
		defer srv.Close()
		walkthrough(t, srv, r, "https://mdm.example.com/notifications")
	})
}

// walkthrough sends the requests of the example in Apple's documentation, and
// compares the answers and the notifications.
func walkthrough(t *testing.T, srv *fake.Server, r *receiver, url string) {
	u := srv.Unit()
	c := &caller{t: t, srv: srv, client: srv.Client(), token: u.Token()}
	if srv.URL() != "https://vpp.itunes.apple.com/mdm/v2" {
		c.client = &http.Client{} // over the network
	}
	expires := c.get("client/config")["tokenExpirationDate"]

	config := c.get("service/config")
	limits := config["limits"].(object)
	require.EqualValues(t, 25, limits["maxAssets"])
	require.EqualValues(t, 15, limits["maxRequestPerSecond"])
	require.Len(t, limits, 13)
	urls := config["urls"].(object)
	require.Len(t, urls, 13)
	require.Equal(t, srv.URL()+"/assets/associate", urls["associateAssets"])
	require.Contains(t, urls["invitationEmail"], "%25inviteCode%25")
	require.Len(t, config["errorCodes"], 38)
	require.Contains(t, config["notificationTypes"], "ASSET_COUNT")

	mdm := object{"id": "522d5c43", "name": "My Service", "metadata": "1.0.0"}
	registered := c.post("client/config", clientConfig(url, r.secret))
	types := make([]any, len(allTypes))
	for i, typ := range allTypes {
		types[i] = typ
	}
	require.Empty(t, cmp.Diff(object{
		"mdmInfo":                     mdm,
		"notificationUrl":             url,
		"notificationAuthToken":       r.secret,
		"subscribedNotificationTypes": types,
		"tokenExpirationDate":         expires,
		"uId":                         u.UID(),
		"countryISO2ACode":            "US",
		"defaultPlatform":             "enterprisestore",
		"locationName":                u.Name(),
		"websiteURL":                  "https://business.apple.com",
	}, registered))
	require.Empty(t, cmp.Diff(registered, c.get("client/config")))
	test := <-r.arrived
	require.Equal(t, "TEST_NOTIFICATION", test["notificationType"])
	require.Equal(t, object{}, test["notification"])

	// next returns the payload of the next notification that the receiver got.
	next := func(typ string) object {
		n := <-r.arrived
		require.Equal(t, typ, n["notificationType"])
		require.Equal(t, u.UID(), n["uId"])
		require.Len(t, n["notificationId"], 36)
		return n["notification"].(object)
	}
	// common adds the fields that are part of every answer.
	common := func(fields object) object {
		fields["uId"], fields["tokenExpirationDate"], fields["mdmInfo"] = u.UID(), expires, mdm
		return fields
	}
	page := func(got object, name string, want ...any) {
		t.Helper()
		require.Len(t, got["versionId"], 36)
		delete(got, "versionId")
		require.Empty(t, cmp.Diff(common(object{
			name: want, "currentPageIndex": 0.0, "size": float64(len(want)), "totalPages": 1.0,
		}), got))
	}
	complete := func(id, typ string) {
		t.Helper()
		require.Empty(t, cmp.Diff(common(object{
			"eventStatus": "COMPLETE", "eventType": typ, "numCompleted": 1.0, "numRequested": 1.0,
		}), c.get("status?eventId="+id)))
	}

	// A user.
	id := c.event("users/create", object{"users": []object{
		{"clientUserId": "user-1", "managedAppleId": "jappleseed@school.example.com"},
	}})
	complete(id, "CREATE")
	n := next("USER_MANAGEMENT")
	hash := n["users"].([]any)[0].(object)["idHash"]
	require.Len(t, hash, 28)
	user := object{"clientUserId": "user-1", "idHash": hash, "status": "Associated"}
	require.Empty(t, cmp.Diff(object{
		"eventId": id, "result": "SUCCESS", "type": "CREATE", "users": []any{user},
	}, n))
	page(c.get("users?clientUserId=user-1"), "users", user)

	// Purchases.
	u.Purchase("361309726", "STDQ", 25)
	require.Empty(t, cmp.Diff(object{
		"adamId": "361309726", "countDelta": 25.0, "pricingParam": "STDQ",
	}, next("ASSET_COUNT")))
	page(c.get("assets?adamId=361309726"), "assets", object{
		"adamId": "361309726", "assignedCount": 0.0, "availableCount": 25.0, "deviceAssignable": true,
		"pricingParam": "STDQ", "productType": "App", "retiredCount": 0.0, "revocable": true,
		"supportedPlatforms": []any{"iOS"}, "totalCount": 25.0,
	})
	u.AddSubscription(fake.Subscription{ParentAdamID: 361309726, AdamID: 67890, PeriodEndDate: "2027-01-15"})
	u.PurchaseSubscription(67890, 25, 0)
	seats := func(renewing, expiring float64) object { return object{"renewing": renewing, "expiring": expiring} }
	require.Empty(t, cmp.Diff(object{
		"parentAdamId": 361309726.0, "adamId": 67890.0,
		"counts": object{"available": seats(25, 0), "total": seats(25, 0)},
	}, next("SUBSCRIPTION_COUNT")))
	subs := c.get("subscriptions?parentAdamId=361309726")
	require.Empty(t, cmp.Diff([]any{object{
		"parentAdamId": 361309726.0, "adamId": 67890.0, "status": "ACTIVE", "periodEndDate": "2027-01-15",
		"counts": object{"assigned": seats(0, 0), "available": seats(25, 0), "total": seats(25, 0)},
	}}, subs["subscriptions"]))
	require.NotContains(t, subs, "mdmInfo")

	// The app.
	id = c.event("assets/associate", assetsBody([]string{"361309726"}, []string{"user-1"}, nil))
	complete(id, "ASSOCIATE")
	assigned := object{"adamId": "361309726", "clientUserId": "user-1", "pricingParam": "STDQ"}
	require.Empty(t, cmp.Diff(object{
		"eventId": id, "result": "SUCCESS", "type": "ASSOCIATE", "assignments": []any{assigned},
	}, next("ASSET_MANAGEMENT")))
	page(c.get("assignments?adamId=361309726&clientUserId=user-1"), "assignments", assigned)

	// The subscription.
	id = c.event("subscriptions/associate", object{
		"adamIds": []int{67890}, "clientUserIds": []string{"user-1"}, "renewing": true,
	})
	complete(id, "ASSOCIATE")
	seat := object{"adamId": 67890.0, "clientUserId": "user-1", "renewing": true}
	require.Empty(t, cmp.Diff(object{
		"eventId": id, "result": "SUCCESS", "type": "ASSOCIATE", "assignments": []any{seat},
	}, next("SUBSCRIPTION_MANAGEMENT")))
	got := c.get("subscriptions/assignments?adamId=67890&clientUserId=user-1")
	require.Empty(t, cmp.Diff([]any{seat}, got["assignments"]))

	// The ledger has the assignments that the requests made. No rule of conduct
	// except the request rate was violated.
	require.True(t, u.HasAssignment(fake.Assignment{AdamID: "361309726", ClientUserID: "user-1"}))
	require.Equal(t, []fake.SubscriptionAssignment{{AdamID: 67890, ClientUserID: "user-1", Renewing: true}},
		u.SubscriptionAssignments())
	for _, v := range srv.Violations() {
		// The test sends all requests within a second, so it may exceed the request rate.
		require.Equal(t, fake.RuleRequestRate, v.Rule, "%v", v)
	}
}
