package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

func ExampleUsersService_Create() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Users.Create(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
		{ClientUserID: "managed", ManagedAppleID: "managed@school.example.com"}, // is associated at once
		{ClientUserID: "invited", Email: "invited@school.example.com"},          // must accept an invitation
		{ClientUserID: "user-1"}, // already exists
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

// The first run reads all users. Later runs read only the users that have changed since the
// previous run.
func ExampleUsersService_Changes() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	version := "" // saved between two runs
	for range 2 {
		next := version
		for page, err := range client.Users.Changes(ctx, appsandbooks.UserFilter{SinceVersionID: version}) {
			if err != nil {
				log.Fatal(err)
			}
			for _, u := range page.Items {
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

// UsersService.Update gives a Managed Apple Account to a user who has none.
func ExampleUsersService_Update() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddUser(appsandbookstest.User{ClientUserID: "user-3"})

	op, err := client.Users.Update(ctx, appsandbooks.UserChange{Users: []appsandbooks.UserRequest{
		{ClientUserID: "user-3", ManagedAppleID: "user-3@school.example.com"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	page, err := client.Users.List(ctx, appsandbooks.UserFilter{ClientUserID: "user-3"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report, page.Items[0].Status)
	// Output: users/update: 1 of 1 succeeded Associated
}

func ExampleUsersService_Retire() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{"user-2"}})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	active, err := appsandbooks.Collect(client.Users.All(ctx, appsandbooks.UserFilter{ActiveOnly: true}))
	fmt.Println(report, len(active), err)
	// Output: users/retire: 1 of 1 succeeded 1 <nil>
}

// The service does not send invitations to users. The program must send the invitation link
// to the user.
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
