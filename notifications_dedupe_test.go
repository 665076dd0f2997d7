package appsandbooks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/appsandbooks/appsandbooks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A duplicate of a notification waits for the hook of the first delivery. If the hook
// succeeds, the handler acknowledges the duplicate. If the hook fails, the handler passes
// one of the duplicates to the hook.
func TestNotificationHandler_holdsDuplicatesUntilFirstIsDone(t *testing.T) {
	for name, fails := range map[string]bool{"first succeeds": false, "first fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
					first := calls.Add(1) == 1
					time.Sleep(time.Second)
					if first && fails {
						return errors.New("no")
					}
					return nil
				})
				began := time.Now()
				type answer struct {
					code  int
					after time.Duration
				}
				answers := make(chan answer, 5)
				for range 5 {
					go func() {
						code := post(h, notificationRequest(assetCountNotification("1", "1"))).Code
						answers <- answer{code, time.Since(began)}
					}()
				}
				got := map[answer]int{}
				for range 5 {
					got[<-answers]++
				}
				if fails {
					assert.Equal(t, map[answer]int{{503, time.Second}: 1, {200, 2 * time.Second}: 4}, got)
					assert.EqualValues(t, 2, calls.Load())
				} else {
					assert.Equal(t, map[answer]int{{200, time.Second}: 5}, got)
					assert.EqualValues(t, 1, calls.Load())
				}
			})
		})
	}
}

// Notifications of different units are different notifications, also when they have the
// same id.
func TestNotificationHandler_separatesEqualIDsOfDifferentUnits(t *testing.T) {
	var d idRecorder
	h := newHandler(t, d.write)
	long := strings.Repeat("x", 4000)
	for _, body := range []string{
		assetCountNotification("1", "a"), assetCountNotification("1", "b"), assetCountNotification("1", "a"),
		assetCountNotification(long, "a"), assetCountNotification(long+"x", "a"), assetCountNotification(long, "a"),
	} {
		require.Equal(t, http.StatusOK, post(h, notificationRequest(body)).Code)
	}
	assert.Equal(t, []string{"1", "1", long, long + "x"}, d.ids)
}

// The Deduper of NewDeduper remembers the latest 131,072 notifications that were handled
// with success. It remembers each for longer than 15 minutes, and forgets failures.
func TestNewDeduper_remembersRecentSuccesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		d := appsandbooks.NewDeduper()
		begin := func(key string) bool {
			first, err := d.Begin(ctx, key)
			require.NoError(t, err)
			return first
		}
		require.True(t, begin("a"))
		require.NoError(t, d.End(ctx, "a", false))
		require.True(t, begin("a"), "a failed key is forgotten")

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := d.Begin(short, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded, "Begin waits while another caller processes the key")

		require.NoError(t, d.End(ctx, "a", true))
		require.False(t, begin("a"))
		time.Sleep(15 * time.Minute)
		require.False(t, begin("a"), "a success is remembered for longer than the service repeats deliveries")
		time.Sleep(time.Hour)
		require.True(t, begin("a"), "a success is forgotten after an hour")
		require.NoError(t, d.End(ctx, "a", true))

		// The Deduper remembers the latest 131,072 successes, also when all of them have
		// the same time.
		const n = 1 << 17
		for i := range n {
			require.True(t, begin(strconv.Itoa(i)))
			require.NoError(t, d.End(ctx, strconv.Itoa(i), true))
		}
		require.True(t, begin("a"), "the oldest key is forgotten")
		require.False(t, begin("0"))
		require.False(t, begin(strconv.Itoa(n-1)))
		require.NoError(t, d.End(ctx, "a", true))
		require.True(t, begin("0"), "the oldest key is forgotten")
		require.False(t, begin("1"))
	})
}

// sharedDeduper is a Deduper made of two functions. It stands in for a Deduper that several
// machines share.
type sharedDeduper struct {
	begin func(key string) (bool, error)
	end   func(ctx context.Context, key string, done bool) error
}

func (d sharedDeduper) Begin(_ context.Context, key string) (bool, error) { return d.begin(key) }

func (d sharedDeduper) End(ctx context.Context, key string, done bool) error {
	return d.end(ctx, key, done)
}

