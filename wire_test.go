package appsandbooks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks"
)

// Shapes that the walkthrough lacks, with made-up values: decoded and encoded
// again, nothing is lost.
func TestShapesSurvive(t *testing.T) {
	const meta = `"uId":"204","tokenExpirationDate":"2031-02-03T04:05:06+0000","mdmInfo":{"id":"i","name":"n","metadata":"m"}`
	for name, test := range map[string]struct {
		into any
		body string
	}{
		"service config": {new(appsandbooks.ServiceConfig), `{
			"errorCodes":[{"errorNumber":9601,"errorMessage":"x"},{"errorNumber":12345,"errorMessage":"new"}],
			"limits":{"maxAssets":25,"maxRequestPerSecond":15,"maxSomethingNew":7},
			"notificationTypes":["ASSET_COUNT","SOMETHING_NEW"],
			"urls":{"getAssets":"https://vpp.itunes.apple.com/mdm/v2/assets","somethingNew":"https://x.example.com"}}`},
		"client config": {new(appsandbooks.ClientConfig), `{"countryISO2ACode":"US","defaultPlatform":"enterprisestore","locationName":"HQ",
			"notificationUrl":"https://mdm.example.com/n","subscribedNotificationTypes":[],"websiteURL":"https://business.apple.com",` + meta + `}`},
		"failed event": {new(appsandbooks.EventStatus), `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numCompleted":14,"numRequested":16,
			"failures":[{"errorNumber":9609,"errorMessage":"m","errorInfo":{"assets":[{"adamId":"1","pricingParam":"STDQ"}],"clientUserIds":["a"]}},
			{"errorNumber":9709,"errorMessage":"m","errorInfo":{"adamIds":[5],"clientUserIds":["b"]}},{"errorNumber":12345}],` + meta + `}`},
		"pending event": {new(appsandbooks.EventStatus), `{"eventStatus":"PENDING","eventType":"REVOKE","numCompleted":0,"numRequested":0,"uId":"204"}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, json.Unmarshal([]byte(test.body), test.into))
			encoded, err := json.Marshal(test.into)
			require.NoError(t, err)
			jsonEqual(t, test.body, string(encoded))
		})
	}
}

// Pages have all that the service sent, in each list.
func TestPageShapes(t *testing.T) {
	const tail = `"currentPageIndex":1,"nextPageIndex":2,"size":1,"totalPages":4,"versionId":"v","uId":"204",` +
		`"tokenExpirationDate":"2031-02-03T04:05:06+0000","mdmInfo":{"id":"i","name":"n","metadata":"m"}}`
	date := appsandbooks.Time{Time: time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)}
	meta := appsandbooks.Meta{UID: "204", TokenExpirationDate: date, MDMInfo: &appsandbooks.MDMInfo{ID: "i", Name: "n", Metadata: "m"}}
	client := func(body string) *appsandbooks.Client { c, _ := recordedClient(t, body); return c }

	users, err := client(`{"users":[
		{"clientUserId":"a","email":"a@example.com","inviteCode":"00ff","status":"Registered"},
		{"clientUserId":"a","idHash":"x=","status":"Retired"},
		{"clientUserId":"b","idHash":"y=","status":"SomethingNew"}],`+tail).Users.List(t.Context(), appsandbooks.UserFilter{})
	require.NoError(t, err)
	users.TokenExpirationDate = appsandbooks.Time{Time: users.TokenExpirationDate.UTC()}
	require.Equal(t, &appsandbooks.Page[appsandbooks.User]{Next: "2", Index: 1, TotalPages: 4, VersionID: "v", Meta: meta, Items: []appsandbooks.User{
		{ClientUserID: "a", Email: "a@example.com", InviteCode: "00ff", Status: appsandbooks.UserRegistered},
		{ClientUserID: "a", IDHash: "x=", Status: appsandbooks.UserRetired},
		{ClientUserID: "b", IDHash: "y=", Status: "SomethingNew"},
	}}, users)

	users, err = client(`{"users":[],"currentPageIndex":0,"size":0,"totalPages":1,"versionId":"v","uId":"204"}`).Users.List(t.Context(), appsandbooks.UserFilter{})
	require.NoError(t, err)
	require.Equal(t, &appsandbooks.Page[appsandbooks.User]{Items: []appsandbooks.User{}, TotalPages: 1, VersionID: "v", Meta: appsandbooks.Meta{UID: "204"}}, users)

	// Assets whose licenses are not counted come in a list of their own, without the counts.
	assets, err := client(`{"assets":[
		{"adamId":"1","pricingParam":"PLUS","productType":"Book","assignedCount":5000,"availableCount":10000,"retiredCount":7,
		 "totalCount":2147483647,"deviceAssignable":false,"revocable":false,"supportedPlatforms":["iOS","newOS"]}],
		"unlimitedAssets":[{"adamId":"2","pricingParam":"STDQ","productType":"App","assignedCount":3,"deviceAssignable":true,
		 "revocable":true,"supportedPlatforms":[]}],`+tail).Assets.List(t.Context(), appsandbooks.AssetFilter{})
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.Asset{
		{
			AssetID: appsandbooks.AssetID{AdamID: "1", PricingParam: appsandbooks.PricingPLUS}, ProductType: appsandbooks.ProductBook,
			AssignedCount: 5000, AvailableCount: 10000, RetiredCount: 7, TotalCount: appsandbooks.AssetUnlimited, SupportedPlatforms: []string{"iOS", "newOS"},
		},
		{
			AssetID: appsandbooks.AssetID{AdamID: "2", PricingParam: appsandbooks.PricingSTDQ}, ProductType: appsandbooks.ProductApp,
			AssignedCount: 3, TotalCount: appsandbooks.AssetUnlimited, DeviceAssignable: true, Revocable: true, SupportedPlatforms: []string{},
		},
	}, assets.Items)

	assignments, err := client(`{"assignments":[
		{"adamId":"1","pricingParam":"STDQ","serialNumber":"C02"},
		{"adamId":"1","pricingParam":"STDQ","clientUserId":"a","userStatus":"Associated","idHash":"x="}],`+tail).Assignments.List(t.Context(), appsandbooks.AssignmentFilter{})
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.Assignment{
		{AssetPair: appsandbooks.AssetPair{AdamID: "1", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02"}},
		{
			AssetPair:  appsandbooks.AssetPair{AdamID: "1", PricingParam: appsandbooks.PricingSTDQ, ClientUserID: "a"},
			UserStatus: appsandbooks.UserAssociated, IDHash: "x=",
		},
	}, assignments.Items)

	subscriptions, err := client(`{"subscriptions":[
		{"parentAdamId":null,"adamId":67890,"status":"PAUSED","periodEndDate":"2027-01-15","counts":{"total":{"renewing":3,"expiring":1}}},
		{"parentAdamId":9007199254740993,"adamId":9007199254740995}],"nextCursor":"abc","versionId":"1680000000001","uId":"204"}`).Subscriptions.List(t.Context(), appsandbooks.SubscriptionFilter{})
	require.NoError(t, err)
	require.Equal(t, &appsandbooks.Page[appsandbooks.Subscription]{
		Next: "abc", VersionID: "1680000000001", Meta: appsandbooks.Meta{UID: "204"}, Items: []appsandbooks.Subscription{
			{
				AdamID: 67890, Status: appsandbooks.SubscriptionPaused, PeriodEndDate: "2027-01-15",
				Counts: appsandbooks.SubscriptionCounts{Total: &appsandbooks.SeatCounts{Renewing: 3, Expiring: 1}},
			},
			{ParentAdamID: appsandbooks.Ptr(int64(9007199254740993)), AdamID: 9007199254740995},
		},
	}, subscriptions)

	seats, err := client(`{"assignments":[{"adamId":67890,"clientUserId":"a","renewing":true}],"nextCursor":"abc","uId":"204"}`).
		SubscriptionAssignments.List(t.Context(), appsandbooks.SubscriptionAssignmentFilter{})
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.SubscriptionAssignment{{SubscriptionPair: appsandbooks.SubscriptionPair{AdamID: 67890, ClientUserID: "a"}, Renewing: true}}, seats.Items)

	admins, err := client(`{"admins":[{"adamId":67890,"clientUserId":"a","idHash":"x=","userStatus":"Associated"}],"uId":"204"}`).
		SubscriptionAdmins.List(t.Context(), appsandbooks.SubscriptionAdminFilter{})
	require.NoError(t, err)
	require.Equal(t, []appsandbooks.SubscriptionAdmin{{
		SubscriptionPair: appsandbooks.SubscriptionPair{AdamID: 67890, ClientUserID: "a"}, IDHash: "x=", UserStatus: appsandbooks.UserAssociated,
	}}, admins.Items)
	require.Empty(t, admins.Next)
}

// Enable and Disable are done only if the answer shows the setting.
func TestSubscriptionsService_Enable_checksTheAnswer(t *testing.T) {
	for body, enabled := range map[string]any{
		`{"mdmInfo":null,"subscriptionManagement":true,"uId":"204"}`:  true,
		`{"mdmInfo":null,"subscriptionManagement":false,"uId":"204"}`: false,
		`{"uId":"204"}`: nil,
	} {
		c, _ := recordedClient(t, body, body)
		if err := c.Subscriptions.Enable(t.Context()); enabled == true {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		}
		if err := c.Subscriptions.Disable(t.Context()); enabled == false {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, appsandbooks.ErrAnswerDiffers)
		}
	}
}

// Missing fields, nulls and unknown ones are no reason to lose an answer.
func TestAnswersAreReadLeniently(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":    `{}`,
		"nulls":      `{"users":null,"nextPageIndex":null,"versionId":null,"uId":null,"tokenExpirationDate":null,"mdmInfo":null}`,
		"odd date":   `{"users":[],"tokenExpirationDate":"next year"}`,
		"date type":  `{"users":[],"tokenExpirationDate":1893456000}`,
		"new fields": `{"users":[{"clientUserId":"a","status":"Registered","age":7}],"brandNew":{"x":[1]}}`,
		"RFC 3339":   `{"users":[],"tokenExpirationDate":"2031-02-03T04:05:06.789Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := recordedClient(t, body)
			_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
			require.NoError(t, err)
		})
	}
	c, _ := recordedClient(t, `{"users":[{"clientUserId":5}]}`)
	_, err := c.Users.List(t.Context(), appsandbooks.UserFilter{})
	var wrong *json.UnmarshalTypeError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, 200, isError(t, err).StatusCode)
}

// A limit that is no number of ours must not take the others with it.
func TestOddLimits(t *testing.T) {
	c, _ := recordedClient(t, `{"limits":{"maxAssets":7,"maxUsers":"many","maxClientUserIds":1e30,"maxSerialNumbers":null,"perUser":{"x":1},"newLimit":3}}`)
	config, err := c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.Equal(t, appsandbooks.Limits{MaxAssets: 7, Other: map[string]int{"newLimit": 3}}, config.Limits)
}

// Every filter can be sent, with its zero value where that says something.
func TestFilters(t *testing.T) {
	const page, cursor = `{"currentPageIndex":0}`, `{}`
	for want, call := range map[string]struct {
		answer string
		call   func(context.Context, *appsandbooks.Client) error
	}{
		"users?activeOnly=true&clientUserId=a+b%26c&pageIndex=3&sinceVersionId=v": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{ListOptions: appsandbooks.ListOptions{Start: "3"}, ActiveOnly: true, ClientUserID: "a b&c", SinceVersionID: "v"})
			return err
		}},
		"users?retiredOnly=true": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Users.List(ctx, appsandbooks.UserFilter{RetiredOnly: true})
			return err
		}},
		"assets?adamId=1&deviceAssignable=true&maxAssignedCount=0&maxAvailableCount=0&minAssignedCount=0&minAvailableCount=0&pageIndex=1&pricingParam=PLUS&productType=Book&revocable=false&unlimited=false": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			zero := appsandbooks.Ptr(0)
			_, err := c.Assets.List(ctx, appsandbooks.AssetFilter{
				ListOptions: appsandbooks.ListOptions{Start: "1"}, AdamID: "1", ProductType: appsandbooks.ProductBook, PricingParam: appsandbooks.PricingPLUS,
				Revocable: appsandbooks.Ptr(false), DeviceAssignable: appsandbooks.Ptr(true), Unlimited: appsandbooks.Ptr(false),
				MinAvailableCount: zero, MaxAvailableCount: zero, MinAssignedCount: zero, MaxAssignedCount: zero,
			})
			return err
		}},
		"assets": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Assets.List(ctx, appsandbooks.AssetFilter{})
			return err
		}},
		"assignments?adamId=1&clientUserId=u&excludeInactiveUsers=true&includeUserState=true&pageIndex=2&pricingParam=STDQ&serialNumber=C02&sinceVersionId=v": {page, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Assignments.List(ctx, appsandbooks.AssignmentFilter{
				ListOptions: appsandbooks.ListOptions{Start: "2"}, AdamID: "1", PricingParam: appsandbooks.PricingSTDQ, ClientUserID: "u", SerialNumber: "C02",
				ExcludeInactiveUsers: true, IncludeUserState: true, SinceVersionID: "v",
			})
			return err
		}},
		"subscriptions?adamId=1&adamId=2&cursor=c%3D%3D&parentAdamId=9007199254740993": {cursor, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{
				ListOptions: appsandbooks.ListOptions{Start: "c=="}, AdamIDs: []int64{1, 2}, ParentAdamIDs: []int64{9007199254740993},
			})
			return err
		}},
		"subscriptions/assignments?adamId=1&clientUserId=a&clientUserId=b&cursor=c&parentAdamId=2": {cursor, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{
				ListOptions: appsandbooks.ListOptions{Start: "c"}, AdamIDs: []int64{1}, ParentAdamIDs: []int64{2}, ClientUserIDs: []string{"a", "b"},
			})
			return err
		}},
		"subscriptions/admins?adamId=1&cursor=c&includeUserState=true": {cursor, func(ctx context.Context, c *appsandbooks.Client) error {
			_, err := c.SubscriptionAdmins.List(ctx, appsandbooks.SubscriptionAdminFilter{ListOptions: appsandbooks.ListOptions{Start: "c"}, AdamIDs: []int64{1}, IncludeUserState: true})
			return err
		}},
	} {
		t.Run(want, func(t *testing.T) {
			c, r := recordedClient(t, call.answer)
			require.NoError(t, call.call(t.Context(), c))
			require.Equal(t, "/base/mdm/v2/"+want, r.requests[0].URL.RequestURI())
		})
	}
}

