package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

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

func ExampleIsAuth() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().SetTokenState(appsandbookstest.TokenRevoked)

	_, err := client.Users.List(context.Background(), appsandbooks.UserFilter{})
	fmt.Println(appsandbooks.IsAuth(err), err)
	// Output: true GET users: the content token was revoked (9625): The content token has been revoked. (HTTP 401)
}

// With a content token that has read-only rights, a program can read lists but cannot
// change anything.
func ExampleIsForbidden() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.Unit().SetTokenState(appsandbookstest.TokenReadOnly)

	ctx := context.Background()

	op, err := client.Users.Retire(ctx, appsandbooks.UserChange{ClientUserIDs: []string{"user-1"}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = op.Wait(ctx)
	fmt.Println(appsandbooks.IsForbidden(err))
	// Output: true
}

// The SDK has already retried the call if a retry is safe. IsRetryable reports whether a
// later call may succeed.
func ExampleIsRetryable() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	srv.AddFault(appsandbookstest.Fault{Number: 9729})

	_, err := client.Users.List(context.Background(), appsandbooks.UserFilter{})
	fmt.Println(appsandbooks.IsRetryable(err))
	// Output: true
}

func ExampleIsNotFound() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()

	_, err := client.Status.Get(context.Background(), "an-expired-event")
	fmt.Println(appsandbooks.IsNotFound(err), errors.Is(err, appsandbooks.ErrEventNotFound))
	// Output: true true
}
