package appsandbooks_test

import (
	"context"
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Disassociate accepts a serial number with white space, which Associate refuses, so that an
// assignment that exists already can be removed.
func TestAssetsService_Disassociate_acceptsSerialNumberWithSpace(t *testing.T) {
	srv, err := appsandbookstest.NewServer()
	require.NoError(t, err)
	defer srv.Close()
	c := newClient(t, srv)
	defer c.Close()
	change := appsandbooks.AssetChange{Assets: addAssets(srv, 1, 5), SerialNumbers: []string{"C02 X"}}
	_, err = c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly())
	require.ErrorIs(t, err, appsandbooks.ErrInvalid)
	_, err = c.Assets.Disassociate(t.Context(), change, appsandbooks.WithPlanOnly())
	require.NoError(t, err)
}

// An operation whose change is empty, incomplete or invalid returns ErrInvalid and sends no
// request.
func TestOperation_refusesEmptyAndInvalidChanges(t *testing.T) {
	c, r := recordedClient(t)
	ctx := t.Context()
	asset := []appsandbooks.AssetID{{AdamID: "1"}}
	for name, call := range map[string]func() (*appsandbooks.Operation, error){
		"empty asset change": func() (*appsandbooks.Operation, error) { return c.Assets.Associate(ctx, appsandbooks.AssetChange{}) },
		"assets without targets": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset})
		},
		"targets without assets": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"C"}})
		},
		"empty serial number": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset, SerialNumbers: []string{""}})
		},
		"empty Adam ID": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{}}, SerialNumbers: []string{"C"}})
		},
		// JSON encoding would change a user id that is not UTF-8.
		"user ID not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset, ClientUserIDs: []string{"a\xff"}})
		},
		"serial number not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Revoke(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"a\xff"}})
		},
		"serial number of a pair not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1", SerialNumber: "\xff"}}})
		},
		"Adam ID not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "\xff"}}, SerialNumbers: []string{"C"}})
		},
		"pair with a user and a device": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1", ClientUserID: "u", SerialNumber: "C"}}})
		},
		"pair without a target": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1"}}})
		},
		"revocation without targets": func() (*appsandbooks.Operation, error) { return c.Assets.Revoke(ctx, appsandbooks.AssetChange{}) },
		"creation without users": func() (*appsandbooks.Operation, error) {
			return c.Users.Create(ctx, appsandbooks.UserChange{Users: nil})
		},
		"two different requests for one user": func() (*appsandbooks.Operation, error) {
			return c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", Email: "a@example.com"}, {ClientUserID: "u"}}})
		},
		"retirement without users": func() (*appsandbooks.Operation, error) {
			return c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: nil})
		},
		"users without a subscription": func() (*appsandbooks.Operation, error) {
			return c.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{ClientUserIDs: []string{"u"}})
		},
		"subscription without users": func() (*appsandbooks.Operation, error) {
			return c.Subscriptions.Disassociate(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{1}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			op, err := call()
			require.ErrorIs(t, err, appsandbooks.ErrInvalid)
			require.Nil(t, op)
		})
	}
	require.Empty(t, r.requests)
}

// A pair that is given several times, by assets and targets or as a single pair, is requested
// once.
func TestAssetsService_Associate_requestsDuplicatesOnce(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 2)
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets:        []appsandbooks.AssetID{{AdamID: "1000"}, {AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ}},
			SerialNumbers: []string{"C02", "C03", "C02"},
			Pairs: []appsandbooks.AssetPair{
				{AdamID: "1000", SerialNumber: "C02"},
				{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ, SerialNumber: "C02"},
				{AdamID: "1000", SerialNumber: "C03"},
			},
		})
		require.NoError(t, err)
		r, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, r.Total)
		requireLedgerAgrees(t, srv, r)
	})
	c, r := recordedClient(t, `{"uId":"1"}`)
	err := c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1, 1}, ClientUserIDs: []string{"a", "a", "b"}})
	require.NoError(t, err)
	jsonEqual(t, `{"adamIds":[1],"clientUserIds":["a","b"]}`, r.bodies[0])
}

// A single pair in addition to assets and targets costs one more request. It does not change
// how the assets and targets are divided into requests.
func TestOperation_Plan_extraPairCostsOneRequest(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		change := appsandbooks.AssetChange{Assets: addAssets(srv, 40, 1), SerialNumbers: names("C02", 2500)}
		for _, pairs := range [][]appsandbooks.AssetPair{nil, {{AdamID: "999", SerialNumber: "X"}}} {
			change.Pairs = pairs
			op, err := c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly())
			require.NoError(t, err)
			require.Equal(t, 2*3+len(pairs), op.Plan().Requests)
			require.Equal(t, 40*2500+len(pairs), op.Plan().Pairs)
		}
	})
}