// The bodies of the writes that the walkthrough lacks.
func TestRequestBodies(t *testing.T) {
	change := appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: "2", PricingParam: appsandbooks.PricingPLUS}},
		ClientUserIDs: []string{"a"}, SerialNumbers: []string{"C02", "C03"},
	}
	expiring := appsandbooks.SubscriptionChange{AdamIDs: []int64{5}, ClientUserIDs: []string{"a"}, Expiring: true}
	deferred := appsandbooks.SubscriptionChange{AdamIDs: []int64{5}, ClientUserIDs: []string{"a"}, Deferred: true}
	type op = *appsandbooks.Operation
	for path, test := range map[string]struct {
		body string
		call func(context.Context, *appsandbooks.Client) (op, error)
	}{
		"assets/disassociate": {
			`{"assets":[{"adamId":"1","pricingParam":"STDQ"},{"adamId":"2","pricingParam":"PLUS"}],"clientUserIds":["a"],"serialNumbers":["C02","C03"]}`,
			func(ctx context.Context, c *appsandbooks.Client) (op, error) {
				return c.Assets.Disassociate(ctx, change)
			},
		},
		"assets/revoke": {`{"serialNumbers":["C02"]}`, func(ctx context.Context, c *appsandbooks.Client) (op, error) {
			return c.Assets.Revoke(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"C02", "C02"}})
		}},
		"users/update": {`{"users":[{"clientUserId":"a","email":"a@example.com"}]}`, func(ctx context.Context, c *appsandbooks.Client) (op, error) {
			return c.Users.Update(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "a", Email: "a@example.com"}}})
		}},
		"users/retire": {`{"users":[{"clientUserId":"a"},{"clientUserId":"b"}]}`, func(ctx context.Context, c *appsandbooks.Client) (op, error) {
			return c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{"a", "b", "a"}})
		}},
		"subscriptions/associate": {`{"adamIds":[5],"clientUserIds":["a"],"renewing":false}`, func(ctx context.Context, c *appsandbooks.Client) (op, error) {
			return c.Subscriptions.Associate(ctx, expiring)
		}},
		"subscriptions/disassociate": {`{"adamIds":[5],"clientUserIds":["a"],"deferred":true}`, func(ctx context.Context, c *appsandbooks.Client) (op, error) {
			return c.Subscriptions.Disassociate(ctx, deferred)
		}},
	} {
		t.Run(path, func(t *testing.T) {
			c, r := recordedClient(t, "walkthrough/01-service-config.response.json", "walkthrough/05-users-create.response.json")
			_, err := test.call(t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, "/base/mdm/v2/"+path, r.requests[1].URL.Path)
			jsonEqual(t, test.body, r.bodies[1])
		})
	}
	c, r := recordedClient(t, `{"subscriptionManagement":false}`, `{"uId":"1"}`, `{}`)
	err := c.Subscriptions.Disable(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.bodies[0])
	require.Empty(t, r.requests[0].Header["Content-Type"]) // there is no content
	err = c.SubscriptionAdmins.Remove(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"a"}})
	require.NoError(t, err)
	jsonEqual(t, `{"adamIds":[1],"clientUserIds":["a"]}`, r.bodies[1])
	require.NoError(t, c.Do(t.Context(), "PUT", "/some/thing", map[string][]string{"a": {"1"}}, nil, nil))
	require.Equal(t, "/base/mdm/v2/some/thing?a=1", r.requests[2].URL.RequestURI())
	for _, path := range []string{"", "a/../b", "a//b", "..", "a?b", "https://x.example.com", "a%2fb", `a\b`} {
		require.ErrorIs(t, c.Do(t.Context(), "GET", path, nil, nil, nil), appsandbooks.ErrInvalid, path)
	}
}

