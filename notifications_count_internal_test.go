package appsandbooks

import (
	"testing"

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
