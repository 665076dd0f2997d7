package appsandbookstest

// A pagePosition is the position of one page in a list.
type pagePosition struct {
	from, to int
	page     wirePage
}

// pageOf returns the position of the page that a call requests in a list of n
// records.
func (c *call) pageOf(n int) (pagePosition, *apiError) {
	index, refusal := c.intParam("pageIndex")
	if refusal != nil {
		return pagePosition{}, refusal
	}
	size := c.srv.opts.pageSize
	full := max(1, (n+size-1)/size) // pages with records
	total, before := full, min(max(index, 0), full)
	empty := false
	if f := c.srv.opts.isEmptyPage; f != nil {
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
		return pagePosition{}, refuse(numInvalidPageIndex)
	}
	s := pagePosition{from: min(before*size, n), page: wirePage{CurrentPageIndex: index, TotalPages: total}}
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

// maxEmptyPages is the largest number of pages that WithEmptyPages adds to a
// list.
const maxEmptyPages = 100
