package appsandbookstest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// ids returns n different ids.
func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}

func users(ids ...string) object {
	list := make([]object, len(ids))
	for i, id := range ids {
		list[i] = object{"clientUserId": id}
	}
	return object{"users": list}
}

// Every error number that a request can be refused with.
func TestRefusals(t *testing.T) {
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
		{400, 9602, "adamId", post, "assets/associate", manage([]string{"x1"}, user, nil), nil},
		{400, 9602, "price of a request", post, "assets/associate", object{"assets": []object{{"adamId": "1", "pricingParam": "GOLD"}}, "clientUserIds": user}, nil},
		{400, 9602, "empty user", post, "assets/associate", manage(app, []string{""}, nil), nil},
		{400, 9602, "empty device", post, "assets/associate", manage(app, nil, []string{""}), nil},
		{400, 9602, "empty clientUserId", post, "users/create", users(""), nil},
		{400, 9602, "empty user of a subscription", post, "subscriptions/associate", subs([]int{7}, ""), nil},
		{400, 9602, "notification type", post, "client/config", object{"notificationTypes": []string{"NEWS"}}, nil},
		{400, 9602, "secret", post, "client/config", receiver("https://a.example/", "sp ace"), nil},
		{400, 9609, "user not found", post, "assets/associate", manage(app, []string{"user-1", "who", "ret"}, nil), object{"clientUserIds": []any{"who", "ret"}}},
		{400, 9609, "user not found", post, "assets/revoke", manage(nil, []string{"who", "ret"}, nil), object{"clientUserIds": []any{"who"}}},
		{400, 9609, "user to update", post, "users/update", users("ret"), object{"clientUserIds": []any{"ret"}}},
		{400, 9609, "user to retire", post, "users/retire", users("who"), object{"clientUserIds": []any{"who"}}},
		{400, 9650, "page", get, "assets?pageIndex=1", nil, nil},
		{400, 9650, "negative page", get, "users?pageIndex=-1", nil, nil},
		{400, 9650, "page of assignments", get, "assignments?pageIndex=2", nil, nil},
		{400, 9602, "page", get, "assets?pageIndex=one", nil, nil},
		{400, 9700, "assets", post, "assets/associate", manage(ids("1", 26), user, nil), nil},
		{400, 9701, "users", post, "assets/associate", manage(app, ids("u", 1001), nil), nil},
		{400, 9702, "devices", post, "assets/disassociate", manage(app, nil, ids("S", 1001)), nil},
		{400, 9701, "users of revoke", post, "assets/revoke", manage(nil, ids("u", 101), nil), nil},
		{400, 9702, "devices of revoke", post, "assets/revoke", manage(nil, nil, ids("S", 101)), nil},
		{400, 9703, "asset twice", post, "assets/associate", manage([]string{"1", "2", "1"}, user, nil), object{"assets": []any{object{"adamId": "1", "pricingParam": "STDQ"}}}},
		{400, 9704, "user twice", post, "assets/associate", manage(app, []string{"a", "a"}, nil), object{"clientUserIds": []any{"a"}}},
		{400, 9705, "device twice", post, "assets/associate", manage(app, nil, []string{"S", "S", "S"}), object{"serialNumbers": []any{"S"}}},
		{400, 9706, "book", post, "assets/disassociate", manage([]string{"1", "3"}, user, nil), object{"assets": []any{object{"adamId": "3", "pricingParam": "STDQ"}}}},
		{400, 9707, "book on a device", post, "assets/associate", manage([]string{"3"}, user, device), object{"assets": []any{object{"adamId": "3", "pricingParam": "STDQ"}}}},
		{400, 9708, "event", get, "status?eventId=nobody", nil, nil},
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
		{400, 9714, "too many users", post, "users/create", users(ids("u", 101)...), nil},
		{400, 9715, "user twice", post, "users/retire", users("a", "b", "a"), object{"clientUserIds": []any{"a"}}},
		{400, 9717, "email", post, "users/create", object{"users": []object{{"clientUserId": "a", "email": "me at home"}}}, object{"clientUserIds": []any{"a"}}},
		{400, 9718, "no assets", post, "assets/associate", manage(nil, user, nil), nil},
		{400, 9718, "null", post, "assets/associate", "null", nil},
		{400, 9719, "nobody", post, "assets/associate", manage(app, nil, nil), nil},
		{400, 9719, "nobody to revoke", post, "assets/revoke", object{}, nil},
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
			_, u, c := inMemory(t)
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

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}

func TestErrorInfoCanBeLeftOut(t *testing.T) {
	_, u, c := inMemory(t, fake.WithoutErrorInfo())
	require.NotContains(t, c.refused(400, 9609, http.MethodPost, "users/update", users("who")), "errorInfo")

	u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
	status := c.finished(u, "assets/associate", manage([]string{"1"}, nil, []string{"A", "B", "C"}))
	require.Equal(t, "FAILED", status["eventStatus"])
	failures := items(t, status, "failures")
	require.Len(t, failures, 1)
	require.NotContains(t, failures[0], "errorInfo")
}

