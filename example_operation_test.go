package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// exampleService is a stand-in with a little content, and a client that asks
// for events early, since nobody minds.
func exampleService() (*appsandbookstest.Server, *appsandbooks.Client) {
	srv := appsandbookstest.NewServer(appsandbookstest.WithEventDelay(0))
	unit := srv.Unit()
	unit.AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 3})
	unit.AddAsset(appsandbookstest.Asset{AdamID: "409201541", Total: 100})
	unit.AddUser(appsandbookstest.User{ClientUserID: "user-1", Status: appsandbookstest.UserAssociated})
	unit.AddUser(appsandbookstest.User{ClientUserID: "user-2", Status: appsandbookstest.UserAssociated})
	unit.AddSubscription(appsandbookstest.Subscription{AdamID: 67890, ParentAdamID: 361309726})
	unit.PurchaseSubscription(67890, 25, 0)
	client, err := appsandbooks.NewClient(unit.Token(),
		appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithRetry(5, time.Millisecond, 10*time.Millisecond),
		appsandbooks.WithPolling(time.Millisecond, 30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	return srv, client
}

func Example() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}, {AdamID: "409201541"}},
		ClientUserIDs: []string{"user-1", "user-2"},
		SerialNumbers: []string{"C02XL0GYJGH5", "DMPXK1YQJF8J"},
	})
	if err != nil {
		log.Fatal(err) // nothing was accepted
	}
	report, err := op.Wait(ctx)
	fmt.Println(report)
	if errors.Is(err, appsandbooks.ErrNotEnoughLicenses) {
		for o := range report.Problems() {
			fmt.Println(o.AdamID, o.SerialNumber, o.Status)
		}
	}
	// Output:
	// assets/associate: 7 of 8 succeeded, 1 failed
	// 361309726 DMPXK1YQJF8J failed
}

func ExampleOperation_Wait() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "409201541"}},
		SerialNumbers: []string{"C02XL0GYJGH5"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := op.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("now the install command can be sent")
	// Output: now the install command can be sent
}

func ExampleOperation_Plan() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	change := appsandbooks.AssetChange{}
	for i := range 40 {
		change.Assets = append(change.Assets, appsandbooks.AssetID{AdamID: fmt.Sprint(1000 + i)})
	}
	for i := range 2500 {
		change.SerialNumbers = append(change.SerialNumbers, fmt.Sprintf("C02%05d", i))
	}
	op, err := client.Assets.Associate(context.Background(), change, appsandbooks.WithPlanOnly())
	if err != nil {
		log.Fatal(err)
	}
	plan := op.Plan()
	fmt.Println(plan.Pairs, "assignments in", plan.Requests, "requests")
	// Output: 100000 assignments in 6 requests
}

// Each pair that failed for a passing reason can be tried again.
func ExampleOperation_Retry() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, _ := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: []string{"A", "B", "C", "D", "E"},
	})
	report, _ := op.Wait(ctx)
	fmt.Println(report)

	srv.Unit().Purchase("361309726", "STDQ", 10) // in Apple's portal
	op, err := op.Retry(ctx)
	if err != nil {
		log.Fatal(err)
	}
	report, _ = op.Wait(ctx)
	fmt.Println(report)
	// Output:
	// assets/associate: 3 of 5 succeeded, 2 failed
	// assets/associate: 2 of 2 succeeded
}

func ExampleOperation_Undo() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, _ := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1", "user-2"},
	})
	_, _ = op.Wait(ctx)
	undo, err := op.Undo(ctx)
	if err != nil {
		log.Fatal(err)
	}
	report, _ := undo.Wait(ctx)
	fmt.Println(report)
	// Output: assets/disassociate: 2 of 2 succeeded
}

// COMPLETE does not prove that a device exists.
func ExampleOperation_Verify() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddDevices("C02XL0GYJGH5") // the only one there is

	op, _ := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: []string{"C02XL0GYJGH5", "MISTYPED"},
	})
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	report, err := op.Verify(ctx)
	fmt.Println(report, errors.Is(err, appsandbooks.ErrNotVerified))
	// Output:
	// assets/associate: 2 of 2 succeeded
	// assets/associate: 1 of 2 succeeded, 1 failed true
}

// An operation is saved by one process and taken up by another.
func ExampleClient_Resume() {
	srv, client := exampleService()
	defer srv.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	saved, err := op.MarshalJSON()
	if err != nil {
		log.Fatal(err)
	}
	client.Close() // this process ends here

	client, err = appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithPolling(time.Millisecond, 30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	op, err = client.Resume(saved)
	if err != nil {
		log.Fatal(err)
	}
	report, err := op.Wait(ctx)
	fmt.Println(report, err)
	// Output: assets/associate: 1 of 1 succeeded <nil>
}

// A journal survives a crash at any moment. It is usually a file that is synced
// after each entry.
func ExampleWithJournal() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	var file bytes.Buffer
	journal := func(_ context.Context, entry []byte) error {
		_, err := file.Write(entry)
		return err
	}
	_, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1"},
	}, appsandbooks.WithJournal(journal))
	if err != nil {
		log.Fatal(err)
	}
	// … the process is killed here, and started again.
	op, err := client.Resume(file.Bytes(), appsandbooks.WithJournal(journal))
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	// Output: assets/associate: 1 of 1 succeeded
}

