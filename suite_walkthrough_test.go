package appsandbooks_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

// A walkthroughCall is one call of Apple's walkthrough, with its request and its answer.
type walkthroughCall struct {
	name     string
	call     func(ctx context.Context, c *appsandbooks.Client) (any, error)
	before   []string // the answers to requests that the call sends before the request of the walkthrough
	method   string
	path     string
	query    string
	request  string // the file with the body of the request; empty if the request has no body
	response string // file with the answer
}

// walkthroughCalls returns the calls of Apple's walkthrough, in the order of the walkthrough.
func walkthroughCalls() []walkthroughCall {
	// An operation is planned with the limits and with the uId of the unit.
	limitsAndUnit := []string{"walkthrough/01-service-config.response.json", "walkthrough/03-client-config.response.json"}
	// An operation exposes only the event id of the answer. The other values of the answer are
	// constant.
	event := func(op *appsandbooks.Operation, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return map[string]string{
			"eventId": op.EventIDs()[0], "tokenExpirationDate": "2030-11-08T22:33:22+0000", "uId": "2049025000431439",
		}, nil
	}
	status := func(id string) func(context.Context, *appsandbooks.Client) (any, error) {
		return func(ctx context.Context, c *appsandbooks.Client) (any, error) { return c.Status.Get(ctx, id) }
	}
	return []walkthroughCall{
		{
			name:   "service config",
			call:   func(ctx context.Context, c *appsandbooks.Client) (any, error) { return c.Config.ServiceConfig(ctx) },
			method: "GET", path: "service/config", response: "01-service-config.response.json",
		},
		{
			name: "client config",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				return c.Config.UpdateClientConfig(ctx, appsandbooks.Registration{
					MDMInfo: &appsandbooks.MDMInfo{
						ID: "522d5c43-44ca-4f7e-ba7a-53570cf60765", Name: "My MDM Server", Metadata: "1.0.0",
					},
					NotificationURL:       "https://mdm.example.com/notifications",
					NotificationAuthToken: appsandbooks.NewSecret("example-auth-token-value"),
					NotificationTypes: []appsandbooks.NotificationType{
						appsandbooks.NotificationAssetManagement, appsandbooks.NotificationUserManagement,
						appsandbooks.NotificationUserAssociated, appsandbooks.NotificationAssetCount,
						appsandbooks.NotificationSubscriptionManagement, appsandbooks.NotificationSubscriptionCount,
					},
				})
			},
			method: "POST", path: "client/config",
			request: "02-client-config.request.json", response: "03-client-config.response.json",
		},
		{
			name: "create user",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				return event(c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
					{ClientUserID: "user-1", ManagedAppleID: "jappleseed@appleschool.example.com"},
				}}))
			},
			before: limitsAndUnit, method: "POST", path: "users/create",
			request: "04-users-create.request.json", response: "05-users-create.response.json",
		},
		{
			name: "status of create", call: status("e0def1f8-9158-4343-9c52-8dd32da50b9b"),
			method: "GET", path: "status", query: "eventId=e0def1f8-9158-4343-9c52-8dd32da50b9b",
			response: "06-users-create-status.response.json",
		},
		{
			name: "users",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				page, err := c.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: "user-1"})
				return asSent("users", page), err
			},
			method: "GET", path: "users", query: "clientUserId=user-1", response: "08-users.response.json",
		},
		{
			name: "assets",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				page, err := c.Assets.List(ctx, appsandbooks.AssetFilter{AdamID: "361309726"})
				return asSent("assets", page), err
			},
			method: "GET", path: "assets", query: "adamId=361309726", response: "10-assets.response.json",
		},
		{
			name: "subscriptions",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				page, err := c.Subscriptions.List(ctx, appsandbooks.SubscriptionFilter{ParentAdamIDs: []int64{361309726}})
				return asSent("subscriptions", page), err
			},
			method: "GET", path: "subscriptions", query: "parentAdamId=361309726", response: "11-subscriptions.response.json",
		},
		{
			name: "associate asset",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				return event(c.Assets.Associate(ctx, appsandbooks.AssetChange{
					Assets:        []appsandbooks.AssetID{{AdamID: "361309726", PricingParam: appsandbooks.PricingSTDQ}},
					ClientUserIDs: []string{"user-1"},
				}))
			},
			before: limitsAndUnit, method: "POST", path: "assets/associate",
			request: "12-assets-associate.request.json", response: "13-assets-associate.response.json",
		},
		{
			name: "status of associate", call: status("954910a8-3d9c-4fde-948d-253e5aef431a"),
			method: "GET", path: "status", query: "eventId=954910a8-3d9c-4fde-948d-253e5aef431a",
			response: "14-assets-associate-status.response.json",
		},
		{
			name: "assignments",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				page, err := c.Assignments.List(ctx, appsandbooks.AssignmentFilter{AdamID: "361309726", ClientUserID: "user-1"})
				return asSent("assignments", page), err
			},
			method: "GET", path: "assignments", query: "adamId=361309726&clientUserId=user-1",
			response: "16-assignments.response.json",
		},
		{
			name: "associate subscription",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				return event(c.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{
					AdamIDs: []int64{67890}, ClientUserIDs: []string{"user-1"},
				}))
			},
			before: limitsAndUnit, method: "POST", path: "subscriptions/associate",
			request: "17-subscriptions-associate.request.json", response: "18-subscriptions-associate.response.json",
		},
		{
			name: "status of subscription", call: status("a1b2c3d4-5e6f-7a8b-9c0d-e1f2a3b4c5d6"),
			method: "GET", path: "status", query: "eventId=a1b2c3d4-5e6f-7a8b-9c0d-e1f2a3b4c5d6",
			response: "19-subscriptions-associate-status.response.json",
		},
		{
			name: "subscription assignments",
			call: func(ctx context.Context, c *appsandbooks.Client) (any, error) {
				page, err := c.SubscriptionAssignments.List(ctx, appsandbooks.SubscriptionAssignmentFilter{
					AdamIDs: []int64{67890}, ClientUserIDs: []string{"user-1"},
				})
				return asSent("assignments", page), err
			},
			method: "GET", path: "subscriptions/assignments", query: "adamId=67890&clientUserId=user-1",
			response: "20-subscriptions-assignments.response.json",
		},
	}
}

