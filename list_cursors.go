package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// maxEmpty is how many empty pages in a row a walk by cursor follows.
const maxEmptyPages = 1000

// byCursor reads a list by cursor. The next page is requested while the caller
// processes this one.
func (l *list[T]) byCursor(ctx context.Context, c *Client, filter url.Values, o ListOptions) iter.Seq2[*Page[T], error] {
	read := func(ctx context.Context, cursor string, _ transport.Turn) (*readPage[T], error) {
		return l.read(ctx, c, filter, cursor, transport.Turn{})
	}
	first, restarts := o.Start, o.Restarts
	return withRestarts(restarts, func(yield func(*Page[T], error) bool) error {
		w := newReadAhead(ctx, read)
		defer w.stop()
		var (
			version string
			changed bool
			seed    = maphash.MakeSeed()
			seen    = map[uint64]bool{} // of the cursors: they can be long
			empty   int                 // pages without a record, one after another
		)
		for cursor := first; ; {
			seen[maphash.String(seed, cursor)] = true
			page, err := w.wait(cursor)
			if cursor != first && restarts > 0 && errors.Is(err, ErrInvalidCursor) {
				return err
			}
			if err != nil {
				yield(nil, err)
				return nil
			}
			if err := blank(page.from); err != nil { // an empty list may be left out of what the unit is told
				yield(nil, err)
				return nil
			}
			info := page.from.pageInfo()
			if cursor == first {
				version = info.VersionID
			}
			changed = changed || versionsDiffer(version, info.VersionID)
			if changed && restarts > 0 {
				return errors.New("a page has another version than the first")
			}
			page.Changed = changed

			if empty++; len(page.Items) > 0 {
				empty = 0
			}
			if empty == maxEmptyPages {
				yield(nil, fmt.Errorf("%w: %d empty pages in a row", ErrNoProgress, empty))
				return nil
			}
			next := info.NextCursor
			again := next != "" && seen[maphash.String(seed, next)]
			if next != "" && !again {
				c.Config.refreshIfStale()
				w.start(next)
			}
			if !yield(page.Page, nil) || next == "" {
				return nil
			}
			if again {
				yield(nil, fmt.Errorf("%w: a cursor came again", ErrNoProgress))
				return nil
			}
			cursor = next
		}
	})
}
