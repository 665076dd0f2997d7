package appsandbooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/appsandbooks/appsandbooks"
)

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

// Operation.Retry plans a new operation for the pairs that failed. Operation.Wait carries it
// out.
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

// The event status COMPLETE does not prove that a device exists. Operation.Verify reads the
// assignments back.
func ExampleOperation_Verify() {
	srv, client := exampleService()
	defer srv.Close()
	client.Close()
	// Verify reads a missing pair again after the polling interval. Apple's service needs the
	// default of 30 s.
	client, err := appsandbooks.NewClient(srv.Unit().Token(), appsandbooks.WithHTTPClient(srv.Client()),
		appsandbooks.WithPolling(time.Millisecond, 100*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	srv.Unit().AddDevices("C02XL0GYJGH5") // the only device that exists

	op, _ := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		SerialNumbers: []string{"C02XL0GYJGH5", "MISTYPED"},
	})
	report, _ := op.Wait(ctx)
	fmt.Println(report)
	report, err = op.Verify(ctx)
	fmt.Println(report, errors.Is(err, appsandbooks.ErrNotVerified))
	// Output:
	// assets/associate: 2 of 2 succeeded
	// assets/associate: 1 of 2 succeeded, 1 failed true
}

// One process saves an operation, and another process resumes it.
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
	saved, err := op.Save()
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

// With a journal an operation survives a crash at any moment. The journal is usually a
// file that is synced after each entry.
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
	// Here the process is killed and started again, and the new process resumes the
	// operation.
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

// A job engine runs steps at given times and must not sleep. Operation.Next returns the
// time at which the next step is due.
func ExampleOperation_Step() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1"},
	}, appsandbooks.WithPlanOnly())
	if err != nil {
		log.Fatal(err)
	}
	for {
		if err := op.Step(ctx); err != nil {
			log.Fatal(err)
		}
		next, more := op.Next()
		if !more {
			break
		}
		time.Sleep(time.Until(next)) // a job engine would save the operation instead of sleeping
	}
	fmt.Println(op.Report())
	// Output: assets/associate: 1 of 1 succeeded
}

// Wait returns when nothing more can be learned now. Operation.Next reports whether a later call
// can show more, for example because the answer to a request was lost.
func ExampleOperation_Next() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
		ClientUserIDs: []string{"user-1"},
	}, appsandbooks.WithPlanOnly())
	if err != nil {
		log.Fatal(err)
	}
	_, more := op.Next()
	fmt.Println("there is something to do:", more)
	report, err := op.Wait(ctx)
	for err != nil {
		next, more := op.Next()
		if !more {
			break // every pair has its final outcome, and some have failed
		}
		time.Sleep(time.Until(next))
		report, err = op.Wait(ctx)
	}
	_, more = op.Next()
	fmt.Println(report, more)
	// Output:
	// there is something to do: true
	// assets/associate: 1 of 1 succeeded false
}

// Report.Reasons counts the pairs of each reason, without naming them.
func ExampleReport_Reasons() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}}, // three licenses
		SerialNumbers: []string{"A", "B", "C", "D", "E"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report, _ := op.Wait(ctx)
	for reason := range report.Reasons() {
		fmt.Println(reason.Pairs, reason.Status, errors.Is(reason.Err, appsandbooks.ErrNotEnoughLicenses))
	}
	// Output: 2 failed true
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
