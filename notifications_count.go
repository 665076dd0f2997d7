package appsandbooks

import "github.com/appsandbooks/appsandbooks/internal/batch"

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
