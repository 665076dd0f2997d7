package appsandbooks

import (
	"context"
	"maps"
	"sync"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// readAheadPages is how many pages after the caller's page are requested. It is twice
// the number of requests in progress, so that a slow answer or the decoding of a page
// does not delay the next request.
const readAheadPages = 2 * transport.PageReads

// readAhead reads pages before the loop needs them. It sends the requests in the order
// of the calls of start, so that a later page never delays the page that the loop waits
// for.
type readAhead[K comparable, P any] struct {
	ctx     context.Context
	cancel  context.CancelFunc
	read    pageReader[K, P]
	started map[K]chan pageResult[P]
	turn    <-chan struct{} // turn is closed when the request for the page that was started last is about to be sent
	wg      sync.WaitGroup
}

// A pageReader reads the page with a key: its index or cursor.
type pageReader[K comparable, P any] func(ctx context.Context, key K, turn transport.Turn) (P, error)

type pageResult[P any] struct {
	page P
	err  error
}

func newReadAhead[K comparable, P any](ctx context.Context, read pageReader[K, P]) *readAhead[K, P] {
	a := &readAhead[K, P]{read: read, started: map[K]chan pageResult[P]{}}
	a.ctx, a.cancel = context.WithCancel(ctx) //nolint:gosec // stop calls cancel
	return a
}

// start starts to read a page in the background, unless it was started before.
func (a *readAhead[K, P]) start(key K) {
	if a.started[key] != nil {
		return
	}
	result, turnOver := make(chan pageResult[P], 1), make(chan struct{})
	turn := transport.Turn{After: a.turn, Taken: sync.OnceFunc(func() { close(turnOver) })}
	a.started[key], a.turn = result, turnOver
	a.wg.Go(func() {
		defer turn.Taken() // also if no request was sent
		page, err := a.read(a.ctx, key, turn)
		result <- pageResult[P]{page, err}
	})
}

// wait returns a page. It starts to read the page if start was not called, and waits for
// the answer.
func (a *readAhead[K, P]) wait(key K) (P, error) {
	a.start(key)
	result := <-a.started[key]
	delete(a.started, key)
	return result.page, result.err
}

// drop removes the pages that were read ahead and are not needed any more.
func (a *readAhead[K, P]) drop(unneeded func(K) bool) {
	maps.DeleteFunc(a.started, func(key K, _ chan pageResult[P]) bool { return unneeded(key) })
}

// stop cancels the page requests in progress, and returns when they have ended.
func (a *readAhead[K, P]) stop() {
	a.cancel()
	a.wg.Wait()
}