func ExampleWithProgress() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "409201541"}},
		ClientUserIDs: []string{"user-1", "user-2"},
	}, appsandbooks.WithProgress(func(p appsandbooks.Progress) {
		if p.Finished == p.Requests {
			fmt.Printf("%d of %d requests, %d of %d pairs\n", p.Finished, p.Requests, p.Succeeded, p.Pairs)
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	_, _ = op.Wait(ctx)
	// Output: 1 of 1 requests, 2 of 2 pairs
}

func ExampleAssetsService_All() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	filter := appsandbooks.AssetFilter{ProductType: appsandbooks.ProductApp, MinAvailableCount: appsandbooks.Ptr(1)}
	for asset, err := range client.Assets.All(context.Background(), filter) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %d of %d available\n", asset.AdamID, asset.AvailableCount, asset.TotalCount)
	}
	// Output:
	// 361309726: 3 of 3 available
	// 409201541: 100 of 100 available
}

func ExampleAssetsService_Pages_restarts() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	// All pages of one state of the data, or an error.
	var assets []appsandbooks.Asset
	for page, err := range client.Assets.Pages(context.Background(), appsandbooks.AssetFilter{ListOptions: appsandbooks.ListOptions{Restarts: 3}}) {
		if errors.Is(err, appsandbooks.ErrRestarted) {
			assets = nil
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		assets = append(assets, page.Items...)
	}
	fmt.Println(len(assets))
	// Output: 2
}

func ExampleAssignmentsService_Changes() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	version := "" // none yet
	sync := func() error {
		next := version
		for page, err := range client.Assignments.Changes(ctx, appsandbooks.AssignmentFilter{SinceVersionID: version}) {
			if err != nil {
				return err
			}
			for _, a := range page.Items {
				fmt.Println(a.AdamID, a.SerialNumber, page.Full)
			}
			next = page.FirstVersionID
		}
		version = next
		return nil
	}

	for _, serial := range []string{"C02XL0GYJGH5", "DMPXK1YQJF8J"} {
		srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "361309726", SerialNumber: serial})
		if err := sync(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 361309726 C02XL0GYJGH5 true
	// 361309726 DMPXK1YQJF8J false
}

func ExampleAssetsService_Revoke() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddAssignments(
		appsandbookstest.Assignment{AdamID: "361309726", SerialNumber: "C02XL0GYJGH5"},
		appsandbookstest.Assignment{AdamID: "409201541", SerialNumber: "C02XL0GYJGH5"})

	// The device is wiped: take everything back.
	op, err := client.Assets.Revoke(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"C02XL0GYJGH5"}})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	// Output: assets/revoke: 1 of 1 succeeded
}

func ExampleUsersService_Create() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
		{ClientUserID: "managed", ManagedAppleID: "managed@school.example.com"}, // associated at once
		{ClientUserID: "invited", Email: "invited@school.example.com"},          // has to accept an invitation
		{ClientUserID: "user-1"}, // exists
	}})
	if err != nil {
		log.Fatal(err)
	}
	report, err := op.Wait(ctx)
	fmt.Println(report, errors.Is(err, appsandbooks.ErrUserAlreadyExists))

	users, err := appsandbooks.Collect(client.Users.All(ctx, appsandbooks.UserFilter{ClientUserID: "invited"}))
	if err != nil {
		log.Fatal(err)
	}
	url, err := client.Users.InvitationURL(ctx, users[0].InviteCode)
	fmt.Println(users[0].Status, url != "", err)
	// Output:
	// users/create: 2 of 3 succeeded, 1 failed true
	// Registered true <nil>
}

func ExampleSubscriptionsService_Associate() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Subscriptions.Associate(ctx, appsandbooks.SubscriptionChange{
		AdamIDs:       []int64{67890},
		ClientUserIDs: []string{"user-1", "user-2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	for s, err := range client.Subscriptions.All(ctx, appsandbooks.SubscriptionFilter{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.AdamID, s.Counts.Assigned.Renewing, "of", s.Counts.Total.Renewing)
	}
	// Output:
	// subscriptions/associate: 2 of 2 succeeded
	// 67890 2 of 25
}

func ExampleStatusService_Wait() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, _ := client.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{"user-1"}})
	status, err := client.Status.Wait(ctx, op.EventIDs()[0])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Type, status.State, status.NumCompleted)
	// Output: RETIRE COMPLETE 1
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

// The service configuration says nothing about the token; the client
// configuration does.
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
		fmt.Println("revoked: somebody downloaded a newer token")
	}
	// Output: revoked: somebody downloaded a newer token
}

func ExampleError() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.AddFault(appsandbookstest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"})

	_, err := client.Assets.Associate(context.Background(), appsandbooks.AssetChange{
		Assets: []appsandbooks.AssetID{{AdamID: "1"}}, SerialNumbers: []string{"C02XL0GYJGH5"},
	})
	var e *appsandbooks.Error
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Path, e.Attempts, appsandbooks.IsRetryable(err))
	}
	// Output: 502 service/config 5 true
}

// An endpoint that the SDK has no method for.
func ExampleClient_Do() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	var out struct {
		UID string `json:"uId"`
	}
	err := client.Do(context.Background(), http.MethodGet, "client/config", nil, nil, &out)
	fmt.Println(out.UID == srv.Unit().UID(), err)
	// Output: true <nil>
}

func ExampleParseToken() {
	token, err := appsandbooks.ParseToken(stoken)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.OrganizationName, token.ExpirationDate.Format(time.DateOnly))
	fmt.Println(token)
	// Output:
	// ORG12345 2030-11-08
	// [REDACTED]
}
