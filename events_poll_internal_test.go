package appsandbooks

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// pendingEvent associates an asset with a device and returns the id of the event.
func pendingEvent(t *testing.T, srv *appsandbookstest.Server, c *Client) string {
	t.Helper()
	srv.Unit().AddAsset(appsandbookstest.Asset{AdamID: "1000", Total: 1})
	op, err := c.Assets.Associate(t.Context(), AssetChange{Assets: []AssetID{{AdamID: "1000"}}, SerialNumbers: []string{"C02"}})
	require.NoError(t, err)
	return op.EventIDs()[0]
}

// countPolls returns how many polls the stand-in has received.
func countPolls(srv *appsandbookstest.Server) (n int) {
	for _, r := range srv.Requests() {
		if r.Path == "status" {
			n++
		}
	}
	return n
}

// After an answer of PENDING, poll sends nothing before the interval has passed.
func TestStatusService_Wait_pollsAfterInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
		event := pendingEvent(t, srv, c)
		first, err := c.polls.poll(t.Context(), event)
		require.NoError(t, err)
		require.Equal(t, EventPending, first.status.State)
		require.True(t, first.sent)
		require.Equal(t, time.Now().Add(30*time.Second), first.notBefore)
		time.Sleep(29 * time.Second) // virtual
		second, err := c.polls.poll(t.Context(), event)
		require.NoError(t, err)
		require.Equal(t, pollResult{notBefore: first.notBefore}, second)
		time.Sleep(time.Second)
		third, err := c.polls.poll(t.Context(), event)
		require.NoError(t, err)
		require.True(t, third.sent)
		time.Sleep(time.Minute)
		last, err := c.polls.poll(t.Context(), event)
		require.NoError(t, err)
		require.Equal(t, EventComplete, last.status.State)
		require.Equal(t, 3, countPolls(srv))
		require.Empty(t, c.polls.events)
	})
}

// A failed poll delays the next one like an answer of PENDING if the failure is temporary or if the
// answer was lost. A final error of the service, and a poll that was not sent, do not.
func TestStatusService_Wait_pollsAfterFailure(t *testing.T) {
	for name, test := range map[string]struct {
		fault appsandbookstest.Fault
		sent  bool
		want  time.Duration
	}{
		"lost":             {appsandbookstest.Fault{Kind: appsandbookstest.FaultResetAfter}, true, 30 * time.Second},
		"a page":           {appsandbookstest.Fault{Status: 404, Body: "<html>"}, true, 30 * time.Second},
		"unreadable":       {appsandbookstest.Fault{Status: 200, Body: "<html>"}, true, 30 * time.Second},
		"temporary":        {appsandbookstest.Fault{Number: 9603}, true, 30 * time.Second},
		"short pause":      {pauseOf("status", "10"), true, 30 * time.Second},
		"long pause":       {pauseOf("status", "200"), true, 200 * time.Second},
		"pause, too long":  {pauseOf("status", "600"), true, 0},
		"no such event":    {appsandbookstest.Fault{Number: 9708}, true, 0},
		"of another state": {appsandbookstest.Fault{Status: 200, Body: `{"eventStatus":"NEW"}`}, true, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
				event := pendingEvent(t, srv, c)
				test.fault.Path = "status"
				srv.AddFault(test.fault)
				result, _ := c.polls.poll(withOneAttempt(t.Context()), event)
				require.Equal(t, test.sent, result.sent)
				if test.want == 0 {
					require.Empty(t, c.polls.events)
					return
				}
				require.Equal(t, test.want, time.Until(result.notBefore))
				sent := countPolls(srv)
				again, err := c.polls.poll(t.Context(), event)
				require.NoError(t, err)
				require.Equal(t, pollResult{notBefore: result.notBefore}, again)
				require.Equal(t, sent, countPolls(srv))
			})
		})
	}
	t.Run("not sent", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			result, err := c.polls.poll(ctx, pendingEvent(t, srv, c))
			require.ErrorIs(t, err, context.Canceled)
			require.False(t, result.sent)
			require.Empty(t, c.polls.events)
		})
	})
}

