package appsandbookstest

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Rule is a rule of conduct: something that the service expects of clients,
// or of receivers of notifications, but does not enforce.
type Rule string

const (
	// parallelPages is the largest number of pages that a unit may read at
	// the same time.
	parallelPages = 5

	// pollInterval is the shortest time between a PENDING answer and the next
	// request for the status of the same event.
	pollInterval = 30 * time.Second

	// resendAfter is how long an event is PENDING before Apple's
	// documentation advises to send the request again.
	resendAfter = 10 * time.Minute
)

// These are the rules of conduct. [Server.Violations] reports when one is broken.
const (
	// RulePollInterval requires a client to wait at least 30 seconds after
	// an answer with status PENDING before it requests the status of the
	// same event again.
	RulePollInterval Rule = "poll-interval"

	// RuleRequestRate requires a client to send at most MaxRequestPerSecond
	// requests of a unit in any interval of one second. The start of the
	// interval belongs to the interval, the end does not.
	RuleRequestRate Rule = "request-rate"

	// RuleParallelPages requires a client to read at most five pages of a
	// unit's users, assets and assignments at the same time.
	RuleParallelPages Rule = "parallel-pages"

	// RuleRetryAfter requires a client to send no requests of a unit during
	// the time of a Retry-After that the server sent.
	RuleRetryAfter Rule = "retry-after"

	// RuleRepeatedWrite requires a client not to send a write again, with
	// the same body, that the server has accepted. Four cases are no
	// violation: the server accepted a write to another endpoint in
	// between, the earlier event failed, the earlier event has been
	// PENDING for ten minutes, or a [Fault] answered the earlier write
	// with an error number, which denies that anything began.
	RuleRepeatedWrite Rule = "repeated-write"

	// RuleDuplicateItems requires that a request does not contain the same
	// asset, user, device or subscription twice.
	RuleDuplicateItems Rule = "duplicate-items"

	// RuleAuthorization requires exactly one Authorization header in each
	// request. Requests to service/config may also have none.
	RuleAuthorization Rule = "authorization"

	// RuleUndocumentedDefault requires a client to send the fields whose
	// defaults Apple does not document: pricingParam of an asset and
	// renewing of a subscription.
	RuleUndocumentedDefault Rule = "undocumented-default"

	// RuleForgedNotification requires a receiver to refuse a notification
	// with a wrong secret. See Forge in [NotificationOptions].
	RuleForgedNotification Rule = "forged-notification"

	// RuleDroppedNotification requires a receiver to accept a notification in
	// one of its attempts. The server does not send it again after the last
	// attempt.
	RuleDroppedNotification Rule = "dropped-notification"
)

// A Violation describes one violation of a [Rule].
type Violation struct {
	Time   time.Time
	Rule   Rule
	Unit   string // uId of the unit, or empty
	Detail string // one line that names the request, event or notification
}

// String returns the rule and the detail.
func (v Violation) String() string { return string(v.Rule) + ": " + v.Detail }

// A unitConduct is the state of one unit that the checks of the rules of
// conduct need.
type unitConduct struct {
	uid       string
	arrivals  []time.Time                  // arrival times of the unit's requests of the last second
	pages     int                          // pages that are being read
	notBefore time.Time                    // latest end of a Retry-After that the server sent
	pending   map[string]time.Time         // time of the last PENDING answer, by the id of the event
	writes    map[[sha256.Size]byte]*event // events of the writes to lastPath, by the hash of the body
	lastPath  string                       // path of the last write
}

// conductOf returns the state of a unit that the rules of conduct need. The
// lock must be held.
func (r *recorder) conductOf(u *Unit) *unitConduct {
	c := r.units[u]
	if c == nil {
		c = &unitConduct{
			uid:     u.uid,
			pending: make(map[string]time.Time),
			writes:  make(map[[sha256.Size]byte]*event),
		}
		r.units[u] = c
	}
	return c
}

// An arrival describes, for the rules of conduct, the endpoint of a request
// that arrived.
type arrival struct {
	noToken bool
	page    bool
	limit   int // largest number of requests per second; zero means no limit
}

// checkRate checks RuleRequestRate for a request that arrived. The lock must be
// held.
func (r *recorder) checkRate(c *unitConduct, rec *requestEntry, limit int) {
	now := rec.request.Time
	first := slices.IndexFunc(c.arrivals, func(t time.Time) bool { return now.Sub(t) < time.Second })
	if first < 0 {
		first = len(c.arrivals)
	}
	c.arrivals = append(c.arrivals[first:], now)
	if limit > 0 && len(c.arrivals) > limit {
		rec.tooMany = true
		r.addViolation(now, RuleRequestRate, c.uid, "%d requests in one second, but the limit is %d", len(c.arrivals), limit)
	}
}

// retryAfter returns the end of the time in a Retry-After header. It returns
// false for a header that is missing or invalid.
func retryAfter(h http.Header, now time.Time) (time.Time, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds >= 0 {
		const century = 100 * 365 * 24 * 60 * 60
		return now.Add(time.Duration(min(seconds, century)) * time.Second), true
	}
	t, err := http.ParseTime(value)
	return t, err == nil
}

// writeAccepted records that a write became an event, and checks
// RuleRepeatedWrite. The unit's lock must be held.
func (r *recorder) writeAccepted(u *Unit, rec *requestEntry, e *event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.conductOf(u)
	if c.lastPath != rec.request.Path {
		clear(c.writes)
		c.lastPath = rec.request.Path
	}
	now := rec.request.Time
	key := sha256.Sum256(rec.request.Body)
	if old := c.writes[key]; old != nil {
		stalled := old.Status == EventPending && now.Sub(old.Accepted) >= resendAfter
		if old.Status != EventFailed && !stalled && !old.denied {
			r.addViolation(now, RuleRepeatedWrite, c.uid, "%s was sent again with the same body; it is event %s", rec.request.Path, old.ID)
		}
	}
	e.denied = rec.denied
	c.writes[key] = e
}

// addReceiverViolation records a violation by the receiver of a unit.
func (r *recorder) addReceiverViolation(rule Rule, uid, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addViolation(time.Now(), rule, uid, format, args...)
}

// addRequestViolation records a violation by a request.
func (r *recorder) addRequestViolation(rec *requestEntry, rule Rule, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addViolation(rec.request.Time, rule, rec.request.Unit, format, args...)
}

// addViolation records a violation. The lock must be held.
func (r *recorder) addViolation(now time.Time, rule Rule, uid, format string, args ...any) {
	r.violations = append(r.violations, Violation{
		Time: now, Rule: rule, Unit: uid, Detail: fmt.Sprintf(format, args...),
	})
}
