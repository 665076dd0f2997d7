package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// maxOdd is how often a walk accepts what a list that changes can look like for
// a moment, and a list without end for ever.
const maxOdd = 100

// pages walks a page-indexed list, with pages read ahead and given in order.
// Nothing is asked for before the loop begins; the first page comes alone, as it
// says how many there are. Whoever ends the loop ends the requests under way:
// they are over when the loop is.
func pages[T any, P interface {
	*T
	pageInfo() *PageInfo
}](
	ctx context.Context, c *Client, path, key string, first, restarts int, query func(index int) url.Values,
) iter.Seq2[P, error] {
	read := func(ctx context.Context, index int, turn transport.Turn) (P, error) {
		page := P(new(T))
		return page, c.getPage(ctx, path, key, query(index), turn, page)
	}
	return restarting(restarts, func(yield func(P, error) bool) error {
		w := newAhead(ctx, read)
		defer w.stop()
		var (
			version string // of the first page
			changed bool
			last    = first - 1 // the page given last
			refused = -1        // a page that was announced, and then was not there
			gone    int         // how often there was such a page
			beyond  int         // pages behind the end that they themselves tell, one after another
		)
		for index := first; ; {
			page, err := w.take(index)
			if index > first && index != refused && gone < maxOdd && errors.Is(err, ErrInvalidPageIndex) {
				// The end moved to before this page after the last one was
				// read: that one, read again, tells where it is now.
				if restarts > 0 {
					return fmt.Errorf("page %d is gone", index)
				}
				changed, refused = true, index
				gone++
				index = min(last, index-1)
				continue
			}
			if err != nil {
				yield(nil, err)
				return nil
			}
			if err := blankPage(page, &page.pageInfo().Meta); err != nil {
				yield(nil, err)
				return nil
			}
			info := page.pageInfo()
			if at := info.CurrentPageIndex; at != index && at != 0 {
				yield(nil, fmt.Errorf("%w: page %d was asked for, and page %d came", ErrNoProgress, index, at))
				return nil
			}
			if last < first {
				version = info.VersionID
			}
			last = index
			changed = changed || differ(version, info.VersionID)
			if changed && restarts > 0 {
				return fmt.Errorf("page %d has another version than page %d", index, first)
			}
			info.FirstVersionID, info.Changed = version, changed

			next := info.NextPageIndex
			w.forget(func(i int) bool { return i < index })
			if beyond++; next == nil || info.TotalPages == 0 || *next < info.TotalPages {
				beyond = 0
			}
			if beyond == maxOdd {
				yield(nil, fmt.Errorf("%w: page %d of %d is followed by page %d", ErrNoProgress, index, info.TotalPages, *next))
				return nil
			}
			if next != nil && *next > index {
				c.Config.keepFresh() // for the rate
				w.ask(*next)
				// Comparing before adding: what the service sends may be huge.
				for i := *next; i < index+lookAhead && i < info.TotalPages-1; i++ {
					w.ask(i + 1)
				}
			}
			if !yield(page, nil) || next == nil {
				return nil
			}
			if *next <= index {
				yield(nil, fmt.Errorf("%w: page %d is followed by page %d", ErrNoProgress, index, *next))
				return nil
			}
			index = *next
		}
	})
}

// changes walks what changed since a version, or everything when the service
// does not know the version any more.
func changes[P interface{ pageInfo() *PageInfo }](since string, walk func(since string) iter.Seq2[P, error]) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for since := since; ; since = "" {
			forgotten := false
			for page, err := range walk(since) {
				if since != "" && errors.Is(err, ErrInvalidVersionID) {
					forgotten = true
					break
				}
				if err == nil {
					info := page.pageInfo()
					info.Full = since == ""
					if info.FirstVersionID == "" {
						info.FirstVersionID = since // no news, so no new version need come
					}
				}
				if !yield(page, err) {
					return
				}
			}
			if !forgotten {
				return
			}
		}
	}
}
