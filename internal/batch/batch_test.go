package batch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

var apple = batch.Limits{Assets: 25, Users: 1000, Devices: 1000}

// cover returns the pairs of all requests in parts, each as often as it occurs, and checks
// that every request is within the limits.
func cover(t testing.TB, parts []batch.Part, l batch.Limits) []batch.Pair {
	t.Helper()
	var all []batch.Pair
	for _, p := range parts {
		require.Positive(t, p.Len())
		require.LessOrEqual(t, len(p.Assets), l.Assets)
		require.LessOrEqual(t, len(p.Users), l.Users)
		require.LessOrEqual(t, len(p.Devices), l.Devices)
		for _, a := range p.Assets {
			for _, u := range p.Users {
				all = append(all, batch.UserPair(a, u))
			}
			for _, d := range p.Devices {
				all = append(all, batch.DevicePair(a, d))
			}
		}
	}
	slices.Sort(all)
	return all
}

func ceil(n, d int) int { return (n + d - 1) / d }

// A product is cut into the smallest possible number of requests, which cover each
// pair once.
func TestProduct_isMinimal(t *testing.T) {
	for _, n := range [][3]int{{1, 1, 0}, {25, 1000, 1000}, {26, 1000, 1001}, {25, 0, 10_000}, {40, 0, 10_000}, {60, 0, 10_000}, {51, 2500, 100}} {
		parts := batch.Product(n[0], n[1], n[2], apple)
		require.Len(t, parts, ceil(n[0], 25)*max(ceil(n[1], 1000), ceil(n[2], 1000)), n)
		all := cover(t, parts, apple)
		require.Len(t, all, n[0]*(n[1]+n[2]))
		require.Len(t, slices.Compact(all), n[0]*(n[1]+n[2]))
	}
}

// Every set of pairs is covered exactly: each pair once, no other pair, and within
// the limits. The number of requests is at most one for each asset and block of
// targets, and at least the lower bound.
func FuzzPairs(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		l := batch.Limits{Assets: 1 + r.IntN(5), Users: 1 + r.IntN(7), Devices: 1 + r.IntN(7)}
		assets, users, devices := 1+r.IntN(9), r.IntN(30), r.IntN(30)
		density := r.Float64()
		var pairs []batch.Pair
		for a := range int32(assets) {
			for u := range int32(users) {
				if r.Float64() < density {
					pairs = append(pairs, batch.UserPair(a, u))
				}
			}
			for d := range int32(devices) {
				if r.Float64() < density {
					pairs = append(pairs, batch.DevicePair(a, d))
				}
			}
		}
		for range r.IntN(10) { // repetitions
			if len(pairs) > 0 {
				pairs = append(pairs, pairs[r.IntN(len(pairs))])
			}
		}
		r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		want := slices.Compact(slices.Sorted(slices.Values(pairs)))
		parts := batch.Pairs(pairs, l)
		require.Equal(t, want, slices.Sorted(slices.Values(cover(t, parts, l))))
		require.GreaterOrEqual(t, len(parts), batch.LowerBound(want, l))
		columns := 0
		for a := range int32(assets) {
			u, d := 0, 0
			for _, p := range want {
				if p.Asset() == a {
					if _, ok := p.User(); ok {
						u++
					} else {
						d++
					}
				}
			}
			columns += max(ceil(u, l.Users), ceil(d, l.Devices))
		}
		require.LessOrEqual(t, len(parts), columns)
	})
}

// shapes returns sets of about n pairs, by the name of the shape, with shapes that occur
// in practice.
func shapes(n int) map[string][]batch.Pair {
	shapes := map[string][]batch.Pair{}
	r := rand.New(rand.NewPCG(1, 2))
	add := func(name string, a, d int) { shapes[name] = append(shapes[name], batch.DevicePair(int32(a), int32(d))) }
	for d := range n / 5 { // the shape "departments": eight kinds of devices, each with five apps of its own
		for j := range 5 {
			add("departments", (d%8)*5+j, d)
		}
	}
	for d := range n { // the shape "one app each": each device has one of forty apps
		add("one app each", r.IntN(40), d)
	}
	for d := range n / 20 { // the shape "common and own": each device has 17 common apps and up to three of 83 other apps
		for a := range 17 {
			add("common and own", a, d)
		}
		for range 3 {
			add("common and own", 17+r.IntN(83), d)
		}
	}
	for range n { // no structure at all
		add("random", r.IntN(40), r.IntN(n/20))
	}
	for a := range 40 { // a product, as a list
		for d := range n / 40 {
			add("product", a, d)
		}
	}
	return shapes
}

// The number of requests for each shape of pairs is close to the lower bound.
func TestPairs_sparseShapes(t *testing.T) {
	most := map[string]float64{"departments": 1, "one app each": 1.1, "common and own": 10, "random": 17, "product": 1.25}
	for name, pairs := range shapes(200_000) {
		parts := batch.Pairs(pairs, apple)
		slices.Sort(pairs)
		bound := batch.LowerBound(slices.Compact(pairs), apple)
		t.Logf("%-15s %7d pairs: %4d requests, lower bound %3d", name, len(pairs), len(parts), bound)
		require.LessOrEqual(t, float64(len(parts))/float64(bound), most[name], name)
	}
}

// BenchmarkPairs reports the number of requests and its ratio to the lower bound. The
// ratio is 1 for a perfect cut; not every set of pairs has one.
func BenchmarkPairs(b *testing.B) {
	for _, n := range []int{200_000, 1_000_000} {
		for name, pairs := range shapes(n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				work := make([]batch.Pair, len(pairs))
				var parts []batch.Part
				b.ReportAllocs()
				for b.Loop() {
					copy(work, pairs)
					parts = batch.Pairs(work, apple)
				}
				slices.Sort(work)
				bound := batch.LowerBound(slices.Compact(work), apple)
				b.ReportMetric(float64(len(parts)), "requests")
				b.ReportMetric(float64(len(parts))/float64(bound), "requests/bound")
			})
		}
	}
}

// The limits come from the service. A product with the largest possible limits must not
// overflow.
func TestProduct_hugeLimits(t *testing.T) {
	for _, l := range []batch.Limits{
		{Assets: math.MaxInt, Users: math.MaxInt, Devices: math.MaxInt},
		{Assets: math.MaxInt, Users: 1, Devices: math.MaxInt},
		{Assets: 1, Users: math.MaxInt - 1, Devices: 2},
	} {
		parts := batch.Product(3, 4, 5, l)
		require.Len(t, slices.Compact(cover(t, parts, l)), 3*(4+5))
	}
}
