package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

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

// Disassociate takes the seats of a subscription back at once. With Deferred it takes them
// back at the end of the billing period.
func ExampleSubscriptionsService_Disassociate() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "user-1", Renewing: true})

	change := appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: []string{"user-1"}}
	op, err := client.Subscriptions.Disassociate(ctx, change)
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	// Output: subscriptions/disassociate: 1 of 1 succeeded
}

func ExampleSubscriptionAssignmentsService_All() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "user-1", Renewing: true})

	filter := appsandbooks.SubscriptionAssignmentFilter{ClientUserIDs: []string{"user-1"}}
	for a, err := range client.SubscriptionAssignments.All(context.Background(), filter) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.AdamID, a.ClientUserID, a.Renewing)
	}
	// Output: 67890 user-1 true
}

func ExampleSubscriptionAdminsService_Add() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	if err := client.SubscriptionAdmins.Add(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: []string{"user-1", "user-2"}}); err != nil {
		log.Fatal(err)
	}
	if err := client.SubscriptionAdmins.Remove(ctx, appsandbooks.SubscriptionChange{AdamIDs: []int64{67890}, ClientUserIDs: []string{"user-2"}}); err != nil {
		log.Fatal(err)
	}
	for a, err := range client.SubscriptionAdmins.All(ctx, appsandbooks.SubscriptionAdminFilter{IncludeUserState: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.AdamID, a.ClientUserID, a.UserStatus)
	}
	// Output: 67890 user-1 Associated
}

// The service has no call that reads whether subscriptions are enabled. The errors of
// SubscriptionsService.Enable and Disable show it.
func ExampleSubscriptionsService_Enable() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	if err := client.Subscriptions.Enable(ctx); err != nil {
		log.Fatal(err)
	}
	err := client.Subscriptions.Disable(ctx)
	fmt.Println(errors.Is(err, appsandbooks.ErrSubscriptionsExist))
	// Output: true
}
