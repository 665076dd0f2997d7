package appsandbooks_test

import (
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/require"
)

func TestOperation_refusesEmptyAndInvalidChanges(t *testing.T) {
	c, r := recordedClient(t)
	ctx := t.Context()
	asset := []appsandbooks.AssetID{{AdamID: "1"}}
	for name, call := range map[string]func() (*appsandbooks.Operation, error){
		"nothing": func() (*appsandbooks.Operation, error) { return c.Assets.Associate(ctx, appsandbooks.AssetChange{}) },
		"no targets": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset})
		},
		"no assets": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"C"}})
		},
		"empty id": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset, SerialNumbers: []string{""}})
		},
		"no adam id": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{}}, SerialNumbers: []string{"C"}})
		},
		"not UTF-8": func() (*appsandbooks.Operation, error) { // JSON would turn it into another name
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: asset, ClientUserIDs: []string{"a\xff"}})
		},
		"serial not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Revoke(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"a\xff"}})
		},
		"pair not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1", SerialNumber: "\xff"}}})
		},
		"Adam ID not UTF-8": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Assets: []appsandbooks.AssetID{{AdamID: "\xff"}}, SerialNumbers: []string{"C"}})
		},
		"both": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1", ClientUserID: "u", SerialNumber: "C"}}})
		},
		"neither": func() (*appsandbooks.Operation, error) {
			return c.Assets.Associate(ctx, appsandbooks.AssetChange{Pairs: []appsandbooks.AssetPair{{AdamID: "1"}}})
		},
		"revoke": func() (*appsandbooks.Operation, error) { return c.Assets.Revoke(ctx, appsandbooks.AssetChange{}) },
		"create": func() (*appsandbooks.Operation, error) {
			return c.Users.Create(ctx, appsandbooks.UserChange{Users: nil})
		},
		"conflicting": func() (*appsandbooks.Operation, error) {
			return c.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{{ClientUserID: "u", Email: "a@example.com"}, {ClientUserID: "u"}}})
		},
		"retire": func() (*appsandbooks.Operation, error) {
			return c.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: nil})
		},
		"no seats": func() (*appsandbooks.Operation, error) {
			return c.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{ClientUserIDs: []string{"u"}})
		},
		"no users": func() (*appsandbooks.Operation, error) {
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
