package appsandbooks

import (
	"hash/maphash"
	"slices"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// coverage counts which pairs of a part notifications have named.
type pairCount struct {
	tables                 *tables
	assets, users, devices map[int32]int // index to place
	stride                 int           // targets of the part
	named                  []uint64      // a bit for each pair
	left                   int
	failed                 map[int]verdict
}

func newPairCount(t *tables, p batch.Part) *pairCount {
	at := func(all []int32, first int) map[int32]int {
		m := make(map[int32]int, len(all))
		for i, v := range all {
			m[v] = first + i
		}
		return m
	}
	return &pairCount{
		tables:  t,
		assets:  at(p.Assets, 0),
		users:   at(p.Users, 0),
		devices: at(p.Devices, len(p.Users)),
		stride:  len(p.Users) + len(p.Devices),
		named:   make([]uint64, (p.Len()+63)/64),
		left:    p.Len(),
		failed:  map[int]verdict{},
	}
}

// complete tells whether every pair was named.
func (c *pairCount) complete() bool { return c != nil && c.left == 0 }

// add counts the elements of a notification. An element that comes twice counts
// once.
func (c *pairCount) add(n *Notification) {
	p := n.eventPayload()
	if p == nil {
		return
	}
	for e := range p.elements() {
		c.mark(AssetID{e.AdamID, e.PricingParam}, e.ClientUserID, e.SerialNumber, p.event())
	}
}

func (c *pairCount) mark(asset AssetID, user, device string, r *EventResult) {
	place := 0
	if len(c.tables.assets) > 0 {
		i, ok := c.tables.assetIndex[asset]
		at, in := c.assets[i]
		if !ok || !in {
			return
		}
		place = at * c.stride
	}
	var at int
	var in bool
	if user != "" {
		i, ok := c.tables.userIndex[user]
		at, in = c.users[i]
		in = in && ok
	} else {
		i, ok := c.tables.deviceIndex[device]
		at, in = c.devices[i]
		in = in && ok
	}
	if !in {
		return
	}
	place += at
	word, bit := place/64, uint64(1)<<(place%64)
	if c.named[word]&bit != 0 {
		return
	}
	switch r.Result {
	case NotificationSuccess:
	case NotificationFailure:
		var why error = &EventError{r.EventID, &EventStatus{State: EventFailed}}
		if r.Error != nil {
			why = r.Error
		}
		c.failed[place] = verdict{OutcomeFailed, why}
	default:
		return // a result that we do not know confirms nothing
	}
	c.named[word] |= bit
	c.left--
}

// countElements returns the number of elements of a notification, at least 1.
func (n *Notification) countElements() int {
	count := 0
	for range n.Elements() {
		count++
	}
	return max(1, count)
}

// namedTasks are the tasks of one event that notifications have named, each
// counted once. The zero value has none.
type taskCount struct {
	seed     maphash.Seed
	seen     map[uint64]struct{} // by hash: to take one for another only costs time
	failed   int
	failures []*Error
	kind     EventType
}

func (t *taskCount) add(n *Notification) {
	p := n.eventPayload()
	if p == nil {
		return
	}
	for e := range p.elements() {
		t.name(p.event(), e)
	}
}

func (t *taskCount) name(r *EventResult, e AssetPair) {
	if r.Result != NotificationSuccess && r.Result != NotificationFailure {
		return // a result that we do not know confirms nothing
	}
	if t.seen == nil {
		t.seed, t.seen = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, part := range []string{e.AdamID, string(e.PricingParam), e.ClientUserID, e.SerialNumber} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	before := len(t.seen)
	t.seen[h.Sum64()] = struct{}{}
	if len(t.seen) == before {
		return
	}
	t.kind = r.Type
	if r.Result == NotificationFailure {
		t.failed++
		if r.Error != nil && !slices.Contains(t.failures, r.Error) {
			t.failures = append(t.failures, r.Error)
		}
	}
}

// status is the final status of the event, if as many tasks are named as the
// last answer said there are; nil otherwise. What is counted of a revocation is
// not documented.
func (t *taskCount) status(last *EventStatus) *EventStatus {
	if last == nil || last.Type == EventRevoke || t.kind == EventRevoke || last.NumRequested == 0 || len(t.seen) != last.NumRequested {
		return nil
	}
	s := &EventStatus{
		State: EventComplete, Type: t.kind, Failures: t.failures, Meta: last.Meta,
		NumRequested: last.NumRequested, NumCompleted: last.NumRequested - t.failed,
	}
	if t.failed > 0 {
		s.State = EventFailed
	}
	return s
}
