package appsandbooks

import (
	"testing"

	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/stretchr/testify/require"
)

// Notifications end the wait for an event only when they name exactly as many different
// tasks of the event as were requested.
func TestStatusService_Wait_countsEachNotifiedTaskOnce(t *testing.T) {
	notificationOf := func(result NotificationResult, serials ...string) *Notification {
		n := eventNotification("e", 0)
		n.AssetManagement.Result, n.AssetManagement.Type = result, EventAssociate
		for _, s := range serials {
			n.AssetManagement.Assignments = append(n.AssetManagement.Assignments, Assignment{AssetPair: AssetPair{AdamID: "1", PricingParam: PricingSTDQ, SerialNumber: s}})
		}
		return n
	}
	pending := &EventStatus{State: EventPending, NumRequested: 3, Meta: Meta{UID: "u"}}
	var tasks taskCount
	require.Nil(t, tasks.status(nil))
	require.Nil(t, tasks.status(&EventStatus{}))
	tasks.add(notificationOf(NotificationSuccess, "a", "b"))
	tasks.add(notificationOf(NotificationSuccess, "a", "b"))
	tasks.add(notificationOf("PARTIAL", "c"))
	require.Nil(t, tasks.status(pending))
	failure := notificationOf(NotificationFailure, "c")
	failure.AssetManagement.Error = &Error{Number: ErrNotEnoughLicenses}
	tasks.add(failure)
	tasks.add(failure)
	require.Equal(t, &EventStatus{
		State: EventFailed, Type: EventAssociate, Failures: []*Error{failure.AssetManagement.Error},
		NumCompleted: 2, NumRequested: 3, Meta: Meta{UID: "u"},
	}, tasks.status(pending))
	tasks.add(notificationOf(NotificationSuccess, "d"))
	require.Nil(t, tasks.status(pending), "more tasks than requested, so the count is not reliable")
}

// An asset without a pricingParam and the same asset with STDQ are the same task, and the same pair
// of a request.
func TestStatusService_Wait_countsAbsentPricingParamAsSTDQ(t *testing.T) {
	var tasks taskCount
	table := new(tables)
	asset, err := table.asset(AssetID{AdamID: "1"})
	require.NoError(t, err)
	device, err := table.device("a")
	require.NoError(t, err)
	other, err := table.device("b")
	require.NoError(t, err)
	pairs := newPairCount(table, batch.Part{Assets: []int32{asset}, Devices: []int32{device, other}})
	for _, pricing := range []PricingParam{PricingSTDQ, ""} {
		n := eventNotification("e", 0)
		n.AssetManagement.Result, n.AssetManagement.Type = NotificationSuccess, EventAssociate
		n.AssetManagement.Assignments = []Assignment{{AssetPair: AssetPair{AdamID: "1", PricingParam: pricing, SerialNumber: "a"}}}
		tasks.add(n)
		pairs.add(n)
	}
	require.Len(t, tasks.seen, 1)
	require.Nil(t, tasks.status(&EventStatus{State: EventPending, NumRequested: 2}))
	require.Equal(t, 1, pairs.remaining)
}
