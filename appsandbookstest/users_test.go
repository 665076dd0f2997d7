package appsandbookstest_test

import (
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A user is created, accepts the invitation, is updated, is retired, and is
// created again as a second entry.
func TestUnit_Users_lifecycle(t *testing.T) {
	_, u, c := newServer(t)
	u.AddAsset(fake.Asset{AdamID: "11", Total: 5})
	u.AddAsset(fake.Asset{AdamID: "12", Total: 5, ProductType: fake.ProductBook})
	u.AddSubscription(fake.Subscription{AdamID: 7, Total: fake.Seats{Renewing: 1}})

	create := func(users ...object) object {
		return c.finish(u, "users/create", object{"users": users})
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

	// A managedAppleId can belong to only one active user.
	require.Equal(t, "COMPLETE", create(object{"clientUserId": "m", "managedAppleId": "m@x.example"})["eventStatus"])
	status := create(
		object{"clientUserId": "n", "managedAppleId": "M@x.example"},
		object{"clientUserId": "o", "managedAppleId": "nonsense"},
		object{"clientUserId": "p"},
	)
	require.EqualValues(t, 1, status["numCompleted"])
	require.EqualValues(t, 9641, items(t, status, "failures")[0]["errorNumber"])
	require.EqualValues(t, 9635, items(t, status, "failures")[1]["errorNumber"])

	status = c.finish(u, "users/update", object{"users": []object{
		{"clientUserId": "p", "email": "p@x.example", "managedAppleId": "p@x.example"},
		{"clientUserId": "m"},
	}})
	require.Equal(t, "COMPLETE", status["eventStatus"])
	require.Equal(t, "UPDATE", status["eventType"])
	p := items(t, c.get("users?clientUserId=p"), "users")[0]
	require.Equal(t, "p@x.example", p["email"])
	require.Equal(t, "Associated", p["status"])
	require.NotContains(t, p, "inviteCode")

	// Retiring a user removes the user's revocable assignments, seats and
	// administrator roles.
	c.finish(u, "assets/associate", assetsBody([]string{"11"}, []string{"u"}, nil))
	u.AddAssignments(fake.Assignment{AdamID: "11", ClientUserID: "u"}, fake.Assignment{AdamID: "12", ClientUserID: "u"})
	c.finish(u, "subscriptions/associate", object{"adamIds": []int{7}, "clientUserIds": []string{"u"}, "renewing": true})
	c.post("subscriptions/admins/add", object{"adamIds": []int{7}, "clientUserIds": []string{"u"}})
	require.Equal(t, []string{"u"}, u.SubscriptionAdmins(7))
	before := c.get("assignments")["versionId"]
	require.Equal(t, "COMPLETE", c.finish(u, "users/retire", usersBody("u"))["eventStatus"])
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
	require.Equal(t, "COMPLETE", c.finish(u, "users/retire", usersBody("u"))["eventStatus"], "retiring a retired user succeeds")
	require.Equal(t, "COMPLETE", c.finish(u, "assets/disassociate", assetsBody([]string{"11"}, []string{"u"}, nil))["eventStatus"])

	// If the same clientUserId is created again, the list has a second entry.
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
