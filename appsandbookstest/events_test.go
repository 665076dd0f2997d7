package appsandbookstest_test

import (
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// No event finishes before an earlier event, unless the earlier event has the
// delay Never.
func TestWithEventDelayFunc_eventsFinishInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays := []time.Duration{40 * time.Second, 10 * time.Second, fake.Never, 60 * time.Second}
		_, u, c := newServer(t, fake.WithEventDelayFunc(func(fake.Event) time.Duration {
			d := delays[0]
			delays = delays[1:]
			return d
		}))
		u.AddAsset(fake.Asset{AdamID: "1", Total: 1})
		start := time.Now()
		var events []string
		for _, path := range []string{"assets/associate", "assets/disassociate", "assets/associate", "assets/associate"} {
			events = append(events, c.event(path, assetsBody([]string{"1"}, nil, []string{"S"})))
		}
		states := func() (out []string) {
			for _, id := range events {
				out = append(out, c.get("status?eventId=" + id)["eventStatus"].(string))
			}
			return out
		}
		const pending, complete = fake.EventPending, fake.EventComplete
		time.Sleep(40*time.Second - 1)
		require.Equal(t, []string{pending, pending, pending, pending}, states())
		require.Empty(t, u.Assignments())
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{complete, complete, pending, pending}, states(), "no event finishes before an earlier one")
		require.Empty(t, u.Assignments())
		time.Sleep(20*time.Second - 1)
		require.Empty(t, u.Assignments())
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{complete, complete, pending, complete}, states(), "the event with the delay Never stays PENDING")
		require.Len(t, u.Assignments(), 1)

		all := u.Events()
		require.Equal(t, start.Add(40*time.Second), all[1].Finished)
		require.Equal(t, start, all[2].Accepted)
		require.Zero(t, all[2].Finished)
		require.Equal(t, "assets/disassociate", all[1].Path)
		u.FinishEvents()
		require.Equal(t, []string{complete, complete, complete, complete}, states())
	})
}

// Held events stay PENDING. After HoldEvents(false), the events that are due
// finish at once.
func TestServer_HoldEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, u, c := newServer(t, fake.WithEventDelay(time.Second))
		srv.HoldEvents(true)
		id := c.event("users/create", usersBody("a"))
		time.Sleep(time.Hour)
		status := c.get("status?eventId=" + id)
		require.Equal(t, "PENDING", status["eventStatus"])
		require.EqualValues(t, 0, status["numCompleted"])
		require.EqualValues(t, 1, status["numRequested"])
		require.NotContains(t, status, "failures")
		late := c.event("users/create", usersBody("b"))
		srv.HoldEvents(false)
		require.Equal(t, "COMPLETE", c.get("status?eventId=" + id)["eventStatus"])
		require.Equal(t, time.Now(), u.Events()[0].Finished)
		require.Equal(t, "PENDING", c.get("status?eventId=" + late)["eventStatus"])
		time.Sleep(time.Second)
		require.Equal(t, "COMPLETE", c.get("status?eventId=" + late)["eventStatus"])
	})
}

// Each call of FailNextEvent makes one event fail, in the order of the calls.
// The failure names all items of the event.
func TestUnit_FailNextEvent(t *testing.T) {
	_, u, c := newServer(t)
	u.FailNextEvent(9644)
	u.FailNextEvent(9603)
	for _, number := range []int{9644, 9603} {
		status := c.finish(u, "users/create", usersBody("a", "b"))
		require.Equal(t, "FAILED", status["eventStatus"])
		require.EqualValues(t, 0, status["numCompleted"])
		f := items(t, status, "failures")[0]
		require.EqualValues(t, number, f["errorNumber"])
		require.Equal(t, []any{"a", "b"}, f["errorInfo"].(object)["clientUserIds"])
	}
	require.Empty(t, u.Users())
	require.Equal(t, "COMPLETE", c.finish(u, "users/create", usersBody("a", "b"))["eventStatus"])
}
