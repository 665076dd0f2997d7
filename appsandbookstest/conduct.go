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

// A conduct is what the rules remember of one unit.
type unitConduct struct {
	uid       string
	arrivals  []time.Time // within the last second
	pages     int         // being read now
	notBefore time.Time   // end of the last Retry-After
	pending   map[string]time.Time
	writes    map[[sha256.Size]byte]*event // accepted since the last write of another kind
	lastPath  string
}

// of returns what is remembered of a unit. The lock is held.
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

// An arrival is what the rules need to know about the endpoint of a request.
type arrival struct {
	noToken bool
	page    bool
	limit   int // requests per second; zero means any number
}

// countArrival watches the request rate. The lock is held.
func (r *recorder) checkRate(c *unitConduct, rec *requestEntry, limit int) {
	now := rec.request.Time
	first := slices.IndexFunc(c.arrivals, func(t time.Time) bool { return now.Sub(t) < time.Second })
	if first < 0 {
		first = len(c.arrivals)
	}
	c.arrivals = append(c.arrivals[first:], now)
	if limit > 0 && len(c.arrivals) > limit {
		rec.tooMany = true
		r.addViolation(now, RuleRequestRate, c.uid, "%d requests within a second, the limit is %d", len(c.arrivals), limit)
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
		if old.Status != EventFailed && !stalled {
			r.addViolation(now, RuleRepeatedWrite, c.uid, "%s was sent again with the body of event %s", rec.request.Path, old.ID)
		}
	}
	c.writes[key] = e
}

// report records a violation of the receiver of a unit.
func (r *recorder) addReceiverViolation(rule Rule, uid, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addViolation(time.Now(), rule, uid, format, args...)
}

// note records a violation of a request.
func (r *recorder) addRequestViolation(rec *requestEntry, rule Rule, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addViolation(rec.request.Time, rule, rec.request.Unit, format, args...)
}

// violate records a violation. The lock is held.
func (r *recorder) addViolation(now time.Time, rule Rule, uid, format string, args ...any) {
	r.violations = append(r.violations, Violation{
		Time: now, Rule: rule, Unit: uid, Detail: fmt.Sprintf(format, args...),
	})
}
