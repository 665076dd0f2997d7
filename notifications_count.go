package appsandbooks

import (
	"hash/maphash"
	"slices"

	"github.com/appsandbooks/appsandbooks/internal/batch"
)

// coverage counts which pairs of a part notifications have named.
type coverage struct {
	tables                 *tables
	assets, users, devices map[int32]int // index to place
	stride                 int           // targets of the part
	named                  []uint64      // a bit for each pair
	left                   int
	failed                 map[int]verdict
}

func newCoverage(t *tables, p batch.Part) *coverage {
	at := func(all []int32, first int) map[int32]int {
		m := make(map[int32]int, len(all))
		for i, v := range all {
			m[v] = first + i
		}
		return m
	}
	return &coverage{
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
func (c *coverage) complete() bool { return c != nil && c.left == 0 }

// add counts the elements of a notification; the same one twice counts once.
func (c *coverage) add(n *Notification) {
	switch {
	case n.AssetManagement != nil:
		for _, a := range n.AssetManagement.Assignments {
			pricing := a.PricingParam
			if pricing == "" {
				pricing = STDQ
			}
			c.mark(AssetID{a.AdamID, pricing}, a.ClientUserID, a.SerialNumber, &n.AssetManagement.EventResult)
		}
	case n.SubscriptionManagement != nil:
		for _, a := range n.SubscriptionManagement.Assignments {
			c.mark(AssetID{formatAdamID(a.AdamID), STDQ}, a.ClientUserID, "", &n.SubscriptionManagement.EventResult)
		}
	case n.UserManagement != nil:
		for _, u := range n.UserManagement.Users {
			c.mark(AssetID{}, u.ClientUserID, "", &n.UserManagement.EventResult)
		}
	}
}

func (c *coverage) mark(asset AssetID, user, device string, r *EventResult) {
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
	case ResultSuccess:
	case ResultFailure:
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

// elements is how many elements a notification has, and at least one.
func (n *Notification) elements() int {
	switch {
	case n.AssetManagement != nil:
		return max(1, len(n.AssetManagement.Assignments))
	case n.UserManagement != nil:
		return max(1, len(n.UserManagement.Users))
	case n.SubscriptionManagement != nil:
		return max(1, len(n.SubscriptionManagement.Assignments))
	}
	return 1
}

// namedTasks are the tasks of one event that notifications have named, each
// counted once. The zero value has none.
type namedTasks struct {
	seed     maphash.Seed
	seen     map[uint64]struct{} // by hash: to take one for another only costs time
	failed   int
	failures []*Error
	kind     EventType
}

func (t *namedTasks) add(n *Notification) {
	switch {
	case n.AssetManagement != nil:
		for _, a := range n.AssetManagement.Assignments {
			t.name(&n.AssetManagement.EventResult, a.AdamID, string(a.PricingParam), a.ClientUserID, a.SerialNumber)
		}
	case n.UserManagement != nil:
		for _, u := range n.UserManagement.Users {
			t.name(&n.UserManagement.EventResult, u.ClientUserID)
		}
	case n.SubscriptionManagement != nil:
		for _, a := range n.SubscriptionManagement.Assignments {
			t.name(&n.SubscriptionManagement.EventResult, formatAdamID(a.AdamID), a.ClientUserID)
		}
	}
}

func (t *namedTasks) name(r *EventResult, parts ...string) {
	if r.Result != ResultSuccess && r.Result != ResultFailure {
		return // a result that we do not know confirms nothing
	}
	if t.seen == nil {
		t.seed, t.seen = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0)
	}
	before := len(t.seen)
	t.seen[h.Sum64()] = struct{}{}
	if len(t.seen) == before {
		return
	}
	t.kind = r.Type
	if r.Result == ResultFailure {
		t.failed++
		if r.Error != nil && !slices.Contains(t.failures, r.Error) {
			t.failures = append(t.failures, r.Error)
		}
	}
}

// status is the final status of the event, if as many tasks are named as the
// last answer said there are; nil otherwise. What is counted of a revocation is
// not documented.
func (t *namedTasks) status(last *EventStatus) *EventStatus {
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
