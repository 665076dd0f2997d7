package transport

import (
	"sync"
	"time"
)

// retryBudget limits the retries of a Transport, so that retries do not multiply
// the load on a service that is down. A full budget allows 100 retries. Each
// success returns a fifth of a retry, and every ten seconds return one.
type retryBudget struct {
	mu         sync.Mutex
	tokens     int
	refilledAt time.Time // the time up to which the regular refills are credited
}

const (
	fullBudget     = 500
	retryCost      = 5
	refillInterval = 10 * time.Second // the retry budget gains one retry (retryCost tokens) in each interval
)

func newRetryBudget() *retryBudget {
	return &retryBudget{tokens: fullBudget, refilledAt: time.Now()}
}

// spend takes the cost of one retry from the retry budget. It reports false if the budget is
// empty.
func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := time.Since(b.refilledAt) / refillInterval; n > 0 {
		b.refilledAt = b.refilledAt.Add(n * refillInterval)
		b.tokens = min(b.tokens+int(min(n, fullBudget))*retryCost, fullBudget)
	}
	if b.tokens < retryCost {
		return false
	}
	b.tokens -= retryCost
	return true
}

// success returns one token to the retry budget, for a request that succeeded.
func (b *retryBudget) success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+1, fullBudget)
}
