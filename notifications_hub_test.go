package appsandbooks_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notifyingServer is a stand-in in virtual time whose notifications go through a handler to
// a client of the stand-in's default unit.
type notifyingServer struct {
	*testing.T
	srv    *appsandbookstest.Server
	client *appsandbooks.Client
}

// withNotifyingServer runs f with a notifyingServer whose events take the time delay. It
// requires that the client breaks no rule of conduct of the stand-in.
func withNotifyingServer(t *testing.T, delay time.Duration, delivery appsandbookstest.NotificationOptions, f func(r *notifyingServer), more ...appsandbookstest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &notifyingServer{T: t}
		h := newHandler(t, nil, appsandbooks.WithNotify(func(n *appsandbooks.Notification) { r.client.Notify(n) }))
		srv, err := appsandbookstest.NewServer(append([]appsandbookstest.Option{
			appsandbookstest.WithEventDelay(delay),
			appsandbookstest.WithNotifications(delivery),
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(h)),
		}, more...)...)
		require.NoError(t, err)
		r.srv = srv
		defer r.srv.Close()
		r.client = newClient(t, r.srv)
		defer r.client.Close()
		_, err = r.client.Config.Register(t.Context(), appsandbooks.Registration{
			NotificationURL: "https://mdm.example.com/notifications", NotificationAuthToken: appsandbooks.NewSecret(hookSecret), Handler: h,
		})
		require.NoError(t, err)
		f(r)
		require.Empty(t, r.srv.Violations())
	})
}

// associate starts an operation that assigns assets to devices.
func (r *notifyingServer) associate(assets, devices int) *appsandbooks.Operation {
	r.Helper()
	op, err := r.client.Assets.Associate(r.Context(), appsandbooks.AssetChange{
		Assets: addAssets(r.srv, assets, 10*devices), SerialNumbers: names("C02", devices),
	})
	require.NoError(r, err)
	return op
}

// When the client receives notifications, an operation of every kind ends at the moment
// when its events end.
func TestClient_Notify_endsOperationsWhenTheirEventsEnd(t *testing.T) {
	kinds := map[string]func(r *notifyingServer) (*appsandbooks.Operation, error){
		"associate": func(r *notifyingServer) (*appsandbooks.Operation, error) {
			return r.client.Assets.Associate(r.Context(), appsandbooks.AssetChange{
				Assets: addAssets(r.srv, 3, 1000), ClientUserIDs: addUsers(r.srv, 150), SerialNumbers: names("C02", 250),
			})
		},
		"create users": func(r *notifyingServer) (*appsandbooks.Operation, error) {
			var list []appsandbooks.UserRequest
			for _, id := range names("user-", 230) {
				list = append(list, appsandbooks.UserRequest{ClientUserID: id, Email: id + "@example.com"})
			}
			return r.client.Users.Create(r.Context(), appsandbooks.UserChange{Users: list})
		},
		"subscriptions": func(r *notifyingServer) (*appsandbooks.Operation, error) {
			r.srv.Unit().AddSubscription(appsandbookstest.Subscription{AdamID: 67890, Total: appsandbookstest.Seats{Renewing: 500}})
			return r.client.Subscriptions.Associate(r.Context(), appsandbooks.SubscriptionChange{
				AdamIDs: []int64{67890}, ClientUserIDs: addUsers(r.srv, 120),
			})
		},
	}
	for name, begin := range kinds {
		// The values of delay cover events that end before the first poll, between two
		// polls, and after many polls.
		for _, delay := range []time.Duration{20 * time.Millisecond, 12 * time.Second, 45 * time.Second, 5 * time.Minute} {
			t.Run(fmt.Sprint(name, " ", delay), func(t *testing.T) {
				withNotifyingServer(t, delay, appsandbookstest.NotificationOptions{}, func(r *notifyingServer) {
					began := time.Now()
					op, err := begin(r)
					require.NoError(t, err)
					report, err := op.Wait(r.Context())
					require.NoError(t, err)
					require.Equal(t, report.Total, report.Succeeded)
					require.Equal(t, delay, time.Since(began))
				})
			})
		}
	}
}

// When the client receives notifications, StatusService.Wait returns at the moment when the
// event ends, with the same status as a poll.
func TestStatusService_Wait_endsOnNotification(t *testing.T) {
	for _, delay := range []time.Duration{20 * time.Millisecond, 12 * time.Second, 45 * time.Second, 5 * time.Minute} {
		for _, number := range []int{0, 9709} {
			t.Run(fmt.Sprint(delay, " ", number), func(t *testing.T) {
				withNotifyingServer(t, delay, appsandbookstest.NotificationOptions{Duplicate: 0.5}, func(r *notifyingServer) {
					if number != 0 {
						r.srv.Unit().FailTarget("C0200007", number)
					}
					began := time.Now()
					id := r.associate(3, 250).EventIDs()[0]
					status, err := r.client.Status.Wait(r.Context(), id)
					require.Equal(t, delay, time.Since(began))
					// The interval between two polls also applies to StatusService.Get.
					time.Sleep(30 * time.Second)
					polled, pollErr := r.client.Status.Get(r.Context(), id)
					require.NoError(t, pollErr)
					require.Equal(t, polled.State, status.State)
					require.Equal(t, polled.Type, status.Type)
					require.Equal(t, polled.NumRequested, status.NumRequested)
					require.Equal(t, polled.NumCompleted, status.NumCompleted)
					if number == 0 {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
						require.Equal(t, 747, status.NumCompleted)
					}
				})
			})
		}
	}
}

