package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"

	"github.com/appsandbooks/appsandbooks/internal/records"
	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// ListOptions sets where List, Pages and All begin to read a list, and how often Pages
// and All read it again. The zero value reads a list once, from its beginning.
type ListOptions struct {
	// Start is the Next of an earlier page of the same list. When it is empty, the list
	// is read from its beginning. So do not begin again with an empty Next: it means that
	// the list is finished. In the lists of assets, assignments
	// and users it is the index of a page, in decimal, counted from 0; in the
	// subscription lists it is a cursor.
	Start string
	// Restarts is how often Pages and All read the list again from Start when the data
	// changes while they read it; see [ErrRestarted]. If it is 0, they continue to read;
	// see Page.Changed.
	Restarts int
}

// A Page is one page of a list.
type Page[T any] struct {
	Items []T
	// Next is the ListOptions.Start of the next page. It is empty on the last page.
	Next string
	// Index is the page's place in the list, counted from 0, and TotalPages is the
	// number of pages, which can change while they are read. Both are 0 in the
	// subscription lists, for which the service does not send them.
	Index      int
	TotalPages int
	// VersionID identifies the state of the data when the service sent this page.
	// For the next SinceVersionID of Changes, keep FirstVersionID instead. The
	// version of a subscription list is not accepted as a SinceVersionID.
	VersionID string
	Meta

	// FirstVersionID is the VersionID of the first page that the loop read. Keep it as the
	// next SinceVersionID after all pages are processed. If the loop began in the middle of
	// the list (ListOptions.Start), keep the version of the list's first page instead.
	// Pages and Changes of the lists with a page index set it; List does not.
	FirstVersionID string
	// Changed is true if the data changed after the first page was read. Records may have
	// moved between pages, so a record can come twice or not at all. Pages and Changes set
	// it.
	Changed bool
	// Full is true if Changes reads the whole list instead of the changes. Changes sets it.
	Full bool
}

// completeAt reports whether this page, which was read at an index, shows that nothing
// is missing from the list so far. It returns false if the data changed, if the list
// ends before its announced number of pages, or if the last page lacks the fields that
// every page has. It also returns the index of the next page, if the page names one.
func (p *Page[T]) completeAt(index int, byCursor bool) (next int, complete bool) {
	switch {
	case byCursor:
		return 0, !p.Changed && p.VersionID != ""
	case p.Next != "":
		next, _ = strconv.Atoi(p.Next)
		return next, !p.Changed
	}
	return index, !p.Changed && p.TotalPages <= index+1 && (p.VersionID != "" || p.TotalPages > 0)
}

// list is one of the service's lists, such as the list of users.
type list[T any] struct {
	path   string               // of the endpoint
	urlKey string               // key of the list's URL in the service configuration; empty if it has none
	cursor bool                 // true if a page names the next page by a cursor; false if pages have an index
	answer func() listAnswer[T] // answer returns a new value for the decoding of one answer
}

// listAnswer is a pointer to the decoded answer of a list endpoint.
type listAnswer[T any] interface {
	place() pagePosition
	meta() *Meta
	items() []T
}

// pagePosition is where a page is in its list, as the service sent it.
type pagePosition struct {
	index      int
	next       *int   // the index of the next page; nil on the last page
	nextCursor string // empty on the last page
	totalPages int
	versionID  string
}

// indexedPage has the fields that the answers of lists with a page index share.
type indexedPage struct {
	CurrentPageIndex int    `json:"currentPageIndex"`
	NextPageIndex    *int   `json:"nextPageIndex"`
	Size             int    `json:"size"` // records on this page
	TotalPages       int    `json:"totalPages"`
	VersionID        string `json:"versionId"`
	Meta
}

func (p *indexedPage) place() pagePosition {
	return pagePosition{index: p.CurrentPageIndex, next: p.NextPageIndex, totalPages: p.TotalPages, versionID: p.VersionID}
}

// cursorPage has the fields that the answers of lists with cursors share.
type cursorPage struct {
	NextCursor string `json:"nextCursor"`
	VersionID  string `json:"versionId"`
	Meta
}

func (p *cursorPage) place() pagePosition {
	return pagePosition{nextCursor: p.NextCursor, versionID: p.VersionID}
}

// readPage is a page of a list, with the decoded answer that contained it.
type readPage[T any] struct {
	*Page[T]
	answer listAnswer[T]
}

// read reads the page of the list that begins at start, which is an index or a cursor.
func (l *list[T]) read(ctx context.Context, c *Client, filter url.Values, start string, turn transport.Turn) (*readPage[T], error) {
	q := maps.Clone(filter)
	switch {
	case l.cursor && start != "":
		q.Set("cursor", start)
	case !l.cursor && start != "" && start != "0":
		q.Set("pageIndex", start)
	}
	answer := l.answer()
	err := c.do(ctx, request{
		method: http.MethodGet, path: l.path, key: l.urlKey, query: q, class: transport.Read, page: !l.cursor, turn: turn,
	}, answer)
	if err != nil {
		return nil, err
	}
	at := answer.place()
	page := &Page[T]{
		Items: answer.items(), Next: at.nextCursor, Index: at.index, TotalPages: at.totalPages,
		VersionID: at.versionID, Meta: *answer.meta(),
	}
	if at.next != nil {
		page.Next = strconv.Itoa(*at.next)
	}
	return &readPage[T]{page, answer}, nil
}

