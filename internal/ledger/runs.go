package ledger

import (
	"errors"
	"iter"
)

// Runs are ascending numbers. Each element is the first number and the length of a run.
type Runs [][2]int

// ToRuns returns the runs of ascending numbers.
func ToRuns[T ~int | ~int32](values []T) Runs {
	var r Runs
	for _, v := range values {
		if n := len(r); n > 0 && r[n-1][0]+r[n-1][1] == int(v) {
			r[n-1][1]++
			continue
		}
		r = append(r, [2]int{int(v), 1})
	}
	return r
}

// All iterates over the numbers.
func (r Runs) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, run := range r {
			for i := range run[1] {
				if !yield(run[0] + i) {
					return
				}
			}
		}
	}
}

// Len returns how many numbers there are.
func (r Runs) Len() int {
	n := 0
	for _, run := range r {
		n += run[1]
	}
	return n
}

// check returns an error if the numbers are not ascending, or not in [0, limit).
func (r Runs) check(limit int) error {
	next := 0
	for _, run := range r {
		if run[0] < next || run[1] < 1 || run[0] > limit-run[1] {
			return errors.New("a number is out of range")
		}
		next = run[0] + run[1]
	}
	return nil
}

// indices returns the numbers as indices.
func (r Runs) indices() []int32 {
	values := make([]int32, 0, r.Len())
	for i := range r.All() {
		values = append(values, int32(i))
	}
	return values
}
