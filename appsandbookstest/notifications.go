package appsandbookstest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The types of notifications.
const (
	NotificationTest                   = "TEST_NOTIFICATION"
	NotificationAssetManagement        = "ASSET_MANAGEMENT"
	NotificationAssetCount             = "ASSET_COUNT"
	NotificationUserManagement         = "USER_MANAGEMENT"
	NotificationUserAssociated         = "USER_ASSOCIATED"
	NotificationSubscriptionManagement = "SUBSCRIPTION_MANAGEMENT"
	NotificationSubscriptionCount      = "SUBSCRIPTION_COUNT"
	NotificationUnlimitedAsset         = "UNLIMITED_ASSET" // can be subscribed to; nobody knows what it looks like
)

// notificationTypes are the types that service/config lists.
var notificationTypes = []string{
	NotificationAssetManagement, NotificationUserManagement, NotificationUserAssociated, NotificationAssetCount,
	NotificationSubscriptionManagement, NotificationSubscriptionCount, NotificationUnlimitedAsset,
}

// subscribed reports whether notifications of a type are sent. The lock is
// held.
func (u *Unit) subscribed(typ string) bool {
	return u.config.NotificationURL != "" && slices.Contains(u.config.NotificationTypes, typ)
}

// notify sends a notification if its type is subscribed to. The lock is held.
func (u *Unit) notify(typ string, at time.Time, payload any) {
	if u.subscribed(typ) {
		u.sender.send(at, u.envelope(typ, payload))
	}
}

// envelope returns a notification with an id of its own. The lock is held.
func (u *Unit) envelope(typ string, payload any) wireNotification {
	return wireNotification{
		Notification:     payload,
		NotificationID:   u.srv.random.uuid(u.label("notification"), u.draw()),
		NotificationType: typ,
		UID:              u.uid,
	}
}

// SendNotification sends a notification of any type and with any payload that
// can be encoded as JSON, if the unit has a notification URL. It shows how a
// client takes what is unknown or odd.
func (u *Unit) SendNotification(typ string, payload any) {
	u.lock()
	defer u.mu.Unlock()
	if u.config.NotificationURL != "" {
		u.sender.send(time.Now(), u.envelope(typ, payload))
	}
}

// finish ends an event with the outcomes of its tasks. The lock is held.
func (u *Unit) finish(e *event, now time.Time, tasks *taskSet, info func(products, targets []int) *wireErrorInfo) {
	if u.srv.opts.noErrorInfo {
		info = nil
	}
	u.complete(e, now, tasks.completed, tasks.failures(u.srv.opts.looseErrorInfo, info))
}

// notifyTasks sends the notifications of an event that has ended. fill adds
// the elements to a payload; a payload without elements is not sent. The lock
// is held.
func (u *Unit) notifyTasks(
	e *event, now time.Time, typ string, tasks *taskSet,
	info func(products, targets []int) *wireErrorInfo,
	fill func(m *wireManagement, product int, targets []int),
) {
	if !tasks.notify {
		return
	}
	tasks.notifyTasks(func(number, product int, targets []int) {
		m := wireManagement{EventID: e.ID, Result: "SUCCESS", Type: e.Type}
		if number != 0 {
			m.Result = "FAILURE"
			failure := newWireError(number, nil)
			if !u.srv.opts.noErrorInfo {
				failure.Info = info([]int{product}, targets)
			}
			m.Error = &failure
		}
		fill(&m, product, targets)
		if m.Assignments != nil || m.Users != nil {
			u.notify(typ, now, m)
		}
	})
}

// A sender delivers the notifications of a unit, one after another. It needs
// a goroutine only while something is due.
type sender struct {
	unit *Unit

	mu      sync.Mutex
	queue   []*message // by time
	timer   *time.Timer
	running bool
	closed  bool
	drawn   uint64
}

// A message is a notification that has yet to be delivered.
type message struct {
	at      time.Time
	content wireNotification
	attempt int
	repeat  bool // is a duplicate of one that was delivered
}

func newSender(u *Unit) *sender { return &sender{unit: u} }

// chance draws whether something of a probability happens. The lock is held.
func (s *sender) chance(what string, probability float64) bool {
	return probability > 0 && s.float(what) < probability
}

func (s *sender) float(what string) float64 {
	s.drawn++
	return s.unit.srv.random.float(s.unit.label(what), s.drawn)
}

