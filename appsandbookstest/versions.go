package appsandbookstest

// ForgetVersions makes every versionId that was given out so far invalid as a
// sinceVersionId (9721), as if the service kept no history that long.
func (u *Unit) ForgetVersions() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, d := range []*dataset{&u.userData, &u.assetData, &u.assignmentData, &u.subData, &u.seatData, &u.adminData} {
		d.forget()
	}
}

// A dataset counts the changes of one kind of record, and names its states.
type dataset struct {
	random     random
	label      string
	lastChange uint64
	names      map[string]uint64 // states that were named, by versionId
}

func (d *dataset) init(r random, label string) {
	d.random, d.label, d.names = r, label, make(map[string]uint64)
}

// change counts a change and returns its number.
func (d *dataset) change() uint64 {
	d.lastChange++
	return d.lastChange
}

// version returns the versionId of the present state.
func (d *dataset) version() string {
	id := d.random.uuid(d.label, d.lastChange)
	d.names[id] = d.lastChange
	return id
}

// since returns the number of the last change that a versionId includes.
func (d *dataset) since(id string) (uint64, bool) {
	seq, ok := d.names[id]
	return seq, ok
}

func (d *dataset) forget() { clear(d.names) }

// A lazyChange counts one change, however many records it concerns, and none
// when it concerns none.
type lazyChange struct {
	data     *dataset
	assigned uint64
}

func (c *lazyChange) number() uint64 {
	if c.assigned == 0 {
		c.assigned = c.data.change()
	}
	return c.assigned
}
