package appsandbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"slices"

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
