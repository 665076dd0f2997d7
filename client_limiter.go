package appsandbooks

import (
	"context"
	"time"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// Limiter paces the requests of one organizational unit and holds them back
// after a Retry-After. A Client has one of its own unless [WithLimiter] gives
// it another, which several clients of the unit then share. Clients that share
// one of [NewLimiter] also share the five page reads that Apple allows at once.
type Limiter interface {
	// Acquire blocks until a request may be sent. It fails with the context's
	// error, or at once when a pause longer than maxPause is under way.
	// Release is called once, when the request is answered or given up.
	Acquire(ctx context.Context, maxPause time.Duration) (release func(), err error)
	// Pause holds all requests back for d from now; it never shortens a pause.
	Pause(d time.Duration)
	// SetRate tells the limit that the service last named (maxRequestPerSecond).
	SetRate(perSecond int)
}

// NewLimiter makes a limiter in memory that starts with the service's
// documented 15 requests a second. The service never sees more than the rate
// in any one second: a slot is free again a second after its answer.
func NewLimiter() Limiter { return transport.NewPace(defaultLimits.MaxRequestPerSecond) }