// Notifications state the same failed pairs as the status of the event.
func TestClient_Notify_reportsSameFailuresAsStatus(t *testing.T) {
	for _, delay := range []time.Duration{12 * time.Second, 45 * time.Second} {
		withNotifyingServer(t, delay, appsandbookstest.NotificationOptions{}, func(r *notifyingServer) {
			r.srv.Unit().FailTarget("C0200003", 9709)
			began := time.Now()
			report, err := r.associate(2, 120).Wait(r.Context())
			require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
			require.Equal(t, delay, time.Since(began))
			require.Equal(t, 238, report.Succeeded)
			require.Equal(t, 2, report.Failed)
			requireLedgerAgrees(t, r.srv, report)
		})
	}
}

// The report of an operation is correct whatever happens to the notifications, and the
// client does not poll too early.
func TestClient_Notify_keepsResultsCorrectWhenDeliveryIsUnreliable(t *testing.T) {
	for name, delivery := range map[string]appsandbookstest.NotificationOptions{
		"all lost":       {Loss: 1},
		"half lost":      {Loss: 0.5},
		"8 minutes late": {Delay: 8 * time.Minute},
		"1 minute late":  {Delay: time.Minute},
		"duplicated":     {Duplicate: 1},
		"reordered":      {Reorder: 0.7, ReorderWindow: 50 * time.Second},
		"all faults":     {Loss: 0.3, Duplicate: 0.3, Forge: 0.3, Reorder: 0.5, ReorderWindow: time.Minute, Delay: 5 * time.Second},
	} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				delay := time.Duration(seed*17) * time.Second
				withNotifyingServer(t, delay, delivery, func(r *notifyingServer) {
					r.srv.Unit().FailTarget("C0200003", 9709)
					began := time.Now()
					report, err := r.associate(3, 250).Wait(r.Context())
					require.ErrorIs(t, err, appsandbooks.ErrNotEnoughLicenses)
					require.Equal(t, 3*249, report.Succeeded)
					requireLedgerAgrees(t, r.srv, report)
					// The interval between two polls is 30 s, plus up to a tenth at random.
					require.LessOrEqual(t, time.Since(began), max(30*time.Second, delay+33*time.Second))
				}, appsandbookstest.WithSeed(seed+1))
			})
		}
	}
}

// A notification that arrives before the answer that names its event still ends the wait
// for the event.
func TestClient_Notify_acceptsNotificationBeforeAnswerToRequest(t *testing.T) {
	withNotifyingServer(t, 100*time.Millisecond, appsandbookstest.NotificationOptions{}, func(r *notifyingServer) {
		// This call reads the service's limits, so that Associate does not have to read
		// them.
		_, err := r.client.Config.ServiceConfig(r.Context())
		require.NoError(t, err)
		began := time.Now()
		op := r.associate(2, 250)
		require.Equal(t, 2*time.Second, time.Since(began))
		_, err = op.Wait(r.Context())
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, time.Since(began), "the client polls as soon as it knows the event")
	}, appsandbookstest.WithLatency(2*time.Second))
}

// A notification is not lost when it arrives before Operation.Wait, between two calls of
// Step or after a canceled Wait.
func TestClient_Notify_keepsNotificationsThatArriveBeforeWait(t *testing.T) {
	withNotifyingServer(t, 3*time.Second, appsandbookstest.NotificationOptions{}, func(r *notifyingServer) {
		op := r.associate(2, 250)
		time.Sleep(9 * time.Second)
		began := time.Now()
		_, err := op.Wait(r.Context())
		require.NoError(t, err)
		require.Zero(t, time.Since(began))
	})
	withNotifyingServer(t, 3*time.Second, appsandbookstest.NotificationOptions{Reorder: 0.5, ReorderWindow: 20 * time.Second}, func(r *notifyingServer) {
		op := r.associate(2, 950)
		for {
			require.NoError(t, op.Step(r.Context()))
			if _, more := op.Next(); !more {
				break
			}
			time.Sleep(time.Second)
		}
		require.Equal(t, 1, countPath(r.srv, "status"))
		require.Equal(t, 1900, op.Report().Succeeded)
	})
	withNotifyingServer(t, 3*time.Second, appsandbookstest.NotificationOptions{}, func(r *notifyingServer) {
		op := r.associate(1, 10)
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		_, err := op.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(5 * time.Second)
		began := time.Now()
		_, err = op.Wait(r.Context())
		require.NoError(t, err)
		require.Zero(t, time.Since(began))
	})
}