func TestAuthorization(t *testing.T) {
	srv, u, c := inMemory(t)
	send := func(path string, values ...string) (int, object) {
		t.Helper()
		req := c.request(http.MethodGet, path, nil)
		req.Header["Authorization"] = values
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode, decode(t, resp)
	}
	for _, tt := range []struct {
		name           string
		values         []string
		status, number int
	}{
		{"missing", nil, 401, 9722},
		{"twice", []string{"Bearer " + u.Token(), "Bearer " + u.Token()}, 401, 9722},
		{"joined", []string{"Bearer " + u.Token() + ", Bearer " + u.Token()}, 401, 9722},
		{"scheme", []string{"Basic " + u.Token()}, 401, 9722},
		{"bare", []string{u.Token()}, 401, 9722},
		{"empty", []string{"Bearer "}, 401, 9722},
		{"unknown", []string{"Bearer abc"}, 401, 9601},
		{"inner token", []string{"Bearer " + innerToken(t, u.Token())}, 200, 9622},
		{"lower case", []string{"bearer " + u.Token()}, 200, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out := send("client/config", tt.values...)
			require.Equal(t, tt.status, status)
			number, _ := out["errorNumber"].(float64)
			require.EqualValues(t, tt.number, number)
			status, _ = send("service/config", tt.values...)
			require.Equal(t, 200, status, "service/config asks for no token")
		})
	}
	require.NotContains(t, fmt.Sprintf("%+v", srv.Requests()), u.Token())
}

func TestTokens(t *testing.T) {
	_, u, c := inMemory(t, fake.WithMalformedTokenStatus(http.StatusUnauthorized))
	for state, want := range map[fake.TokenState][2]int{
		fake.TokenExpired:   {401, 9621},
		fake.TokenRevoked:   {401, 9625},
		fake.TokenMalformed: {401, 9622},
	} {
		u.SetTokenState(state)
		c.refused(want[0], want[1], http.MethodGet, "assets", nil)
	}
	u.SetTokenState(fake.TokenReadOnly)
	c.get("assets")
	c.refused(403, 9637, http.MethodPost, "users/create", users("a"))
	u.SetTokenState(fake.TokenValid)
	c.get("assets")

	second := u.AddToken()
	require.NotEqual(t, c.token, second)
	c.get("assets")
	newest := u.ReplaceToken()
	c.refused(401, 9625, http.MethodGet, "assets", nil)
	c.token = second
	c.refused(401, 9625, http.MethodGet, "assets", nil)
	c.token = newest
	require.Equal(t, newest, u.Token())
	require.Equal(t, u.UID(), c.get("assets")["uId"])
}

func TestUnitsAreApart(t *testing.T) {
	srv, one, c := inMemory(t)
	two := srv.NewUnit("ORG12345")
	require.NotEqual(t, one.UID(), two.UID())
	require.NotEqual(t, one.Token(), two.Token())
	two.AddAsset(fake.Asset{AdamID: "1", Total: 3})
	require.Empty(t, c.get("assets")["assets"])
	id := c.event("assets/associate", manage([]string{"1"}, nil, []string{"S"}))
	c.token = two.Token()
	require.Len(t, c.get("assets")["assets"], 1)
	c.refused(400, 9708, http.MethodGet, "status?eventId="+id, nil)
	require.Equal(t, "ORG12345", c.get("client/config")["locationName"])

	other := fake.NewServer(fake.WithSeed(2))
	defer other.Close()
	require.NotEqual(t, one.Token(), other.Unit().Token())
}

func TestUnknownPathsAndContentTypes(t *testing.T) {
	srv, _, c := inMemory(t)
	for _, path := range []string{"nothing", "assets/", "../v1/assets"} {
		resp, err := c.client.Do(c.request(http.MethodGet, path, nil))
		require.NoError(t, err)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.Equal(t, 404, resp.StatusCode, path)
		require.Contains(t, string(body), "<html>")
	}
	for value, status := range map[string]int{
		"text/plain": 415, "": 415, "application/json; charset=utf-8": 200, "APPLICATION/JSON": 200,
	} {
		req := c.request(http.MethodPost, "users/create", users("a"))
		req.Header.Set("Content-Type", value)
		resp, err := c.client.Do(req)
		require.NoError(t, err)
		out := decode(t, resp)
		require.Equal(t, status, resp.StatusCode, value)
		if status == 415 {
			require.EqualValues(t, 9727, out["errorNumber"])
		}
	}
	c.post("subscriptions/enable", nil)

	resp, err := c.client.Do(c.request(http.MethodPost, "assets", nil))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, []string{"GET"}, resp.Header["Allow"])

	c.refused(400, 9602, http.MethodPost, "users/create", strings.Repeat(" ", 9<<20)+"{}")
	require.NotEmpty(t, srv.Requests())
}

func TestLimits(t *testing.T) {
	srv, _, c := inMemory(t, fake.WithLimits(fake.Limits{MaxUsers: 2}))
	require.Equal(t, object{"maxUsers": 2.0}, c.get("service/config")["limits"])
	c.refused(400, 9714, http.MethodPost, "users/create", users("a", "b", "c"))
	c.refused(400, 9700, http.MethodPost, "assets/associate", manage(ids("1", 26), nil, []string{"S"}))
	for i := range 30 {
		c.post("users/create", users(fmt.Sprint(i)))
	}
	require.Empty(t, srv.Violations(), "no rate is announced")

	srv.SetLimits(func(l *fake.Limits) { l.MaxUsers = 3; l.MaxRequestPerSecond = 1 })
	require.Equal(t, object{"maxUsers": 3.0, "maxRequestPerSecond": 1.0}, c.get("service/config")["limits"])
	c.post("users/create", users("a", "b", "c"))
}
