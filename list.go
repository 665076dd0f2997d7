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

// ListOptions says where List, Pages and All begin, and how often they begin
// again. The zero value reads a list once, from its beginning.
type ListOptions struct {
	// Start is the Next of an earlier page of the same list. When it is empty,
	// the list is read from its beginning. In the lists of assets, assignments
	// and users it is the index of a page, in decimal, counted from 0; in the
	// subscription lists it is a cursor.
	Start string
	// Restarts is how often Pages and All begin again when the data changes
	// while they read it; see [ErrRestarted]. With 0 they read on: see
	// Page.Changed.
	Restarts int
}

// Page is one page of a list.
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

	// FirstVersionID is the VersionID of the first page that was read. Keep it, once
	// all pages are processed, as the next SinceVersionID. A loop that began in the
	// middle of a list does not have it: keep that of the real first page. Pages and
	// Changes set it; List does not.
	FirstVersionID string
	// Changed reports that the data changed after the first page was read. Records
	// may have moved between pages, so a record can come twice or not at all. Pages
	// and Changes set it.
	Changed bool
	// Full reports that Changes reads the whole list, not only what changed.
	Full bool
}

// completeAt reports whether a list shows all that exists, as far as this page
// shows, which was read at an index. It does not if the data changed, if the page
// is the last but should not be, or if the page lacks the fields that every page
// has, so that it may be something else. It also returns the next page's index.
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

// list is one of the service's lists.
type list[T any] struct {
	path   string               // of the endpoint
	urlKey string               // in the service configuration's urls; empty when it has none
	cursor bool                 // a page names the next by a cursor; otherwise pages have an index
	answer func() listAnswer[T] // makes what an answer of the endpoint is decoded into
}

// listAnswer is a pointer to the answer of a list endpoint.
type listAnswer[T any] interface {
	pageInfo() *listing
	items() []T
}

// listing has the fields that the answers of list endpoints share.
type listing struct {
	CurrentPageIndex int    `json:"currentPageIndex"`
	NextPageIndex    *int   `json:"nextPageIndex"` // nil on the last page
	Size             int    `json:"size"`          // records on this page
	TotalPages       int    `json:"totalPages"`
	NextCursor       string `json:"nextCursor"` // empty on the last page
	VersionID        string `json:"versionId"`
	Meta
}

func (l *listing) pageInfo() *listing { return l }

// readPage is a page together with the answer that it was made from.
type readPage[T any] struct {
	*Page[T]
	from listAnswer[T]
}

// read reads the page that begins at start.
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
	from := answer.pageInfo()
	page := &Page[T]{
		Items: answer.items(), Next: from.NextCursor, Index: from.CurrentPageIndex, TotalPages: from.TotalPages,
		VersionID: from.VersionID, Meta: from.Meta,
	}
	if !l.cursor {
		page.Next = ""
		if from.NextPageIndex != nil {
			page.Next = strconv.Itoa(*from.NextPageIndex)
		}
	}
	return &readPage[T]{page, answer}, nil
}

// one reads one page.
func (l *list[T]) one(ctx context.Context, c *Client, filter url.Values, o ListOptions) (*Page[T], error) {
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

// index returns the page index that a list begins at; 0 for a list by cursor.
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

// blank returns an error for an answer that contains none of the expected
// fields, such as JSON from a proxy.
func blank(answer any) error {
	if reflect.ValueOf(answer).Elem().IsZero() {
		return &Error{StatusCode: http.StatusOK, Attempts: 1, Message: "the answer contains none of the expected fields"}
	}
	return nil
}

// blankPage is blank for a page of a list. It ignores what the answer says about
// the unit: that does not make it a list.
func blankPage(answer any, meta *Meta) error {
	kept := *meta
	*meta = Meta{}
	err := blank(answer)
	*meta = kept
	return err
}

// plainPage is a page whose records package records can decode.
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

// differ reports whether two versions differ. An unknown version differs from none.
func versionsDiffer(a, b string) bool { return a != b && a != "" && b != "" }

// restarting repeats a walk that ended because the data changed. Before each
// repetition it yields ErrRestarted.
func withRestarts[P any](restarts int, walk func(yield func(P, error) bool) error) iter.Seq2[P, error] {
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

// items yields the records of pages.
func items[T any](pages iter.Seq2[*Page[T], error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range pages {
			if err != nil {
				var none T
				if !yield(none, err) {
					return
				}
				continue // only ErrRestarted is followed by more
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// Collect gathers what All or Pages yields, up to the first error. When the list
// is read again from its beginning (ListOptions.Restarts), Collect discards what
// came before.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	if seq == nil {
		return nil, invalidf("Collect of a nil iterator")
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
