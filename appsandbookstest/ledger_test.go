package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// counts returns assigned, available, retired and total of an asset.
func counts(t *testing.T, u *fake.Unit, adamID string) [4]int {
	t.Helper()
	a, ok := u.Asset(adamID, "")
	require.True(t, ok)
	return [4]int{a.Assigned, a.Available, a.Retired, a.Total}
}

func TestLicencesAreCounted(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 3})
	u.AddUser(fake.User{ClientUserID: "a"})
	u.AddUser(fake.User{ClientUserID: "b"})

	status := c.finished(u, "assets/associate", manage([]string{"1"}, []string{"a"}, []string{"S"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.Equal(t, [4]int{2, 1, 0, 3}, counts(t, u, "1"))

	// The same again costs nothing.
	status = c.finished(u, "assets/associate", manage([]string{"1"}, []string{"a", "b"}, []string{"S"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.EqualValues(t, 3, status["numCompleted"])
	require.Equal(t, [4]int{3, 0, 0, 3}, counts(t, u, "1"))
	require.Equal(t, []fake.Assignment{
		{AdamID: "1", PricingParam: "STDQ", ClientUserID: "a"},
		{AdamID: "1", PricingParam: "STDQ", SerialNumber: "S"},
		{AdamID: "1", PricingParam: "STDQ", ClientUserID: "b"},
	}, u.Assignments())

	// To take away what is not there succeeds, too.
	status = c.finished(u, "assets/disassociate", manage([]string{"1", "99"}, []string{"a"}, []string{"S", "T"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.EqualValues(t, 6, status["numRequested"])
	require.Equal(t, [4]int{1, 2, 0, 3}, counts(t, u, "1"))

	// Licences that the library does not have.
	status = c.finished(u, "assets/associate", manage([]string{"99"}, []string{"a"}, nil))
	require.Equal(t, "FAILED", status["eventStatus"])
	require.EqualValues(t, 9709, items(t, status, "failures")[0]["errorNumber"])

	// Purchases and refunds.
	u.Purchase("1", "", -5)
	require.Equal(t, [4]int{1, 0, 0, 1}, counts(t, u, "1"))
	u.Purchase("1", "PLUS", 2)
	plus, ok := u.Asset("1", "PLUS")
	require.True(t, ok)
	require.Equal(t, 2, plus.Total)
	_, ok = u.Asset("nothing", "")
	require.False(t, ok)
	require.Len(t, u.Assets(), 2)
	require.False(t, u.HasAssignment(fake.Assignment{AdamID: "1", PricingParam: "PLUS", ClientUserID: "b"}))
	require.False(t, u.HasAssignment(fake.Assignment{AdamID: "nothing"}))
	require.False(t, u.HasAssignment(fake.Assignment{AdamID: "1", SerialNumber: "S"}))

	u.AddAsset(fake.Asset{AdamID: "1", Total: 9, SupportedPlatforms: []string{"macOS"}})
	require.Equal(t, [4]int{1, 8, 0, 9}, counts(t, u, "1"), "assignments stay")
}

func TestPartialFailureNamesExactlyWhatFailed(t *testing.T) {
	setup := func(t *testing.T, opts ...fake.Option) object {
		_, u, c := inMemory(t, opts...)
		u.AddAsset(fake.Asset{AdamID: "1", Total: 100})
		u.AddAsset(fake.Asset{AdamID: "2", Total: 2})
		u.AddAsset(fake.Asset{AdamID: "3", Total: 1})
		for _, id := range []string{"a", "b", "c"} {
			u.AddUser(fake.User{ClientUserID: id})
		}
		u.FailTarget("c", 9603)
		u.FailTarget("zz", 9603)
		u.FailTarget("zz", 0)
		return c.finished(u, "assets/associate", manage([]string{"1", "2", "3", "4"}, []string{"a", "b", "c"}, []string{"S"}))
	}
	asset := func(id string) any { return object{"adamId": id, "pricingParam": "STDQ"} }
	failure := func(number float64, info object) object {
		return object{"errorNumber": number, "errorInfo": info}
	}
	check := func(status object, want ...any) {
		t.Helper()
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, 16, status["numRequested"])
		require.EqualValues(t, 3+2+1, status["numCompleted"])
		got := status["failures"].([]any)
		for _, f := range got {
			require.NotEmpty(t, f.(object)["errorMessage"])
			delete(f.(object), "errorMessage")
		}
		require.Empty(t, cmp.Diff(want, got))
	}

	check(setup(t),
		failure(9603, object{"assets": []any{asset("1"), asset("2"), asset("3"), asset("4")}, "clientUserIds": []any{"c"}}),
		failure(9709, object{"assets": []any{asset("2")}, "serialNumbers": []any{"S"}}),
		failure(9709, object{"assets": []any{asset("3")}, "clientUserIds": []any{"b"}, "serialNumbers": []any{"S"}}),
		failure(9709, object{"assets": []any{asset("4")}, "clientUserIds": []any{"a", "b"}, "serialNumbers": []any{"S"}}),
	)
	check(setup(t, fake.WithLooseErrorInfo()),
		failure(9603, object{"assets": []any{asset("1"), asset("2"), asset("3"), asset("4")}, "clientUserIds": []any{"c"}}),
		failure(9709, object{
			"assets":        []any{asset("2"), asset("3"), asset("4")},
			"clientUserIds": []any{"a", "b"}, "serialNumbers": []any{"S"},
		}),
	)
}

func TestUnknownUsersCanFailLater(t *testing.T) {
	_, u, c := inMemory(t, fake.WithAsyncUserNotFound())
	u.AddAsset(fake.Asset{AdamID: "1", Total: 100})
	u.AddAsset(fake.Asset{AdamID: "2", Total: 100})
	for i := range 7 {
		u.AddUser(fake.User{ClientUserID: fmt.Sprint(i)})
	}
	status := c.finished(u, "assets/associate", manage([]string{"1", "2"}, append(ids("", 7), "who"), nil))
	require.EqualValues(t, 14, status["numCompleted"])
	require.EqualValues(t, 16, status["numRequested"])
	require.Len(t, status["failures"], 1)

	for _, path := range []string{"assets/disassociate", "assets/revoke"} {
		body := manage([]string{"1"}, []string{"0", "who"}, nil)
		status = c.finished(u, path, body)
		require.Equal(t, "FAILED", status["eventStatus"])
		f := items(t, status, "failures")[0]
		require.EqualValues(t, 9609, f["errorNumber"])
		require.Equal(t, []any{"who"}, f["errorInfo"].(object)["clientUserIds"])
	}
	for _, path := range []string{"users/update", "users/retire"} {
		status = c.finished(u, path, users("0", "who"))
		require.EqualValues(t, 1, status["numCompleted"])
		require.EqualValues(t, 9609, items(t, status, "failures")[0]["errorNumber"])
	}
}

func TestAUserRetiredMeanwhileFails(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
	u.AddUser(fake.User{ClientUserID: "a", Status: fake.UserAssociated})
	u.AddSubscription(fake.Subscription{AdamID: 7, Total: fake.Seats{Renewing: 1}})
	c.event("users/retire", users("a"))
	associate := c.event("assets/associate", manage([]string{"1"}, []string{"a"}, nil))
	subscribe := c.event("subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"a"}, "renewing": true})
	u.FinishEvents()
	for id, number := range map[string]int{associate: 9609, subscribe: 9814} {
		status := c.get("status?eventId=" + id)
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, number, items(t, status, "failures")[0]["errorNumber"])
	}
}

func TestDevices(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 5})
	u.AddDevices("KNOWN")
	status := c.finished(u, "assets/associate", manage([]string{"1"}, nil, []string{"KNOWN", "MADEUP"}))
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.EqualValues(t, 2, status["numCompleted"])
	require.Equal(t, []fake.Assignment{{AdamID: "1", PricingParam: "STDQ", SerialNumber: "KNOWN"}}, u.Assignments())
	require.Equal(t, [4]int{1, 4, 0, 5}, counts(t, u, "1"))
}

func TestRevoke(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "book", ProductType: fake.ProductBook})
	u.AddAssignments(
		fake.Assignment{AdamID: "1", ClientUserID: "a"},
		fake.Assignment{AdamID: "2", ClientUserID: "a"},
		fake.Assignment{AdamID: "book", ClientUserID: "a"},
		fake.Assignment{AdamID: "1", ClientUserID: "b"},
		fake.Assignment{AdamID: "1", SerialNumber: "S"},
		fake.Assignment{AdamID: "1", SerialNumber: "S"}, // once is enough
	)
	u.AddAssignments()
	u.FailTarget("S", 9603)
	status := c.finished(u, "assets/revoke", manage(nil, []string{"a"}, []string{"S", "T"}))
	require.EqualValues(t, 3, status["numRequested"])
	require.EqualValues(t, 2, status["numCompleted"])
	require.Equal(t, "REVOKE", status["eventType"])
	require.Equal(t, []fake.Assignment{
		{AdamID: "book", PricingParam: "STDQ", ClientUserID: "a"},
		{AdamID: "1", PricingParam: "STDQ", ClientUserID: "b"},
		{AdamID: "1", PricingParam: "STDQ", SerialNumber: "S"},
	}, u.Assignments())
	require.Equal(t, [4]int{2, 1, 0, 3}, counts(t, u, "1"))
}

func TestBecameIrrevocableMeanwhile(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAssignments(fake.Assignment{AdamID: "1", SerialNumber: "S"})
	id := c.event("assets/disassociate", manage([]string{"1"}, nil, []string{"S"}))
	u.AddAsset(fake.Asset{AdamID: "1", Irrevocable: true})
	u.FinishEvents()
	require.EqualValues(t, 9706, items(t, c.get("status?eventId="+id), "failures")[0]["errorNumber"])
}

func TestUserLife(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "11", Total: 5})
	u.AddAsset(fake.Asset{AdamID: "12", Total: 5, ProductType: fake.ProductBook})
	u.AddSubscription(fake.Subscription{AdamID: 7, Total: fake.Seats{Renewing: 1}})

	create := func(users ...object) object {
		return c.finished(u, "users/create", object{"users": users})
	}
	one := func() object { return items(t, c.get("users?activeOnly=true&clientUserId=u"), "users")[0] }

	require.Equal(t, "COMPLETE", create(object{"clientUserId": "u", "email": "u@x.example"})["eventStatus"])
	invited := one()
	require.Len(t, invited["inviteCode"], 32)
	require.Equal(t, "Registered", invited["status"])
	require.NotContains(t, invited, "idHash")

	require.EqualValues(t, 9716, items(t, create(object{"clientUserId": "u"}), "failures")[0]["errorNumber"])

	require.True(t, u.AcceptInvitation("u"))
	require.False(t, u.AcceptInvitation("u"))
	require.False(t, u.AcceptInvitation("who"))
	accepted := one()
	require.Equal(t, "Associated", accepted["status"])
	require.Equal(t, invited["inviteCode"], accepted["inviteCode"])
	require.Len(t, accepted["idHash"], 28)

	// Managed accounts belong to one user each.
	require.Equal(t, "COMPLETE", create(object{"clientUserId": "m", "managedAppleId": "m@x.example"})["eventStatus"])
	status := create(
		object{"clientUserId": "n", "managedAppleId": "M@x.example"},
		object{"clientUserId": "o", "managedAppleId": "nonsense"},
		object{"clientUserId": "p"},
	)
	require.EqualValues(t, 1, status["numCompleted"])
	require.EqualValues(t, 9641, items(t, status, "failures")[0]["errorNumber"])
	require.EqualValues(t, 9635, items(t, status, "failures")[1]["errorNumber"])

	status = c.finished(u, "users/update", object{"users": []object{
		{"clientUserId": "p", "email": "p@x.example", "managedAppleId": "p@x.example"},
		{"clientUserId": "m"},
	}})
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.Equal(t, "UPDATE", status["eventType"])
	p := items(t, c.get("users?clientUserId=p"), "users")[0]
	require.Equal(t, "p@x.example", p["email"])
	require.Equal(t, "Associated", p["status"])
	require.NotContains(t, p, "inviteCode")

	// Retiring gives back what can be given back.
	c.finished(u, "assets/associate", manage([]string{"11"}, []string{"u"}, nil))
	u.AddAssignments(fake.Assignment{AdamID: "11", ClientUserID: "u"}, fake.Assignment{AdamID: "12", ClientUserID: "u"})
	c.finished(u, "subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"u"}, "renewing": true})
	c.post("subscriptions/admins/add", object{"adamIds": []int{7}, "clientUserIds": []string{"u"}})
	require.Equal(t, []string{"u"}, u.SubscriptionAdmins(7))
	before := c.get("assignments")["versionId"]
	require.Equal(t, "COMPLETE", c.finished(u, "users/retire", users("u"))["eventStatus"])
	require.Equal(t, [4]int{0, 5, 0, 5}, counts(t, u, "11"))
	require.Equal(t, [4]int{0, 4, 1, 5}, counts(t, u, "12"))
	require.Empty(t, u.SubscriptionAssignments())
	require.Empty(t, u.SubscriptionAdmins(7))
	require.NotEqual(t, before, c.get("assignments")["versionId"])
	require.Len(t, c.get("assignments")["assignments"], 1)
	require.Empty(t, c.get("assignments?excludeInactiveUsers=true")["assignments"])
	book := items(t, c.get("assignments?includeUserState=true"), "assignments")[0]
	require.Equal(t, "Retired", book["userStatus"])
	require.Equal(t, accepted["idHash"], book["idHash"])
	require.Equal(t, "COMPLETE", c.finished(u, "users/retire", users("u"))["eventStatus"], "it is retired already")
	require.Equal(t, "COMPLETE", c.finished(u, "assets/disassociate", manage([]string{"11"}, []string{"u"}, nil))["eventStatus"])

	// The same clientUserId again is a second entry.
	create(object{"clientUserId": "u"})
	entries := items(t, c.get("users?clientUserId=u"), "users")
	require.Len(t, entries, 2)
	require.Equal(t, "Retired", entries[0]["status"])
	require.Equal(t, accepted["idHash"], entries[0]["idHash"])
	require.Equal(t, "Registered", entries[1]["status"])
	require.Len(t, c.get("users?retiredOnly=true")["users"], 1)
	require.Len(t, c.get("users?activeOnly=true")["users"], 3)
	require.Len(t, u.Users(), 4)
	require.True(t, u.HasAssignment(fake.Assignment{AdamID: "12", ClientUserID: "u"}))

	u.AddUser(fake.User{ClientUserID: "u", Status: fake.UserAssociated, Email: "new@x.example"})
	require.Len(t, u.Users(), 4, "an active user is replaced")
	u.AddUser(fake.User{ClientUserID: "u", Status: fake.UserDeleted})
	require.Len(t, u.Users(), 5)
}

func TestUnlimitedAssets(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 2})
	u.AddAsset(fake.Asset{AdamID: "2", Unlimited: true})
	u.Purchase("2", "", 5)
	all := items(t, c.get("assets"), "assets")
	require.Len(t, all, 2)
	require.EqualValues(t, 2147483647, all[1]["totalCount"])
	require.EqualValues(t, 2147483647, all[1]["availableCount"])

	apart := c.get("assets?unlimited=true")
	require.Len(t, apart["assets"], 1)
	require.EqualValues(t, 2, apart["size"])
	free := items(t, apart, "unlimitedAssets")
	require.Empty(t, cmp.Diff([]object{{
		"adamId": "2", "assignedCount": 0.0, "deviceAssignable": true, "pricingParam": "STDQ",
		"productType": "App", "revocable": true, "supportedPlatforms": []any{"iOS"},
	}}, free))
	require.Empty(t, c.get("assets?unlimited=true&adamId=1")["unlimitedAssets"])

	without := c.get("assets?unlimited=false")
	require.Len(t, without["assets"], 1)
	require.NotContains(t, without, "unlimitedAssets")
}