// Associate does not change the slices of the caller, and a later change of these slices does
// not change the operation.
func TestAssetsService_Associate_copiesInput(t *testing.T) {
	inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		addAssets(srv, 1, 2)
		change := appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1000"}}, SerialNumbers: []string{"C02", "C03"}}
		op, err := c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly())
		require.NoError(t, err)
		require.Equal(t, appsandbooks.AssetID{AdamID: "1000"}, change.Assets[0])
		change.Assets[0].AdamID, change.SerialNumbers[0] = "1", "X"
		r, err := op.Wait(t.Context())
		require.NoError(t, err)
		requireLedgerAgrees(t, srv, r)
		require.True(t, srv.Unit().HasAssignment(appsandbookstest.Assignment{AdamID: "1000", PricingParam: "STDQ", SerialNumber: "C02"}))
	})
}

// When the input of an operation is invalid, the method returns ErrInvalid, and the error names
// the field and the index of the input.
func TestOperation_refusesInvalidInputAndNamesField(t *testing.T) {
	c, r := recordedClient(t)
	associate := func(change appsandbooks.AssetChange) error {
		return errorOf(c.Assets.Associate(t.Context(), change, appsandbooks.WithPlanOnly()))
	}
	app := []appsandbooks.AssetID{{AdamID: "1"}}
	for _, serial := range []string{" ", "\t", "C02\r", "C02\n", " C02", "C 02", "\ufeffC02", "C02\x00"} {
		err := associate(appsandbooks.AssetChange{Assets: app, SerialNumbers: []string{"C01", serial}})
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%q", serial)
		require.ErrorContains(t, err, "SerialNumbers[1]")
	}
	for _, id := range []string{"id361309726", " 361309726", "361309726\n", "0361309726", "361,309", "-5", "+5", "0", "1e3", "9223372036854775808"} {
		err := associate(appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: id}}, SerialNumbers: []string{"C02"}})
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, "%q", id)
		require.ErrorContains(t, err, "Assets[1]")
	}
	many := names("C02", 10_000)
	many[7777] = ""
	for want, err := range map[string]error{
		"SerialNumbers[7777]": associate(appsandbooks.AssetChange{Assets: app, SerialNumbers: many}),
		"ClientUserIDs[7777]": associate(appsandbooks.AssetChange{Assets: app, ClientUserIDs: many}),
		"Pairs[1]": associate(appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{
			{AdamID: "1", SerialNumber: "C02"}, {AdamID: "1", SerialNumber: "C02\n"},
		}}),
		"Assets[0]": associate(appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "1", PricingParam: "A\xff"}}, SerialNumbers: []string{"C02"}}),
		"Users[1]": errorOf(c.Users.Create(t.Context(), appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
			{ClientUserID: "a"}, {ClientUserID: "b", Email: "\xff@example.com"},
		}}, appsandbooks.WithPlanOnly())),
		"": c.SubscriptionAdmins.Add(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{""}}),
	} {
		require.ErrorIs(t, err, appsandbooks.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, r.requests)
}

// The writes that Apple's walkthrough does not show have the documented path and body. Client.Do
// sends any other request below the base URL, and refuses an invalid path.
func TestOperation_sendsDocumentedRequestBodies(t *testing.T) {
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
			c, r := recordedClient(t, "walkthrough/01-service-config.response.json", `{"uId":"2049025000431439"}`, "walkthrough/05-users-create.response.json")
			_, err := test.call(t.Context(), c)
			require.NoError(t, err)
			require.Len(t, r.requests, 3)
			require.Equal(t, "/base/mdm/v2/client/config", r.requests[1].URL.Path)
			require.Equal(t, "/base/mdm/v2/"+path, r.requests[2].URL.Path)
			jsonEqual(t, test.body, r.bodies[2])
		})
	}
	c, r := recordedClient(t, `{"subscriptionManagement":false}`, `{"uId":"1"}`, `{}`)
	err := c.Subscriptions.Disable(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.bodies[0])
	require.Empty(t, r.requests[0].Header["Content-Type"]) // a request without a body has no content type
	err = c.SubscriptionAdmins.Remove(t.Context(), appsandbooks.SubscriptionChange{AdamIDs: []int64{1}, ClientUserIDs: []string{"a"}})
	require.NoError(t, err)
	jsonEqual(t, `{"adamIds":[1],"clientUserIds":["a"]}`, r.bodies[1])
	require.NoError(t, c.Do(t.Context(), "PUT", "/some/thing", map[string][]string{"a": {"1"}}, nil, nil))
	require.Equal(t, "/base/mdm/v2/some/thing?a=1", r.requests[2].URL.RequestURI())
	for _, path := range []string{"", "a/../b", "a//b", "..", "a?b", "https://x.example.com", "a%2fb", `a\b`} {
		require.ErrorIs(t, c.Do(t.Context(), "GET", path, nil, nil, nil), appsandbooks.ErrInvalid, path)
	}
}
