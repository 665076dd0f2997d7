package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// The program receives notifications, registers their URL with the service, and waits
// for a change. Notifications end the wait as soon as the change is finished.
func ExampleConfigService_Register() {
	srv, err := appsandbookstest.NewServer() // instead of Apple's service
	if err != nil {
		log.Fatal(err)
	}
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
			// The program has stored the notification, and the service does not deliver it again.
			return nil
		},
		appsandbooks.WithNotificationSecrets(secret),
		appsandbooks.WithNotify(client.Notify), // ends the wait for the event
	)
	if err != nil {
		log.Fatal(err)
	}
	// In production, this listener is behind a proxy that terminates TLS.
	l, err := net.Listen("tcp", "127.0.0.1:0")
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

func ExampleConfigService_ServiceConfig() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	config, err := client.Config.ServiceConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Limits.MaxAssets, config.Limits.MaxSerialNumbers)
	// Output: 25 1000
}

// ClientConfig needs a valid content token, so its result shows whether the token can be
// used.
func ExampleConfigService_ClientConfig() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)

	_, err := client.Config.ClientConfig(context.Background())
	switch {
	case errors.Is(err, appsandbooks.ErrTokenExpired):
		fmt.Println("expired: download a new token")
	case errors.Is(err, appsandbooks.ErrTokenRevoked):
		fmt.Println("revoked: a newer token was downloaded")
	}
	// Output: revoked: a newer token was downloaded
}

// After another device management service has claimed the unit, the client's writes fail
// and are not sent.
func ExampleWithOwner() {
	srv, err := appsandbookstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ours := appsandbooks.MDMInfo{ID: "0f2a6c1e", Name: "My MDM", Metadata: "1.0"}
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithOwner(ours, func(e *appsandbooks.TakeoverError) { fmt.Println("now managed by", e.By.Name) }))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if _, err := client.Config.Claim(ctx); err != nil {
		log.Fatal(err)
	}

	srv.Unit().TakeOver(appsandbookstest.MDMInfo{ID: "77", Name: "Another MDM", Metadata: "2.0"})
	// Every answer names the device management service that manages the unit.
	_, _ = client.Users.List(ctx, appsandbooks.UserFilter{})
	op, err := client.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{"user-1"}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = op.Wait(ctx)
	fmt.Println(errors.Is(err, appsandbooks.ErrTakenOver))
	// Output:
	// now managed by Another MDM
	// true
}
