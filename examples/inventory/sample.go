package main

import (
	"fmt"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// sampleService returns a stand-in with the content of a small school. The program
// uses it if no content token is given.
func sampleService() (*appsandbookstest.Server, error) {
	srv, err := appsandbookstest.NewServer(appsandbookstest.WithPageSize(100))
	if err != nil {
		return nil, err
	}
	u := srv.Unit()
	for i := range 120 {
		id := fmt.Sprintf("teacher-%03d", i+1)
		u.AddUser(appsandbookstest.User{ClientUserID: id, Email: id + "@example.com", Status: appsandbookstest.UserAssociated})
	}
	for _, a := range []struct {
		id             string
		product        string
		total          int
		devices, users int
	}{
		{"361309726", appsandbookstest.ProductApp, 1200, 900, 0},
		{"409183694", appsandbookstest.ProductApp, 900, 899, 0},
		{"409203825", appsandbookstest.ProductApp, 1000, 250, 120},
		{"408709785", appsandbookstest.ProductApp, 500, 0, 60},
		{"377298193", appsandbookstest.ProductApp, 700, 648, 48},
		{"1446365902", appsandbookstest.ProductBook, 30, 0, 30},
		{"1118431695", appsandbookstest.ProductApp, 0, 310, 0},
	} {
		u.AddAsset(appsandbookstest.Asset{AdamID: a.id, ProductType: a.product, Total: a.total, Unlimited: a.total == 0})
		list := make([]appsandbookstest.Assignment, 0, a.devices+a.users)
		for i := range a.devices {
			list = append(list, appsandbookstest.Assignment{AdamID: a.id, SerialNumber: fmt.Sprintf("SAMPLE%06d", i+1)})
		}
		for i := range a.users {
			list = append(list, appsandbookstest.Assignment{AdamID: a.id, ClientUserID: fmt.Sprintf("teacher-%03d", i+1)})
		}
		u.AddAssignments(list...)
	}
	u.AddSubscription(appsandbookstest.Subscription{
		AdamID: 67890, ParentAdamID: 361309726, Total: appsandbookstest.Seats{Renewing: 60, Expiring: 20},
	})
	u.AddSubscriptionAssignments(appsandbookstest.SubscriptionAssignment{AdamID: 67890, ClientUserID: "teacher-001", Renewing: true})
	return srv, nil
}
