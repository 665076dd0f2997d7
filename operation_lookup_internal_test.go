package appsandbooks

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/appsandbooks/appsandbooks/appsandbookstest"
	"github.com/appsandbooks/appsandbooks/internal/batch"
	"github.com/stretchr/testify/require"
)

// withPlannedPairs runs f with an operation that was not sent, which assigns asset 1000 to n
// devices, and with its pairs. The service lists the assignments of the first present devices.
func withPlannedPairs(t *testing.T, n, present int, options []appsandbookstest.Option, f func(t *testing.T, srv *appsandbookstest.Server, op *Operation, pairs []batch.Pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, err := appsandbookstest.NewServer(options...)
		require.NoError(t, err)
		defer srv.Close()
		c, err := NewClient(srv.Unit().Token(), WithHTTPClient(srv.Client()))
		require.NoError(t, err)
		defer c.Close()
		change := AssetChange{Assets: []AssetID{{AdamID: "1000"}}}
		var pairs []batch.Pair
		for i := range n {
			serial := fmt.Sprintf("C02%05d", i)
			change.SerialNumbers = append(change.SerialNumbers, serial)
			pairs = append(pairs, batch.DevicePair(0, int32(i)))
			if i < present {
				srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: serial})
			}
		}
		op, err := c.Assets.Associate(t.Context(), change, WithPlanOnly())
		require.NoError(t, err)
		f(t, srv, op, pairs)
	})
}

// setOf returns the pairs as a set.
func setOf(pairs []batch.Pair) map[batch.Pair]bool {
	set := map[batch.Pair]bool{}
	for _, p := range pairs {
		set[p] = true
	}
	return set
}

// When the second of two pages cannot be read, lookUp returns the pairs of the first page as seen,
// and the other pairs as unread. When a narrow list cannot be read, its pair and the later pairs are
// unread.
func TestOperation_Verify_keepsPairsFoundBeforeError(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithPageSize(20)}
	withPlannedPairs(t, 40, 30, options, func(t *testing.T, srv *appsandbookstest.Server, op *Operation, pairs []batch.Pair) {
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Status: http.StatusBadGateway, After: 1})
		found, err := op.lookUp(t.Context(), pairs)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, http.StatusBadGateway, e.StatusCode)
		require.Equal(t, setOf(pairs[:20]), found.seen)
		require.Equal(t, setOf(pairs[20:]), found.unread)
		require.Empty(t, found.unseen)
	})
	options = []appsandbookstest.Option{appsandbookstest.WithPageSize(1)}
	withPlannedPairs(t, 40, 39, options, func(t *testing.T, srv *appsandbookstest.Server, op *Operation, pairs []batch.Pair) {
		for i := range 20 {
			srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: fmt.Sprint("OLD", i)})
		}
		srv.AddFault(appsandbookstest.Fault{Path: "assignments", Status: http.StatusBadGateway, After: 1 + 10})
		found, err := op.lookUp(t.Context(), pairs)
		require.Error(t, err)
		require.Equal(t, setOf(pairs[:11]), found.seen) // one of the broad list, and ten of narrow lists
		require.Equal(t, setOf(pairs[11:]), found.unread)
	})
}

// In a unit that changes all the time, lookUp reads at most maxNarrowLists narrow lists, in the
// order of the pairs. The other pairs are unread, and the next lookUp finds them.
func TestOperation_Wait_limitsNarrowListsOfLookup(t *testing.T) {
	var changes atomic.Int32
	options := []appsandbookstest.Option{
		appsandbookstest.WithPageSize(300), appsandbookstest.WithRequestLog(5000),
		appsandbookstest.WithPageHook(func(p appsandbookstest.PageRead) {
			p.Unit.AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: fmt.Sprint("BUSY", changes.Add(1))})
		}),
	}
	withPlannedPairs(t, 2500, 900, options, func(t *testing.T, srv *appsandbookstest.Server, op *Operation, pairs []batch.Pair) {
		found, err := op.lookUp(t.Context(), pairs)
		require.NoError(t, err)
		require.Equal(t, setOf(pairs[:900]), found.seen)
		require.Equal(t, setOf(pairs[900+maxNarrowLists:]), found.unread)
		found, err = op.lookUp(t.Context(), pairs[900+maxNarrowLists:])
		require.NoError(t, err)
		require.Empty(t, found.seen)
		require.Empty(t, found.unread)
	})
}

// When a list has more pages than there are devices, but there are more devices than narrow lists may
// be read, lookUp reads the whole list, so that no pair is unread.
func TestOperation_Verify_readsLongListForManyPairs(t *testing.T) {
	options := []appsandbookstest.Option{appsandbookstest.WithPageSize(1)}
	withPlannedPairs(t, maxNarrowLists+1, 0, options, func(t *testing.T, srv *appsandbookstest.Server, op *Operation, pairs []batch.Pair) {
		for i := range maxNarrowLists + 100 {
			srv.Unit().AddAssignments(appsandbookstest.Assignment{AdamID: "1000", SerialNumber: fmt.Sprint("OLD", i)})
		}
		found, err := op.lookUp(t.Context(), pairs)
		require.NoError(t, err)
		require.Equal(t, lookup{seen: map[batch.Pair]bool{}, unseen: map[batch.Pair]bool{}, unread: map[batch.Pair]bool{}}, found)
	})
}
