package appsandbooks

import (
	"context"
	"maps"
	"sync"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// lookAhead is how many pages beyond the caller's a walk asks for. As many as
// are in flight may wait, decoded, so that neither a late answer nor the
// decoding keeps the next request from leaving.
const readAheadPages = 2 * transport.PageReads

// ahead reads pages before they are needed. The requests leave in the order in
// which the pages were asked for: a later page never takes the place of one that
// the caller waits for.
type readAhead[K comparable, P any] struct {
	ctx     context.Context
	cancel  context.CancelFunc
	read    pageReader[K, P]
	started map[K]chan pageResult[P]
	turn    <-chan struct{} // of the page asked for last
	wg      sync.WaitGroup
}

type pageReader[K comparable, P any] func(ctx context.Context, key K, turn transport.Turn) (P, error)

type pageResult[P any] struct {
	page P
	err  error
}

func newReadAhead[K comparable, P any](ctx context.Context, read pageReader[K, P]) *readAhead[K, P] {
	a := &readAhead[K, P]{read: read, started: map[K]chan pageResult[P]{}}
	a.ctx, a.cancel = context.WithCancel(ctx) //nolint:gosec // stop calls it
	return a
}

// ask begins to read a page, unless that has been done.
func (a *readAhead[K, P]) start(key K) {
	if a.started[key] != nil {
		return
	}
	done, taken := make(chan pageResult[P], 1), make(chan struct{})
	turn := transport.Turn{After: a.turn, Taken: sync.OnceFunc(func() { close(taken) })}
	a.started[key], a.turn = done, taken
	a.wg.Go(func() {
		defer turn.Taken() // it may have come to nothing
		page, err := a.read(a.ctx, key, turn)
		done <- pageResult[P]{page, err}
	})
}

// take waits for a page, and forgets it.
func (a *readAhead[K, P]) wait(key K) (P, error) {
	a.start(key)
	got := <-a.started[key]
	delete(a.started, key)
	return got.page, got.err
}

// forget drops pages that nobody will take any more.
func (a *readAhead[K, P]) drop(useless func(K) bool) {
	maps.DeleteFunc(a.started, func(key K, _ chan pageResult[P]) bool { return useless(key) })
}

// stop ends what is under way, and waits until it is over.
func (a *readAhead[K, P]) stop() {
	a.cancel()
	a.wg.Wait()
}
