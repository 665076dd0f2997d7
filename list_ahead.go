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
const lookAhead = 2 * transport.PageReads

// ahead reads pages before they are needed. The requests leave in the order in
// which the pages were asked for: a later page never takes the place of one that
// the caller waits for.
type ahead[K comparable, P any] struct {
	ctx    context.Context
	cancel context.CancelFunc
	read   reader[K, P]
	asked  map[K]chan answer[P]
	turn   <-chan struct{} // of the page asked for last
	wg     sync.WaitGroup
}

type reader[K comparable, P any] func(ctx context.Context, key K, turn transport.Turn) (P, error)

type answer[P any] struct {
	page P
	err  error
}

func newAhead[K comparable, P any](ctx context.Context, read reader[K, P]) *ahead[K, P] {
	a := &ahead[K, P]{read: read, asked: map[K]chan answer[P]{}}
	a.ctx, a.cancel = context.WithCancel(ctx) //nolint:gosec // stop calls it
	return a
}

// ask begins to read a page, unless that has been done.
func (a *ahead[K, P]) ask(key K) {
	if a.asked[key] != nil {
		return
	}
	done, taken := make(chan answer[P], 1), make(chan struct{})
	turn := transport.Turn{After: a.turn, Taken: sync.OnceFunc(func() { close(taken) })}
	a.asked[key], a.turn = done, taken
	a.wg.Go(func() {
		defer turn.Taken() // it may have come to nothing
		page, err := a.read(a.ctx, key, turn)
		done <- answer[P]{page, err}
	})
}

// take waits for a page, and forgets it.
func (a *ahead[K, P]) take(key K) (P, error) {
	a.ask(key)
	got := <-a.asked[key]
	delete(a.asked, key)
	return got.page, got.err
}

// forget drops pages that nobody will take any more.
func (a *ahead[K, P]) forget(useless func(K) bool) {
	maps.DeleteFunc(a.asked, func(key K, _ chan answer[P]) bool { return useless(key) })
}

// stop ends what is under way, and waits until it is over.
func (a *ahead[K, P]) stop() {
	a.cancel()
	a.wg.Wait()
}
