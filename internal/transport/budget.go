package transport

import (
	"sync"
	"time"
)

// budget keeps retries from multiplying the load of a service that is already
// down: a full budget allows 100 retries in a row. A fifth of one comes back with
// each success, and one every ten seconds.
type budget struct {
	mu     sync.Mutex
	tokens int
	since  time.Time // up to when time is accounted for
}

const (
	budgetFull = 500
	retryCost  = 5
	retryTime  = 10 * time.Second
)

func newBudget() *budget { return &budget{tokens: budgetFull, since: time.Now()} }

func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := time.Since(b.since) / retryTime; n > 0 {
		b.since = b.since.Add(n * retryTime)
		b.tokens = min(b.tokens+int(min(n, budgetFull))*retryCost, budgetFull)
	}
	if b.tokens < retryCost {
		return false
	}
	b.tokens -= retryCost
	return true
}

func (b *budget) success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+1, budgetFull)
}
