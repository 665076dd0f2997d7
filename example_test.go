package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/appsandbooks/appsandbooks"
)

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
		log.Fatal(err) // there is no operation, and nothing was sent
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
