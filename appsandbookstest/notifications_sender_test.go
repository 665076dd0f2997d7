package appsandbookstest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// The server makes up to three attempts, at the configured interval, until the
// receiver answers with a 2xx status.
func TestWithNotifications_retries(t *testing.T) {
	opts := []fake.Option{fake.WithNotifications(fake.NotificationOptions{Delay: time.Second, RetryInterval: time.Minute})}
	for answers, want := range map[string][2]int{ // attempts and arrivals
		"ok": {1, 1}, "500 ok": {2, 1}, "500 302 ok": {3, 1}, "500 404 503 ok": {3, 0}, "panic ok": {2, 1}, "hang ok": {2, 1},
	} {
		t.Run(answers, func(t *testing.T) {
			withReceiver(t, opts, func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
				plan := strings.Fields(answers)
				r.mu.Lock()
				r.hits = 0
				r.status = func(n int) int {
					switch plan[n] {
					case "panic":
						panic("receiver")
					case "hang":
						time.Sleep(time.Minute)
						return http.StatusInternalServerError
					case "ok":
						return http.StatusNoContent
					}
					var status int
					_, _ = fmt.Sscan(plan[n], &status)
					return status
				}
				r.mu.Unlock()
				start := time.Now()
				u.Purchase("1", "", 1)
				time.Sleep(10 * time.Minute)
				require.Len(t, r.of("ASSET_COUNT"), want[1])

				all := srv.Deliveries()[1:]
				require.Len(t, all, want[0])
				for i, d := range all {
					require.Equal(t, i+1, d.Attempt)
					require.Equal(t, all[0].NotificationID, d.NotificationID)
					require.Equal(t, all[0].Body, d.Body)
					require.Equal(t, receiverURL, d.URL)
					require.Equal(t, "ASSET_COUNT", d.NotificationType)
					if answers != "hang ok" {
						require.Equal(t, start.Add(time.Second+time.Duration(i)*time.Minute), d.Time)
					}
				}
				switch answers {
				case "hang ok":
					require.ErrorIs(t, all[0].Err, context.DeadlineExceeded)
					require.Equal(t, start.Add(11*time.Second), all[0].Time)
				case "panic ok":
					require.Error(t, all[0].Err)
				case "500 ok":
					require.Equal(t, 500, all[0].Status)
				}
			})
		})
	}
}

// Notifications are lost, duplicated and reordered with about the probabilities of
// NotificationOptions. The seed determines the result.
func TestWithNotifications_lossDuplicatesAndOrder(t *testing.T) {
	const n = 200
	send := func(o fake.NotificationOptions, seed uint64) (order []string, deliveries int) {
		withReceiver(t, []fake.Option{fake.WithNotifications(o), fake.WithSeed(seed)},
			func(t *testing.T, r *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
				for i := range n {
					u.Purchase("1", "", i+1)
				}
				time.Sleep(time.Minute)
				seen := make(map[string]bool)
				for _, x := range r.of("ASSET_COUNT") {
					deliveries++
					if id := x["notificationId"].(string); !seen[id] {
						seen[id] = true
						order = append(order, fmt.Sprint(x["notification"].(object)["countDelta"]))
					}
				}
			})
		return order, deliveries
	}

	order, deliveries := send(fake.NotificationOptions{}, 1)
	require.Equal(t, n, deliveries)
	for i, delta := range order {
		require.Equal(t, fmt.Sprint(i+1), delta)
	}

	order, deliveries = send(fake.NotificationOptions{Duplicate: 0.5}, 1)
	require.Len(t, order, n)
	require.InDelta(t, 1.5*n, deliveries, 0.15*n)

	order, deliveries = send(fake.NotificationOptions{Loss: 0.5}, 1)
	require.Equal(t, len(order), deliveries)
	require.InDelta(t, 0.5*n, deliveries, 0.15*n)

	mixed, deliveries := send(fake.NotificationOptions{Reorder: 0.5}, 1)
	require.Len(t, mixed, n)
	require.Equal(t, n, deliveries)
	same, _ := send(fake.NotificationOptions{Reorder: 0.5}, 1)
	require.Equal(t, mixed, same, "the seed decides")
	other, _ := send(fake.NotificationOptions{Reorder: 0.5}, 2)
	require.NotEqual(t, mixed, other)
	sorted, _ := send(fake.NotificationOptions{}, 1)
	require.NotEqual(t, sorted, mixed)
	require.ElementsMatch(t, sorted, mixed)
}

// A payload that cannot be encoded is recorded as a failed delivery, and later
// notifications are delivered.
func TestUnit_SendNotification_unencodablePayload(t *testing.T) {
	withReceiver(t, nil, func(t *testing.T, _ *receiver, srv *fake.Server, u *fake.Unit, _ *caller) {
		u.SendNotification("BAD", func() {}) // cannot be encoded
		u.Purchase("1", "", 1)
		time.Sleep(time.Minute)
		var valid int
		for _, d := range srv.Deliveries() {
			if json.Valid(d.Body) {
				valid++
			} else {
				require.Error(t, d.Err)
			}
		}
		require.Equal(t, 2, valid)
	})
}
