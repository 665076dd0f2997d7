package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// maxEmpty is how many empty pages in a row a walk by cursor follows.
const maxEmpty = 1000

// cursorPages walks a list by cursor. The next page is read while the caller
// has this one.
func cursorPages[P interface {
	cursorInfo() *CursorInfo
	empty() bool
}](
	ctx context.Context, c *Client, first string, restarts int, read func(ctx context.Context, cursor string) (P, error),
) iter.Seq2[P, error] {
	return restarting(restarts, func(yield func(P, error) bool) error {
		w := newAhead(ctx, func(ctx context.Context, cursor string, _ transport.Turn) (P, error) { return read(ctx, cursor) })
		defer w.stop()
		var (
			none    P
			version string
			changed bool
			seed    = maphash.MakeSeed()
			seen    = map[uint64]bool{} // of the cursors: they can be long
			empty   int                 // pages without a record, one after another
		)
		for cursor := first; ; {
			seen[maphash.String(seed, cursor)] = true
			page, err := w.take(cursor)
			if cursor != first && restarts > 0 && errors.Is(err, ErrInvalidCursor) {
				return err
			}
			if err != nil {
				yield(none, err)
				return nil
			}
			if err := blank(page); err != nil { // an empty list may be left out of what the unit is told
				yield(none, err)
				return nil
			}
			info := page.cursorInfo()
			if cursor == first {
				version = info.VersionID
			}
			changed = changed || differ(version, info.VersionID)
			if changed && restarts > 0 {
				return errors.New("a page has another version than the first")
			}
			info.Changed = changed

			if empty++; !page.empty() {
				empty = 0
			}
			if empty == maxEmpty {
				yield(none, fmt.Errorf("%w: %d empty pages in a row", ErrNoProgress, empty))
				return nil
			}
			next := info.NextCursor
			again := next != "" && seen[maphash.String(seed, next)]
			if next != "" && !again {
				c.Config.keepFresh()
				w.ask(next)
			}
			if !yield(page, nil) || next == "" {
				return nil
			}
			if again {
				yield(none, fmt.Errorf("%w: a cursor came again", ErrNoProgress))
				return nil
			}
			cursor = next
		}
	})
}