func TestAssetFilters(t *testing.T) {
	_, u, c := inMemory(t)
	u.AddAsset(fake.Asset{AdamID: "1", Total: 5})
	u.AddAsset(fake.Asset{AdamID: "1", PricingParam: fake.PricingPlus, Total: 10, Irrevocable: true})
	u.AddAsset(fake.Asset{AdamID: "2", Total: 20, UsersOnly: true})
	u.AddAsset(fake.Asset{AdamID: "3", Total: 30, ProductType: fake.ProductBook})
	u.AddAssignments(
		fake.Assignment{AdamID: "2", ClientUserID: "a"}, fake.Assignment{AdamID: "3", ClientUserID: "a"},
		fake.Assignment{AdamID: "3", ClientUserID: "b"},
	)
	for query, want := range map[string]int{
		"":                                      4,
		"adamId=1":                              2,
		"adamId=1&pricingParam=PLUS":            1,
		"adamId=":                               0,
		"productType=App":                       3,
		"productType=Book":                      1,
		"revocable=true":                        2,
		"revocable=false":                       2,
		"deviceAssignable=true":                 2,
		"deviceAssignable=false":                2,
		"minAvailableCount=10":                  3,
		"maxAvailableCount=10":                  2,
		"maxAvailableCount=0":                   0,
		"minAssignedCount=1":                    2,
		"maxAssignedCount=1":                    3,
		"minAssignedCount=1&maxAssignedCount=1": 1,
		"unknown=parameter":                     4,
	} {
		require.Len(t, c.get("assets?" + query)["assets"], want, query)
	}
}

func TestEventsOfAUnitAreCarriedOutInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays := []time.Duration{40 * time.Second, 10 * time.Second, fake.Never, 60 * time.Second}
		_, u, c := inMemory(t, fake.WithEventDelayFunc(func(fake.Event) time.Duration {
			d := delays[0]
			delays = delays[1:]
			return d
		}))
		u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
		start := time.Now()
		var events []string
		for _, path := range []string{"assets/associate", "assets/disassociate", "assets/associate", "assets/associate"} {
			events = append(events, c.event(path, manage([]string{"1"}, nil, []string{"S"})))
		}
		states := func() (out []string) {
			for _, id := range events {
				out = append(out, c.get("status?eventId=" + id)["eventStatus"].(string))
			}
			return out
		}
		const pending, complete = fake.EventPending, fake.EventComplete
		time.Sleep(40*time.Second - 1)
		require.Equal(t, []string{pending, pending, pending, pending}, states())
		require.Empty(t, u.Assignments())
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{complete, complete, pending, pending}, states(), "none ends before an earlier one")
		require.Empty(t, u.Assignments())
		time.Sleep(20*time.Second - 1)
		require.Empty(t, u.Assignments())
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{complete, complete, pending, complete}, states(), "but one stays for ever")
		require.Len(t, u.Assignments(), 1)

		all := u.Events()
		require.Equal(t, start.Add(40*time.Second), all[1].Finished)
		require.Equal(t, start, all[2].Accepted)
		require.Zero(t, all[2].Finished)
		require.Equal(t, "assets/disassociate", all[1].Path)
		u.FinishEvents()
		require.Equal(t, []string{complete, complete, complete, complete}, states())
	})
}

func TestHeldEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, u, c := inMemory(t, fake.WithEventDelay(time.Second))
		srv.HoldEvents(true)
		id := c.event("users/create", users("a"))
		time.Sleep(time.Hour)
		status := c.get("status?eventId=" + id)
		require.Equal(t, "PENDING", status["eventStatus"])
		require.EqualValues(t, 0, status["numCompleted"])
		require.EqualValues(t, 1, status["numRequested"])
		require.NotContains(t, status, "failures")
		late := c.event("users/create", users("b"))
		srv.HoldEvents(false)
		require.Equal(t, "COMPLETE", c.get("status?eventId=" + id)["eventStatus"])
		require.Equal(t, time.Now(), u.Events()[0].Finished)
		require.Equal(t, "PENDING", c.get("status?eventId=" + late)["eventStatus"])
		time.Sleep(time.Second)
		require.Equal(t, "COMPLETE", c.get("status?eventId=" + late)["eventStatus"])
	})
}

func TestForcedFailures(t *testing.T) {
	_, u, c := inMemory(t)
	u.FailNextEvent(9644)
	u.FailNextEvent(9603)
	for _, number := range []int{9644, 9603} {
		status := c.finished(u, "users/create", users("a", "b"))
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, 0, status["numCompleted"])
		f := items(t, status, "failures")[0]
		require.EqualValues(t, number, f["errorNumber"])
		require.Equal(t, []any{"a", "b"}, f["errorInfo"].(object)["clientUserIds"])
	}
	require.Empty(t, u.Users())
	require.Equal(t, "COMPLETE", c.finished(u, "users/create", users("a", "b"))["eventStatus"])
}

