package appsandbooks

import (
	"sync"
	"sync/atomic"
)

// operationClaims makes sure that a client carries out an operation once at a time, and never
// continues a copy of it that is older than what the client has already done. Both would send
// writes twice. The zero value is ready for use.
type operationClaims struct {
	copies atomic.Int64 // how many Operations the client has made

	mu     sync.Mutex
	claims map[string]*operationClaim // by the id of the operation
	order  []string                   // the ids, the oldest first
}

type operationClaim struct {
	running bool
	copy    int64 // the copy of the operation that was carried out last; a later copy has a larger number
	facts   int   // how many facts the newest copy of the operation has
}

// staleCopyError is the error of a copy of an operation that is out of date. It matches ErrBusy.
type staleCopyError struct{}

func (*staleCopyError) Error() string {
	return "appsandbooks: this copy of the operation is out of date: the client has carried out a newer one; use that one, or resume what was saved last"
}

func (*staleCopyError) Is(target error) bool { return target == ErrBusy }

// maxClaims is how many operations a client remembers. It forgets the oldest ones that are not
// running.
const maxClaims = 4096

// claim begins a call that carries out the operation. copyNumber is the number of the caller's
// copy, and facts is how many facts it has. The error is [ErrBusy].
func (c *operationClaims) claim(id string, copyNumber int64, facts int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim := c.claims[id]
	switch {
	case claim == nil:
		claim = new(operationClaim)
		if c.claims == nil {
			c.claims = map[string]*operationClaim{}
		}
		c.claims[id] = claim
		c.order = append(c.order, id)
	case claim.running:
		return ErrBusy
	case copyNumber < claim.copy, copyNumber > claim.copy && facts < claim.facts:
		return &staleCopyError{}
	}
	claim.running, claim.copy = true, copyNumber
	c.forget() // now that the claim is running, so that it is not forgotten itself
	return nil
}

// release ends a claim. facts is how many facts of the operation are durable now.
func (c *operationClaims) release(id string, facts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim := c.claims[id]
	claim.running, claim.facts = false, max(claim.facts, facts)
}

// forget removes the oldest claims that are not running, until maxClaims are left.
func (c *operationClaims) forget() {
	for i := 0; len(c.order) > maxClaims && i < len(c.order); {
		if id := c.order[i]; !c.claims[id].running {
			delete(c.claims, id)
			c.order = append(c.order[:i], c.order[i+1:]...)
			continue
		}
		i++
	}
}
