package appsandbookstest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// NotificationOptions describe how the server delivers notifications.
// The zero value describes a perfect network: the server sends each
// notification without delay, once and in order, and tries up to three times.
type NotificationOptions struct {
	// Delay is the time between a change and its notification.
	Delay time.Duration

	// Loss is the probability that a notification is never sent.
	Loss float64

	// Duplicate is the probability that a delivered notification is delivered
	// a second time, with the same notificationId.
	Duplicate float64

	// Reorder is the probability that a notification is delayed by a random
	// time of up to ReorderWindow, so that later notifications overtake it.
	Reorder float64

	// ReorderWindow is the longest delay of Reorder. Zero means one second.
	ReorderWindow time.Duration

	// Forge is the probability that the server sends a forged notification
	// before the real one. The forged one has an id and a secret that do not
	// belong to the unit. A receiver must refuse it; see
	// [RuleForgedNotification].
	Forge float64

	// RetryInterval is the time between two attempts. Zero means 250 ms, so
	// that tests in real time are fast. The service itself makes up to three
	// attempts in one to five minutes. In virtual time (testing/synctest) use
	// a minute.
	RetryInterval time.Duration

	// Attempts is the largest number of attempts to deliver a notification.
	// An attempt succeeds if the answer has a 2xx status. Zero means three.
	Attempts int

	// Timeout is the time limit of an attempt. Zero means ten seconds.
	Timeout time.Duration
}

// validate reports the first field with an invalid value.
func (o NotificationOptions) validate() error {
	invalid := func(field string, value any, want string) error {
		return errOption("WithNotifications", fmt.Sprintf("%s: %v", field, value), want)
	}
	for _, p := range []struct {
		field string
		value float64
	}{{"Loss", o.Loss}, {"Duplicate", o.Duplicate}, {"Reorder", o.Reorder}, {"Forge", o.Forge}} {
		if !(p.value >= 0 && p.value <= 1) { // false for NaN, too
			return invalid(p.field, p.value, "a probability must be from 0 to 1")
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"Delay", o.Delay}, {"ReorderWindow", o.ReorderWindow}, {"RetryInterval", o.RetryInterval}, {"Timeout", o.Timeout},
	} {
		if d.value < 0 {
			return invalid(d.field, d.value, "a duration must not be negative")
		}
	}
	if o.Attempts < 0 {
		return invalid("Attempts", o.Attempts, "the number must not be negative")
	}
	return nil
}

// withDefaults returns the options with the documented values instead of
// zeros.
func (o NotificationOptions) withDefaults() NotificationOptions {
	o.ReorderWindow = cmp.Or(o.ReorderWindow, time.Second)
	o.RetryInterval = cmp.Or(o.RetryInterval, 250*time.Millisecond)
	o.Attempts = cmp.Or(o.Attempts, 3)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	return o
}

// A sender delivers the notifications of a unit, one after another. It has no
// goroutine while no notification is due.
type sender struct {
	unit *Unit

	mu       sync.Mutex
	queue    []*message // sorted by time
	timer    *time.Timer
	running  bool
	closed   bool
	lastDraw uint64
}

// A message is a notification that is waiting for an attempt.
type message struct {
	at        time.Time
	content   wireNotification
	attempt   int  // attempts so far
	duplicate bool // was delivered before
}

func newSender(u *Unit) *sender { return &sender{unit: u} }

// chance returns true with the given probability. The lock must be held.
func (s *sender) chance(what string, probability float64) bool {
	return probability > 0 && s.randomFloat(what) < probability
}

// randomFloat returns a random number from 0 to 1, without 1. The lock must be
// held.
func (s *sender) randomFloat(what string) float64 {
	s.lastDraw++
	return s.unit.srv.random.float(s.unit.randomLabel(what), s.lastDraw)
}

// send queues a notification of a change that was made at the time at.
func (s *sender) send(at time.Time, n wireNotification) {
	o := s.unit.srv.opts.notifications
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chance("loss", o.Loss) {
		return
	}
	at = at.Add(o.Delay)
	if s.chance("reorder", o.Reorder) {
		at = at.Add(time.Duration(s.randomFloat("reorder/by") * float64(o.ReorderWindow)))
	}
	s.add(&message{at: at, content: n})
}