func TestErrors(t *testing.T) {
	// Each number of the reference's table, and the group it is in.
	numbers := []int{
		9601, 9602, 9603, 9609, 9621, 9622, 9623, 9625, 9634, 9635, 9637, 9641, 9644, 9646, 9647, 9650, 9700, 9701, 9702, 9703,
		9704, 9705, 9706, 9707, 9708, 9709, 9710, 9711, 9712, 9713, 9714, 9715, 9716, 9717, 9718, 9719, 9720, 9721, 9722, 9723,
		9724, 9725, 9726, 9727, 9728, 9729, 9811, 9812, 9813, 9814, 9815, 9816, 9817, 9818,
	}
	groups := map[int]string{}
	for group, members := range map[string][]int{
		"auth": {9601, 9621, 9622, 9625, 9722}, "forbidden": {9637, 9647}, "retryable": {9603, 9644, 9646, 9729},
		"not found": {9609, 9708, 9813, 9814, 9815},
	} {
		for _, n := range members {
			groups[n] = group
		}
	}
	predicates := map[string]func(error) bool{
		"auth": appsandbooks.IsAuth, "forbidden": appsandbooks.IsForbidden, "retryable": appsandbooks.IsRetryable,
		"not found": appsandbooks.IsNotFound,
	}
	for _, n := range numbers {
		number := appsandbooks.ErrorNumber(n)
		require.NotContains(t, number.Error(), "error "+fmt.Sprint(n), "a number without a meaning")
		c, _ := recordedClient(t, fmt.Sprintf(`{"errorNumber":%d,"errorMessage":"m","errorInfo":{"clientUserIds":["a"]}}`, n))
		err := error(&appsandbooks.Error{Number: number})
		if groups[n] != "retryable" { // those would be tried again
			_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
			e := isError(t, err)
			require.Equal(t, 200, e.StatusCode)
			require.Equal(t, []string{"a"}, e.Info.ClientUserIDs)
			require.NotContains(t, err.Error(), `"a"`)
		}
		wrapped := fmt.Errorf("context: %w", err)
		require.ErrorIs(t, wrapped, number)
		require.NotErrorIs(t, wrapped, number+1000)
		for group, is := range predicates {
			require.Equal(t, groups[n] == group, is(wrapped), "%d %s", n, group)
		}
	}
	require.False(t, appsandbooks.IsAuth(nil))
	require.Equal(t, "error 12345", appsandbooks.ErrorNumber(12345).Error())
}