func TestOwner(t *testing.T) {
	_, u, c := inMemory(t)
	require.NotContains(t, c.get("users"), "mdmInfo")
	out := c.post("subscriptions/enable", nil)
	require.Contains(t, out, "mdmInfo")
	require.Nil(t, out["mdmInfo"])

	info := object{"id": "me", "name": "Me", "metadata": ""}
	require.Equal(t, info, c.post("client/config", object{"mdmInfo": info})["mdmInfo"])
	event := c.event("users/create", users("a"))
	u.TakeOver(fake.MDMInfo{ID: "them", Name: "Them", Metadata: "x"})
	theirs := object{"id": "them", "name": "Them", "metadata": "x"}
	for _, path := range []string{"users", "assets", "assignments", "client/config", "status?eventId=" + event} {
		require.Equal(t, theirs, c.get(path)["mdmInfo"], path)
	}
	require.Equal(t, theirs, c.post("users/create", users("b"))["mdmInfo"])
	require.Equal(t, theirs, c.post("subscriptions/disable", nil)["mdmInfo"])
	require.Equal(t, "them", u.ClientConfig().MDMInfo.ID)
	require.False(t, u.SubscriptionsEnabled())
}

func TestTokenExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		_, u, c := inMemory(t, fake.WithTokenLifetime(30*day), fake.WithPromptedTokenExpiry())
		require.NotContains(t, c.get("assets"), "tokenExpirationDate")
		time.Sleep(16 * day)
		require.Equal(t, "2000-01-31T00:00:00+0000", c.get("assets")["tokenExpirationDate"])
		time.Sleep(14*day - 1)
		c.get("assets")
		time.Sleep(time.Nanosecond)
		c.refused(401, 9621, http.MethodGet, "assets", nil)
		c.token = u.AddToken()
		c.get("assets")
	})
}
