package appsandbookstest

import (
	"encoding/base64"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// A span is the place of one page in a list of records.
type span struct {
	from, to int
	page     wirePage
}

// pageOf returns the place of the page that a call asks for in a list of n
// records.
func (c *call) pageOf(n int) (span, *apiError) {
	index, refusal := c.intParam("pageIndex")
	if refusal != nil {
		return span{}, refusal
	}
	size := c.srv.opts.pageSize
	full := max(1, (n+size-1)/size) // pages that hold records
	total, before := full, min(max(index, 0), full)
	empty := false
	if f := c.srv.opts.emptyPage; f != nil {
		total, before, empty = 0, 0, false
		for held := 0; held < full || f(c.path, total) && total < full+maxEmptyPages; total++ {
			isEmpty := total < full+maxEmptyPages && f(c.path, total)
			if !isEmpty {
				held++
			}
			if total < index && !isEmpty {
				before++
			}
			if total == index {
				empty = isEmpty
			}
		}
	}
	if index < 0 || index >= total {
		return span{}, refuse(numInvalidPageIndex)
	}
	s := span{from: min(before*size, n), page: wirePage{CurrentPageIndex: index, TotalPages: total}}
	s.to = min(s.from+size, n)
	if empty {
		s.to = s.from
	}
	s.page.Size = s.to - s.from
	if next := index + 1; next < total {
		s.page.NextPageIndex = &next
	}
	return s, nil
}

// maxEmptyPages bounds the pages that WithEmptyPages can add.
const maxEmptyPages = 100

// A cursor is a place in a list of records that is read by cursor.
type cursor struct {
	query string // path and filters that it belongs to
	page  int    // zero-based number of the page it leads to
	after uint64 // ordinal of the last record before it
}

// cursorPage returns the records of the page that a call asks for, and the
// cursor of the next one. The list is ordered by ordinal. The unit's lock is
// held.
func cursorPage[T any](c *call, filters string, list []T, ordinal func(T) uint64) ([]T, string, *apiError) {
	u := c.unit
	at := cursor{query: c.path + "?" + filters}
	if c.query.Has("cursor") {
		known, ok := u.cursors[c.query.Get("cursor")]
		if !ok || known.query != at.query {
			return nil, "", refuse(numInvalidCursor)
		}
		at = known
	}
	most := len(list)/c.srv.opts.cursorPageSize + maxEmptyPages
	empty := func(page int) bool {
		f := c.srv.opts.emptyPage
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
	next := cursor{query: at.query, page: at.page + 1, after: at.after}
	if size > 0 {
		next.after = ordinal(page[size-1])
	}
	key := u.srv.random.uuid(u.label(fmt.Sprintf("cursor/%s/%d", next.query, next.page)), next.after)
	id := base64.StdEncoding.EncodeToString([]byte(key))
	u.cursors[id] = next
	return page, id, nil
}

// has reports whether the call has a query parameter.
func (c *call) has(name string) bool { return c.query.Has(name) }

// intParam returns an integer of the query, zero when it is absent.
func (c *call) intParam(name string) (int, *apiError) {
	if !c.has(name) {
		return 0, nil
	}
	n, err := strconv.ParseInt(c.query.Get(name), 10, 32)
	if err != nil {
		return 0, refuseArgument(name)
	}
	return int(n), nil
}

// boolParam returns a boolean of the query, nil when it is absent.
func (c *call) boolParam(name string) (*bool, *apiError) {
	if !c.has(name) {
		return nil, nil
	}
	switch c.query.Get(name) {
	case "true":
		return ptr(true), nil
	case "false":
		return ptr(false), nil
	}
	return nil, refuseArgument(name)
}

// flagParam returns a boolean of the query, false when it is absent.
func (c *call) flagParam(name string) (bool, *apiError) {
	b, refusal := c.boolParam(name)
	return b != nil && *b, refusal
}

// listParam returns the values of a query parameter that may be repeated or
// hold several values between commas.
func (c *call) listParam(name string) []string {
	var values []string
	for _, v := range c.query[name] {
		values = append(values, strings.Split(v, ",")...)
	}
	return values
}

// sinceParam returns the number of the last change that the caller knows.
func (c *call) sinceParam(d *dataset) (uint64, *apiError) {
	if !c.has("sinceVersionId") {
		return 0, nil
	}
	seq, ok := d.since(c.query.Get("sinceVersionId"))
	if !ok {
		return 0, refuse(numInvalidVersion)
	}
	return seq, nil
}

func ptr[T any](v T) *T { return &v }