// A client that receives notifications polls an event for the first time after 30 s.
// Without notifications it polls for the first time after 5 s.
func TestClient_Notify_postponesFirstPoll(t *testing.T) {
	for name, test := range map[string]struct {
		opts      []appsandbooks.Option
		notify    bool
		firstPoll time.Duration
	}{
		"without notifications":              {nil, false, 5 * time.Second},
		"with notifications":                 {nil, true, 30 * time.Second},
		"with notifications and WithPolling": {[]appsandbooks.Option{appsandbooks.WithPolling(time.Minute, 40*time.Second)}, true, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, err := appsandbookstest.NewServer()
				require.NoError(t, err)
				defer srv.Close()
				c := newClient(t, srv, test.opts...)
				defer c.Close()
				if test.notify {
					c.Notify(&appsandbooks.Notification{Type: appsandbooks.NotificationTest})
				}
				c.Notify(nil)
				began := time.Now()
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{Assets: addAssets(srv, 1, 1), SerialNumbers: names("C02", 1)})
				require.NoError(t, err)
				_, err = op.Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.firstPoll, time.Since(began))
			})
		})
	}
}

// One notification handler can pass notifications to the clients of many units.
func TestClient_Notify_servesManyUnitsFromOneHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := map[string]*appsandbooks.Client{}
		h := newHandler(t, nil, appsandbooks.WithNotify(func(n *appsandbooks.Notification) {
			if c := clients[n.UID]; c != nil {
				c.Notify(n)
			}
		}))
		srv, err := appsandbookstest.NewServer(
			appsandbookstest.WithEventDelay(7*time.Second),
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(h)))
		require.NoError(t, err)
		defer srv.Close()
		durations := make(chan time.Duration, 10)
		began := time.Now()
		var units []*appsandbookstest.Unit
		for i := range cap(durations) {
			u := srv.NewUnit(fmt.Sprint("Unit ", i))
			c, err := appsandbooks.NewClient(u.Token(), appsandbooks.WithHTTPClient(srv.Client()))
			require.NoError(t, err)
			defer c.Close()
			clients[u.UID()] = c
			units = append(units, u)
		}
		for _, u := range units {
			_, err := clients[u.UID()].Config.Register(t.Context(), appsandbooks.Registration{
				NotificationURL: "https://mdm.example.com/n", NotificationAuthToken: appsandbooks.NewSecret("secret-of-" + u.UID()), Handler: h,
			})
			require.NoError(t, err)
			u.AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 10})
		}
		for _, c := range clients {
			go func() {
				op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
					Assets: []appsandbooks.AssetID{{AdamID: "1000", PricingParam: appsandbooks.PricingSTDQ}}, SerialNumbers: names("C02", 5),
				})
				if assert.NoError(t, err) {
					_, err = op.Wait(t.Context())
					assert.NoError(t, err)
				}
				durations <- time.Since(began)
			}()
		}
		for range clients {
			require.Equal(t, 7*time.Second, <-durations)
		}
		require.Empty(t, srv.Violations())
	})
}

// A notification ends Operation.Wait before the next poll is due.
func TestClient_Notify_endsWaitBeforeNextPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *appsandbooks.Client
		receiver := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := new(appsandbooks.Notification)
			if err := decodeBody(r, n); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			c.Notify(n)
		})
		srv, err := appsandbookstest.NewServer(
			appsandbookstest.WithEventDelay(12*time.Second),
			appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(receiver)))
		require.NoError(t, err)
		defer srv.Close()
		c = newClient(t, srv)
		defer c.Close()
		_, err = c.Config.UpdateClientConfig(t.Context(), appsandbooks.Registration{
			NotificationURL: "https://mdm.example.com/n", NotificationAuthToken: appsandbooks.NewSecret("secret"),
			NotificationTypes: appsandbooks.NotificationTypes(),
		})
		require.NoError(t, err)
		began := time.Now()
		op, err := c.Assets.Associate(t.Context(), appsandbooks.AssetChange{
			Assets: addAssets(srv, 3, 1000), SerialNumbers: names("C02", 350),
		})
		require.NoError(t, err)
		report, err := op.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1050, report.Succeeded)
		require.Equal(t, 12*time.Second, time.Since(began).Truncate(time.Millisecond))
		require.Equal(t, 1, countPath(srv, "status"))
		require.Empty(t, srv.Violations())
	})
}

// Client.Notify changes nothing when the client or the notification is nil.
func TestClient_Notify_ignoresNil(t *testing.T) {
	var missing *appsandbooks.Client
	require.NotPanics(t, func() {
		missing.Notify(&appsandbooks.Notification{})
		new(appsandbooks.Client).Notify(&appsandbooks.Notification{})
		clientWithAnswer(t, 200, nil, `{}`).Notify(nil)
	})
}
