package appsandbookstest

import (
	"slices"
)

// An ordered is a list of records in the order of their creation. Those that
// are gone are dropped when the list is read.
type orderedList[T interface{ isRemoved() bool }] struct {
	items      []T
	hasRemoved bool // some are gone
}

func (l *orderedList[T]) add(x T) { l.items = append(l.items, x) }

func (l *orderedList[T]) all() []T {
	if l.hasRemoved {
		// A new list: a page may still be read from the old one.
		l.items = filter(l.items, func(x T) bool { return !x.isRemoved() })
		l.hasRemoved = false
	}
	return l.items
}

// listings keep the results of the last queries of one kind, so that reading
// page after page costs no more than its records.
type queryCache[F comparable, T any] struct {
	entries []cachedQuery[F, T]
}

type cachedQuery[F comparable, T any] struct {
	filter F
	change uint64
	items  []T
}

// get returns the records of a query in a state of the data set. They are
// collected by build, unless they are known.
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

func ptr[T any](v T) *T { return &v }

// within reports whether a list of wanted values is empty or has a value.
func emptyOrContains[T comparable](list []T, v T) bool {
	return len(list) == 0 || slices.Contains(list, v)
}

// filter returns the elements of a list that match.
func filter[T any](list []T, match func(T) bool) []T {
	var out []T
	for _, x := range list {
		if match(x) {
			out = append(out, x)
		}
	}
	return out
}

// duplicates returns how many different elements a list has, and those that
// it has more than once.
func duplicates[T comparable](list []T) (distinct int, repeated []T) {
	seen := make(map[T]int, len(list))
	for _, x := range list {
		if seen[x]++; seen[x] == 2 {
			repeated = append(repeated, x)
		}
	}
	return len(seen), repeated
}