func TestUnusualErrorBodies(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		number appsandbooks.ErrorNumber
	}{
		"odd info":       {400, `{"errorNumber":9602,"errorInfo":"all of it"}`, 9602},
		"info types":     {400, `{"errorNumber":9602,"errorInfo":{"assets":"x","clientUserIds":["a"]}}`, 9602},
		"odd message":    {200, `{"errorNumber":9602,"errorMessage":{"en":"no"}}`, 9602},
		"no message":     {400, `{"errorNumber":9602}`, 9602},
		"quoted number":  {400, `{"errorNumber":"9602"}`, 9602},
		"unknown number": {400, `{"errorNumber":12345}`, 12345},
		"a fraction":     {200, `{"errorNumber":9602.0}`, 9602},
		"an exponent":    {200, `{"errorNumber":9.602e3}`, 9602},
		"no such number": {200, `{"errorNumber":"E-9602","errorMessage":"no"}`, -1},
		"half a number":  {200, `{"errorNumber":9602.5}`, -1},
		"huge number":    {200, `{"errorNumber":1e99}`, -1},
		"number object":  {200, `{"errorNumber":{"value":9602},"users":[],"uId":"u"}`, -1},
		"message alone":  {200, `{"errorMessage":"no","users":[],"uId":"u"}`, 0},
		"empty":          {400, ``, 0},
		"HTML":           {403, `<html><body>Forbidden</body></html>`, 0},
		"cut":            {400, `{"errorNumber":9602,"errorMess`, 9602},
		"trailing":       {401, `{"errorMessage":"no","errorNumber": "9621"} <!-- x -->`, 9621},
		"array":          {400, `[]`, 0},
		"null":           {400, `null`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rt := roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: test.status, Header: http.Header{}, Body: readCloser(test.body)}, nil
			})
			c, err := appsandbooks.NewClient(stoken, appsandbooks.WithHTTPClient(&http.Client{Transport: rt}))
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
			e := isError(t, err)
			require.Equal(t, test.status, e.StatusCode)
			require.Equal(t, test.number, e.Number)
			require.NotEmpty(t, err.Error())
			if test.number == 0 && test.status != 200 {
				require.Equal(t, test.body, e.Excerpt)
			}
		})
	}
}

