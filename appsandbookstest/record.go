package appsandbookstest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Request is one request that reached the server.
type Request struct {
	Time   time.Time // of its arrival
	Method string
	Path   string // below /mdm/v2/, or the whole path of anything else
	Query  url.Values
	Header http.Header // without the value of Authorization
	Body   []byte
	Unit   string // uId of the unit whose token came along, or empty

	Status      int       // HTTP status, or zero when no answer was sent
	ErrorNumber int       // number in the answer, or zero
	Fault       FaultKind // the fault that occurred, or empty
}

// A Rule is something that a well-behaved client does.
type Rule string

// The rules of conduct.
const (
	// RulePollInterval: at least 30 seconds pass between an answer that an
	// event is PENDING and the next question for its status.
	RulePollInterval Rule = "poll-interval"

	// RuleRequestRate: within any second (including its start, excluding its
	// end) a unit sends at most MaxRequestPerSecond requests.
	RuleRequestRate Rule = "request-rate"

	// RuleParallelPages: at most five pages of users, assets and assignments
	// of one unit are read at once.
	RuleParallelPages Rule = "parallel-pages"

	// RuleRetryAfter: after an answer with Retry-After, a unit sends nothing
	// before that time is over.
	RuleRetryAfter Rule = "retry-after"

	// RuleRepeatedWrite: a write that was accepted is not sent again with the
	// same body. It is no violation when another write of the unit was
	// accepted in between, when the earlier event failed, or when it has been
	// PENDING for ten minutes.
	RuleRepeatedWrite Rule = "repeated-write"

	// RuleDuplicateItems: a request names nothing twice.
	RuleDuplicateItems Rule = "duplicate-items"

	// RuleAuthorization: there is exactly one Authorization header, except
	// that service/config does without.
	RuleAuthorization Rule = "authorization"

	// RuleUndocumentedDefault: a field whose default the service does not
	// document (pricingParam of an asset, renewing of a subscription) is sent.
	RuleUndocumentedDefault Rule = "undocumented-default"

	// RuleForgedNotification: a receiver refuses a notification with a wrong
	// secret; see the Forge of [NotificationOptions].
	RuleForgedNotification Rule = "forged-notification"

	// RuleDroppedNotification: a receiver takes a notification at one of its
	// attempts. After the last one it is gone for good.
	RuleDroppedNotification Rule = "dropped-notification"
)

// A Violation is one break of a [Rule].
type Violation struct {
	Time   time.Time
	Rule   Rule
	Unit   string // uId, or empty
	Detail string
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.Detail }

// A Delivery is one attempt at delivering a notification.
type Delivery struct {
	Time             time.Time // of its end
	Unit             string    // uId
	URL              string
	NotificationID   string
	NotificationType string
	Attempt          int  // 1 for the first
	Forged           bool // by NotificationOptions.Forge
	Body             []byte
	Status           int   // HTTP status of the answer, or zero
	Err              error // set when there was no answer
}

// A record is the entry of one request while it is being answered.
type record struct {
	request Request
	unit    *conduct
	page    bool // holds one of the unit's places for reading pages
	tooMany bool // exceeds the request rate
}

// A conduct is what the rules remember of one unit.
type conduct struct {
	uid       string
	arrivals  []time.Time // within the last second
	pages     int         // being read now
	notBefore time.Time   // end of the last Retry-After
	pending   map[string]time.Time
	writes    map[[sha256.Size]byte]*event // accepted since the last write of another kind
	lastPath  string
}

// A recorder keeps the requests and watches the rules. Its lock is taken
// last: nothing is called while it is held.
type recorder struct {
	limit int

	mu         sync.Mutex
	requests   []*record
	deliveries []Delivery
	violations []Violation
	units      map[*Unit]*conduct
}

func newRecorder(limit int) *recorder {
	return &recorder{limit: limit, units: make(map[*Unit]*conduct)}
}

// of returns what is remembered of a unit. The lock is held.
func (r *recorder) of(u *Unit) *conduct {
	c := r.units[u]
	if c == nil {
		c = &conduct{
			uid:     u.uid,
			pending: make(map[string]time.Time),
			writes:  make(map[[sha256.Size]byte]*event),
		}
		r.units[u] = c
	}
	return c
}

// An arrival is what the rules need to know about the endpoint of a request.
type arrival struct {
	open  bool
	page  bool
	limit int // requests per second; zero means any number
}

