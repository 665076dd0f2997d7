package appsandbooks

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// eventNotification returns a notification of an event. It has the given number of
// elements.
func eventNotification(event string, elements int) *Notification {
	n := &Notification{ID: "1", Raw: []byte("{}"), AssetManagement: &AssetManagement{Assignments: make([]Assignment, elements)}}
	n.AssetManagement.EventID = event
	return n
}

// The notification hub keeps at most maxUnclaimed elements of notifications for events
// without a waiter. It keeps each notification only for a limited time.
func TestClient_Notify_limitsMemoryOfUnclaimedNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newNotificationHub()
		// kept returns a copy, because the sweep changes the map.
		kept := func() map[string]*unclaimedEvent {
			h.mu.Lock()
			defer h.mu.Unlock()
			return maps.Clone(h.unclaimed)
		}
		for i := range 3000 {
			h.deliver(eventNotification(fmt.Sprint("event-", i), 100))
			require.LessOrEqual(t, h.unclaimedElements, maxUnclaimed)
		}
		require.Len(t, kept(), maxUnclaimed/100)
		require.Contains(t, kept(), "event-2999", "the latest are kept")
		h.deliver(eventNotification("huge", maxUnclaimed+1))
		require.Empty(t, kept())

		// The hub of a client that has sent no write keeps a notification for keepWithoutWrite.
		h.deliver(eventNotification("others", 1))
		time.Sleep(keepWithoutWrite - 1)
		require.Contains(t, kept(), "others")
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		require.Empty(t, kept())

		// The hub of a client that has sent a write keeps a notification for keepAfterWrite.
		h.noteWrite()
		h.deliver(eventNotification("old", 1))
		time.Sleep(keepAfterWrite / 2)
		h.deliver(eventNotification("new", 1))
		h.deliver(eventNotification("old", 1))
		time.Sleep(keepAfterWrite / 2)
		synctest.Wait()
		require.NotContains(t, kept(), "old")
		require.Contains(t, kept(), "new")
		time.Sleep(keepAfterWrite/2 + keepWithoutWrite)
		synctest.Wait()
		require.Empty(t, kept())
		require.Empty(t, h.unclaimedOrder)
		require.Zero(t, h.unclaimedElements)
		require.Nil(t, h.sweep)

		h.noteWrite()
		h.deliver(eventNotification("x", 1))
		h.close()
		require.Empty(t, kept())
		require.Empty(t, h.unclaimedOrder)
		require.Zero(t, h.unclaimedElements)
	})
}

// A waiter whose notifications are not taken queues at most maxQueued elements of
// notifications.
func TestClient_Notify_limitsQueueOfOneWaiter(t *testing.T) {
	h := newNotificationHub()
	l := h.newWaiter()
	l.add("e")
	for range 2 * maxQueued / 100 {
		h.deliver(eventNotification("e", 100))
	}
	require.Len(t, l.takeAll(), maxQueued/100)
	h.deliver(eventNotification("e", 100))
	require.Len(t, l.takeAll(), 1)
	l.close()
	require.Empty(t, h.waiters)
}

// While waiters are added to the hub and closed, each notification reaches exactly one
// waiter.
func TestClient_Notify_losesNothingWhenWaitersChange(t *testing.T) {
	h := newNotificationHub()
	h.noteWrite()
	const events, each = 20, 50
	var senders sync.WaitGroup
	for e := range events {
		senders.Go(func() {
			for range each {
				h.deliver(eventNotification(fmt.Sprint(e), 1))
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	got := 0
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		l := h.newWaiter()
		for e := range events {
			if last || rand.N(2) == 0 {
				l.add(fmt.Sprint(e))
			}
		}
		if last || rand.N(2) == 0 { // the other waiters close without taking their notifications
			for _, n := range l.takeAll() {
				require.Nil(t, n.Raw)
				got++
			}
		}
		l.close()
	}
	require.Equal(t, events*each, got)
}
