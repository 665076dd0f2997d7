package appsandbooks

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/appsandbooks/appsandbooks/internal/transport"
)

// PageInfo is the place of a page in its list.
type PageInfo struct {
	CurrentPageIndex int  `json:"currentPageIndex"`
	NextPageIndex    *int `json:"nextPageIndex,omitzero"` // nil on the last page
	Size             int  `json:"size"`                   // records on this page; the service gives no grand total
	TotalPages       int  `json:"totalPages"`             // may change while the pages are read
	// VersionID identifies the state of the data. Keep the one of the first
	// page, once all pages are processed, as the next SinceVersionID.
	VersionID string `json:"versionId,omitzero"`
	Meta
}

func (p *PageInfo) pageInfo() *PageInfo { return p }

// CursorInfo is the place of a page in a list that is read strictly in order.
type CursorInfo struct {
	NextCursor string `json:"nextCursor,omitzero"` // empty on the last page
	VersionID  string `json:"versionId,omitzero"`  // not accepted as a SinceVersionID
	Meta
}

func (p *CursorInfo) cursorInfo() *CursorInfo { return p }

// getPage reads one page of a page-indexed list.
func (c *Client) getPage(ctx context.Context, path, key string, q url.Values, page any) error {
	return c.do(ctx, request{
		method: http.MethodGet, path: path, key: key, query: q, class: transport.Read, page: true,
	}, page)
}

// pages walks a page-indexed list. Empty pages in the middle are followed.
func pages[P interface{ pageInfo() *PageInfo }](first int, read func(index int) (P, error)) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for index := first; ; {
			page, err := read(index)
			if err != nil {
				yield(page, err)
				return
			}
			if !yield(page, nil) {
				return
			}
			next := page.pageInfo().NextPageIndex
			if next == nil {
				return
			}
			if *next <= index {
				var none P
				yield(none, fmt.Errorf("%w: page %d is followed by page %d", ErrNoProgress, index, *next))
				return
			}
			index = *next
		}
	}
}

// cursorPages walks a list by cursor.
func cursorPages[P interface{ cursorInfo() *CursorInfo }](first string, read func(cursor string) (P, error)) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for cursor := first; ; {
			page, err := read(cursor)
			if err != nil {
				yield(page, err)
				return
			}
			if !yield(page, nil) {
				return
			}
			next := page.cursorInfo().NextCursor
			if next == "" {
				return
			}
			if next == cursor {
				var none P
				yield(none, fmt.Errorf("%w: the cursor repeats itself", ErrNoProgress))
				return
			}
			cursor = next
		}
	}
}

// items flattens pages.
func items[P, T any](pages iter.Seq2[P, error], of func(P) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range pages {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range of(page) {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// Collect gathers what an All or Pages yields, up to the first error.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for item, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, item)
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
