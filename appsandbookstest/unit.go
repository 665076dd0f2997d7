package appsandbookstest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A TokenState says how the service treats the tokens of a unit.
type TokenState int

// The states of a unit's tokens.
const (
	TokenValid     TokenState = iota
	TokenExpired              // 9621
	TokenRevoked              // 9625
	TokenMalformed            // 9622, see WithMalformedTokenStatus
	TokenReadOnly             // reads are served, writes are refused with 9637
)

// MDMInfo names the device management service that uses a unit.
type MDMInfo struct {
	ID       string `json:"id"`
	Metadata string `json:"metadata"`
	Name     string `json:"name"`
}

// ClientConfig is the client configuration of a unit.
type ClientConfig struct {
	MDMInfo               *MDMInfo // nil while none is set
	NotificationURL       string
	NotificationAuthToken string
	NotificationTypes     []string
}

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
	userPages   listings[userFilter, *user]

	assets     []*asset
	assetsByID map[wireAssetID]*asset
	assetData  dataset
	assetPages listings[assetFilter, *asset]

	devices         map[string]*holder
	knownDevices    map[string]bool // empty: every serial number exists
	assignments     ordered[*assignment]
	pairs           map[uint64]*assignment
	assignmentData  dataset
	assignmentPages listings[assignmentFilter, *assignment]
	lastHolder      uint32
	lastOrdinal     uint64

	subs        []*subscription
	subsByID    map[int64]*subscription
	subData     dataset
	seats       ordered[*seat]
	seatData    dataset
	admins      []*admin
	adminData   dataset
	subsEnabled bool
	cursors     map[string]cursor

	events    []*event
	eventByID map[string]*event
	queue     []*event // to be carried out, in order
	deferred  []*event // that wait for the end of the billing period
	held      bool
	closed    bool
	timer     *time.Timer
	timerAt   time.Time
	failNext  []int
	failIDs   map[string]int
	drawn     uint64
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
		cursors:      make(map[string]cursor),
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
		d.init(s.random, u.label("version/"+label))
	}
	u.sender = newSender(u)
	return u
}

// label returns the name of a thing of this unit, for deriving random data.
func (u *Unit) label(what string) string { return fmt.Sprintf("unit-%d/%s", u.index, what) }

// draw returns the next number of a sequence, which makes ids unique within
// the unit. The lock is held.
func (u *Unit) draw() uint64 {
	u.drawn++
	return u.drawn
}

// issueToken makes a new token for a unit. The server's lock is held.
func (s *Server) issueToken(u *Unit) string {
	u.issued++
	expires := time.Now().Add(s.opts.tokenLifetime).Truncate(time.Second)
	inner := s.random.secret(u.label("token"), u.issued)
	content, _ := json.MarshalIndent(struct {
		Token   string `json:"token"`
		ExpDate string `json:"expDate"`
		OrgName string `json:"orgName"`
	}{inner, formatTime(expires), u.name}, "", "  ") // strings always encode
	t := &token{unit: u, expires: expires}
	value := base64.StdEncoding.EncodeToString(content)
	s.tokens[value] = t
	s.inner[inner] = t
	return value
}

// Token returns the unit's newest content token, in the form that a content
// manager downloads: base64 of a JSON object with token, expDate and orgName.
func (u *Unit) Token() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	return u.token
}

// UID returns the id of the unit's library.
func (u *Unit) UID() string { return u.uid }

// Name returns the name of the unit.
func (u *Unit) Name() string { return u.name }

// AddToken returns a further token of the same library, such as another
// content manager downloads. Earlier tokens stay valid.
func (u *Unit) AddToken() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	u.token = u.srv.issueToken(u)
	return u.token
}

// ReplaceToken revokes the tokens of the unit and returns a new one.
func (u *Unit) ReplaceToken() string {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	for _, t := range u.srv.tokens {
		if t.unit == u {
			t.revoked = true
		}
	}
	u.token = u.srv.issueToken(u)
	return u.token
}