// send queues a notification of something that happened at a time.
func (s *sender) send(at time.Time, n wireNotification) {
	o := s.unit.srv.opts.notifications
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chance("loss", o.Loss) {
		return
	}
	at = at.Add(o.Delay)
	if s.chance("reorder", o.Reorder) {
		at = at.Add(time.Duration(s.float("reorder/by") * float64(o.ReorderWindow)))
	}
	s.add(&message{at: at, content: n})
}

// add puts a message into the queue. The lock is held.
func (s *sender) add(m *message) {
	i := len(s.queue)
	for i > 0 && s.queue[i-1].at.After(m.at) {
		i--
	}
	s.queue = slices.Insert(s.queue, i, m)
	s.arm()
}

// arm sets the timer for the first message. The lock is held.
func (s *sender) arm() {
	if s.closed || s.running || len(s.queue) == 0 {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(time.Until(s.queue[0].at), s.run)
}

// run delivers what is due.
func (s *sender) run() {
	if !s.unit.srv.enter() {
		return
	}
	defer s.unit.srv.wg.Done()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return // an old timer: whoever runs sets the next one
	}
	s.running = true
	for !s.closed && len(s.queue) > 0 && !s.queue[0].at.After(time.Now()) {
		m := s.queue[0]
		s.queue = s.queue[1:]
		forge := m.attempt == 0 && s.chance("forge", s.unit.srv.opts.notifications.Forge)
		s.mu.Unlock()
		if forge {
			s.forge(m)
		}
		delivered := s.attempt(m)
		s.mu.Lock()
		s.again(m, delivered)
	}
	s.running = false
	s.arm()
}

// again queues a message that has to be sent once more. The lock is held.
func (s *sender) again(m *message, delivered bool) {
	o := s.unit.srv.opts.notifications
	switch {
	case !delivered && m.attempt < o.Attempts:
		m.at = time.Now().Add(o.RetryInterval)
		s.add(m)
	case !delivered && !m.repeat && !s.closed:
		u := s.unit
		u.srv.recorder.report(RuleDroppedNotification, u.uid, "%s %s was not taken in %d attempts",
			m.content.NotificationType, m.content.NotificationID, m.attempt)
	case delivered && !m.repeat && s.chance("duplicate", o.Duplicate):
		s.add(&message{at: time.Now(), content: m.content, repeat: true})
	}
}

// attempt sends a message to where the unit's notifications go now.
func (s *sender) attempt(m *message) bool {
	u := s.unit
	config := u.ClientConfig()
	if config.NotificationURL == "" {
		return true
	}
	m.attempt++
	return u.srv.post(u.srv.ctx, u, config.NotificationURL, config.NotificationAuthToken, m.content, m.attempt, false)
}

// forge sends what looks like a message, but comes from somebody else.
func (s *sender) forge(m *message) {
	u := s.unit
	config := u.ClientConfig()
	if config.NotificationURL == "" {
		return
	}
	u.mu.Lock()
	forged := u.envelope(m.content.NotificationType, m.content.Notification)
	wrong := u.srv.random.uuid(u.label("forged-secret"), u.draw())
	u.mu.Unlock()
	if u.srv.post(u.srv.ctx, u, config.NotificationURL, wrong, forged, 1, true) {
		u.srv.recorder.report(RuleForgedNotification, u.uid, "%s %s was taken with a wrong secret",
			forged.NotificationType, forged.NotificationID)
	}
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// post makes one attempt at delivering a notification. It reports whether the
// answer had a 2xx status.
func (s *Server) post(ctx context.Context, u *Unit, url, secret string, n wireNotification, attempt int, forged bool) bool {
	body, err := json.Marshal(n)
	d := Delivery{
		Unit: u.uid, URL: url, NotificationID: n.NotificationID, NotificationType: n.NotificationType,
		Attempt: attempt, Forged: forged, Body: body,
	}
	if err == nil {
		d.Status, err = s.roundTrip(ctx, url, secret, body)
	}
	d.Err = err
	d.Time = time.Now()
	s.recorder.deliver(d)
	return d.Status/100 == 2
}

func (s *Server) roundTrip(ctx context.Context, url, secret string, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.notifications.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.delivery.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // what it says does not matter
	return resp.StatusCode, nil
}
