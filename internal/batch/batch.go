// Package batch cuts a set of (asset, target) pairs into requests: rectangles
// of assets × targets within the service's limits. It works on indices only.
package batch

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// Limits are the largest numbers of assets, users and devices in a request. All are at
// least 1.
type Limits struct{ Assets, Users, Devices int }

// Part is one request: all Assets with all Users and all Devices. The slices may share
// memory with other requests and must not be changed.
type Part struct{ Assets, Users, Devices []int32 }

// Len returns the number of pairs of the request.
func (p Part) Len() int { return len(p.Assets) * (len(p.Users) + len(p.Devices)) }

// Pair returns the pair at position i of the request. The positions are ordered by asset;
// the users of an asset come before its devices.
func (p Part) Pair(i int) Pair {
	n := len(p.Users) + len(p.Devices)
	asset := p.Assets[i/n]
	if i %= n; i < len(p.Users) {
		return UserPair(asset, p.Users[i])
	}
	return DevicePair(asset, p.Devices[i-len(p.Users)])
}

// Pair is an asset and a target packed into a number that sorts by target.
type Pair uint64

const deviceBit = 1 << 31 // devices sort after users

// UserPair returns the pair of an asset and a user. Indices must be below 2³¹.
func UserPair(asset, user int32) Pair { return Pair(uint64(user)<<32 | uint64(asset)) }

// DevicePair returns the pair of an asset and a device. Indices must be below 2³¹.
func DevicePair(asset, device int32) Pair {
	return Pair(uint64(uint32(device)|deviceBit)<<32 | uint64(asset))
}

// Asset returns the index of the pair's asset.
func (p Pair) Asset() int32 { return int32(uint32(p)) }

// User returns the index of the pair's user. It reports false if the target is a
// device.
func (p Pair) User() (int32, bool) { return int32(p.target()), p.target()&deviceBit == 0 }

// Device returns the index of the pair's device. It is valid only if the target is
// a device.
func (p Pair) Device() int32 { return int32(p.target() &^ deviceBit) }

func (p Pair) target() uint32 { return uint32(p >> 32) }

// Product cuts every asset × every user and device into the fewest requests:
// ⌈A/a⌉ · max(⌈U/u⌉, ⌈D/d⌉), since users and devices share requests. Fewer are
// not possible: take the assets at the multiples of a and the targets at the
// multiples of u (or d); no two of their pairs fit into one request.
func Product(assets, users, devices int, l Limits) []Part {
	return rectangle(Part{indices(assets), indices(users), indices(devices)}, l)
}

