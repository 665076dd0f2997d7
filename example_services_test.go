package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Single pairs and products can be mixed; what is named twice counts once.
func ExampleAssetsService_Associate() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "409201541"}},
		SerialNumbers: []string{"C02XL0GYJGH5", "DMPXK1YQJF8J"},
		Pairs: []appsandbooks.Assignment{
			{AdamID: "361309726", ClientUserID: "user-1"},
			{AdamID: "409201541", SerialNumber: "C02XL0GYJGH5"}, // named before
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, err := op.Wait(ctx)
	fmt.Println(report, err)
	// Output: assets/associate: 3 of 3 succeeded <nil>
}

func ExampleAssetsService_Disassociate() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: "user-1"})

	op, err := client.Assets.Disassociate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report, len(srv.Unit().Assignments()))
	// Output: assets/disassociate: 1 of 1 succeeded 0
}

func ExampleAssignmentsService_All() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().AddAssignments(
		appsandbookstest.Assignment{AdamID: "361309726", ClientUserID: "user-1"},
		appsandbookstest.Assignment{AdamID: "361309726", SerialNumber: "C02XL0GYJGH5"})

	filter := appsandbooks.AssignmentFilter{AdamID: "361309726", IncludeUserState: true}
	for a, err := range client.Assignments.All(context.Background(), filter) {
		if err != nil {
			log.Fatal(err)
		}
		if a.SerialNumber != "" {
			fmt.Println("device", a.SerialNumber)
		} else {
			fmt.Println("user", a.ClientUserID, a.UserStatus)
		}
	}
	// Output:
	// user user-1 Associated
	// device C02XL0GYJGH5
}

func ExampleUsersService_All() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	for u, err := range client.Users.All(context.Background(), appsandbooks.UserFilter{ActiveOnly: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(u.ClientUserID, u.Status)
	}
	// Output:
	// user-1 Associated
	// user-2 Associated
}

// What changed since the last time; everything, the first time.
func ExampleUsersService_Changes() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	version := "" // kept from one run to the next
	for range 2 {
		next := version
		for page, err := range client.Users.Changes(ctx, appsandbooks.UserFilter{SinceVersionID: version}) {
			if err != nil {
				log.Fatal(err)
			}
			for _, u := range page.Users {
				fmt.Println(u.ClientUserID, page.Full)
			}
			next = page.FirstVersionID
		}
		version = next
		srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "user-3"})
	}
	// Output:
	// user-1 true
	// user-2 true
	// user-3 false
}

// A user without a Managed Apple Account gets one.
func ExampleUsersService_Update() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "user-3"})

	op, err := client.Users.Update(ctx, []appsandbooks.UserRequest{
		{ClientUserID: "user-3", ManagedAppleID: "user-3@school.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	page, err := client.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: "user-3"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report, page.Users[0].Status)
	// Output: users/update: 1 of 1 succeeded Associated
}

func ExampleUsersService_Retire() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Users.Retire(ctx, []string{"user-2"})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	active, err := appsandbooks.Collect(client.Users.All(ctx, appsandbooks.UserFilter{ActiveOnly: true}))
	fmt.Println(report, len(active), err)
	// Output: users/retire: 1 of 1 succeeded 1 <nil>
}

// The service sends no invitation: the link is yours to send.
func ExampleUsersService_InvitationURL() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "user-3"})

	for u, err := range client.Users.All(ctx, appsandbooks.UserFilter{ActiveOnly: true}) {
		if err != nil {
			log.Fatal(err)
		}
		if u.Status != appsandbooks.UserRegistered {
			continue
		}
		link, err := client.Users.InvitationURL(ctx, u.InviteCode)
		fmt.Println(u.ClientUserID, strings.Contains(link, u.InviteCode), err)
	}
	// Output: user-3 true <nil>
}

func ExampleStatusService_Get() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.HoldEvents(true)

	op, err := client.Users.Retire(ctx, []string{"user-1"})
	if err != nil {
		log.Fatal(err)
	}
	status, err := client.Status.Get(ctx, op.EventIDs()[0])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Type, status.State, status.NumCompleted, "of", status.NumRequested)
	// Output: RETIRE PENDING 0 of 1
}

