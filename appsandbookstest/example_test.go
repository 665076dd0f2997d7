package appsandbookstest_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// A client, here an http.Client, assigns an app to a device. The test then
// reads the ledger.
func Example() {
	srv, err := fake.NewServer(fake.WithEventDelay(0))
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	unit := srv.Unit()
	unit.AddAsset(fake.Asset{AdamID: "361309726", Total: 25})

	body := `{"assets": [{"adamId": "361309726", "pricingParam": "STDQ"}], "serialNumbers": ["C02XK1JGJHD2"]}`
	req, _ := http.NewRequest(http.MethodPost, srv.URL()+"/assets/associate", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+unit.Token())
	req.Header.Set("Content-Type", "application/json")
	resp, err := srv.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)

	for _, a := range unit.Assignments() {
		fmt.Println(a.AdamID, a.SerialNumber)
	}
	asset, _ := unit.Asset("361309726", "")
	fmt.Println("available:", asset.Available)
	fmt.Println("violations:", srv.Violations())
	// Output:
	// 200 OK
	// 361309726 C02XK1JGJHD2
	// available: 24
	// violations: []
}

// The fault simulates an overloaded service for the second request.
func ExampleServer_AddFault() {
	srv, err := fake.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.AddFault(fake.Fault{
		Path:   "service/config",
		Number: 9603,
		Header: http.Header{"Retry-After": {"120"}},
		After:  1,
		Times:  1,
	})
	for range 3 {
		resp, err := srv.Client().Get(srv.URL() + "/service/config")
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		fmt.Printf("%d %q\n", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	// Output:
	// 200 ""
	// 500 "120"
	// 200 ""
}
