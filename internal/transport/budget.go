package transport

import "sync"

// budget keeps retries from multiplying the load of a service that is already
// down: a full budget allows 100 retries in a row, and each success earns a
// fifth of one back.
type budget struct {
	mu     sync.Mutex
	tokens int
}

const (
	budgetFull = 500
	retryCost  = 5
)

func newBudget() *budget { return &budget{tokens: budgetFull} }

func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
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
