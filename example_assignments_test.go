package appsandbooks_test

import (
	"context"
	"fmt"
	"log"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

func ExampleAssignmentsService_Changes() {
	srv, client := exampleService()
	defer srv.Close()
	defer client.Close()
	ctx := context.Background()

	version := "" // an empty version: the first run reads all assignments
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
