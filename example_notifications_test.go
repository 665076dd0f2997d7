package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// One NotificationHandler receives the notifications of many customers' organizational
// units. Each unit has its own notification URL and its own secrets.
func ExampleWithUnitSecrets() {
	type unit struct {
		// secrets has the current secret and, while it is replaced, the previous secret.
		secrets []appsandbooks.Secret
		client  *appsandbooks.Client
	}
	units := map[string]unit{} // the units by uId; in production a database has them

	handler, err := appsandbooks.NewNotificationHandler(nil,
		appsandbooks.WithRequestSecrets(func(r *http.Request) ([]appsandbooks.Secret, error) {
			return units[r.PathValue("uid")].secrets, nil
		}),
		appsandbooks.WithUnitSecrets(func(_ context.Context, uid string) ([]appsandbooks.Secret, error) {
			return units[uid].secrets, nil
		}),
		appsandbooks.WithNotify(func(n *appsandbooks.Notification) {
			if u, ok := units[n.UID]; ok {
				u.client.Notify(n)
			}
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/notifications/{uid}", handler)
	// Output:
}

// The NotificationHandler is an http.Handler. Mount it at the notification URL that is
// registered with the service.
func ExampleNewNotificationHandler() {
	handler, err := appsandbooks.NewNotificationHandler(
		func(_ context.Context, n *appsandbooks.Notification) error {
			if n.AssetCount != nil {
				fmt.Printf("%+d licenses of %s\n", n.AssetCount.CountDelta, n.AssetCount.AdamID)
			}
			// The program has stored the notification, and the service does not deliver it again.
			return nil
		},
		// The handler accepts both secrets while the old secret is replaced.
		appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret("new-secret"), appsandbooks.NewSecret("old-secret")))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /apple/notifications", handler)

	// The service delivers:
	r := httptest.NewRequest(http.MethodPost, "/apple/notifications", strings.NewReader(
		`{"notificationId": "8a3b", "notificationType": "ASSET_COUNT", "uId": "2049025000431439",
		  "notification": {"adamId": "361309726", "pricingParam": "STDQ", "countDelta": 25}}`))
	r.Header.Set("Authorization", "Bearer old-secret")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// +25 licenses of 361309726
	// 200
}

// When the notification of an event arrives, an operation that waits for the event
// polls at once.
func ExampleClient_Notify() {
	var client *appsandbooks.Client
	handler, err := appsandbooks.NewNotificationHandler(nil,
		appsandbooks.WithNotificationSecrets(appsandbooks.NewSecret("secret")),
		appsandbooks.WithNotify(func(n *appsandbooks.Notification) { client.Notify(n) }))
	if err != nil {
		log.Fatal(err)
	}
	srv, err := appsandbookstest.NewServer(
		appsandbookstest.WithEventDelay(50*time.Millisecond),
		appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(handler)))
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	client, err = appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	_, err = client.Config.Register(ctx, appsandbooks.Registration{
		NotificationURL: "https://mdm.example.com/apple/notifications", NotificationAuthToken: appsandbooks.NewSecret("secret"),
	})
	if err != nil {
		log.Fatal(err)
	}

	began := time.Now()
	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: []string{"C02XL0GYJGH5"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, err := op.Wait(ctx)
	fmt.Println(report, err, "without waiting for the next poll:", time.Since(began) < 5*time.Second)
	// Output: assets/associate: 1 of 1 succeeded <nil> without waiting for the next poll: true
}

func ExampleParseNotification() {
	n, err := appsandbooks.ParseNotification([]byte(`{
		"notificationId": "8a3b", "notificationType": "ASSET_MANAGEMENT", "uId": "2049025000431439",
		"notification": {
			"eventId": "4f1c", "result": "FAILURE", "type": "ASSOCIATE",
			"error": {"errorNumber": 9709, "errorMessage": "Not enough licenses"},
			"assignments": [{"adamId": "361309726", "pricingParam": "STDQ", "serialNumber": "C02XL0GYJGH5"}]
		}}`))
	if err != nil {
		log.Fatal(err)
	}
	a := n.AssetManagement
	fmt.Println(n.EventID(), a.Result, a.Assignments[0].SerialNumber, errors.Is(a.Error, appsandbooks.ErrNotEnoughLicenses))
	// Output: 4f1c FAILURE C02XL0GYJGH5 true
}