func TestParseToken(t *testing.T) {
	want := time.Date(2030, 11, 8, 22, 33, 22, 0, time.UTC)
	for name, content := range map[string]string{
		"as it is":     stoken,
		"newline":      stoken + "\n",
		"blank lines":  "\r\n\n  " + stoken + "\n\n",
		"wrapped":      stoken[:20] + "\n" + stoken[20:60] + "\r\n" + stoken[60:],
		"byte order":   "\ufeff" + stoken,
		"other offset": "eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoiMjAzMC0xMS0wOFQxNTozMzoyMi0wNzAwIiwib3JnTmFtZSI6Ik9SRzEyMzQ1In0=",
	} {
		token, err := appsandbooks.ParseToken(content)
		require.NoError(t, err, name)
		require.True(t, want.Equal(token.ExpirationDate), name)
		require.Equal(t, "ORG12345", token.OrganizationName)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, v := range []any{token, &token, struct{ t appsandbooks.Token }{token}, struct{ T appsandbooks.Token }{token}, []any{token}} {
				printed := fmt.Sprintf(verb, v)
				require.NotContains(t, printed, stoken[:16])
				require.NotContains(t, printed, fmt.Sprintf("%x", stoken[:16]))
			}
		}
		var b strings.Builder
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "token", token, "in", struct{ T appsandbooks.Token }{token})
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "token", token, "in", struct{ T appsandbooks.Token }{token})
		require.NotContains(t, b.String(), stoken[:16])
	}
	for name, content := range map[string]string{
		"empty": " \n", "not base64": "ab!c", "inner value": "bm90aGluZw==", "no JSON object": "WzFd", "no token": "e30=",
		"bad date": "eyJ0b2tlbiI6Im4iLCJleHBEYXRlIjoic29vbiJ9", "not ASCII": "ab\u00e4", "too long": strings.Repeat("a", 9000),
	} {
		_, err := appsandbooks.ParseToken(content)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, name)
	}
}

