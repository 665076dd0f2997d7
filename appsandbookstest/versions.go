package appsandbookstest

// ForgetVersions makes all versionIds of earlier answers invalid as a
// sinceVersionId. Requests with them are refused with 9721. It simulates that
// the service's history does not go back that far.
func (u *Unit) ForgetVersions() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, d := range []*dataset{&u.userData, &u.assetData, &u.assignmentData, &u.subData, &u.seatData, &u.adminData} {
		d.forget()
	}
}

// A dataset numbers the changes of one kind of record, and gives each state a
// versionId.
type dataset struct {
	random     random
	label      string
	lastChange uint64
	names      map[string]uint64 // number of the last change, by versionId
}

func (d *dataset) init(r random, label string) {
	d.random, d.label, d.names = r, label, make(map[string]uint64)
}

// change starts a new change of the records and returns its number.
func (d *dataset) change() uint64 {
	d.lastChange++
	return d.lastChange
}

// version returns the versionId of the dataset's current state.
func (d *dataset) version() string {
	id := d.random.uuid(d.label, d.lastChange)
	d.names[id] = d.lastChange
	return id
}

// since returns the number of the last change before the server sent a
// versionId. It returns false for an unknown versionId.
func (d *dataset) since(id string) (uint64, bool) {
	seq, ok := d.names[id]
	return seq, ok
}

func (d *dataset) forget() { clear(d.names) }

// A lazyChange is one change of a data set with any number of records. It gets
// a number when the first record changes, so that a request without an effect
// makes no new version.
type lazyChange struct {
	data     *dataset
	assigned uint64
}

// number returns the number of the change. The first call takes a new number.
func (c *lazyChange) number() uint64 {
	if c.assigned == 0 {
		c.assigned = c.data.change()
	}
	return c.assigned
}
