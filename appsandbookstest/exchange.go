package appsandbookstest

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An inbound is a request that has reached the server, over TCP or in memory.
type inbound struct {
	method string
	base   string // scheme and host that the caller used
	path   string // the whole path
	query  string
	header http.Header
	body   []byte
}

// endpointPath returns the path below /mdm/v2/, or the whole path when the
// request is for something else.
func (in *inbound) endpointPath() string {
	if p, ok := strings.CutPrefix(in.path, basePath+"/"); ok {
		return p
	}
	return in.path
}

// A reply is a complete answer to a request.
type reply struct {
	status int
	header http.Header
	body   []byte
	number int // error number in the body, for the record

	pending string // id of an event that this answer reports as PENDING
}

// A call is a request to an endpoint, as handlers see it.
type call struct {
	srv    *Server
	unit   *Unit // nil only where no authentication is needed
	path   string
	base   string
	method string
	query  url.Values
	body   []byte
	ctx    context.Context
	now    time.Time
	limits Limits
	record *record

	pending string // set by the status endpoint
}

// An endpoint is one operation of the API.
type endpoint struct {
	handle func(*call) (any, *apiError)
	open   bool // needs no authentication
	write  bool // changes the library, which a read-only token may not
	page   bool // a page read by index
	cursor bool // a page read by cursor
}

// endpoints are all operations by path and method.
var endpoints = map[string]map[string]endpoint{
	"service/config": {http.MethodGet: {handle: getServiceConfig, open: true}},
	"client/config": {
		http.MethodGet:  {handle: getClientConfig},
		http.MethodPost: {handle: setClientConfig, write: true},
	},
	"users":        {http.MethodGet: {handle: getUsers, page: true}},
	"users/create": {http.MethodPost: {handle: createUsers, write: true}},
	"users/update": {http.MethodPost: {handle: updateUsers, write: true}},
	"users/retire": {http.MethodPost: {handle: retireUsers, write: true}},

	"assets":              {http.MethodGet: {handle: getAssets, page: true}},
	"assets/associate":    {http.MethodPost: {handle: associateAssets, write: true}},
	"assets/disassociate": {http.MethodPost: {handle: disassociateAssets, write: true}},
	"assets/revoke":       {http.MethodPost: {handle: revokeAssets, write: true}},
	"assignments":         {http.MethodGet: {handle: getAssignments, page: true}},
	"status":              {http.MethodGet: {handle: getStatus}},

	"subscriptions":               {http.MethodGet: {handle: getSubscriptions, cursor: true}},
	"subscriptions/enable":        {http.MethodPost: {handle: enableSubscriptions, write: true}},
	"subscriptions/disable":       {http.MethodPost: {handle: disableSubscriptions, write: true}},
	"subscriptions/assignments":   {http.MethodGet: {handle: getSubscriptionAssignments, cursor: true}},
	"subscriptions/associate":     {http.MethodPost: {handle: associateSubscriptions, write: true}},
	"subscriptions/disassociate":  {http.MethodPost: {handle: disassociateSubscriptions, write: true}},
	"subscriptions/admins":        {http.MethodGet: {handle: getSubscriptionAdmins, cursor: true}},
	"subscriptions/admins/add":    {http.MethodPost: {handle: addSubscriptionAdmins, write: true}},
	"subscriptions/admins/remove": {http.MethodPost: {handle: removeSubscriptionAdmins, write: true}},
}

// exchange carries a request from its arrival to the moment at which the
// answer leaves. With a fault the caller spoils the answer as the fault says.
// The error is not nil when ctx or the server ended meanwhile.
func (s *Server) exchange(ctx context.Context, in *inbound, fault *Fault) (*reply, error) {
	ops := endpoints[in.endpointPath()]
	op, known := ops[in.method]
	limits := s.currentLimits()
	tok := s.lookup(in.header)

	rec := s.recorder.arrive(in, tok, fault, arrival{
		open:  op.open,
		page:  op.page,
		limit: limits.MaxRequestPerSecond,
	})

	rep, err := s.process(ctx, in, fault, rec, tok, limits, ops, op, known)
	s.recorder.leave(rec, rep, fault)
	return rep, err
}

