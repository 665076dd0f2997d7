package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// withGrace returns a context that ends after ctx: by grace later if an attempt
// is in progress when ctx ends, otherwise at the same time. It does not inherit
// the deadline of ctx.
func withGrace(ctx context.Context, grace time.Duration, inProgress *atomic.Bool) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		if !inProgress.Load() {
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
