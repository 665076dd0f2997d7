package appsandbookstest

import (
	"slices"
)

// An orderedList is a list of records in the order of their creation. Removed
// records stay in the field items until the method all is called.
type orderedList[T interface{ isRemoved() bool }] struct {
	items      []T
	hasRemoved bool // items has removed records
}

func (l *orderedList[T]) add(x T) { l.items = append(l.items, x) }

// all returns the records of the list that are not removed.
func (l *orderedList[T]) all() []T {
	if l.hasRemoved {
		// Use a new slice, because a cached query may share the old slice.
		l.items = filter(l.items, func(x T) bool { return !x.isRemoved() })
		l.hasRemoved = false
	}
	return l.items
}

// A queryCache keeps the results of recent queries, so that a client that reads
// a list page by page does not cause a new search for each page.
type queryCache[F comparable, T any] struct {
	entries []cachedQuery[F, T]
}

// A cachedQuery is the result of a query: the records that match a filter, in
// the state after a change.
type cachedQuery[F comparable, T any] struct {
	filter F
	change uint64
	items  []T
}

// get returns the records that match a filter, in the state after the change
// with number seq. It calls build if the cache does not have these records.
func (l *queryCache[F, T]) get(filter F, seq uint64, build func() []T) []T {
	const keep = 8
	l.entries = slices.DeleteFunc(l.entries, func(e cachedQuery[F, T]) bool { return e.change != seq })
	for _, e := range l.entries {
		if e.filter == filter {
			return e.items
		}
	}
	items := build()
	if len(l.entries) >= keep {
		l.entries = slices.Delete(l.entries, 0, 1)
	}
	l.entries = append(l.entries, cachedQuery[F, T]{filter, seq, items})
	return items
}

// ptr returns a pointer to a copy of v.
func ptr[T any](v T) *T { return &v }

// emptyOrContains reports whether a list is empty or contains v.
func emptyOrContains[T comparable](list []T, v T) bool {
	return len(list) == 0 || slices.Contains(list, v)
}

// filter returns the elements for which match returns true.
func filter[T any](list []T, match func(T) bool) []T {
	var out []T
	for _, x := range list {
		if match(x) {
			out = append(out, x)
		}
	}
	return out
}

// duplicates returns the number of different elements of a list, and the
// elements that occur more than once.
func duplicates[T comparable](list []T) (distinct int, repeated []T) {
	seen := make(map[T]int, len(list))
	for _, x := range list {
		if seen[x]++; seen[x] == 2 {
			repeated = append(repeated, x)
		}
	}
	return len(seen), repeated
}