func indices(n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// Split cuts a request into requests within smaller limits.
func Split(p Part, l Limits) []Part { return rectangle(p, l) }

func rectangle(p Part, l Limits) []Part {
	rows := max(ceil(len(p.Users), l.Users), ceil(len(p.Devices), l.Devices))
	parts := make([]Part, 0, rows*ceil(len(p.Assets), l.Assets))
	for i := range rows {
		users, devices := block(p.Users, i, l.Users), block(p.Devices, i, l.Devices)
		for assets := range slices.Chunk(p.Assets, l.Assets) {
			parts = append(parts, Part{assets, users, devices})
		}
	}
	return parts
}

// block returns the i-th piece of the list all, in pieces of the given size, and nil after
// the last piece.
func block(all []int32, i, size int) []int32 {
	if i >= ceil(len(all), size) {
		return nil
	}
	from := i * size
	to := from + min(size, len(all)-from)
	return all[from:to:to]
}

// ceil returns n/size rounded up to an integer. It does not overflow for a large size.
func ceil(n, size int) int {
	if n == 0 {
		return 0
	}
	return (n-1)/size + 1
}

// Pairs cuts arbitrary pairs into few requests. Together they cover each of the
// pairs once and no other pair. Pairs sorts the slice and removes repetitions in
// place. It does not find the smallest number of requests, which is NP-hard.
//
// Targets with the same set of assets form a rectangle ("rows"), and so do
// assets with the same set of targets ("columns"). Columns never need more
// than one request for each asset and block of targets. Pairs estimates every
// split into the largest rows and columns for the rest, and uses the cheapest.
func Pairs(pairs []Pair, l Limits) []Part {
	slices.Sort(pairs)
	pairs = slices.Compact(pairs)
	if len(pairs) == 0 {
		return nil
	}
	rows := rowGroups(pairs)
	byRows := bestPrefix(rows, l)

	best := cut(columnGroups(pairs, new(targets)), l)
	if byRows > 0 {
		groups := slices.Clone(rows[:byRows])
		if byRows < len(rows) {
			var taken targets
			for _, g := range groups {
				taken.add(g)
			}
			groups = append(groups, columnGroups(pairs, &taken)...)
		}
		if mixed := cut(groups, l); len(mixed) <= len(best) {
			best = mixed
		}
	}
	return best
}

func cut(groups []Part, l Limits) []Part {
	parts := make([]Part, 0, len(groups))
	for _, g := range groups {
		parts = append(parts, rectangle(g, l)...)
	}
	return parts
}

func requests(p Part, l Limits) int {
	return ceil(len(p.Assets), l.Assets) * max(ceil(len(p.Users), l.Users), ceil(len(p.Devices), l.Devices))
}

// rowGroups groups the targets that have the same set of assets. The largest group
// is first.
func rowGroups(pairs []Pair) []Part {
	groups := group(pairs, Pair.target, Pair.Asset, func(assets []int32, targets []uint32) Part {
		p := Part{Assets: assets}
		p.Users, p.Devices = divide(targets)
		return p
	})
	slices.SortStableFunc(groups, func(x, y Part) int { return cmp.Compare(y.Len(), x.Len()) })
	return groups
}

// targets is a set of users and devices, by their indices.
type targets struct{ users, devices []bool }

func (t *targets) add(p Part) {
	for _, set := range []struct {
		in    *[]bool
		items []int32
	}{{&t.users, p.Users}, {&t.devices, p.Devices}} {
		for _, i := range set.items {
			if missing := int(i) + 1 - len(*set.in); missing > 0 {
				*set.in = append(*set.in, make([]bool, missing)...)
			}
			(*set.in)[i] = true
		}
	}
}

func (t *targets) has(p Pair) bool {
	set, i := t.devices, p.Device()
	if user, ok := p.User(); ok {
		set, i = t.users, user
	}
	return int(i) < len(set) && set[i]
}

// columnGroups groups the assets that have the same set of targets. It ignores
// pairs whose target is in taken.
func columnGroups(pairs []Pair, taken *targets) []Part {
	flipped := make([]Pair, 0, len(pairs))
	for _, p := range pairs {
		if !taken.has(p) {
			flipped = append(flipped, p<<32|p>>32)
		}
	}
	slices.Sort(flipped)
	low := func(p Pair) uint32 { return uint32(p) }
	return group(flipped, Pair.target, low, func(targets []uint32, assets []uint32) Part {
		p := Part{Assets: toIndices(assets)}
		p.Users, p.Devices = divide(targets)
		return p
	})
}

// group groups the keys that have the same values. The pairs must be sorted by key
// and value.
func group[V ~int32 | ~uint32](pairs []Pair, key func(Pair) uint32, value func(Pair) V, newPart func([]V, []uint32) Part) []Part {
	type set struct {
		values []V
		keys   []uint32
	}
	var (
		seed   = maphash.MakeSeed()
		sets   []*set
		byHash = map[uint64][]*set{}
		values []V
	)
	for from := 0; from < len(pairs); {
		k := key(pairs[from])
		values = values[:0]
		var hash uint64
		to := from
		for ; to < len(pairs) && key(pairs[to]) == k; to++ {
			v := value(pairs[to])
			values = append(values, v)
			hash = hash*0x9e3779b97f4a7c15 + maphash.Comparable(seed, v)
		}
		from = to
		i := slices.IndexFunc(byHash[hash], func(s *set) bool { return slices.Equal(s.values, values) })
		if i < 0 {
			s := &set{values: slices.Clone(values)}
			sets, byHash[hash] = append(sets, s), append(byHash[hash], s)
			i = len(byHash[hash]) - 1
		}
		s := byHash[hash][i]
		s.keys = append(s.keys, k)
	}
	groups := []Part{}
	for _, s := range sets {
		groups = append(groups, newPart(s.values, s.keys))
	}
	return groups
}

// divide separates sorted targets into users and devices.
func divide(targets []uint32) (users, devices []int32) {
	first, _ := slices.BinarySearch(targets, deviceBit)
	users, devices = toIndices(targets[:first]), toIndices(targets[first:])
	return users, devices
}

// toIndices converts targets (indices with a bit that marks devices) into indices of users
// or devices.
func toIndices(s []uint32) []int32 {
	out := make([]int32, len(s))
	for i, v := range s {
		out[i] = int32(v &^ deviceBit)
	}
	return out
}

// bestPrefix returns how many of the rows, counted from the largest, to send as rows, so
// that the estimated number of requests is lowest. A row is a group of targets with the
// same assets. The pairs of the other rows are sent by columns: each asset with all its
// targets.
func bestPrefix(rows []Part, l Limits) int {
	type counts struct{ users, devices int }
	left := map[int32]*counts{}
	column := func(c *counts) int { return max(ceil(c.users, l.Users), ceil(c.devices, l.Devices)) }
	for _, g := range rows {
		for _, a := range g.Assets {
			c := left[a]
			if c == nil {
				c = new(counts)
				left[a] = c
			}
			c.users += len(g.Users)
			c.devices += len(g.Devices)
		}
	}
	total := 0
	for _, c := range left {
		total += column(c)
	}
	best, prefix := total, 0
	for i, g := range rows {
		for _, a := range g.Assets {
			c := left[a]
			total -= column(c)
			c.users -= len(g.Users)
			c.devices -= len(g.Devices)
			total += column(c)
		}
		total += requests(g, l)
		if total <= best {
			best, prefix = total, i+1
		}
	}
	return prefix
}

// LowerBound returns a number of requests that no cut of the pairs can go below.
// The pairs must be sorted and without repetitions, as after a call of Pairs.
//
// A request that covers a pair has no more assets than the pair's target has,
// and no more targets than its asset has. So each pair uses at least the share
// 1/(min(a, assets of its target)·d) of a request, and likewise by columns. The
// shares of a request add up to at most one.
func LowerBound(pairs []Pair, l Limits) int {
	rows := map[uint32]int{}
	type counts struct{ users, devices int }
	columns := map[int32]counts{}
	for _, p := range pairs {
		rows[p.target()]++
		c := columns[p.Asset()]
		if _, ok := p.User(); ok {
			c.users++
		} else {
			c.devices++
		}
		columns[p.Asset()] = c
	}
	bound := 0
	for _, n := range rows {
		bound = max(bound, ceil(n, l.Assets))
	}
	for _, c := range columns {
		bound = max(bound, ceil(c.users, l.Users), ceil(c.devices, l.Devices))
	}
	var byRow, byColumn [2]float64 // of users, of devices
	for _, p := range pairs {
		kind, side, column := 0, l.Users, columns[p.Asset()].users
		if _, ok := p.User(); !ok {
			kind, side, column = 1, l.Devices, columns[p.Asset()].devices
		}
		byRow[kind] += 1 / float64(min(l.Assets, rows[p.target()])*side)
		byColumn[kind] += 1 / float64(l.Assets*min(side, column))
	}
	for _, shares := range append(byRow[:], byColumn[:]...) {
		const rounding = 1e-6
		bound = max(bound, int(math.Ceil(shares-rounding)))
	}
	return bound
}
