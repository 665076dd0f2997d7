package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
)

// Every error number for refusals occurs, and a refusal changes and queues
// nothing.
func TestServer_refusals(t *testing.T) {
	const get, post = http.MethodGet, http.MethodPost
	long := strings.Repeat("x", 600)
	receiver := func(url, secret any) object {
		return object{"notificationUrl": url, "notificationAuthToken": secret}
	}
	mdm := func(id, name, metadata string) object {
		return object{"mdmInfo": object{"id": id, "name": name, "metadata": metadata}}
	}
	subs := func(adamIDs []int, users ...string) object {
		return object{"adamIds": adamIDs, "clientUserIds": users, "renewing": true}
	}
	app, user, device := []string{"1"}, []string{"user-1"}, []string{"S1"}

	for _, tt := range []struct {
		status, number int
		name           string
		method, path   string
		body           any
		info           object // of the answer
	}{
		{405, 9726, "method", post, "assets", object{}, nil},
		{405, 9726, "method of a write", get, "assets/associate", nil, nil},
		{405, 9726, "method of a path that has two", http.MethodPut, "client/config", object{}, nil},
		{400, 9602, "JSON", post, "assets/associate", "{", nil},
		{400, 9602, "trailing data", post, "assets/associate", "{} {}", nil},
		{400, 9602, "no body", post, "assets/associate", nil, nil},
		{400, 9602, "type", post, "assets/associate", `{"assets":[{"adamId":361309726}],"clientUserIds":["user-1"]}`, nil},
		{400, 9602, "type of a user", post, "users/create", `{"users":[{"clientUserId":7}]}`, nil},
		{400, 9602, "query", get, "assets?adamId=%zz", nil, nil},
		{400, 9602, "boolean", get, "assets?revocable=1", nil, nil},
		{400, 9602, "boolean of users", get, "users?activeOnly=yes", nil, nil},
		{400, 9602, "boolean of users", get, "users?retiredOnly=yes", nil, nil},
		{400, 9602, "boolean of unlimited", get, "assets?unlimited=", nil, nil},
		{400, 9602, "boolean of assignments", get, "assignments?includeUserState=x", nil, nil},
		{400, 9602, "boolean of assignments", get, "assignments?excludeInactiveUsers=x", nil, nil},
		{400, 9602, "boolean of admins", get, "subscriptions/admins?includeUserState=x", nil, nil},
		{400, 9602, "count", get, "assets?minAvailableCount=x", nil, nil},
		{400, 9602, "price", get, "assets?pricingParam=GOLD", nil, nil},
		{400, 9602, "price of assignments", get, "assignments?pricingParam=GOLD", nil, nil},
		{400, 9602, "product", get, "assets?productType=Film", nil, nil},
		{400, 9602, "contradiction", get, "users?activeOnly=true&retiredOnly=true", nil, nil},
		{400, 9602, "adamId", post, "assets/associate", assetsBody([]string{"x1"}, user, nil), nil},
		{400, 9602, "price of a request", post, "assets/associate", object{"assets": []object{{"adamId": "1", "pricingParam": "GOLD"}}, "clientUserIds": user}, nil},
		{400, 9602, "empty user", post, "assets/associate", assetsBody(app, []string{""}, nil), nil},
		{400, 9602, "empty device", post, "assets/associate", assetsBody(app, nil, []string{""}), nil},
		{400, 9602, "empty clientUserId", post, "users/create", usersBody(""), nil},
		{400, 9602, "empty user of a subscription", post, "subscriptions/associate", subs([]int{7}, ""), nil},
		{400, 9602, "notification type", post, "client/config", object{"notificationTypes": []string{"NEWS"}}, nil},
		{400, 9602, "secret", post, "client/config", receiver("https://a.example/", "sp ace"), nil},
		{400, 9609, "user not found", post, "assets/associate", assetsBody(app, []string{"user-1", "who", "ret"}, nil), object{"clientUserIds": []any{"who", "ret"}}},
		{400, 9609, "user not found", post, "assets/revoke", assetsBody(nil, []string{"who", "ret"}, nil), object{"clientUserIds": []any{"who"}}},
		{400, 9609, "user to update", post, "users/update", usersBody("ret"), object{"clientUserIds": []any{"ret"}}},
		{400, 9609, "user to retire", post, "users/retire", usersBody("who"), object{"clientUserIds": []any{"who"}}},
		{400, 9650, "page", get, "assets?pageIndex=1", nil, nil},
		{400, 9650, "negative page", get, "users?pageIndex=-1", nil, nil},
		{400, 9650, "page of assignments", get, "assignments?pageIndex=2", nil, nil},
		{400, 9602, "page", get, "assets?pageIndex=one", nil, nil},
		{400, 9700, "assets", post, "assets/associate", assetsBody(ids("1", 26), user, nil), nil},
		{400, 9701, "users", post, "assets/associate", assetsBody(app, ids("u", 1001), nil), nil},
		{400, 9702, "devices", post, "assets/disassociate", assetsBody(app, nil, ids("S", 1001)), nil},
		{400, 9701, "users of revoke", post, "assets/revoke", assetsBody(nil, ids("u", 101), nil), nil},
		{400, 9702, "devices of revoke", post, "assets/revoke", assetsBody(nil, nil, ids("S", 101)), nil},
		{400, 9703, "asset twice", post, "assets/associate", assetsBody([]string{"1", "2", "1"}, user, nil), object{"assets": []any{object{"adamId": "1", "pricingParam": "STDQ"}}}},
		{400, 9704, "user twice", post, "assets/associate", assetsBody(app, []string{"a", "a"}, nil), object{"clientUserIds": []any{"a"}}},
		{400, 9705, "device twice", post, "assets/associate", assetsBody(app, nil, []string{"S", "S", "S"}), object{"serialNumbers": []any{"S"}}},
		{400, 9706, "book", post, "assets/disassociate", assetsBody([]string{"1", "3"}, user, nil), object{"assets": []any{object{"adamId": "3", "pricingParam": "STDQ"}}}},
		{400, 9707, "book on a device", post, "assets/associate", assetsBody([]string{"3"}, user, device), object{"assets": []any{object{"adamId": "3", "pricingParam": "STDQ"}}}},
		{400, 9708, "event", get, "status?eventId=unknown", nil, nil},
		{400, 9708, "no event", get, "status", nil, nil},
		{400, 9710, "URL alone", post, "client/config", object{"notificationUrl": "https://a.example/"}, nil},
		{400, 9710, "secret alone", post, "client/config", object{"notificationAuthToken": "secret"}, nil},
		{400, 9710, "empty secret", post, "client/config", receiver("https://a.example/", ""), nil},
		{400, 9711, "long URL", post, "client/config", receiver("https://a.example/"+long, "secret"), nil},
		{400, 9711, "long secret", post, "client/config", receiver("https://a.example/", long), nil},
		{400, 9712, "http", post, "client/config", receiver("http://a.example/", "secret"), nil},
		{400, 9712, "query", post, "client/config", receiver("https://a.example/?x=1", "secret"), nil},
		{400, 9712, "fragment", post, "client/config", receiver("https://a.example/#x", "secret"), nil},
		{400, 9712, "user", post, "client/config", receiver("https://me@a.example/", "secret"), nil},
		{400, 9712, "no host", post, "client/config", receiver("https:///x", "secret"), nil},
		{400, 9712, "empty", post, "client/config", receiver("", "secret"), nil},
		{400, 9713, "metadata", post, "client/config", mdm("a", "b", long), nil},
		{400, 9714, "too many users", post, "users/create", usersBody(ids("u", 101)...), nil},
		{400, 9715, "user twice", post, "users/retire", usersBody("a", "b", "a"), object{"clientUserIds": []any{"a"}}},
		{400, 9717, "email", post, "users/create", object{"users": []object{{"clientUserId": "a", "email": "me at home"}}}, object{"clientUserIds": []any{"a"}}},
		{400, 9718, "no assets", post, "assets/associate", assetsBody(nil, user, nil), nil},
		{400, 9718, "null", post, "assets/associate", "null", nil},
		{400, 9719, "no targets", post, "assets/associate", assetsBody(app, nil, nil), nil},
		{400, 9719, "no targets to revoke", post, "assets/revoke", object{}, nil},
		{400, 9720, "no users", post, "users/create", object{"users": []object{}}, nil},
		{400, 9721, "version of users", get, "users?sinceVersionId=old", nil, nil},
		{400, 9721, "version of assignments", get, "assignments?sinceVersionId=", nil, nil},
		{400, 9723, "mdmInfo", post, "client/config", object{"mdmInfo": object{"id": "a", "name": "b"}}, nil},
		{400, 9724, "id", post, "client/config", mdm(long, "b", "c"), nil},
		{400, 9725, "name", post, "client/config", mdm("a", long, "c"), nil},
		{400, 9811, "no subscription", post, "subscriptions/associate", subs(nil, "user-1"), nil},
		{400, 9811, "no user", post, "subscriptions/admins/add", subs([]int{7}), nil},
		{400, 9811, "user twice", post, "subscriptions/associate", subs([]int{7}, "a", "a"), object{"clientUserIds": []any{"a"}}},
		{400, 9811, "paused", post, "subscriptions/associate", subs([]int{8}, "user-1"), nil},
		{400, 9812, "cursor", get, "subscriptions?cursor=x", nil, nil},
		{400, 9812, "cursor of assignments", get, "subscriptions/assignments?cursor=", nil, nil},
		{400, 9812, "cursor of admins", get, "subscriptions/admins?cursor=x", nil, nil},
		{400, 9813, "unknown subscription", post, "subscriptions/associate", subs([]int{9}, "user-1"), nil},
		{400, 9813, "filter", get, "subscriptions?adamId=x", nil, nil},
		{400, 9813, "filter of assignments", get, "subscriptions/assignments?parentAdamId=-1", nil, nil},
		{400, 9813, "filter of admins", get, "subscriptions/admins?adamId=", nil, nil},
		{400, 9814, "not associated", post, "subscriptions/associate", subs([]int{7}, "user-1", "invited", "who"), object{"clientUserIds": []any{"invited", "who"}}},
		{400, 9814, "admin", post, "subscriptions/admins/remove", subs([]int{7}, "who"), object{"clientUserIds": []any{"who"}}},
		{400, 9815, "not assigned", post, "subscriptions/disassociate", subs([]int{7}, "grouped", "user-1"), object{"clientUserIds": []any{"grouped", "user-1"}}},
		{400, 9816, "subscriptions", post, "subscriptions/associate", object{"adamIds": numbers(26), "clientUserIds": user}, nil},
		{400, 9816, "users of subscriptions", post, "subscriptions/disassociate", subs([]int{7}, ids("u", 1001)...), nil},
		{400, 9817, "group", post, "subscriptions/associate", subs([]int{7}, "grouped", "user-1"), object{"clientUserIds": []any{"grouped"}}},
		{400, 9818, "disable", post, "subscriptions/disable", nil, nil},
	} {
		t.Run(fmt.Sprintf("%d %s", tt.number, tt.name), func(t *testing.T) {
			_, u, c := newServer(t)
			u.AddAsset(fake.Asset{AdamID: "1", Total: 10})
			u.AddAsset(fake.Asset{AdamID: "3", Total: 10, ProductType: fake.ProductBook})
			u.AddUser(fake.User{ClientUserID: "user-1", ManagedAppleID: "a@b.example"})
			u.AddUser(fake.User{ClientUserID: "invited"})
			u.AddUser(fake.User{ClientUserID: "ret", Status: fake.UserRetired})
			u.AddSubscription(fake.Subscription{AdamID: 7, Total: fake.Seats{Renewing: 5}})
			u.AddSubscription(fake.Subscription{AdamID: 8, Status: fake.SubscriptionPaused})
			u.AddSubscriptionAssignments(fake.SubscriptionAssignment{AdamID: 7, ClientUserID: "grouped", ByGroup: true})

			out := c.refused(tt.status, tt.number, tt.method, tt.path, tt.body)
			info, _ := out["errorInfo"].(object)
			assert.Empty(t, cmp.Diff(tt.info, info))
			assert.Empty(t, u.Events(), "a refusal queues nothing")
			assert.Equal(t, fake.ClientConfig{}, u.ClientConfig(), "a refusal changes nothing")
		})
	}
}

// numbers returns the numbers from 1 to n.
func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}
