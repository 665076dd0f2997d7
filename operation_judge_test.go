package appsandbooks_test

import (
	"testing"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// An event is judged by a status that can be its own, and complete.
func TestOperation_Wait_leavesPairsUnconfirmedWhenStatusDoesNotFit(t *testing.T) {
	for name, body := range map[string]string{
		"another type":      `{"eventStatus":"COMPLETE","eventType":"DISASSOCIATE","numRequested":1,"numCompleted":1}`,
		"no count":          `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":1}`,
		"no count, either":  `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":1,"numCompleted":null}`,
		"another count":     `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":2,"numCompleted":2}`,
		"more than all":     `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":1,"numCompleted":2}`,
		"a failure of null": `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":1,"numCompleted":1,"failures":[null]}`,
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				assets := addAssets(srv, 1, 5)
				srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: body})
				srv.AddFault(appsandbookstest.Fault{Path: "assignments", Number: 9602, Times: 1})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: assets, SerialNumbers: []string{"C02"}})
				require.NoError(t, err)
				report, err := op.Wait(t.Context())
				require.Error(t, err)
				require.Equal(t, 1, report.Unconfirmed, "%v", err)
				report, err = op.Verify(t.Context()) // the data settles it
				require.NoError(t, err)
				require.Equal(t, 1, report.Succeeded)
			})
		})
	}
}

// Names that claim more than what failed leave pairs open; reading back closes them.
func TestOperation_Wait_readsBackWhenFailuresNameTooMuch(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLooseErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 3})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets:        []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: "2"}},
			SerialNumbers: names("C02", 4),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 4, report.Succeeded)
		require.Equal(t, 4, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}

// A status whose counts and names do not fit together proves nothing about a
// pair: reading back decides. Each asset has two licences for three devices.
func TestOperation_Wait_readsBackWhenStatusContradictsItself(t *testing.T) {
	const prefix = `{"eventType":"ASSOCIATE","eventStatus":`
	for name, status := range map[string]string{
		"COMPLETE, nothing completed": `"COMPLETE","numRequested":6,"numCompleted":0}`,
		"COMPLETE, no counts":         `"COMPLETE"}`,
		"COMPLETE, more than asked":   `"COMPLETE","numRequested":6,"numCompleted":7}`,
		"FAILED, nothing failed":      `"FAILED","numRequested":6,"numCompleted":6}`,
		"counted in another way": `"FAILED","numRequested":3,"numCompleted":1,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000"},{"adamId":"1001"}],"serialNumbers":["C0200001","C0200002"]}}]}`,
		"too many names, and none": `"FAILED","numRequested":6,"numCompleted":4,"failures":[null,
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000","pricingParam":"STDQ"}],"serialNumbers":["C0200001","C0200002","C0200001"]}},
			{"errorNumber":9709}]}`,
		"too many names, more failures": `"FAILED","numRequested":6,"numCompleted":2,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000"}],"serialNumbers":["C0200000"]}}]}`,
		"strange names": `"FAILED","numRequested":6,"numCompleted":4,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"77"}],"serialNumbers":["C0200002","X"],"clientUserIds":["C0200001"]}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
				srv.AddFault(appsandbookstest.Fault{Path: "status", Status: 200, Body: prefix + status})
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: addAssets(srv, 2, 2), SerialNumbers: []string{"C0200000", "C0200001", "C0200002"},
				})
				require.NoError(t, err)
				report, err := op.Wait(t.Context())
				require.Error(t, err)
				require.Len(t, srv.Unit().Assignments(), 4)
				require.Equal(t, 4, report.Succeeded)
				requireLedgerAgrees(t, srv, report)
			})
		})
	}
}

func TestOperation_Wait_readsBackWhenFailuresNameNothing(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithoutErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 2, 3), SerialNumbers: names("C02", 4),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 6, report.Succeeded)
		requireLedgerAgrees(t, srv, report)
	})
}

// A part that was sent again is read back when its own event leaves pairs open.
func TestWithResend_readsBackPairsThatSecondEventLeavesOpen(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLooseErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 3})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: "2"}}, SerialNumbers: names("C02", 4),
		}, appsandbooks.WithResend())
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 4, report.Succeeded)
		require.Zero(t, report.Unconfirmed)
		requireLedgerAgrees(t, srv, report)
	})
}