// Callers that poll an event at the same time share one request. If the context of the first one
// ends, the others poll by themselves, when that is allowed.
func TestStatusService_Wait_pollIsShared(t *testing.T) {
	type outcome struct {
		pollResult
		err error
	}
	start := func(ctx context.Context, c *Client, event string) <-chan outcome {
		done := make(chan outcome, 1)
		go func() {
			result, err := c.polls.poll(ctx, event)
			done <- outcome{result, err}
		}()
		synctest.Wait()
		return done
	}
	inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
		event := pendingEvent(t, srv, c)
		c.limiter.Pause(10 * time.Second) // the first caller waits for the end of the pause
		leader, follower := start(t.Context(), c, event), start(t.Context(), c, event)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, (<-start(short, c, event)).err, context.DeadlineExceeded, "of a caller that joined")
		a, b := <-leader, <-follower
		require.NoError(t, a.err)
		require.Equal(t, a, b)
		require.NotSame(t, a.status, b.status)
		require.Equal(t, 1, countPolls(srv))
		time.Sleep(time.Minute)
	})
	for name, sent := range map[string]bool{"before it was sent": false, "after it was sent": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
				event := pendingEvent(t, srv, c)
				if sent {
					srv.AddFault(appsandbookstest.Fault{Path: "status", Kind: appsandbookstest.FaultSlowBody, Delay: 20 * time.Second, Times: 1})
				} else {
					c.limiter.Pause(10 * time.Second)
				}
				ctx, cancel := context.WithCancel(t.Context())
				leader, follower := start(ctx, c, event), start(t.Context(), c, event)
				time.Sleep(time.Second)
				cancel()
				canceled := time.Now()
				require.ErrorIs(t, (<-leader).err, context.Canceled)
				got := <-follower
				require.NoError(t, got.err)
				require.Equal(t, !sent, got.sent)
				if sent { // the lost answer may have been PENDING
					require.Equal(t, canceled.Add(30*time.Second), got.notBefore)
				}
				require.Equal(t, 1, countPolls(srv))
			})
		})
	}
	t.Run("without waiting", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
			event := pendingEvent(t, srv, c)
			c.limiter.Pause(10 * time.Second)
			leader := start(t.Context(), c, event)
			began := time.Now()
			result, err := c.polls.poll(withOneAttempt(t.Context()), event)
			require.NoError(t, err)
			require.Equal(t, pollResult{notBefore: began.Add(30 * time.Second)}, result)
			require.Zero(t, time.Since(began))
			require.NoError(t, (<-leader).err)
		})
	})
	t.Run("closed", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *appsandbookstest.Server, c *Client) {
			event := pendingEvent(t, srv, c)
			srv.AddFault(appsandbookstest.Fault{Path: "status", Kind: appsandbookstest.FaultSlowBody, Delay: 20 * time.Second, Times: 1})
			leader, follower := start(t.Context(), c, event), start(t.Context(), c, event)
			began := time.Now()
			c.Close()
			require.ErrorIs(t, (<-follower).err, ErrClosed)
			require.Zero(t, time.Since(began))
			require.NoError(t, (<-leader).err, "Close cancels no request in progress")
		})
	})
}

// The memory of polls does not grow without bound: events that may be polled again are removed.
func TestStatusService_Get_memoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient("", WithoutToken())
		require.NoError(t, err)
		defer c.Close()
		for i := range 10_000 {
			c.polls.record(fmt.Sprint(i), &EventStatus{State: EventPending}, nil)
			time.Sleep(time.Second) // virtual
			require.LessOrEqual(t, len(c.polls.events), minSweep)
		}
		for i := range 1000 {
			c.polls.record(fmt.Sprint("many", i), &EventStatus{State: EventPending}, nil)
		}
		require.GreaterOrEqual(t, len(c.polls.events), 1000, "an event that must not be polled stays")
		for i := range 1000 {
			c.polls.record(fmt.Sprint("many", i), &EventStatus{State: EventComplete}, nil)
		}
		require.LessOrEqual(t, len(c.polls.events), minSweep)
	})
}
