package appsandbooks_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Receives notifications, tells the service where, and waits for a change
// that ends as soon as the service says so.
func ExampleConfigService_Register() {
	srv := appsandbookstest.NewServer() // in the place of Apple's
	defer srv.Close()
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	secret := appsandbooks.NewSecret("at-least-as-long-as-this-one")
	handler, err := appsandbooks.NewNotificationHandler(
		func(_ context.Context, n *appsandbooks.Notification) error {
			if m := n.AssetManagement; m != nil {
				fmt.Println(m.Type, m.Result, len(m.Assignments))
			}
			return nil // it is stored: the service need not send it again
		},
		appsandbooks.WithNotificationSecrets(secret),
		appsandbooks.WithNotify(client.Notify), // wakes those who wait
	)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // behind a proxy that ends TLS
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- handler.Serve(ctx, l) }()

	_, err = client.Config.Register(ctx, appsandbooks.Registration{
		NotificationURL:       "http://" + l.Addr().String() + "/notifications",
		NotificationAuthToken: secret,
		MDMInfo:               &appsandbooks.MDMInfo{ID: "522d5c43-44ca-4f7e-ba7a-53570cf60765", Name: "My MDM Server", Metadata: "1.0.0"},
		Handler:               handler,
	})
	if err != nil {
		log.Fatal(err)
	}
	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726", PricingParam: appsandbooks.PricingSTDQ}},
		SerialNumbers: []string{"C02XK0AAJG5J", "C02XK0ABJG5J"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, err := op.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Succeeded, "assigned")
	stop()
	if err := <-served; err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// ASSOCIATE SUCCESS 2
	// 2 assigned
}

// One handler for the organizational units of many customers, each with a
// notification URL and a secret of its own.
func ExampleWithUnitSecrets() {
	type unit struct {
		secrets []appsandbooks.Secret // the present one, and for a while the previous one
		client  *appsandbooks.Client
	}
	units := map[string]unit{} // by uId; a database in real life

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