// Another service claims the unit: writes stop before they are sent.
func ExampleWithOwner() {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	ours := appsandbooks.MDMInfo{ID: "0f2a6c1e", Name: "My MDM", Metadata: "1.0"}
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithOwner(ours, func(e *appsandbooks.TakeoverError) { fmt.Println("now managed by", e.By.Name) }))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if _, err := client.Config.TakeOver(ctx); err != nil {
		log.Fatal(err)
	}

	srv.Unit().TakeOver(appsandbookstest.MDMInfo{ID: "77", Name: "Another MDM", Metadata: "2.0"})
	_, _ = client.Users.List(ctx, appsandbooks.UserFilter{}) // any answer shows it
	_, err = client.Users.Retire(ctx, []string{"user-1"})
	fmt.Println(errors.Is(err, appsandbooks.ErrTakenOver))
	// Output:
	// now managed by Another MDM
	// true
}

func ExampleSubscriptionsService_All() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	for s, err := range client.Subscriptions.All(context.Background(), appsandbooks.SubscriptionFilter{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.AdamID, "of app", *s.ParentAdamID, s.Status, s.Counts.Available.Renewing)
	}
	// Output: 67890 of app 361309726 ACTIVE 25
}

// A seat that is taken back at the end of the period stays until then.
func ExampleSubscriptionsService_Disassociate() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "user-1", Renewing: true})

	change := appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: []string{"user-1"}}
	op, err := client.Subscriptions.Disassociate(ctx, change, appsandbooks.Immediately)
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	// Output: subscriptions/disassociate: 1 of 1 succeeded
}

func ExampleSubscriptionsService_AllAssignments() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "user-1", Renewing: true})

	filter := appsandbooks.SubscriptionAssignmentFilter{ClientUserIDs: []string{"user-1"}}
	for a, err := range client.Subscriptions.AllAssignments(context.Background(), filter) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.AdamID, a.ClientUserID, a.Renewing)
	}
	// Output: 67890 user-1 true
}

func ExampleSubscriptionsService_AddAdmins() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	if _, err := client.Subscriptions.AddAdmins(ctx, []int64{67890}, []string{"user-1", "user-2"}); err != nil {
		log.Fatal(err)
	}
	if _, err := client.Subscriptions.RemoveAdmins(ctx, []int64{67890}, []string{"user-2"}); err != nil {
		log.Fatal(err)
	}
	for a, err := range client.Subscriptions.AllAdmins(ctx, appsandbooks.SubscriptionAdminFilter{IncludeUserState: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.AdamID, a.ClientUserID, a.UserStatus)
	}
	// Output: 67890 user-1 Associated
}

// There is no way to read the state: the answers tell it.
func ExampleSubscriptionsService_Enable() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	support, err := client.Subscriptions.Enable(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(support.Enabled)
	_, err = client.Subscriptions.Disable(ctx)
	fmt.Println(errors.Is(err, appsandbooks.ErrSubscriptionsExist))
	// Output:
	// true
	// true
}

// A job engine does not sleep: it asks when to come back.
func ExampleOperation_Step() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1"},
	}, appsandbooks.PlanOnly())
	if err != nil {
		log.Fatal(err)
	}
	for {
		next, err := op.Step(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if next.IsZero() {
			break
		}
		time.Sleep(time.Until(next)) // a job engine would save the operation instead
	}
	fmt.Println(op.Report())
	// Output: assets/associate: 1 of 1 succeeded
}

func ExampleReport_Outcomes() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().FailTarget("user-2", 9603)

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1", "user-2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	for o := range report.Outcomes() {
		fmt.Println(o.AdamID, o.ClientUserID, o.Status, appsandbooks.IsRetryable(o.Err))
	}
	// Output:
	// 361309726 user-1 succeeded false
	// 361309726 user-2 failed true
}

func ExampleIsAuth() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)

	_, err := client.Users.List(context.Background(), appsandbooks.UserFilter{})
	fmt.Println(appsandbooks.IsAuth(err), err)
	// Output: true GET users: the content token was revoked (9625): The content token has been revoked. (HTTP 401)
}

// An sToken with read-only rights lists, and does not assign.
func ExampleIsForbidden() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().SetTokenState(appsandbookstest.TokenReadOnly)

	_, err := client.Users.Retire(context.Background(), []string{"user-1"})
	fmt.Println(appsandbooks.IsForbidden(err))
	// Output: true
}

