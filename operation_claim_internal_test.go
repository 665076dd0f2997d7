package appsandbooks

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client remembers the newest copies of maxClaims operations. It forgets the oldest ones, but
// none that is being carried out.
func TestClient_Resume_remembersLatestOperations(t *testing.T) {
	var c operationClaims
	id := func(i int) string { return fmt.Sprint("operation-", i) }
	require.NoError(t, c.claim("running", 1, 1))
	for i := range maxClaims - 1 {
		require.NoError(t, c.claim(id(i), 1, 1))
		c.release(id(i), 5)
	}
	isRemembered := func(i int) bool { return c.claims[id(i)] != nil }
	require.ErrorIs(t, c.claim(id(0), 2, 4), ErrBusy, "the copy has fewer facts")
	require.True(t, isRemembered(0))

	for i := maxClaims - 1; i < 2*maxClaims; i++ {
		require.NoError(t, c.claim(id(i), 1, 1))
		c.release(id(i), 5)
		require.Len(t, c.claims, maxClaims)
		require.Len(t, c.order, maxClaims)
		require.False(t, isRemembered(i-maxClaims+1), "the oldest is forgotten")
		require.True(t, isRemembered(i-maxClaims+2))
	}
	require.NoError(t, c.claim(id(0), 1, 4), "it is forgotten, so it counts as new")
	require.ErrorIs(t, c.claim("running", 1, 1), ErrBusy)
	c.release("running", 7)
	require.ErrorIs(t, c.claim("running", 2, 6), ErrBusy)
	require.NoError(t, c.claim("running", 2, 7))
	c.release("running", 8)
	require.ErrorIs(t, c.claim("running", 1, 9), ErrBusy, "another copy has gone on")
}

// When more operations than maxClaims are being carried out, none of them is forgotten. Their
// claims are forgotten after they have ended.
func TestClient_Resume_forgetsNoRunningOperation(t *testing.T) {
	var c operationClaims
	id := func(i int) string { return fmt.Sprint("operation-", i) }
	for i := range maxClaims + 10 {
		require.NoError(t, c.claim(id(i), 1, 1))
	}
	for i := range maxClaims + 10 {
		require.ErrorIs(t, c.claim(id(i), 1, 1), ErrBusy)
		c.release(id(i), 2)
	}
	require.NoError(t, c.claim("another", 1, 1))
	require.Len(t, c.claims, maxClaims)
	require.Len(t, c.order, maxClaims)
	require.ErrorIs(t, c.claim(id(maxClaims+9), 2, 1), ErrBusy, "the copy has fewer facts")
}
