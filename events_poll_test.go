package appsandbooks_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/stretchr/testify/require"
)

// withPendingEvent runs f in virtual time with a client and an event that is PENDING for delay. It
// fails the test if the event was polled too soon after PENDING.
func withPendingEvent(t *testing.T, delay time.Duration, f func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, event string)) {
	t.Helper()
	options := []appsandbookstest.Option{appsandbookstest.WithEventDelay(delay), appsandbookstest.WithLatency(time.Second)}
	inVirtualTime(t, options, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client) {
		op, err := associateOne(t.Context(), srv, c)
		require.NoError(t, err)
		f(t, srv, c, op.EventIDs()[0])
	})
}

// Several waits for one event together poll it no more often than one wait. Each of them returns
// the status.
func TestStatusService_Wait_severalAtOnce(t *testing.T) {
	for _, offset := range []time.Duration{0, 500 * time.Millisecond, 3 * time.Second, 20 * time.Second} {
		t.Run(offset.String(), func(t *testing.T) {
			withPendingEvent(t, 100*time.Second, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, event string) {
				const waits = 3
				done := make(chan *appsandbooks.EventStatus, waits)
				began := time.Now()
				for i := range waits {
					go func() {
						time.Sleep(time.Duration(i) * offset) // virtual
						status, err := c.Status.Wait(t.Context(), event)
						if err != nil {
							status = &appsandbooks.EventStatus{State: appsandbooks.EventState(err.Error())}
						}
						done <- status
					}()
				}
				all := map[*appsandbooks.EventStatus]bool{}
				for range waits {
					status := <-done
					require.Equal(t, appsandbooks.EventComplete, status.State)
					all[status] = true
				}
				require.Len(t, all, waits, "each caller can change its status")
				require.Less(t, time.Since(began), 170*time.Second)
				require.LessOrEqual(t, countPath(srv, "status"), 4+waits)
			})
		})
	}
}

// A caller with short deadlines that calls Wait again and again polls no more often than one wait.
func TestStatusService_Wait_againAndAgain(t *testing.T) {
	withPendingEvent(t, 100*time.Second, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, event string) {
		err := context.DeadlineExceeded
		for errors.Is(err, context.DeadlineExceeded) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			var status *appsandbooks.EventStatus
			status, err = c.Status.Wait(ctx, event)
			if err != nil && countPath(srv, "status") > 0 {
				require.NotNil(t, status, "the last status is known")
			}
			cancel()
		}
		require.NoError(t, err)
		require.Less(t, countPath(srv, "status"), 6)
	})
}

// Get always sends the request, and Wait keeps the distance to an answer of PENDING to Get.
func TestStatusService_Wait_afterGet(t *testing.T) {
	withPendingEvent(t, 10*time.Second, func(t *testing.T, srv *appsandbookstest.Server, c *appsandbooks.Client, event string) {
		status, err := c.Status.Get(t.Context(), event)
		require.NoError(t, err)
		require.Equal(t, appsandbooks.EventPending, status.State)
		began := time.Now()
		_, err = c.Status.Wait(t.Context(), event)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 30*time.Second)
		require.Less(t, time.Since(began), 35*time.Second)
		require.Equal(t, 2, countPath(srv, "status"))

		// The final status removes the memory: the next wait polls early.
		began = time.Now()
		_, err = c.Status.Wait(t.Context(), event)
		require.NoError(t, err)
		require.Equal(t, 6*time.Second, time.Since(began)) // the first poll comes after 5 s and takes 1 s
	})
}

// A wait that finds the event polled by others all the time ends at the stall time, with the last
// status.
func TestStatusService_Wait_stallsWhileOthersPoll(t *testing.T) {
	withPendingEvent(t, 24*time.Hour, func(t *testing.T, _ *appsandbookstest.Server, c *appsandbooks.Client, event string) {
		done := make(chan error, 2)
		for range 2 {
			go func() {
				status, err := c.Status.Wait(t.Context(), event)
				if status == nil {
					err = errors.New("no status")
				}
				done <- err
			}()
		}
		began := time.Now()
		require.ErrorIs(t, <-done, appsandbooks.ErrStalled)
		require.ErrorIs(t, <-done, appsandbooks.ErrStalled)
		require.Less(t, time.Since(began), 11*time.Minute)
	})
}
