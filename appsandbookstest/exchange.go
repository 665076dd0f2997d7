package appsandbookstest

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// An incomingRequest is a request that reached the server, over TCP or in
// memory.
type incomingRequest struct {
	method   string
	base     string // scheme and host of the URL that the client requested
	urlPath  string
	rawQuery string
	header   http.Header
	body     []byte
}

// endpointPath returns the part of a request's path below /mdm/v2/, or the
// whole path if the path does not begin with /mdm/v2/.
func (in *incomingRequest) endpointPath() string {
	if p, ok := strings.CutPrefix(in.urlPath, basePath+"/"); ok {
		return p
	}
	return in.urlPath
}

// A reply is a complete answer.
type reply struct {
	status int
	header http.Header
	body   []byte
	number int // error number in the body of the answer, or zero

	pending string // id of the event that the answer reports as PENDING, or empty
}

// An endpoint is a method and a path of the API.
type endpoint struct {
	handle  func(*call) (any, *apiError)
	noToken bool // needs no authentication
	write   bool // refused for a read-only token
	page    bool // returns pages by index
	cursor  bool // returns pages by cursor
}

// endpoints are the endpoints of the API, by path and method.
var endpoints = map[string]map[string]endpoint{
	"service/config": {http.MethodGet: {handle: getServiceConfig, noToken: true}},
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

// exchange processes a request and returns the answer to send. The caller
// applies the fault to that answer. The answer is nil if the fault prevents an
// answer. The error is not nil if ctx ended or the server was closed.
func (s *Server) exchange(ctx context.Context, in *incomingRequest, fault *Fault) (*reply, error) {
	c := &call{
		incomingRequest: in, srv: s, ctx: ctx, path: in.endpointPath(), token: s.lookup(in.header), limits: s.currentLimits(),
	}
	op := endpoints[c.path][in.method]
	c.entry = s.recorder.requestArrived(in, c.token, fault, arrival{
		noToken: op.noToken,
		page:    op.page,
		limit:   c.limits.MaxRequestPerSecond,
	})
	rep, err := c.answer(op, fault)
	s.recorder.answerSent(c.entry, rep, fault)
	return rep, err
}

// answer waits for the latency of the server, processes the call, and returns
// the answer.
func (c *call) answer(op endpoint, fault *Fault) (*reply, error) {
	s := c.srv
	if err := s.wait(c.ctx, s.opts.latency/2); err != nil {
		return nil, err
	}
	if fault != nil && fault.Kind == FaultResetBefore {
		return nil, nil
	}
	responds := fault != nil && fault.Kind == FaultRespond
	var rep *reply
	if !responds || fault.Process {
		rep = c.process(op)
	}
	if responds {
		rep = fault.reply()
	}
	if err := s.wait(c.ctx, s.opts.latency-s.opts.latency/2); err != nil {
		return nil, err
	}
	return rep, nil
}

// process returns the answer to a call.
func (c *call) process(op endpoint) *reply {
	methods := endpoints[c.path]
	switch {
	case c.srv.opts.enforceRateLimit && c.entry.tooMany:
		return c.srv.errorReply(refuse(numTooManyRequests))
	case methods == nil:
		return htmlReply(http.StatusNotFound, "Not Found")
	case op.handle == nil:
		rep := c.srv.errorReply(refuse(numMethodNotAllowed))
		rep.header["Allow"] = slices.Sorted(maps.Keys(methods))
		return rep
	}
	if refusal := c.check(op); refusal != nil {
		return c.srv.errorReply(refusal)
	}
	if hook := c.srv.opts.pageHook; hook != nil && (op.page || op.cursor) {
		read := PageRead{Unit: c.unit, Path: c.path, Index: -1, Query: c.query}
		if op.page {
			read.Index, _ = c.intParam("pageIndex") // the endpoint refuses an invalid pageIndex
		}
		hook(read)
	}
	answer, refusal := op.handle(c)
	if refusal != nil {
		return c.srv.errorReply(refusal)
	}
	rep := jsonReply(http.StatusOK, answer)
	rep.pending = c.pending
	return rep
}

// errorReply returns the answer for a request that the server refuses.
func (s *Server) errorReply(e *apiError) *reply {
	body := e.wireError
	if s.opts.noErrorInfo {
		body.Info = nil
	}
	rep := jsonReply(e.httpStatus(), body)
	rep.number = e.Number
	return rep
}

// jsonReply returns an answer with v as JSON.
func jsonReply(status int, v any) *reply {
	body, err := json.Marshal(v)
	if err != nil {
		panic("appsandbookstest: " + err.Error()) // the types in wire.go can always be encoded
	}
	return &reply{
		status: status,
		header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}},
		body:   body,
	}
}

// htmlReply returns an HTML page, such as a proxy in front of the service
// sends.
func htmlReply(status int, title string) *reply {
	page := "<html>\n<head><title>" + title + "</title></head>\n<body><h1>" + title + "</h1></body>\n</html>\n"
	return &reply{
		status: status,
		header: http.Header{"Content-Type": {"text/html; charset=UTF-8"}},
		body:   []byte(page),
	}
}
