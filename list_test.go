package appsandbooks_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Whatever the pages of a list contain, a loop over the list ends after few requests, also
// when all answers are the same.
func FuzzPages(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"nextPageIndex":1}`, `{"nextPageIndex":0}`, `{"nextPageIndex":-1}`, `{"nextPageIndex":9223372036854775807,"totalPages":9223372036854775807}`,
		`{"nextCursor":"c"}`, `{"users":[{"clientUserId":"a"}],"currentPageIndex":0,"nextPageIndex":1,"totalPages":2,"versionId":"v"}`,
		`{"totalPages":1000000,"nextPageIndex":1}`, `{"totalPages":-9223372036854775808,"nextPageIndex":1}`, `{"totalPages":-5,"nextPageIndex":2,"size":-1}`, `{"users":null,"assets":null,"nextPageIndex":null}`,
		`{"assets":[{"adamId":"1"}],"unlimitedAssets":[{}],"assignments":[{"adamId":5}],"subscriptions":[{"parentAdamId":null}],"admins":[{}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		// The test runs in virtual time, because the client limits its request rate.
		synctest.Test(t, func(t *testing.T) {
			c, requests := sameAnswerClient(t, 200, body)
			defer c.Close()
			lists := []func(context.Context) error{
				func(ctx context.Context) error { return drain(c.Users.All(ctx, appsandbooks.UserFilter{})) },
				func(ctx context.Context) error { return drain(c.Assets.All(ctx, appsandbooks.AssetFilter{})) },
				func(ctx context.Context) error { return drain(c.Assignments.All(ctx, appsandbooks.AssignmentFilter{})) },
				func(ctx context.Context) error {
					return drain(c.Subscriptions.All(ctx, appsandbooks.SubscriptionFilter{}))
				},
				func(ctx context.Context) error {
					return drain(c.SubscriptionAssignments.All(ctx, appsandbooks.SubscriptionAssignmentFilter{}))
				},
				func(ctx context.Context) error {
					return drain(c.SubscriptionAdmins.All(ctx, appsandbooks.SubscriptionAdminFilter{}))
				},
			}
			for _, readList := range lists {
				requests.Store(0)
				if err := readList(t.Context()); err != nil && !errors.Is(err, appsandbooks.ErrNoProgress) {
					_ = isError(t, err)
				}
				// The number includes the pages that are read ahead.
				require.LessOrEqual(t, int(requests.Load()), 12)
			}
		})
	})
}

// When the data changes, Collect begins again, at most ListOptions.Restarts times, and
// returns each record once. After more changes Collect fails with ErrDataChanged.
func TestCollect_beginsAgainWhenDataChanges(t *testing.T) {
	var srv *appsandbookstest.Server
	changes := 0
	hook := appsandbookstest.WithPageHook(func(r appsandbookstest.PageRead) {
		if r.Index == 3 && changes > 0 {
			changes--
			fillPages(srv, 1000+changes, 1)
		}
	})
	inVirtualTime(t, slowPages(time.Millisecond, hook), func(t *testing.T, s *appsandbookstest.Server, c *appsandbooks.Client) {
		srv = s
		fillPages(srv, 0, 8)
		changes = 2
		all, err := appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}}))
		require.NoError(t, err)
		require.Len(t, all, 2*(8+2), "each record once")
		changes = 9
		_, err = appsandbooks.Collect(c.Assignments.All(t.Context(), appsandbooks.AssignmentFilter{ListOptions: appsandbooks.ListOptions{Restarts: 2}}))
		require.ErrorIs(t, err, appsandbooks.ErrDataChanged)
		require.NotErrorIs(t, err, appsandbooks.ErrRestarted)
		require.Equal(t, 6, changes, "the list was read three times")
	})
}

// Reading an empty list takes one request and returns no error.
func TestCollect_returnsNothingForEmptyLists(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		assets, err := appsandbooks.Collect(c.Assets.All(t.Context(), appsandbooks.AssetFilter{}))
		require.NoError(t, err)
		require.Empty(t, assets)
		seats, err := appsandbooks.Collect(c.SubscriptionAssignments.All(t.Context(), appsandbooks.SubscriptionAssignmentFilter{}))
		require.NoError(t, err)
		require.Empty(t, seats)
		require.Len(t, srv.Requests(), 2)
	})
}

// A Page of each list has every field that the service sent.
func TestPage_hasEveryFieldOfAnswer(t *testing.T) {
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

	// The service sends assets with unlimited licenses in a separate list, without counts.
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
