package appsandbooks

import (
	"context"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// A Limiter paces the requests of one organizational unit, and delays them after a
// Retry-After. Each Client has its own limiter, unless [WithLimiter] sets one that
// several clients of the unit share. Clients that share a limiter from [NewLimiter]
// also share the five page reads that Apple allows at once.
type Limiter interface {
	// Acquire blocks until a request may be sent. It returns the context's error when the
	// context ends, and an error at once when the rest of a pause is longer than maxPause.
	// If that error has a method RetryAfter() time.Duration, the client reports its result
	// as Error.RetryAfter. The caller calls release once, when the request is answered or
	// has failed.
	Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error)
	// Pause delays all requests for d from now. It never shortens a pause.
	Pause(d time.Duration)
	// SetRate sets the largest number of requests per second: the maxRequestPerSecond
	// that the service last sent.
	SetRate(perSecond int)
}

// NewLimiter returns a limiter in memory. It starts with 15 requests per second, the
// rate in Apple's documentation. The service never receives more requests than the
// rate in any one second: a slot becomes free one second after its request was
// answered. A pause ends after 24 hours at the latest.
func NewLimiter() Limiter { return transport.NewPace(defaultLimits.MaxRequestPerSecond) }
