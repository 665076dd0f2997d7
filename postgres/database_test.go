package postgres

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// The prefix "postgres: " appears only once in an error of describe.
func TestDescribe(t *testing.T) {
	require.EqualError(t, describe(ErrNotFound, "loading operation %s", "x"), "postgres: operation not found (loading operation x)")
	require.EqualError(t, describe(errors.New("down"), "loading operation %s", "x"), "postgres: loading operation x: down")
	require.ErrorIs(t, describe(ErrNotFound, "loading"), ErrNotFound)
}
