package appsandbooks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// maxOdd is how often a walk accepts what a list that changes can look like for
// a moment, and a list without end for ever.
const maxAnomalies = 100

// byIndex reads a list whose pages have an index. It reads pages ahead and yields
// them in order. The first page is requested alone, because it gives the number
// of pages. When the caller leaves the loop, the requests in progress are
// canceled, and they have ended when the loop has.
func (l *list[T]) byIndex(ctx context.Context, c *Client, filter url.Values, first, restarts int) iter.Seq2[*Page[T], error] {
	read := func(ctx context.Context, index int, turn transport.Turn) (*readPage[T], error) {
		return l.read(ctx, c, filter, strconv.Itoa(index), turn)
	}
	return withRestarts(restarts, func(yield func(*Page[T], error) bool) error {
		w := newReadAhead(ctx, read)
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
			page, err := w.wait(index)
			if index > first && index != refused && gone < maxAnomalies && errors.Is(err, ErrInvalidPageIndex) {
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
			if err := blankPage(page.from, &page.from.pageInfo().Meta); err != nil {
				yield(nil, err)
				return nil
			}
			info := page.from.pageInfo()
			if at := info.CurrentPageIndex; at != index && at != 0 {
				yield(nil, fmt.Errorf("%w: page %d was asked for, and page %d came", ErrNoProgress, index, at))
				return nil
			}
			if last < first {
				version = info.VersionID
			}
			last = index
			changed = changed || versionsDiffer(version, info.VersionID)
			if changed && restarts > 0 {
				return fmt.Errorf("page %d has another version than page %d", index, first)
			}
			page.FirstVersionID, page.Changed = version, changed

			next := info.NextPageIndex
			w.drop(func(i int) bool { return i < index })
			if beyond++; next == nil || info.TotalPages == 0 || *next < info.TotalPages {
				beyond = 0
			}
			if beyond == maxAnomalies {
				yield(nil, fmt.Errorf("%w: page %d of %d is followed by page %d", ErrNoProgress, index, info.TotalPages, *next))
				return nil
			}
			if next != nil && *next > index {
				c.Config.refreshIfStale() // for the rate
				w.start(*next)
				// Comparing before adding: what the service sends may be huge.
				for i := *next; i < index+readAheadPages && i < info.TotalPages-1; i++ {
					w.start(i + 1)
				}
			}
			if !yield(page.Page, nil) || next == nil {
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
func changes[T any](since string, walk func(since string) iter.Seq2[*Page[T], error]) iter.Seq2[*Page[T], error] {
	return func(yield func(*Page[T], error) bool) {
		for since := since; ; since = "" {
			forgotten := false
			for page, err := range walk(since) {
				if since != "" && errors.Is(err, ErrInvalidVersionID) {
					forgotten = true
					break
				}
				if err == nil {
					page.Full = since == ""
					if page.FirstVersionID == "" {
						page.FirstVersionID = since // nothing changed, so the service need not send a version
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
