package appsandbookstest

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
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
type requestEntry struct {
	request Request
	unit    *unitConduct
	page    bool // holds one of the unit's places for reading pages
	tooMany bool // exceeds the request rate
}

// A recorder keeps the requests and watches the rules. Its lock is taken
// last: nothing is called while it is held.
type recorder struct {
	limit int

	mu         sync.Mutex
	requests   []*requestEntry
	deliveries []Delivery
	violations []Violation
	units      map[*Unit]*unitConduct
}

func newRecorder(limit int) *recorder {
	return &recorder{limit: limit, units: make(map[*Unit]*unitConduct)}
}

// arrive records a request at its arrival.
func (r *recorder) requestArrived(in *incomingRequest, tok *token, fault *Fault, a arrival) *requestEntry {
	query, _ := url.ParseQuery(in.rawQuery)
	rec := &requestEntry{request: Request{
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

	if n := len(in.header.Values("Authorization")); n > 1 || n == 0 && !a.noToken {
		uid := ""
		if tok != nil {
			uid = tok.unit.uid
		}
		r.addViolation(now, RuleAuthorization, uid, "%s %s has %d Authorization headers", in.method, rec.request.Path, n)
	}
	if tok == nil {
		return rec
	}

	c := r.conductOf(tok.unit)
	rec.unit = c
	rec.request.Unit = c.uid
	if now.Before(c.notBefore) {
		r.addViolation(now, RuleRetryAfter, c.uid, "%s %s came %v too soon", in.method, rec.request.Path, c.notBefore.Sub(now))
	}
	r.checkRate(c, rec, a.limit)
	if a.page {
		rec.page = true
		c.pages++
		if c.pages > parallelPages {
			r.addViolation(now, RuleParallelPages, c.uid, "%d pages are read at once", c.pages)
		}
	}
	if rec.request.Path == "status" {
		id := query.Get("eventId")
		if since, ok := c.pending[id]; ok && now.Before(since.Add(pollInterval)) {
			r.addViolation(now, RulePollInterval, c.uid, "the status of event %s was asked %v after it was PENDING", id, now.Sub(since))
		}
	}
	return rec
}

// leave records the answer of a request at the moment when it is sent. The
// rules count from here, as the caller cannot know an answer any earlier.
func (r *recorder) answerSent(rec *requestEntry, rep *reply, fault *Fault) {
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
	if fault == nil || fault.sendsHeader() {
		rec.request.Status = rep.status
		rec.request.ErrorNumber = rep.number
	}
	if c == nil || fault != nil && !fault.sendsHeader() {
		return
	}
	if rep.pending != "" && (fault == nil || fault.sendsWholeBody()) {
		c.pending[rep.pending] = now
	}
	if until, ok := retryAfter(rep.header, now); ok && until.After(c.notBefore) {
		c.notBefore = until
	}
}

// deliver records an attempt at delivering a notification.
func (r *recorder) addDelivery(d Delivery) {
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

func (r *recorder) allRequests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Request, len(r.requests))
	for i, rec := range r.requests {
		out[i] = rec.request
	}
	return out
}

func (r *recorder) allViolations() []Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.violations)
}

func (r *recorder) allDeliveries() []Delivery {
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