func TestNewClientRefuses(t *testing.T) {
	for name, opts := range map[string][]appsandbooks.Option{
		"http":         {appsandbooks.WithBaseURL("http://vpp.itunes.apple.com/mdm/v2")},
		"user info":    {appsandbooks.WithBaseURL("https://a:b@vpp.itunes.apple.com/mdm/v2")},
		"query":        {appsandbooks.WithBaseURL("https://vpp.itunes.apple.com/mdm/v2?x=y")},
		"no host":      {appsandbooks.WithBaseURL("mdm/v2")},
		"ftp":          {appsandbooks.WithBaseURL("ftp://localhost/")},
		"nil client":   {appsandbooks.WithHTTPClient(nil)},
		"nil limiter":  {appsandbooks.WithLimiter(nil)},
		"nil source":   {appsandbooks.WithTokenSource(nil)},
		"attempts":     {appsandbooks.WithRetry(0, 0, 0)},
		"waits":        {appsandbooks.WithRetry(3, time.Second, 0)},
		"pause":        {appsandbooks.WithMaxPause(-1)},
		"timeout":      {appsandbooks.WithTimeout(0)},
		"polling":      {appsandbooks.WithPolling(0, 0)},
		"stall":        {appsandbooks.WithStallTime(0)},
		"user agent":   {appsandbooks.WithUserAgent("a\r\nb")},
		"empty agent":  {appsandbooks.WithUserAgent("")},
		"second is ok": {appsandbooks.WithBaseURL("http://127.0.0.1:1"), appsandbooks.WithRetry(0, 0, 0)},
	} {
		_, err := appsandbooks.NewClient(stoken, opts...)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, name)
	}
	for _, bad := range []string{"", " ", "a\x00b", "ä", strings.Repeat("a", 10_000)} {
		_, err := appsandbooks.NewClient(bad)
		require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	}
	for _, good := range []string{"http://localhost:8080/mdm/v2/", "http://[::1]:8080", "https://example.com"} {
		_, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(good))
		require.NoError(t, err)
	}
}

