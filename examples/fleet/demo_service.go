//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// startService starts the stand-in for Apple's service, creates the units, and writes the
// vendor's file. The limits are low, so that operations need several requests.
func (d *demo) startService(context.Context) error {
	limits := appsandbookstest.DefaultLimits()
	limits.MaxAssets, limits.MaxSerialNumbers, limits.MaxRequestPerSecond = 4, 25, d.rate
	srv, err := appsandbookstest.NewServer(
		appsandbookstest.WithSeed(d.seed), appsandbookstest.WithLimits(limits), appsandbookstest.WithRequestLog(1_000_000),
		appsandbookstest.WithLatency(10*time.Millisecond),
		appsandbookstest.WithEventDelayFunc(func(appsandbookstest.Event) time.Duration {
			d.mu.Lock()
			defer d.mu.Unlock()
			return time.Duration(d.random.Int64N(int64(3 * time.Second)))
		}),
		appsandbookstest.WithNotifications(appsandbookstest.NotificationOptions{
			Loss: 0.03, Duplicate: 0.1, Reorder: 0.2, ReorderWindow: 2 * time.Second, RetryInterval: 4 * time.Second,
		}),
	)
	if err != nil {
		return err
	}
	d.service = srv
	d.atEnd(d.service.Close)
	if err := d.service.Listen(""); err != nil {
		return err
	}
	d.units = []*appsandbookstest.Unit{d.service.Unit()}
	for i := 1; i < d.unitCount; i++ {
		d.units = append(d.units, d.service.NewUnit(fmt.Sprint("Unit ", i)))
	}
	d.vendor = &vendor{BaseURL: d.service.URL(), Secret: fmt.Sprintf("secret-%d-0123456789", d.seed), Tokens: map[string]string{}}
	for _, u := range d.units {
		d.vendor.Tokens[u.UID()] = u.Token()
		for a := range 5 {
			u.AddAsset(appsandbookstest.Asset{AdamID: fmt.Sprint(a + 1), Total: 10_000_000})
		}
	}
	return d.vendor.write(d.settings.vendor)
}

// injectFaults makes some requests to the stand-in fail.
func (d *demo) injectFaults() {
	for _, u := range d.units { // these faults act like a proxy whose answer repeats the content token
		sent := "you sent Authorization: Bearer " + u.Token()
		for _, f := range []appsandbookstest.Fault{
			{Path: "assets/associate", Status: 500, Body: `{"errorNumber":9603,"errorMessage":"` + sent + `"}`, Probability: 0.01},
			{Path: "assets/associate", Status: 502, Body: "<html>" + sent, Probability: 0.01},
			{Path: "status", Status: 503, Body: "<html>" + sent, Probability: 0.02},
		} {
			f.Unit = u
			d.service.AddFault(f)
		}
	}
	for _, f := range []appsandbookstest.Fault{
		{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Probability: 0.01},
		{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Probability: 0.01},
		{Path: "assets/associate", Kind: appsandbookstest.FaultCutBody, Probability: 0.01},
		{Path: "assets/associate", Number: 9646, Probability: 0.01},
		{Path: "assets/associate", Number: 9603, Header: http.Header{"Retry-After": {"1"}}, Probability: 0.005},
		// Not FaultResetAfter: over HTTP/1.1, net/http itself repeats a GET if the
		// connection breaks before the first byte of the answer.
		{Path: "status", Kind: appsandbookstest.FaultEOF, Probability: 0.02},
		{Path: "status", Kind: appsandbookstest.FaultCutBody, Probability: 0.02},
		{Path: "assignments", Kind: appsandbookstest.FaultCutBody, Probability: 0.05},
	} {
		d.service.AddFault(f)
	}
}