// asSent returns the fields of a page as the service sends them in JSON.
func asSent[T any](name string, p *appsandbooks.Page[T]) map[string]any {
	if p == nil {
		return nil
	}
	sent := map[string]any{name: p.Items, "versionId": p.VersionID, "uId": p.UID, "tokenExpirationDate": p.TokenExpirationDate}
	if p.TotalPages == 0 { // the list has cursors instead of page indexes
		if p.Next != "" {
			sent["nextCursor"] = p.Next
		}
		return sent
	}
	sent["currentPageIndex"], sent["totalPages"], sent["size"] = p.Index, p.TotalPages, len(p.Items)
	if p.Next != "" {
		sent["nextPageIndex"] = json.RawMessage(p.Next)
	}
	return sent
}

// The client sends each request of Apple's walkthrough exactly as the walkthrough shows it, and
// decodes each answer without loss.
func TestClient_sendsAndReadsWalkthroughCalls(t *testing.T) {
	for _, call := range walkthroughCalls() {
		t.Run(call.name, func(t *testing.T) {
			c, r := recordedClient(t, append(call.before, "walkthrough/"+call.response)...)
			got, err := call.call(t.Context(), c)
			require.NoError(t, err)
			require.Len(t, r.requests, len(call.before)+1)

			req, body := r.requests[len(call.before)], r.bodies[len(call.before)]
			require.Equal(t, call.method, req.Method)
			require.Equal(t, "https://vpp.example.com/base/mdm/v2/"+call.path, req.URL.Scheme+"://"+req.URL.Host+req.URL.Path)
			require.Equal(t, call.query, req.URL.RawQuery)
			require.Equal(t, []string{"Bearer " + stoken}, req.Header["Authorization"])
			if call.request == "" {
				require.Empty(t, body)
				require.Empty(t, req.Header["Content-Type"])
			} else {
				require.Equal(t, []string{"application/json"}, req.Header["Content-Type"])
				jsonEqual(t, fixture(t, "walkthrough/"+call.request), body)
			}

			encoded, err := json.Marshal(got)
			require.NoError(t, err)
			jsonEqual(t, fixture(t, "walkthrough/"+call.response), string(encoded))
		})
	}
}

// Every file in testdata/walkthrough belongs to a walkthrough call or is a notification.
func TestClient_usesEveryWalkthroughFixture(t *testing.T) {
	used := map[string]bool{}
	for _, call := range walkthroughCalls() {
		used[call.request], used[call.response] = true, true
	}
	files, err := filepath.Glob("testdata/walkthrough/*.json")
	require.NoError(t, err)
	require.Len(t, files, 20)
	for _, f := range files {
		name := filepath.Base(f)
		require.True(t, used[name] || strings.Contains(name, ".notification."), name)
	}
}

// When a notification of Apple's walkthrough is decoded, and encoded from its typed fields, the
// JSON is the same.
func TestNotification_keepsWalkthroughExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/walkthrough/*.notification.json")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, f := range files {
		var n appsandbooks.Notification
		data := fixture(t, "walkthrough/"+filepath.Base(f))
		require.NoError(t, json.Unmarshal([]byte(data), &n))
		n.Raw = nil // Without Raw, the notification is encoded from its typed fields.
		encoded, err := json.Marshal(n)
		require.NoError(t, err)
		jsonEqual(t, data, string(encoded))
	}
}

// Answers with made-up values, which Apple's walkthrough does not show, keep all fields when they
// are decoded and encoded again.
func TestMeta_answersKeepAllFields(t *testing.T) {
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
