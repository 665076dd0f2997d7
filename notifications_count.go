package appsandbooks

import (
	"hash/maphash"
	"slices"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// pairCount counts the pairs of a request that notifications have named. The number of
// a pair is asset*targets + target, in the numbering of assets, users and devices.
type pairCount struct {
	tables *tables
	// assets, users and devices map an index in tables to a number in the request. The
	// numbers of devices follow those of users.
	assets, users, devices map[int32]int
	targets                int             // number of users and devices of the request
	named                  []uint64        // set of the named pairs, with one bit for each pair of the request
	remaining              int             // number of pairs of the request that no notification has named yet
	failed                 map[int]verdict // verdicts of the named pairs that failed, by the number of the pair
}

// newPairCount returns a pairCount for a request, in which no pair is named.
func newPairCount(t *tables, p batch.Part) *pairCount {
	number := func(indices []int32, first int) map[int32]int {
		m := make(map[int32]int, len(indices))
		for i, v := range indices {
			m[v] = first + i
		}
		return m
	}
	return &pairCount{
		tables:    t,
		assets:    number(p.Assets, 0),
		users:     number(p.Users, 0),
		devices:   number(p.Devices, len(p.Users)),
		targets:   len(p.Users) + len(p.Devices),
		named:     make([]uint64, (p.Len()+63)/64),
		remaining: p.Len(),
		failed:    map[int]verdict{},
	}
}

// complete reports whether notifications have named every pair of the request. It returns
// false for a nil pairCount.
func (c *pairCount) complete() bool { return c != nil && c.remaining == 0 }

// add counts the elements of a notification. An element that arrives twice counts once,
// with its first result. An element that is not a pair of the request does not count.
func (c *pairCount) add(n *Notification) {
	p := n.eventPayload()
	if p == nil {
		return
	}
	for e := range p.elements() {
		c.mark(AssetID{e.AdamID, e.PricingParam}, e.ClientUserID, e.SerialNumber, p.event())
	}
}

// mark counts one element of a notification. The argument user is empty if the target is a
// device.
func (c *pairCount) mark(asset AssetID, user, device string, r *EventResult) {
	pair := 0
	if len(c.tables.assets) > 0 {
		i, known := c.tables.assetIndex[asset]
		number, requested := c.assets[i]
		if !known || !requested {
			return
		}
		pair = number * c.targets
	}
	var number int
	var known, requested bool
	var i int32
	if user != "" {
		i, known = c.tables.userIndex[user]
		number, requested = c.users[i]
	} else {
		i, known = c.tables.deviceIndex[device]
		number, requested = c.devices[i]
	}
	if !known || !requested {
		return
	}
	pair += number
	word, bit := pair/64, uint64(1)<<(pair%64)
	if c.named[word]&bit != 0 {
		return
	}
	switch r.Result {
	case NotificationSuccess:
	case NotificationFailure:
		var reason error = &EventError{r.EventID, &EventStatus{State: EventFailed}}
		if r.Error != nil {
			reason = r.Error
		}
		c.failed[pair] = verdict{OutcomeFailed, reason}
	default:
		return // a notification with an unknown result shows neither success nor failure
	}
	c.named[word] |= bit
	c.remaining--
}

// countElements returns the number of elements of a notification, at least 1.
func (n *Notification) countElements() int {
	count := 0
	for range n.Elements() {
		count++
	}
	return max(1, count)
}

// taskCount counts the tasks of one event that notifications have named. A task is one
// pair, or one user or device. A task that is named twice counts once. The zero value
// is ready for use.
type taskCount struct {
	seed maphash.Seed
	// seen has the hashes of the counted tasks. After a collision of two hashes, the count
	// stays too small, and the client polls.
	seen      map[uint64]struct{}
	failed    int
	failures  []*Error // reasons of the failed tasks; one for each notification that has a reason
	eventType EventType
}

// add counts the tasks that a notification names.
func (t *taskCount) add(n *Notification) {
	p := n.eventPayload()
	if p == nil {
		return
	}
	for e := range p.elements() {
		t.countTask(p.event(), e)
	}
}

// countTask counts one task, unless it was counted before.
func (t *taskCount) countTask(r *EventResult, e AssetPair) {
	if r.Result != NotificationSuccess && r.Result != NotificationFailure {
		return // a notification with an unknown result shows neither success nor failure
	}
	if t.seen == nil {
		t.seed, t.seen = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, field := range []string{e.AdamID, string(e.PricingParam), e.ClientUserID, e.SerialNumber} {
		_, _ = h.WriteString(field)
		_ = h.WriteByte(0)
	}
	before := len(t.seen)
	t.seen[h.Sum64()] = struct{}{}
	if len(t.seen) == before {
		return
	}
	t.eventType = r.Type
	if r.Result == NotificationFailure {
		t.failed++
		if r.Error != nil && !slices.Contains(t.failures, r.Error) {
			t.failures = append(t.failures, r.Error)
		}
	}
}

// status returns the final status of the event if notifications have named exactly as
// many tasks as last, the last polled status, shows that the event has. Otherwise it
// returns nil. It always returns nil for a revocation, because Apple does not document
// what NumRequested counts there.
func (t *taskCount) status(last *EventStatus) *EventStatus {
	if last == nil || last.Type == EventRevoke || t.eventType == EventRevoke || last.NumRequested == 0 || len(t.seen) != last.NumRequested {
		return nil
	}
	s := &EventStatus{
		State: EventComplete, Type: t.eventType, Failures: t.failures, Meta: last.Meta,
		NumRequested: last.NumRequested, NumCompleted: last.NumRequested - t.failed,
	}
	if t.failed > 0 {
		s.State = EventFailed
	}
	return s
}