func (s *Server) process(
	ctx context.Context, in *inbound, fault *Fault, rec *record, tok *token, limits Limits,
	ops map[string]endpoint, op endpoint, known bool,
) (*reply, error) {
	if err := s.wait(ctx, s.opts.latency/2); err != nil {
		return nil, err
	}

	var rep *reply
	switch {
	case fault != nil && fault.Kind == FaultResetBefore:
		return nil, nil
	case fault != nil && fault.Kind == FaultRespond && !fault.Process:
		rep = fault.reply(in)
	case s.opts.enforceRate && rec.tooMany:
		rep = s.errorReply(refuse(numTooManyRequests))
	case ops == nil:
		rep = htmlReply(http.StatusNotFound, "Not Found")
	case !known:
		rep = s.errorReply(refuse(numMethodNotAllowed))
		for method := range ops {
			rep.header.Add("Allow", method)
		}
	default:
		rep = s.serve(&call{
			srv: s, path: in.endpointPath(), base: in.base, method: in.method,
			body: in.body, ctx: ctx, now: time.Now(), limits: limits, record: rec,
		}, op, in, tok)
	}
	if fault != nil && fault.Kind == FaultRespond && fault.Process {
		rep = fault.reply(in)
	}

	if err := s.wait(ctx, s.opts.latency-s.opts.latency/2); err != nil {
		return nil, err
	}
	return rep, nil
}

// serve authenticates a request and hands it to its endpoint.
func (s *Server) serve(c *call, op endpoint, in *inbound, tok *token) *reply {
	if !op.open {
		if err := s.authenticate(in.header, tok, op, c.now); err != nil {
			return s.errorReply(err)
		}
		c.unit = tok.unit
	}
	if c.method == http.MethodPost && len(c.body) > 0 {
		if t, _, err := mime.ParseMediaType(in.header.Get("Content-Type")); err != nil || t != "application/json" {
			return s.errorReply(refuse(numUnsupportedContentType))
		}
	}
	if len(c.body) > maxBody {
		return s.errorReply(refuseArgument("the body is too large"))
	}
	var err error
	if c.query, err = url.ParseQuery(in.query); err != nil {
		return s.errorReply(refuseArgument("query"))
	}
	if hook := s.opts.beforePage; hook != nil && (op.page || op.cursor) {
		read := PageRead{Unit: c.unit, Path: c.path, Index: -1, Query: c.query}
		if op.page {
			read.Index, _ = c.intParam("pageIndex") // a bad one is refused below
		}
		hook(read)
	}

	answer, refusal := op.handle(c)
	if refusal != nil {
		return s.errorReply(refusal)
	}
	rep := jsonReply(http.StatusOK, answer)
	rep.pending = c.pending
	return rep
}

// lookup returns the token of a request, or nil.
func (s *Server) lookup(h http.Header) *token {
	value, ok := bearer(h)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens[value]; t != nil {
		return t
	}
	return s.inner[value]
}

// bearer returns the value of the only Authorization header, which must be of
// the form "Bearer value".
func bearer(h http.Header) (string, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, value, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || value == "" || strings.ContainsAny(value, " ,\t") {
		return "", false
	}
	return value, true
}

// authenticate checks whether a token may be used for an endpoint.
func (s *Server) authenticate(h http.Header, tok *token, op endpoint, now time.Time) *apiError {
	value, ok := bearer(h)
	switch {
	case !ok:
		return refuse(numAuthorizationHeader)
	case tok == nil:
		return refuse(numLoginRequired)
	}

	s.mu.Lock()
	isInner := s.tokens[value] == nil
	revoked := tok.revoked
	s.mu.Unlock()
	state := tok.unit.tokenState()

	switch {
	case isInner || state == TokenMalformed:
		e := refuse(numTokenMalformed)
		e.status = s.opts.malformedTokenCode
		return e
	case revoked || state == TokenRevoked:
		return refuse(numTokenRevoked)
	case state == TokenExpired || !now.Before(tok.expires):
		return refuse(numTokenExpired)
	case state == TokenReadOnly && op.write:
		return refuse(numNotPermitted)
	}
	return nil
}

// decode reads the JSON body of a write.
func (c *call) decode(v any) *apiError {
	if len(c.body) == 0 {
		return refuseArgument("the body is empty")
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return refuseArgument("the body is not the JSON that was expected")
	}
	return nil
}

// errorReply returns the answer that refuses a request.
func (s *Server) errorReply(e *apiError) *reply {
	body := e.wireError
	if s.opts.noErrorInfo {
		body.Info = nil
	}
	rep := jsonReply(e.httpStatus(), body)
	rep.number = e.Number
	return rep
}

func jsonReply(status int, v any) *reply {
	body, err := json.Marshal(v)
	if err != nil {
		panic("appsandbookstest: " + err.Error()) // our own types always encode
	}
	return &reply{
		status: status,
		header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}},
		body:   body,
	}
}

// htmlReply returns a page such as a proxy in front of the service shows.
func htmlReply(status int, title string) *reply {
	page := "<html>\n<head><title>" + title + "</title></head>\n<body><h1>" + title + "</h1></body>\n</html>\n"
	return &reply{
		status: status,
		header: http.Header{"Content-Type": {"text/html; charset=UTF-8"}},
		body:   []byte(page),
	}
}
