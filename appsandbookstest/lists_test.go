package appsandbookstest_test

import (
	"fmt"
	"net/http"
	"testing"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// Large lists and requests are processed without quadratic work.
func TestServer_largeLibrary(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	const n = 200_000
	_, u, c := newServer(t)
	list := make([]fake.Assignment, n)
	for i := range list {
		list[i] = fake.Assignment{AdamID: fmt.Sprint(1 + i%100), SerialNumber: fmt.Sprintf("S%07d", i/100)}
	}
	u.AddAssignments(list...)

	empty := c.get("assignments?adamId=none")["versionId"].(string)
	for _, query := range []string{"", "adamId=7&", "sinceVersionId=" + empty + "&", "excludeInactiveUsers=true&"} {
		for range 10 {
			c.get(fmt.Sprintf("assignments?%spageIndex=0", query))
		}
	}
	u.Purchase("1000", "", 50_000)
	apps := make([]string, 25)
	for i := range apps {
		apps[i] = fmt.Sprint(1000 + i)
		u.Purchase(apps[i], "", 2000)
		u.AddUser(fake.User{ClientUserID: apps[i]})
	}
	u.AddAssignments(fake.Assignment{AdamID: "1", ClientUserID: "one"})
	body := assetsBody(apps, nil, ids("D", 1000))
	status := c.finish(u, "assets/associate", body)
	require.EqualValues(t, 25_000, status["numCompleted"])
	status = c.finish(u, "assets/disassociate", body)
	require.EqualValues(t, 25_000, status["numCompleted"])
	require.Len(t, u.Assignments(), n+1)
}

// BenchmarkServer_listAssignments reads a page of a million assignments.
func BenchmarkServer_listAssignments(b *testing.B) {
	srv, err := fake.NewServer()
	require.NoError(b, err)
	defer srv.Close()
	list := make([]fake.Assignment, 1_000_000)
	for i := range list {
		list[i] = fake.Assignment{AdamID: fmt.Sprint(1 + i%100), SerialNumber: fmt.Sprintf("S%07d", i/100)}
	}
	srv.Unit().AddAssignments(list...)
	client := srv.Client()
	index := 0
	for b.Loop() {
		req, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/assignments?pageIndex=%d", srv.URL(), index%1000), nil)
		req.Header.Set("Authorization", "Bearer "+srv.Unit().Token())
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(err, resp)
		}
		resp.Body.Close()
		index++
	}
}

// BenchmarkServer_associate applies a request of 25,000 pairs.
func BenchmarkServer_associate(b *testing.B) {
	apps := ids("1", 25)
	body := assetsBody(apps, nil, ids("S", 1000))
	for b.Loop() {
		b.StopTimer()
		srv, err := fake.NewServer()
		require.NoError(b, err)
		u := srv.Unit()
		for _, id := range apps {
			u.Purchase(id, "", 1000)
		}
		c := &caller{t: b, srv: srv, client: srv.Client(), token: u.Token()}
		b.StartTimer()
		c.event("assets/associate", body)
		u.FinishEvents()
	}
}