// The service configuration needs no credentials; everything else says so.
func TestWithoutToken(t *testing.T) {
	r := &recorded{t: t, answers: []string{"walkthrough/01-service-config.response.json"}}
	c, err := appsandbooks.NewClient("", appsandbooks.WithoutToken(), appsandbooks.WithHTTPClient(&http.Client{Transport: r}))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Config.ServiceConfig(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.requests[0].Header["Authorization"])
	_, err = c.Config.ClientConfig(t.Context())
	require.ErrorIs(t, err, appsandbooks.ErrNoToken)
	require.Len(t, r.requests, 1)
}

// Each attempt asks the source, so that a renewed token is used at once.
func TestTokenSource(t *testing.T) {
	r := &recorded{t: t, answers: []string{`{}`, `{}`}}
	n := 0
	c, err := appsandbooks.NewClient("", appsandbooks.WithHTTPClient(&http.Client{Transport: r}),
		appsandbooks.WithTokenSource(func(context.Context) (string, error) { n++; return fmt.Sprintf("token%d\n", n), nil }))
	require.NoError(t, err)
	defer c.Close()
	for range 2 {
		_, err = c.Config.ClientConfig(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, "Bearer token1", r.requests[0].Header.Get("Authorization"))
	require.Equal(t, "Bearer token2", r.requests[1].Header.Get("Authorization"))
}

// URLs that the service names are used only where the token is safe.
func TestDiscoveredURLs(t *testing.T) {
	for _, test := range []struct{ base, named, want string }{
		{appsandbooks.DefaultBaseURL, "https://vpp.itunes.apple.com/mdm/v3/users", "https://vpp.itunes.apple.com/mdm/v3/users"},
		{appsandbooks.DefaultBaseURL, "https://other.apple.com/users", "https://other.apple.com/users"},
		{appsandbooks.DefaultBaseURL, "http://vpp.itunes.apple.com/mdm/v2/users", ""},
		{appsandbooks.DefaultBaseURL, "https://apple.com.example.com/users", ""},
		{appsandbooks.DefaultBaseURL, "https://notapple.com/users", ""},
		{appsandbooks.DefaultBaseURL, "https://x@other.apple.com/users", ""},
		{appsandbooks.DefaultBaseURL, "https://other.apple.com:8443/users", ""},
		{appsandbooks.DefaultBaseURL, "://", ""},
		{"http://127.0.0.1:9/mdm/v2", "http://127.0.0.1:9/elsewhere/users", "http://127.0.0.1:9/elsewhere/users"},
		{"http://127.0.0.1:9/mdm/v2", "https://vpp.itunes.apple.com/mdm/v2/users", ""}, // a sample's URLs, served from a test server
		{"http://127.0.0.1:9/mdm/v2", "http://127.0.0.1:10/mdm/v2/users", ""},
	} {
		r := &recorded{t: t, answers: []string{fmt.Sprintf(`{"limits":{},"urls":{"getUsers":%q}}`, test.named), `{}`}}
		c, err := appsandbooks.NewClient(stoken, appsandbooks.WithBaseURL(test.base), appsandbooks.WithHTTPClient(&http.Client{Transport: r}))
		require.NoError(t, err)
		_, err = c.Config.ServiceConfig(t.Context())
		require.NoError(t, err)
		_, err = c.Users.List(t.Context(), appsandbooks.UserFilter{})
		require.NoError(t, err)
		if test.want == "" {
			test.want = test.base + "/users"
		}
		require.Equal(t, test.want, r.requests[1].URL.String())
		c.Close()
	}
}

// A secret shows itself only when asked to.
func TestSecret(t *testing.T) {
	const canary = "s3cr3t-canary"
	config := new(appsandbooks.ClientConfig)
	require.NoError(t, json.Unmarshal([]byte(`{"notificationAuthToken":"`+canary+`"}`), config))
	require.Equal(t, canary, config.NotificationAuthToken.Reveal())
	update := appsandbooks.Registration{NotificationAuthToken: appsandbooks.NewSecret(canary)}
	var b strings.Builder
	for _, v := range []any{
		config, *config, update, &update, config.NotificationAuthToken,
		struct{ c *appsandbooks.ClientConfig }{config},
		struct{ c appsandbooks.ClientConfig }{*config},
		[]any{update},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb, v)
		}
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		encoded, err := json.Marshal(v)
		require.NoError(t, err)
		b.Write(encoded)
	}
	require.NotContains(t, b.String(), canary)
	require.NotContains(t, b.String(), fmt.Sprintf("%x", canary))

	// It is sent, and comes back in the answer; but what the service echoes of
	// it elsewhere does not reach an error.
	c, r := recordedClient(t, `{"notificationAuthToken":"`+canary+`"}`,
		`{"errorNumber":9711,"errorMessage":"`+canary+` is too long"}`, `{} `+canary)
	config, err := c.Config.UpdateClientConfig(t.Context(), update)
	require.NoError(t, err)
	require.Equal(t, canary, config.NotificationAuthToken.Reveal())
	_, err = c.Config.UpdateClientConfig(t.Context(), update)
	require.ErrorIs(t, err, appsandbooks.ErrNotificationConfigTooLong)
	require.NotContains(t, err.Error(), canary)
	require.Contains(t, r.bodies[0], canary)
	_, err = c.Config.UpdateClientConfig(t.Context(), update)
	require.NotContains(t, isError(t, err).Excerpt, canary)
}