// The SDK has tried again already where that was safe.
func ExampleIsRetryable() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.AddFault(appsandbookstest.Fault{Number: 9729})

	_, err := client.Users.List(context.Background(), appsandbooks.UserFilter{})
	fmt.Println(appsandbooks.IsRetryable(err))
	// Output: true
}

// Operations split by themselves; AddAdmins is one request.
func ExampleIsLimit() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.SetLimits(func(l *appsandbookstest.Limits) { l.MaxSubscriptionClientUserIDs = 1 })

	_, err := client.Subscriptions.AddAdmins(context.Background(), []int64{67890}, []string{"user-1", "user-2"})
	fmt.Println(appsandbooks.IsLimit(err))
	// Output: true
}

func ExampleIsNotFound() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	_, err := client.Status.Get(context.Background(), "an event of long ago")
	fmt.Println(appsandbooks.IsNotFound(err), errors.Is(err, appsandbooks.ErrEventNotFound))
	// Output: true true
}

// A handler is an http.Handler, to be mounted where the service reaches it.
func ExampleNewNotificationHandler() {
	handler, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
		AssetCount: func(_ context.Context, n *appsandbooks.Notification) error {
			fmt.Printf("%+d licences of %s\n", n.AssetCount.CountDelta, n.AssetCount.AdamID)
			return nil // stored: the service may forget it
		},
	}, "new-secret", "old-secret") // both, while it is being replaced
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
	// +25 licences of 361309726
	// 200
}

// Whoever waits for an event looks at once when its notification comes.
func ExampleClient_Notify() {
	var client *appsandbooks.Client
	handler, err := appsandbooks.NewNotificationHandler(appsandbooks.NotificationHooks{
		Notify: func(n *appsandbooks.Notification) { client.Notify(n) },
	}, "secret")
	if err != nil {
		log.Fatal(err)
	}
	srv := appsandbookstest.NewServer(
		appsandbookstest.WithEventDelay(50*time.Millisecond),
		appsandbookstest.WithNotificationTransport(appsandbookstest.HandlerTransport(handler)))
	defer srv.Close()
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "361309726", Total: 25})
	client, err = appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	_, err = client.Config.Register(ctx, appsandbooks.Registration{
		URL: "https://mdm.example.com/apple/notifications", Secret: appsandbooks.NewSecret("secret"),
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

func ExampleWithTrace() {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	srv.AddFault(appsandbookstest.Fault{Number: 9646, Times: 1})

	client, err := appsandbooks.NewClient(srv.Unit().Token(),
		appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithRetry(5, 0, time.Millisecond),
		appsandbooks.WithTrace(func(_ context.Context, a appsandbooks.Attempt) {
			fmt.Println(a.Method, a.Path, a.Count, a.StatusCode, int(a.ErrorNumber), a.Again)
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Config.Client(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// GET client/config 1 429 9646 true
	// GET client/config 2 200 0 false
}

// A renewed token is used from the next attempt on.
func ExampleWithTokenSource() {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	current := srv.Unit().Token()
	client, err := appsandbooks.NewClient("", appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithTokenSource(func(context.Context) (string, error) { return current, nil }))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	current = srv.Unit().ReplaceToken()
	_, err = client.Config.Client(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

// Two clients of one organizational unit keep to one pace.
func ExampleWithLimiter() {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	limiter := appsandbooks.NewLimiter()
	for _, name := range []string{"console", "nightly"} {
		client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()),
			appsandbooks.WithLimiter(limiter), appsandbooks.WithUserAgent(name))
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		fmt.Println(name, client)
	}
	// Output:
	// console appsandbooks.Client(https://vpp.itunes.apple.com/mdm/v2)
	// nightly appsandbooks.Client(https://vpp.itunes.apple.com/mdm/v2)
}

func ExampleWithLogger() {
	srv := appsandbookstest.NewServer()
	defer srv.Close()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "took" {
				return slog.Attr{} // for the example
			}
			return a
		},
	}))
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()), appsandbooks.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Users.List(context.Background(), appsandbooks.UserFilter{ClientUserID: "not in the log"}); err != nil {
		log.Fatal(err)
	}
	// Output: level=DEBUG msg="appsandbooks: request" method=GET path=users attempt=1 status=200
}
