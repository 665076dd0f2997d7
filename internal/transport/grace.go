package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// withGrace is a context that ends some time after another if an attempt is
// under way then, and with it in the pause between two. The time of the wait
// itself is the caller's alone, so its deadline is not inherited.
func withGrace(ctx context.Context, grace time.Duration, underWay *atomic.Bool) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		if !underWay.Load() {
			cancel()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, cancel)
	})
	return late, func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
		cancel()
	}
}