// SetTokenState changes how the service treats all tokens of the unit.
func (u *Unit) SetTokenState(state TokenState) {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	u.state = state
}

// tokenExpiry returns when the newest token expires.
func (u *Unit) tokenExpiry() time.Time {
	u.srv.mu.Lock()
	defer u.srv.mu.Unlock()
	return u.srv.tokens[u.token].expires
}

// TakeOver makes another device management service the owner of the unit, as
// if it had written its mdmInfo to the client configuration.
func (u *Unit) TakeOver(by MDMInfo) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.config.MDMInfo = &by
}

// ClientConfig returns the client configuration.
func (u *Unit) ClientConfig() ClientConfig {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.config
	c.NotificationTypes = slices.Clone(c.NotificationTypes)
	if c.MDMInfo != nil {
		info := *c.MDMInfo
		c.MDMInfo = &info
	}
	return c
}

// ForgetVersions makes every versionId that was given out so far invalid as a
// sinceVersionId (9721), as if the service kept no history that long.
func (u *Unit) ForgetVersions() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, d := range []*dataset{&u.userData, &u.assetData, &u.assignmentData, &u.subData, &u.seatData, &u.adminData} {
		d.forget()
	}
}

// lock takes the lock and brings the ledger up to date.
func (u *Unit) lock() {
	u.mu.Lock()
	u.settle(time.Now())
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

// expirationDate returns the value of tokenExpirationDate, which is empty
// when the field is left out.
func (u *Unit) expirationDate() string {
	const warning = 15 * 24 * time.Hour
	expires := u.tokenExpiry()
	if u.srv.opts.promptedTokenExpiry && time.Until(expires) > warning {
		return ""
	}
	return formatTime(expires)
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

// A dataset counts the changes of one kind of record, and names its states.
type dataset struct {
	random random
	label  string
	seq    uint64
	names  map[string]uint64 // states that were named, by versionId
}

func (d *dataset) init(r random, label string) {
	d.random, d.label, d.names = r, label, make(map[string]uint64)
}

// change counts a change and returns its number.
func (d *dataset) change() uint64 {
	d.seq++
	return d.seq
}

// version returns the versionId of the present state.
func (d *dataset) version() string {
	id := d.random.uuid(d.label, d.seq)
	d.names[id] = d.seq
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
	data *dataset
	seq  uint64
}

func (c *lazyChange) number() uint64 {
	if c.seq == 0 {
		c.seq = c.data.change()
	}
	return c.seq
}

// An ordered is a list of records in the order of their creation. Those that
// are gone are dropped when the list is read.
type ordered[T interface{ gone() bool }] struct {
	items []T
	dirty bool // some are gone
}

func (l *ordered[T]) add(x T) { l.items = append(l.items, x) }

func (l *ordered[T]) all() []T {
	if l.dirty {
		// A new list: a page may still be read from the old one.
		l.items = filter(l.items, func(x T) bool { return !x.gone() })
		l.dirty = false
	}
	return l.items
}

// listings keep the results of the last queries of one kind, so that reading
// page after page costs no more than its records.
type listings[F comparable, T any] struct {
	entries []listing[F, T]
}

type listing[F comparable, T any] struct {
	filter F
	seq    uint64
	items  []T
}

// get returns the records of a query in a state of the data set. They are
// collected by build, unless they are known.
func (l *listings[F, T]) get(filter F, seq uint64, build func() []T) []T {
	const keep = 8
	l.entries = slices.DeleteFunc(l.entries, func(e listing[F, T]) bool { return e.seq != seq })
	for _, e := range l.entries {
		if e.filter == filter {
			return e.items
		}
	}
	items := build()
	if len(l.entries) >= keep {
		l.entries = slices.Delete(l.entries, 0, 1)
	}
	l.entries = append(l.entries, listing[F, T]{filter, seq, items})
	return items
}