// arrive records a request at its arrival.
func (r *recorder) arrive(in *inbound, tok *token, fault *Fault, a arrival) *record {
	query, _ := url.ParseQuery(in.rawQuery)
	rec := &record{request: Request{
		Method: in.method,
		Path:   in.endpointPath(),
		Query:  query,
		Header: redact(in.header),
		Body:   bytes.Clone(in.body),
	}}
	if fault != nil {
		rec.request.Fault = fault.Kind
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	rec.request.Time = now
	if r.limit > 0 {
		r.requests = append(trim(r.requests, r.limit), rec)
	}

	if n := len(in.header.Values("Authorization")); n > 1 || n == 0 && !a.open {
		uid := ""
		if tok != nil {
			uid = tok.unit.uid
		}
		r.violate(now, RuleAuthorization, uid, "%s %s has %d Authorization headers", in.method, rec.request.Path, n)
	}
	if tok == nil {
		return rec
	}

	c := r.of(tok.unit)
	rec.unit = c
	rec.request.Unit = c.uid
	if now.Before(c.notBefore) {
		r.violate(now, RuleRetryAfter, c.uid, "%s %s came %v too soon", in.method, rec.request.Path, c.notBefore.Sub(now))
	}
	r.countArrival(c, rec, a.limit)
	if a.page {
		rec.page = true
		c.pages++
		if c.pages > parallelPages {
			r.violate(now, RuleParallelPages, c.uid, "%d pages are read at once", c.pages)
		}
	}
	if rec.request.Path == "status" {
		id := query.Get("eventId")
		if since, ok := c.pending[id]; ok && now.Before(since.Add(pollInterval)) {
			r.violate(now, RulePollInterval, c.uid, "the status of event %s was asked %v after it was PENDING", id, now.Sub(since))
		}
	}
	return rec
}

// countArrival watches the request rate. The lock is held.
func (r *recorder) countArrival(c *conduct, rec *record, limit int) {
	now := rec.request.Time
	first := slices.IndexFunc(c.arrivals, func(t time.Time) bool { return now.Sub(t) < time.Second })
	if first < 0 {
		first = len(c.arrivals)
	}
	c.arrivals = append(c.arrivals[first:], now)
	if limit > 0 && len(c.arrivals) > limit {
		rec.tooMany = true
		r.violate(now, RuleRequestRate, c.uid, "%d requests within a second, the limit is %d", len(c.arrivals), limit)
	}
}

// leave records the answer of a request at the moment when it is sent. The
// rules count from here, as the caller cannot know an answer any earlier.
func (r *recorder) leave(rec *record, rep *reply, fault *Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	c := rec.unit
	if rec.page {
		c.pages--
	}
	if rep == nil {
		return
	}
	if fault == nil || fault.answers() {
		rec.request.Status = rep.status
		rec.request.ErrorNumber = rep.number
	}
	if c == nil || fault != nil && !fault.answers() {
		return
	}
	if rep.pending != "" && (fault == nil || fault.intact()) {
		c.pending[rep.pending] = now
	}
	if until, ok := retryAfter(rep.header, now); ok && until.After(c.notBefore) {
		c.notBefore = until
	}
}

// retryAfter returns the time that a Retry-After header means.
func retryAfter(h http.Header, now time.Time) (time.Time, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds >= 0 {
		const century = 100 * 365 * 24 * 60 * 60
		return now.Add(time.Duration(min(seconds, century)) * time.Second), true
	}
	t, err := http.ParseTime(value)
	return t, err == nil
}

// accepted records that a write was queued as an event, and checks whether it
// repeats an earlier one. The lock of the unit is held.
func (r *recorder) accepted(u *Unit, rec *record, e *event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.of(u)
	if c.lastPath != rec.request.Path {
		clear(c.writes)
		c.lastPath = rec.request.Path
	}
	now := rec.request.Time
	key := sha256.Sum256(rec.request.Body)
	if old := c.writes[key]; old != nil {
		stalled := old.Status == EventPending && now.Sub(old.Accepted) >= resendAfter
		if old.Status != EventFailed && !stalled {
			r.violate(now, RuleRepeatedWrite, c.uid, "%s was sent again with the body of event %s", rec.request.Path, old.ID)
		}
	}
	c.writes[key] = e
}

// report records a violation of the receiver of a unit.
func (r *recorder) report(rule Rule, uid, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violate(time.Now(), rule, uid, format, args...)
}

// note records a violation of a request.
func (r *recorder) note(rec *record, rule Rule, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violate(rec.request.Time, rule, rec.request.Unit, format, args...)
}

// violate records a violation. The lock is held.
func (r *recorder) violate(now time.Time, rule Rule, uid, format string, args ...any) {
	r.violations = append(r.violations, Violation{
		Time: now, Rule: rule, Unit: uid, Detail: fmt.Sprintf(format, args...),
	})
}

// deliver records an attempt at delivering a notification.
func (r *recorder) deliver(d Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit > 0 {
		r.deliveries = append(trim(r.deliveries, r.limit), d)
	}
}

// trim makes room for one more element when a list is full. It drops a
// quarter at once, so that the cost of moving is spread.
func trim[T any](list []T, limit int) []T {
	if len(list) < limit {
		return list
	}
	return slices.Delete(list, 0, max(1, len(list)-limit+1, limit/4))
}

func (r *recorder) all() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Request, len(r.requests))
	for i, rec := range r.requests {
		out[i] = rec.request
	}
	return out
}

func (r *recorder) broken() []Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.violations)
}

func (r *recorder) delivered() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.deliveries)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.violations = nil, nil
}

// redact copies a header without the values of Authorization.
func redact(h http.Header) http.Header {
	h = h.Clone()
	for i := range h["Authorization"] {
		h["Authorization"][i] = "[REDACTED]"
	}
	return h
}
