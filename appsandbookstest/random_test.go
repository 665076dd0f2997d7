package appsandbookstest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	fake "github.com/appsandbooks/appsandbooks/appsandbookstest"
)

// Servers with the same seed have the same ids and tokens. Servers with
// different seeds have none in common.
func TestWithSeed(t *testing.T) {
	ids := func(opts ...fake.Option) []string {
		_, u, c := newServer(t, opts...)
		return []string{u.UID(), u.Token()[:100], c.event("users/create", usersBody("a"))}
	}
	first, again, other := ids(), ids(fake.WithSeed(1)), ids(fake.WithSeed(2))
	require.Equal(t, first[0], again[0])
	require.Equal(t, first[1], again[1])
	require.Equal(t, first[2], again[2])
	for i := range first {
		require.NotEqual(t, first[i], other[i])
	}
}
