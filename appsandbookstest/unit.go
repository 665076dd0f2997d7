package appsandbookstest

import (
	"fmt"
	"sync"
	"time"
)

// A Unit is an organizational unit with its own library: tokens, users, assets,
// subscriptions and events. [Server.NewUnit] creates more units.
//
// The methods that read what a unit holds return copies. The effect of an event
// becomes visible in them and in the API when the delay of the event is
// over, and not earlier.
type Unit struct {
	srv   *Server
	index int
	name  string
	uid   string

	token  string     // the unit's newest content token; guarded by the server's lock
	state  TokenState // guarded by the server's lock
	issued uint64     // number of tokens issued so far; guarded by the server's lock

	sender *sender

	mu     sync.Mutex
	config ClientConfig

	users       []*user
	usersByID   map[string][]*user // all users with a clientUserId, oldest first
	activeUsers map[string]*user   // by clientUserId
	userData    dataset
	userPages   queryCache[userFilter, *user]

	assets     []*asset
	assetsByID map[wireAssetID]*asset
	assetData  dataset
	assetPages queryCache[assetFilter, *asset]

	devices         map[string]*holder
	knownDevices    map[string]bool // serial numbers of AddDevices; if empty, every serial number exists
	assignments     orderedList[*assignment]
	pairs           map[uint64]*assignment // by pairKey
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
	queue      []*event // PENDING events with a due time, in the order in which they are applied
	deferred   []*event // events that are waiting for the end of the billing period
	eventsHeld bool
	closed     bool
	timer      *time.Timer
	timerAt    time.Time
	failNext   []int          // error numbers with which the next events fail
	failIDs    map[string]int // error numbers with which targets fail, by clientUserId or serial number
	lastNumber uint64
}

// newUnit returns a unit without a token. The server's lock must be held.
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

// randomLabel returns a label for random data of this unit. The argument names
// the use of the data.
func (u *Unit) randomLabel(what string) string { return fmt.Sprintf("unit-%d/%s", u.index, what) }

// nextNumber returns a number that was not used for this unit before. The lock
// must be held.
func (u *Unit) nextNumber() uint64 {
	u.lastNumber++
	return u.lastNumber
}

// UID returns the uId of the unit.
func (u *Unit) UID() string { return u.uid }

// Name returns the name of the unit.
func (u *Unit) Name() string { return u.name }

// lockAndUpdate locks the unit and applies the events that are due.
func (u *Unit) lockAndUpdate() {
	u.mu.Lock()
	u.applyDueEvents(time.Now())
}

// common returns the fields that are part of every answer. The lock must be
// held.
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
