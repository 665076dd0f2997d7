//go:build unix

package main

import (
	"net/http"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// faults is what happens to a request here and there.
func faults(srv *appsandbookstest.Server, units []*appsandbookstest.Unit) {
	for _, u := range units { // somebody between repeats what it was sent
		sent := "you sent Authorization: Bearer " + u.Token()
		for _, f := range []appsandbookstest.Fault{
			{Path: "assets/associate", Status: 500, Body: `{"errorNumber":9603,"errorMessage":"` + sent + `"}`, Probability: 0.01},
			{Path: "assets/associate", Status: 502, Body: "<html>" + sent, Probability: 0.01},
			{Path: "status", Status: 503, Body: "<html>" + sent, Probability: 0.02},
		} {
			f.Unit = u
			srv.AddFault(f)
		}
	}
	for _, f := range []appsandbookstest.Fault{
		{Path: "assets/associate", Kind: appsandbookstest.FaultResetAfter, Probability: 0.01},
		{Path: "assets/associate", Kind: appsandbookstest.FaultResetBefore, Probability: 0.01},
		{Path: "assets/associate", Kind: appsandbookstest.FaultCutBody, Probability: 0.01},
		{Path: "assets/associate", Number: 9646, Probability: 0.01},
		{Path: "assets/associate", Number: 9603, Header: http.Header{"Retry-After": {"1"}}, Probability: 0.005},
		// Not FaultResetAfter: over HTTP/1.1 net/http itself repeats a GET whose
		// connection breaks before the first byte of the answer.
		{Path: "status", Kind: appsandbookstest.FaultEOF, Probability: 0.02},
		{Path: "status", Kind: appsandbookstest.FaultCutBody, Probability: 0.02},
		{Path: "assignments", Kind: appsandbookstest.FaultCutBody, Probability: 0.05},
	} {
		srv.AddFault(f)
	}
}