// add adds a notification to the queue. The lock must be held.
func (s *sender) add(m *message) {
	i := len(s.queue)
	for i > 0 && s.queue[i-1].at.After(m.at) {
		i--
	}
	s.queue = slices.Insert(s.queue, i, m)
	s.setTimer()
}

// setTimer sets the timer for the delivery of the first notification of the
// queue. The lock must be held.
func (s *sender) setTimer() {
	if s.closed || s.running || len(s.queue) == 0 {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(time.Until(s.queue[0].at), s.deliverDue)
}

// deliverDue delivers the notifications that are due.
func (s *sender) deliverDue() {
	if !s.unit.srv.startWork() {
		return
	}
	defer s.unit.srv.wg.Done()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return // another call of deliverDue is running, and sets the next timer
	}
	s.running = true
	for !s.closed && len(s.queue) > 0 && !s.queue[0].at.After(time.Now()) {
		m := s.queue[0]
		s.queue = s.queue[1:]
		forge := m.attempt == 0 && s.chance("forge", s.unit.srv.opts.notifications.Forge)
		s.mu.Unlock()
		if forge {
			s.sendForged(m)
		}
		delivered := s.attempt(m)
		s.mu.Lock()
		s.requeue(m, delivered)
	}
	s.running = false
	s.setTimer()
}

// requeue handles the result of an attempt to deliver a message. It adds the
// message to the queue again if the message needs another attempt, or if it is
// to be delivered twice. The lock must be held.
func (s *sender) requeue(m *message, delivered bool) {
	o := s.unit.srv.opts.notifications
	switch {
	case !delivered && m.attempt < o.Attempts:
		m.at = time.Now().Add(o.RetryInterval)
		s.add(m)
	case !delivered && !m.duplicate && !s.closed:
		u := s.unit
		u.srv.recorder.addReceiverViolation(RuleDroppedNotification, u.uid, "the receiver did not accept %s %s in %d attempts",
			m.content.NotificationType, m.content.NotificationID, m.attempt)
	case delivered && !m.duplicate && s.chance("duplicate", o.Duplicate):
		s.add(&message{at: time.Now(), content: m.content, duplicate: true})
	}
}

// attempt delivers a message to the unit's current notification URL, and
// reports whether the message needs no further attempt.
func (s *sender) attempt(m *message) bool {
	u := s.unit
	config := u.ClientConfig()
	if config.NotificationURL == "" {
		return true
	}
	m.attempt++
	return u.srv.deliver(u.srv.ctx, u, config.NotificationURL, config.NotificationAuthToken, m.content, m.attempt, false)
}

// sendForged delivers a notification like m, but with another id and a wrong
// secret.
func (s *sender) sendForged(m *message) {
	u := s.unit
	config := u.ClientConfig()
	if config.NotificationURL == "" {
		return
	}
	u.mu.Lock()
	forged := u.envelope(m.content.NotificationType, m.content.Notification)
	wrong := u.srv.random.uuid(u.randomLabel("forged-secret"), u.nextNumber())
	u.mu.Unlock()
	if u.srv.deliver(u.srv.ctx, u, config.NotificationURL, wrong, forged, 1, true) {
		u.srv.recorder.addReceiverViolation(RuleForgedNotification, u.uid, "the receiver accepted %s %s with a wrong secret",
			forged.NotificationType, forged.NotificationID)
	}
}

// close stops all deliveries.
func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// deliver makes one attempt to deliver a notification, and records it. It
// reports whether the answer has a 2xx status.
func (s *Server) deliver(ctx context.Context, u *Unit, url, secret string, n wireNotification, attempt int, forged bool) bool {
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
	s.recorder.addDelivery(d)
	return d.Status/100 == 2
}

// roundTrip POSTs a notification, and returns the HTTP status of the answer.
func (s *Server) roundTrip(ctx context.Context, url, secret string, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.notifications.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.notificationTransport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // read a short body, so that the connection can be used again
	return resp.StatusCode, nil
}
