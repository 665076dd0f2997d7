package appsandbookstest

import (
	"encoding/base64"
	"fmt"
	"sort"
)

// A listPosition is the position in a list that a cursor identifies.
type listPosition struct {
	query string // path and filters of the list
	page  int    // zero-based number of the next page
	after uint64 // ordinal of the last record before the position
}

// cursorPage returns the records of the page that a call requests, and the
// cursor of the next page. The cursor is empty after the last page. The list
// must be sorted by ordinal. The unit's lock must be held.
func cursorPage[T any](c *call, filters string, list []T, ordinal func(T) uint64) ([]T, string, *apiError) {
	u := c.unit
	at := listPosition{query: c.path + "?" + filters}
	if c.query.Has("cursor") {
		known, ok := u.cursors[c.query.Get("cursor")]
		if !ok || known.query != at.query {
			return nil, "", refuse(numInvalidCursor)
		}
		at = known
	}
	most := len(list)/c.srv.opts.cursorPageSize + maxEmptyPages
	empty := func(page int) bool {
		f := c.srv.opts.isEmptyPage
		return f != nil && page < most && f(c.path, page)
	}
	list = list[sort.Search(len(list), func(i int) bool { return ordinal(list[i]) > at.after }):]
	size := min(len(list), c.srv.opts.cursorPageSize)
	if empty(at.page) {
		size = 0
	}
	page, rest := list[:size], list[size:]
	if len(rest) == 0 && !empty(at.page+1) {
		return page, "", nil
	}
	next := listPosition{query: at.query, page: at.page + 1, after: at.after}
	if size > 0 {
		next.after = ordinal(page[size-1])
	}
	key := u.srv.random.uuid(u.randomLabel(fmt.Sprintf("cursor/%s/%d", next.query, next.page)), next.after)
	id := base64.StdEncoding.EncodeToString([]byte(key))
	u.cursors[id] = next
	return page, id, nil
}

// cursorPageHeader returns the fields that are part of every page read by
// cursor. The lock must be held.
func (u *Unit) cursorPageHeader(d *dataset, next string) wireCursorPage {
	return wireCursorPage{
		NextCursor:          next,
		TokenExpirationDate: u.expirationDate(),
		UID:                 u.uid,
		VersionID:           d.version(),
	}
}
