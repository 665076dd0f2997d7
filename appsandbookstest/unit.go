package appsandbookstest

import (
	"fmt"
	"sync"
	"time"
)

// A Unit is an organizational unit: a library with tokens, users, assets,
// subscriptions and events of its own. Create further ones with
// [Server.NewUnit].
//
// The methods that read the ledger return copies. What an event changes is
// visible, here and through the API, from the moment its delay has elapsed.
type Unit struct {
	srv   *Server
	index int
	name  string
	uid   string

	token  string     // the newest; guarded by the server's lock
	state  TokenState // guarded by the server's lock
	issued uint64     // tokens so far; guarded by the server's lock

	sender *sender

	mu     sync.Mutex
	config ClientConfig

	users       []*user
	usersByID   map[string][]*user // every entry of a clientUserId, oldest first
	activeUsers map[string]*user
	userData    dataset
	userPages   queryCache[userFilter, *user]

	assets     []*asset
	assetsByID map[wireAssetID]*asset
	assetData  dataset
	assetPages queryCache[assetFilter, *asset]

	devices         map[string]*holder
	knownDevices    map[string]bool // empty: every serial number exists
	assignments     orderedList[*assignment]
	pairs           map[uint64]*assignment
	assignmentData  dataset
	assignmentPages queryCache[assignmentFilter, *assignment]
	lastHolder      uint32
	lastOrdinal     uint64

	subs        []*subscription
	subsByID    map[int64]*subscription
	subData     dataset
	seats       orderedList[*seat]
	seatData    dataset
	admins      []*admin
	adminData   dataset
	subsEnabled bool
	cursors     map[string]listPosition

	events     []*event
	eventByID  map[string]*event
	queue      []*event // to be carried out, in order
	deferred   []*event // that wait for the end of the billing period
	eventsHeld bool
	closed     bool
	timer      *time.Timer
	timerAt    time.Time
	failNext   []int
	failIDs    map[string]int
	lastNumber uint64
}

// newUnit returns a unit without a token. The server's lock is held.
func newUnit(s *Server, index int, name string) *Unit {
	u := &Unit{
		srv:          s,
		index:        index,
		name:         name,
		uid:          s.random.uid(uint64(index)),
		usersByID:    make(map[string][]*user),
		activeUsers:  make(map[string]*user),
		assetsByID:   make(map[wireAssetID]*asset),
		devices:      make(map[string]*holder),
		knownDevices: make(map[string]bool),
		pairs:        make(map[uint64]*assignment),
		subsByID:     make(map[int64]*subscription),
		cursors:      make(map[string]listPosition),
		eventByID:    make(map[string]*event),
		failIDs:      make(map[string]int),
	}
	for label, d := range map[string]*dataset{
		"users":                     &u.userData,
		"assets":                    &u.assetData,
		"assignments":               &u.assignmentData,
		"subscriptions":             &u.subData,
		"subscriptions/assignments": &u.seatData,
		"subscriptions/admins":      &u.adminData,
	} {
		d.init(s.random, u.randomLabel("version/"+label))
	}
	u.sender = newSender(u)
	return u
}

// label returns the name of a thing of this unit, for deriving random data.
func (u *Unit) randomLabel(what string) string { return fmt.Sprintf("unit-%d/%s", u.index, what) }

// draw returns the next number of a sequence, which makes ids unique within
// the unit. The lock is held.
func (u *Unit) nextNumber() uint64 {
	u.lastNumber++
	return u.lastNumber
}

// UID returns the id of the unit's library.
func (u *Unit) UID() string { return u.uid }

// Name returns the name of the unit.
func (u *Unit) Name() string { return u.name }

// lock takes the lock and brings the ledger up to date.
func (u *Unit) lockAndUpdate() {
	u.mu.Lock()
	u.applyDueEvents(time.Now())
}

// common returns the fields that stand in every answer. The lock is held.
func (u *Unit) common() wireCommon {
	c := wireCommon{UID: u.uid, TokenExpirationDate: u.expirationDate()}
	if u.config.MDMInfo != nil {
		info := *u.config.MDMInfo
		c.MDMInfo = &info
	}
	return c
}

// close stops the timers of the unit.
func (u *Unit) close() {
	u.mu.Lock()
	u.closed = true
	if u.timer != nil {
		u.timer.Stop()
	}
	u.mu.Unlock()
	u.sender.close()
}
