package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"sync"

	"github.com/appsandbooks/appsandbooks/internal/records"
	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// PageInfo is the place of a page in its list.
type PageInfo struct {
	CurrentPageIndex int  `json:"currentPageIndex"`
	NextPageIndex    *int `json:"nextPageIndex,omitzero"` // nil on the last page
	Size             int  `json:"size"`                   // records on this page; the service gives no grand total
	TotalPages       int  `json:"totalPages"`             // may change while the pages are read
	// VersionID identifies the state of the data as of this page. For the next
	// SinceVersionID keep FirstVersionID instead.
	VersionID string `json:"versionId,omitzero"`
	Meta

	// The rest is not the service's: Pages and Changes say how the walk goes.

	// FirstVersionID is the VersionID of the walk's first page. Keep it, once
	// all pages are processed, as the next SinceVersionID. A walk that was
	// resumed in the middle does not know it: keep that of its real first page.
	FirstVersionID string `json:"-"`
	// Changed says that the data changed since the walk's first page. Records
	// may have moved between pages, so some can come twice and others not at all.
	Changed bool `json:"-"`
	// Full says that Changes reads everything, not only what changed.
	Full bool `json:"-"`
}

func (p *PageInfo) pageInfo() *PageInfo { return p }

// certain tells whether the list shows all that is there, as far as this page
// tells, which came as the one with the index. It does not if the data changed, if
// the page is the last and should not be, or if it has so little of a page that
// it may be something else.
func (p *PageInfo) certain(index int) (next int, ok bool) {
	if p.NextPageIndex != nil {
		return *p.NextPageIndex, !p.Changed
	}
	return index, !p.Changed && p.TotalPages <= index+1 && (p.VersionID != "" || p.TotalPages > 0)
}

// CursorInfo is the place of a page in a list that is read strictly in order.
type CursorInfo struct {
	NextCursor string `json:"nextCursor,omitzero"` // empty on the last page
	VersionID  string `json:"versionId,omitzero"`  // not accepted as a SinceVersionID
	Meta

	// Changed is not the service's: Pages says that the data changed since the
	// walk's first page. Records can come twice or not at all.
	Changed bool `json:"-"`
}

func (p *CursorInfo) cursorInfo() *CursorInfo { return p }

func (p *CursorInfo) certain(int) (next int, ok bool) { return 0, !p.Changed && p.VersionID != "" }

// blank is the error of an answer that has nothing of what was asked for: an
// object of somebody between us and the service.
func blank(answer any) error {
	if reflect.ValueOf(answer).Elem().IsZero() {
		return &Error{StatusCode: http.StatusOK, Attempts: 1, Message: "the answer holds nothing of what was asked for"}
	}
	return nil
}

// blankPage is blank for a page, whatever its meta says about the unit: a list is
// not over, or empty, because of it.
func blankPage(page any, meta *Meta) error {
	kept := *meta
	*meta = Meta{}
	err := blank(page)
	*meta = kept
	return err
}

// getPage reads one page of a page-indexed list.
func (c *Client) getPage(ctx context.Context, path, key string, q url.Values, turn transport.Turn, page any) error {
	return c.do(ctx, request{
		method: http.MethodGet, path: path, key: key, query: q, class: transport.Read, page: true, turn: turn,
	}, page)
}

// plainPage is a page whose records can be decoded by the short way.
type plainPage interface{ decodePlain(body []byte) bool }

// decodePlain decodes the records of a page with package records, and the rest
// with encoding/json. When it fails, encoding/json has to decode it all.
func decodePlain[T any](body []byte, name string, page any, all *[]T, field func(*T, []byte) records.Field) bool {
	before, array, after, ok := records.Cut(body, name)
	if !ok {
		return false
	}
	list, ok := records.Decode(array, field)
	if !ok {
		return false
	}
	rest := slices.Concat(before, []byte("null"), after)
	if json.Unmarshal(rest, page) != nil {
		return false
	}
	*all = list
	return true
}

// maxOdd is how often a walk accepts what a list that changes can look like for
// a moment, and a list without end for ever.
const maxOdd = 100

// maxEmpty is how many empty pages in a row a walk by cursor follows.
const maxEmpty = 1000

// lookAhead is how many pages beyond the caller's a walk asks for. As many as
// are in flight may wait, decoded, so that neither a late answer nor the
// decoding keeps the next request from leaving.
const lookAhead = 2 * transport.PageReads

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

// differ compares two versions, either of which can be missing.
func differ(a, b string) bool { return a != b && a != "" && b != "" }

// restarting repeats a walk that ended with an error because the data changed,
// after saying so to the caller.
func restarting[P any](restarts int, walk func(yield func(P, error) bool) error) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for left := restarts; ; left-- {
			err := walk(yield)
			if err == nil {
				return
			}
			var none P
			if left <= 0 {
				yield(none, fmt.Errorf("%w: %w", ErrDataChanged, err))
				return
			}
			if !yield(none, fmt.Errorf("%w: %w", ErrRestarted, err)) {
				return
			}
		}
	}
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

// items flattens pages.
func items[P, T any](pages iter.Seq2[P, error], of func(P) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range pages {
			if err != nil {
				var none T
				if !yield(none, err) {
					return
				}
				continue // a walk that begins again is the only one that goes on
			}
			for _, item := range of(page) {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// Collect gathers what an All or Pages yields, up to the first error. When the
// walk begins again because the data changed (Restarts of the filter), so does
// the collection.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	if seq == nil {
		return nil, invalidf("Collect of nothing")
	}
	var all []T
	for item, err := range seq {
		switch {
		case errors.Is(err, ErrRestarted):
			clear(all)
			all = all[:0]
		case err != nil:
			return all, err
		default:
			all = append(all, item)
		}
	}
	return all, nil
}

// Ptr returns a pointer to v, for the optional fields of filters.
func Ptr[T any](v T) *T { return &v }

// query builds a query string from what is set.
type query url.Values

func (q query) values() url.Values { return url.Values(q) }

func (q query) text(key, v string) query {
	if v != "" {
		url.Values(q).Set(key, v)
	}
	return q
}

func (q query) page(index int) query {
	if index != 0 { // a negative one is the service's to refuse
		url.Values(q).Set("pageIndex", strconv.Itoa(index))
	}
	return q
}

func (q query) flag(key string, v bool) query {
	if v {
		url.Values(q).Set(key, "true")
	}
	return q
}

func (q query) boolean(key string, v *bool) query {
	if v != nil {
		url.Values(q).Set(key, strconv.FormatBool(*v))
	}
	return q
}

func (q query) number(key string, v *int) query {
	if v != nil {
		url.Values(q).Set(key, strconv.Itoa(*v))
	}
	return q
}

func (q query) ids(key string, v []int64) query {
	for _, id := range v {
		url.Values(q).Add(key, strconv.FormatInt(id, 10))
	}
	return q
}

func (q query) texts(key string, v []string) query {
	for _, s := range v {
		url.Values(q).Add(key, s)
	}
	return q
}
