package appsandbooks_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// A pair stays unconfirmed when the status of its event has another event type, or counts that do
// not fit the request, and the assignments cannot be read back. Verify then finds the outcome of
// the pair in the list of assignments.
func TestOperation_Wait_leavesPairsUnconfirmedWhenStatusDoesNotFit(t *testing.T) {
	for name, body := range map[string]string{
		"another event type":              `{"eventStatus":"COMPLETE","eventType":"DISASSOCIATE","numRequested":1,"numCompleted":1}`,
		"FAILED without numCompleted":     `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":1}`,
		"COMPLETE with numCompleted null": `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":1,"numCompleted":null}`,
		"numRequested too large":          `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":2,"numCompleted":2}`,
		"numCompleted above numRequested": `{"eventStatus":"COMPLETE","eventType":"ASSOCIATE","numRequested":1,"numCompleted":2}`,
		"failures with null":              `{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":1,"numCompleted":1,"failures":[null]}`,
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
				report, err = op.Verify(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, report.Succeeded)
			})
		})
	}
}

// When the failures of an event name more pairs than failed, Wait reads the assignments back
// and gives each pair its outcome.
func TestOperation_Wait_readsBackWhenFailuresNameTooManyPairs(t *testing.T) {
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

// When the counts of a status contradict its state or the names of its failures, Wait reads
// the assignments back. Each asset of the test has two licenses for three devices.
func TestOperation_Wait_readsBackWhenStatusContradictsItself(t *testing.T) {
	const prefix = `{"eventType":"ASSOCIATE","eventStatus":`
	for name, status := range map[string]string{
		"COMPLETE with numCompleted 0":                  `"COMPLETE","numRequested":6,"numCompleted":0}`,
		"COMPLETE without counts":                       `"COMPLETE"}`,
		"COMPLETE with numCompleted above numRequested": `"COMPLETE","numRequested":6,"numCompleted":7}`,
		"FAILED with all pairs completed":               `"FAILED","numRequested":6,"numCompleted":6}`,
		"counts of devices, not of pairs": `"FAILED","numRequested":3,"numCompleted":1,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000"},{"adamId":"1001"}],"serialNumbers":["C0200001","C0200002"]}}]}`,
		"failures with null, too many names, and no names": `"FAILED","numRequested":6,"numCompleted":4,"failures":[null,
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000","pricingParam":"STDQ"}],"serialNumbers":["C0200001","C0200002","C0200001"]}},
			{"errorNumber":9709}]}`,
		"fewer pairs named than failed": `"FAILED","numRequested":6,"numCompleted":2,"failures":[
			{"errorNumber":9709,"errorInfo":{"assets":[{"adamId":"1000"}],"serialNumbers":["C0200000"]}}]}`,
		"names that the request does not have": `"FAILED","numRequested":6,"numCompleted":4,"failures":[
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

// When the failures of an event name no items, Wait reads the assignments back and gives each
// pair its outcome.
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

// When the event of a resent request leaves pairs without an outcome, Wait reads the assignments
// of these pairs back. A pair that is missing stays unconfirmed as long as the first request may
// still be carried out, and then fails.
func TestWithResendLost_readsBackPairsThatSecondEventLeavesUnconfirmed(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithLooseErrorInfo()}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.AddFault(appsandbookstest.Fault{Method: "POST", Kind: appsandbookstest.FaultResetBefore, Times: 1})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1", Total: 3})
		srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "2", Total: 1})
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: []appsandbooks.AssetID{{AdamID: "1"}, {AdamID: "2"}}, SerialNumbers: names("C02", 4),
		}, appsandbooks.WithResendLost())
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 4, report.Succeeded)
		require.Equal(t, 4, report.Unconfirmed)
		requireLedgerAgrees(t, srv, report)

		time.Sleep(time.Hour) // virtual
		report, err = op.Wait(t.Context())
		require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
		require.Equal(t, 4, report.Failed)
		requireLedgerAgrees(t, srv, report)
	})
}

// When the event of a Revoke has FAILED and nothing was completed, no target has succeeded, also if
// the failures name only one of the two devices.
func TestAssetsService_Revoke_failedEventSucceedsForNoTarget(t *testing.T) {
	answer := func(_ *appsandbookstest.Server, r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/status") {
			return nil, nil
		}
		return jsonAnswer(r, `{"eventStatus":"FAILED","eventType":"REVOKE","numCompleted":0,"numRequested":2,"failures":[{"errorNumber":9644,"errorMessage":"later","errorInfo":{"serialNumbers":["C0200000"]}}]}`), nil
	}
	behindTransport(t, nil, answer, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		srv.Unit().AddAssignments(deviceAssignments(names("C02", 2))...)
		srv.Unit().FailNextEvent(9644)
		op, err := c.Assets.Revoke(t.Context(), appsandbooks.AssetChange{SerialNumbers: names("C02", 2)})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.Error(t, err)
		require.Len(t, srv.Unit().Assignments(), 2)
		require.Zero(t, report.Succeeded)
	})
}
