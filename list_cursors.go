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

// maxEmptyPages is the number of consecutive pages without a record after which a list
// by cursor ends with ErrNoProgress.
const maxEmptyPages = 1000

// byCursor reads a list whose pages name the next page by a cursor. It requests the next
// page while the caller processes this one.
func (l *list[T]) byCursor(ctx context.Context, c *Client, filter url.Values, o ListOptions) iter.Seq2[*Page[T], error] {
	read := func(ctx context.Context, cursor string, _ transport.Turn) (*readPage[T], error) {
		return l.read(ctx, c, filter, cursor, transport.Turn{})
	}
	first, restarts := o.Start, o.Restarts
	return withRestarts(restarts, func(yield func(*Page[T], error) bool) error {
		ahead := newReadAhead(ctx, read)
		defer ahead.stop()
		var (
			version string
			changed bool
			seed    = maphash.MakeSeed()
			seen    = map[uint64]bool{} // hashes of the cursors that were read; the cursors can be long
			empty   int                 // number of consecutive pages without a record
		)
		for cursor := first; ; {
			seen[maphash.String(seed, cursor)] = true
			page, err := ahead.wait(cursor)
			if cursor != first && restarts > 0 && errors.Is(err, ErrInvalidCursor) {
				return err
			}
			if err != nil {
				yield(nil, err)
				return nil
			}
			// The answer for an empty list can have only the fields about the unit, so do
			// not use errIfBlankPage.
			if err := errIfBlank(page.answer); err != nil {
				yield(nil, err)
				return nil
			}
			at := page.answer.place()
			if cursor == first {
				version = at.versionID
			}
			changed = changed || versionsDiffer(version, at.versionID)
			if changed && restarts > 0 {
				return errors.New("a page has another version than the first page")
			}
			page.Changed = changed

			if empty++; len(page.Items) > 0 {
				empty = 0
			}
			if empty == maxEmptyPages {
				yield(nil, fmt.Errorf("%w: %d empty pages in a row", ErrNoProgress, empty))
				return nil
			}
			next := at.nextCursor
			repeated := next != "" && seen[maphash.String(seed, next)]
			if next != "" && !repeated {
				c.Config.refreshIfStale()
				ahead.start(next)
			}
			if !yield(page.Page, nil) || next == "" {
				return nil
			}
			if repeated {
				yield(nil, fmt.Errorf("%w: the service sent a cursor twice", ErrNoProgress))
				return nil
			}
			cursor = next
		}
	})
}
