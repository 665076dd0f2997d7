package ledger

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestToRuns(t *testing.T) {
	for _, values := range [][]int32{nil, {5}, {0, 1, 2}, {0, 2, 3, 9}} {
		r := ToRuns(values)
		assert.Equal(t, len(values), r.Len())
		assert.Equal(t, slices.Clip(append([]int32{}, values...)), r.indices())
		assert.NoError(t, r.check(10))
		for i := range r.All() {
			assert.EqualValues(t, values[0], i)
			break
		}
	}
	assert.Equal(t, Runs{{0, 2}, {3, 1}}, ToRuns([]int{0, 1, 3}))
}

func TestRuns_check(t *testing.T) {
	for _, r := range []Runs{{{0, 4}}, {{3, 1}}, nil, {{0, 1}, {1, 2}}} {
		assert.NoError(t, r.check(4), r)
	}
	for _, r := range []Runs{{{0, 5}}, {{4, 1}}, {{-1, 1}}, {{0, 0}}, {{0, -1}}, {{1, 1}, {0, 1}}, {{0, 2}, {1, 1}}, {{1<<63 - 1, 1}}, {{1, 1<<63 - 1}}} {
		assert.Error(t, r.check(4), r)
	}
}
