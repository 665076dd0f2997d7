package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

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

	// The list restarts up to three times when its data changes while it is read. The
	// program drops the pages that it read before a restart.
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

func ExampleAssetsService_Revoke() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddAssignments(
		appsandbookstest.Assignment{AdamID: "361309726", SerialNumber: "C02XL0GYJGH5"},
		appsandbookstest.Assignment{AdamID: "409201541", SerialNumber: "C02XL0GYJGH5"})

	// The device was wiped, so revoke all assignments of the device.
	op, err := client.Assets.Revoke(ctx, appsandbooks.AssetChange{SerialNumbers: []string{"C02XL0GYJGH5"}})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	// Output: assets/revoke: 1 of 1 succeeded
}

// A change can contain assets and targets, and also single pairs. Every asset of the change
// is assigned to every target of the change. A pair that is named twice counts once.
func ExampleAssetsService_Associate() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "409201541"}},
		SerialNumbers: []string{"C02XL0GYJGH5", "DMPXK1YQJF8J"},
		Pairs: []appsandbooks.AssetPair{
			{AdamID: "361309726", ClientUserID: "user-1"},
			{AdamID: "409201541", SerialNumber: "C02XL0GYJGH5"}, // also named above
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