// page reads the page of the list that begins at o.Start.
func (l *list[T]) page(ctx context.Context, c *Client, filter url.Values, o ListOptions) (*Page[T], error) {
	if _, err := l.index(o); err != nil {
		return nil, err
	}
	page, err := l.read(ctx, c, filter, o.Start, transport.Turn{})
	if err != nil {
		return nil, err
	}
	return page.Page, nil
}

// pages reads the list page by page. It sends no request before the loop begins.
func (l *list[T]) pages(ctx context.Context, c *Client, filter url.Values, o ListOptions) iter.Seq2[*Page[T], error] {
	index, err := l.index(o)
	switch {
	case err != nil:
		return func(yield func(*Page[T], error) bool) { yield(nil, err) }
	case l.cursor:
		return l.byCursor(ctx, c, filter, o)
	}
	return l.byIndex(ctx, c, filter, index, o.Restarts)
}

// all reads the list record by record.
func (l *list[T]) all(ctx context.Context, c *Client, filter url.Values, o ListOptions) iter.Seq2[T, error] {
	return items(l.pages(ctx, c, filter, o))
}

// index returns the page index that reading begins at. It returns 0 for a list by cursor.
func (l *list[T]) index(o ListOptions) (int, error) {
	if l.cursor || o.Start == "" {
		return 0, nil
	}
	index, err := strconv.Atoi(o.Start)
	if err != nil {
		return 0, invalidf("ListOptions.Start %q is not a page index of %s", shorten(clean(o.Start), 40), l.path)
	}
	return index, nil
}

// errIfBlank returns an error for an answer that contains none of the expected
// fields, such as JSON from a proxy.
func errIfBlank(answer any) error {
	if reflect.ValueOf(answer).Elem().IsZero() {
		return &Error{StatusCode: http.StatusOK, Attempts: 1, Message: "the answer contains none of the expected fields"}
	}
	return nil
}

// errIfBlankPage returns an error for an answer that contains none of the fields of a
// page. It ignores the fields about the unit, because an answer with those fields alone is
// not a page.
func errIfBlankPage(answer any, meta *Meta) error {
	kept := *meta
	*meta = Meta{}
	err := errIfBlank(answer)
	*meta = kept
	return err
}

// plainPage is a page of a list whose records can be decoded by package records.
type plainPage interface{ decodePlain(body []byte) bool }

// decodePlain decodes the records of a page with package records, and the rest
// with encoding/json. When it returns false, encoding/json has to decode the page.
func decodePlain[T any](body []byte, name string, page any, all *[]T, field func(*T, []byte) records.Field) bool {
	before, array, after, ok := records.Cut(body, name)
	if !ok {
		return false
	}
	decoded, ok := records.Decode(array, field)
	if !ok {
		return false
	}
	rest := slices.Concat(before, []byte("null"), after)
	if json.Unmarshal(rest, page) != nil {
		return false
	}
	*all = decoded
	return true
}

// versionsDiffer reports whether two version ids of a list are known and different.
func versionsDiffer(a, b string) bool { return a != b && a != "" && b != "" }

// withRestarts yields the pages of a list. The function read yields the pages and their
// error, and returns an error only if the data changed. Then withRestarts yields
// ErrRestarted and calls read again, at most restarts times, and yields ErrDataChanged
// after that.
func withRestarts[P any](restarts int, read func(yield func(P, error) bool) error) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for remaining := restarts; ; remaining-- {
			err := read(yield)
			if err == nil {
				return
			}
			var none P
			if remaining <= 0 {
				yield(none, fmt.Errorf("%w: %w", ErrDataChanged, err))
				return
			}
			if !yield(none, fmt.Errorf("%w: %w", ErrRestarted, err)) {
				return
			}
		}
	}
}

// items yields the records of the pages, one by one, and the errors of the pages.
func items[T any](pages iter.Seq2[*Page[T], error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range pages {
			if err != nil {
				var none T
				if !yield(none, err) {
					return
				}
				continue // after ErrRestarted, more pages follow; other errors are the last element
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// Collect returns the elements of seq, an iterator of All, Pages or Changes, as a slice.
// At the first error it returns the elements before the error, and the error. When the
// list is read again from ListOptions.Start ([ErrRestarted]), Collect discards the elements
// that came before.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	if seq == nil {
		return nil, invalidf("Collect was called with a nil iterator")
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

// Ptr returns a pointer to v. It is for the optional fields of filters.
func Ptr[T any](v T) *T { return &v }
