package appsandbookstest

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// A Request is a request that reached the server.
type Request struct {
	Time   time.Time // time of the arrival
	Method string
	Path   string // path of the request below /mdm/v2/; for other paths the whole path
	Query  url.Values
	Header http.Header // header of the request, with "[REDACTED]" as the values of Authorization
	Body   []byte
	Unit   string // uId of the unit whose token the request has, or empty

	Status      int       // HTTP status of the answer to the request; zero if the client got no header
	ErrorNumber int       // error number in the answer to the request, or zero
	Fault       FaultKind // kind of the fault that occurred, or empty
}

// A Delivery is one attempt to deliver a notification.
type Delivery struct {
	Time             time.Time // time of its end
	Unit             string    // uId of the unit
	URL              string
	NotificationID   string
	NotificationType string
	Attempt          int  // starts at 1
	Forged           bool // the notification is forged; see NotificationOptions.Forge
	Body             []byte
	Status           int   // HTTP status of the receiver's answer, or zero
	Err              error // the reason why no answer of the receiver came, or nil
}

// A requestEntry is a recorded request with the state that the recorder needs
// until the answer is sent.
type requestEntry struct {
	request Request
	unit    *unitConduct // nil if the token is unknown
	page    bool         // the request counts as a page that is being read
	tooMany bool         // exceeds MaxRequestPerSecond
	denied  bool         // a fault answers the request with an error number
}

// A recorder records requests and deliveries, and checks the rules of conduct.
// No other lock is taken while its lock is held.
type recorder struct {
	limit int // largest number of recorded requests, and of recorded deliveries

	mu         sync.Mutex
	requests   []*requestEntry
	deliveries []Delivery
	violations []Violation
	units      map[*Unit]*unitConduct
}

func newRecorder(limit int) *recorder {
	return &recorder{limit: limit, units: make(map[*Unit]*unitConduct)}
}

// requestArrived records a request at its arrival and checks the rules of
// conduct that apply to an arrival.
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
		rec.denied = fault.Kind == FaultRespond && fault.Number != 0
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
		r.addViolation(now, RuleRetryAfter, c.uid, "%s %s came %v too soon after an answer with Retry-After", in.method, rec.request.Path, c.notBefore.Sub(now))
	}
	r.checkRate(c, rec, a.limit)
	if a.page {
		rec.page = true
		c.pages++
		if c.pages > parallelPages {
			r.addViolation(now, RuleParallelPages, c.uid, "%d pages are read at the same time", c.pages)
		}
	}
	if rec.request.Path == "status" {
		id := query.Get("eventId")
		if since, ok := c.pending[id]; ok && now.Before(since.Add(pollInterval)) {
			r.addViolation(now, RulePollInterval, c.uid, "the status of event %s was requested %v after a PENDING answer", id, now.Sub(since))
		}
	}
	return rec
}

// answerSent records the answer of a request when it is sent. The intervals of
// the rules of conduct begin when the answer is sent, because the client cannot
// know the answer earlier.
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

// addDelivery records an attempt to deliver a notification.
func (r *recorder) addDelivery(d Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit > 0 {
		r.deliveries = append(trim(r.deliveries, r.limit), d)
	}
}

// trim makes room for one element in a list that has reached its limit. It
// removes the oldest quarter of the elements at once, so that the cost of
// moving the other elements is spread over many calls.
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

// reset deletes the recorded requests and violations.
func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.violations = nil, nil
}

// redact returns a copy of a header in which the values of Authorization are
// replaced.
func redact(h http.Header) http.Header {
	h = h.Clone()
	for i := range h["Authorization"] {
		h["Authorization"][i] = "[REDACTED]"
	}
	return h
}
