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

// maxAnomalies is the largest number of announced pages that do not exist, and of
// consecutive pages past the announced total, while a list is read. A changing list has a
// few of them; a broken list has them endlessly.
const maxAnomalies = 100

// byIndex reads a list whose pages have an index. It reads pages ahead and yields
// them in order. The first page is requested alone, because it gives the number
// of pages. When the caller leaves the loop, byIndex cancels the requests in progress and
// waits until they have ended.
func (l *list[T]) byIndex(ctx context.Context, c *Client, filter url.Values, first, restarts int) iter.Seq2[*Page[T], error] {
	read := func(ctx context.Context, index int, turn transport.Turn) (*readPage[T], error) {
		return l.read(ctx, c, filter, strconv.Itoa(index), turn)
	}
	return withRestarts(restarts, func(yield func(*Page[T], error) bool) error {
		ahead := newReadAhead(ctx, read)
		defer ahead.stop()
		var (
			version string // of the first page
			changed bool
			last    = first - 1 // index of the page that was yielded last
			missing = -1        // index of the last page that was announced, but does not exist; -1 if none
			shrunk  int         // number of such pages
			pastEnd int         // number of consecutive pages that name a next page past the announced total
		)
		for index := first; ; {
			page, err := ahead.wait(index)
			if index > first && index != missing && shrunk < maxAnomalies && errors.Is(err, ErrInvalidPageIndex) {
				// The list became shorter. The last page, read again, shows where it
				// ends now.
				if restarts > 0 {
					return fmt.Errorf("page %d no longer exists", index)
				}
				changed, missing = true, index
				shrunk++
				index = min(last, index-1)
				continue
			}
			if err == nil {
				err = page.check(index)
			}
			if err != nil {
				yield(nil, err)
				return nil
			}
			info := page.answer.place()
			if last < first {
				version = info.versionID
			}
			last = index
			changed = changed || versionsDiffer(version, info.versionID)
			if changed && restarts > 0 {
				return fmt.Errorf("page %d has another version than page %d", index, first)
			}
			page.FirstVersionID, page.Changed = version, changed

			next := info.next
			ahead.drop(func(i int) bool { return i < index })
			if pastEnd++; next == nil || info.totalPages == 0 || *next < info.totalPages {
				pastEnd = 0
			}
			if pastEnd == maxAnomalies {
				yield(nil, fmt.Errorf("%w: page %d of %d is followed by page %d", ErrNoProgress, index, info.totalPages, *next))
				return nil
			}
			if next != nil && *next > index {
				c.Config.refreshIfStale() // a long read of a list must follow changes of maxRequestPerSecond
				ahead.start(*next)
				// TotalPages can be so large that adding to it overflows.
				for i := *next; i < index+readAheadPages && i < info.totalPages-1; i++ {
					ahead.start(i + 1)
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

// check returns an error if a page is blank, or if it is not the page with this index.
func (p *readPage[T]) check(index int) error {
	if err := errIfBlankPage(p.answer, p.answer.meta()); err != nil {
		return err
	}
	if at := p.answer.place().index; at != index && at != 0 {
		return fmt.Errorf("%w: page %d was requested, but page %d came", ErrNoProgress, index, at)
	}
	return nil
}

// changes yields the pages of what changed since a version, or the pages of the whole list
// if since is "" or if the service rejects the version; then it begins at the first page.
// The function read reads the pages since a version.
func changes[T any](since string, o ListOptions, read func(since string, o ListOptions) iter.Seq2[*Page[T], error]) iter.Seq2[*Page[T], error] {
	return func(yield func(*Page[T], error) bool) {
		for since, o := since, o; ; since, o.Start = "", "" {
			rejected := false
			for page, err := range read(since, o) {
				if since != "" && errors.Is(err, ErrInvalidVersionID) {
					rejected = true
					break
				}
				if err == nil {
					page.Full = since == ""
					if page.FirstVersionID == "" {
						page.FirstVersionID = since // no record changed, so the service may send no version
					}
				}
				if !yield(page, err) {
					return
				}
			}
			if !rejected {
				return
			}
		}
	}
}