// With a custom Deduper the handler answers 503 when Begin fails, acknowledges without a
// call of the hook when Begin reports a duplicate, and calls End with the result of the
// hook.
func TestNotificationHandler_usesCustomDeduper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		shared := sharedDeduper{
			begin: func(key string) (bool, error) {
				switch key {
				case "unit/busy":
					return false, errors.New("another machine has it")
				case "unit/done":
					return false, nil
				}
				return true, nil
			},
			end: func(ctx context.Context, key string, done bool) error {
				assert.NoError(t, ctx.Err(), "End gets a context of its own")
				log = append(log, fmt.Sprint(key, " ", done))
				return errors.New("the cache is unreachable")
			},
		}
		h := newHandler(t, func(ctx context.Context, n *appsandbooks.Notification) error {
			switch n.ID {
			case "late":
				<-ctx.Done()
				return ctx.Err()
			case "done", "busy":
				t.Errorf("%s reached the hook", n.ID)
			}
			return nil
		}, appsandbooks.WithDeduper(shared))
		for id, code := range map[string]int{"new": 200, "busy": 503, "done": 200, "late": 503} {
			assert.Equal(t, code, post(h, notificationRequest(assetCountNotification(id, "unit"))).Code, id)
		}
		slices.Sort(log)
		assert.Equal(t, []string{"unit/late false", "unit/new true"}, log)
	})
}

// The hook succeeds once for each genuine notification and never for another one. This
// holds over TCP, with failing hooks and with duplicate, forged, oversized, cut and slow
// deliveries. No goroutine is left.
func TestNotificationHandler_deliversGenuineNotificationsOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var d idRecorder
	var hookCalls atomic.Int32
	h := newHandler(t, func(ctx context.Context, n *appsandbooks.Notification) error {
		switch hookCalls.Add(1) % 10 {
		case 3:
			return errors.New("temporary failure")
		case 7:
			panic("temporary failure")
		}
		return d.write(ctx, n)
	}, appsandbooks.WithNotificationTimeouts(100*time.Millisecond, 0), appsandbooks.WithNotificationLimits(8<<10, 0))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- h.Serve(ctx, l) }()

	const genuine = 400
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	send := func(secret string, body io.Reader) int {
		r, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String()+"/", body)
		assert.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+secret)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	var deliveries []func()
	for i := range genuine {
		id := fmt.Sprintf("genuine-%03d", i)
		deliver := func() {
			for send(hookSecret, strings.NewReader(assetCountNotification(id, "1"))) != http.StatusOK {
			}
		}
		deliveries = append(deliveries, deliver)
		if i%10 < 3 {
			deliveries = append(deliveries, deliver)
		}
		forged := "forged-" + id
		switch i % 5 {
		case 0:
			deliveries = append(deliveries, func() {
				assert.Equal(t, 401, send("wrong", strings.NewReader(assetCountNotification(forged, "1"))))
			})
		case 1:
			deliveries = append(deliveries, func() {
				body := assetCountNotification(forged, "1") + strings.Repeat(" ", 100<<10)
				// The status 0 means that the server closed the connection before the body
				// was sent.
				assert.Contains(t, []int{413, 0}, send(hookSecret, strings.NewReader(body)))
			})
		case 2:
			deliveries = append(deliveries, func() {
				assert.Equal(t, 400, send(hookSecret, strings.NewReader(assetCountNotification(forged, "1")[:60])))
			})
		case 3:
			if i%20 == 3 {
				deliveries = append(deliveries, func() {
					slow, writer := io.Pipe()
					go func() { _, _ = io.WriteString(writer, assetCountNotification(forged, "1")[:60]) }()
					assert.Contains(t, []int{408, 0}, send(hookSecret, slow))
					_ = writer.Close()
				})
			}
		}
	}
	rand.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
	work := make(chan func())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for deliver := range work {
				deliver()
			}
		})
	}
	for _, deliver := range deliveries {
		work <- deliver
	}
	close(work)
	workers.Wait()
	transport.CloseIdleConnections()
	cancel()
	require.NoError(t, <-result)

	slices.Sort(d.ids)
	require.Len(t, d.ids, genuine)
	for i, id := range d.ids {
		require.Equal(t, fmt.Sprintf("genuine-%03d", i), id)
	}
}

// A hook that returns nil after its time limit has succeeded. The handler does not call the
// hook again for the same notification.
func TestNotificationHandler_lateSuccessIsNotDeliveredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := newHandler(t, func(context.Context, *appsandbooks.Notification) error {
			calls++
			time.Sleep(time.Minute) // this is virtual time, and the hook ignores its context
			return nil
		}, appsandbooks.WithNotificationTimeouts(0, time.Second))
		for range 2 {
			require.Equal(t, http.StatusOK, post(h, notificationRequest(assetCountNotification("1", "u"))).Code)
		}
		require.Equal(t, 1, calls)
	})
}
