package appsandbooks_test

import (
	"context"
	"fmt"
	"log"

	"github.com/appsandbooks/appsandbooks"
)

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

func ExampleStatusService_Get() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.HoldEvents(true)

	op, err := client.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{"user-1"}})
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
