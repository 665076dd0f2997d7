package appsandbookstest

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A call is a request with the data that its endpoint needs.
type call struct {
	*incomingRequest
	srv    *Server
	ctx    context.Context
	path   string // below /mdm/v2/
	token  *token // token of the request; nil if the server does not know it
	limits Limits
	entry  *requestEntry

	// unit is nil for endpoints that need no authentication.
	unit  *Unit
	query url.Values

	pending string // id of the event that the answer of the status endpoint reports as PENDING
}

// check refuses a call whose token, content type, size or query is invalid,
// before the endpoint handles the call.
func (c *call) check(op endpoint) *apiError {
	if !op.noToken {
		if refusal := c.authenticate(op); refusal != nil {
			return refusal
		}
		c.unit = c.token.unit
	}
	if c.method == http.MethodPost && len(c.body) > 0 {
		if t, _, err := mime.ParseMediaType(c.header.Get("Content-Type")); err != nil || t != "application/json" {
			return refuse(numUnsupportedContentType)
		}
	}
	if len(c.body) > maxBody {
		return refuseArgument("the body is too large")
	}
	var err error
	if c.query, err = url.ParseQuery(c.rawQuery); err != nil {
		return refuseArgument("query")
	}
	return nil
}

// decode decodes the JSON body of a write request into v.
func (c *call) decode(v any) *apiError {
	if len(c.body) == 0 {
		return refuseArgument("the body is empty")
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return refuseArgument("the body is not the JSON that was expected")
	}
	return nil
}

// has reports whether the query of the request has a parameter.
func (c *call) has(name string) bool { return c.query.Has(name) }

// intParam returns the value of an integer parameter of the query, or zero if
// the parameter is absent.
func (c *call) intParam(name string) (int, *apiError) {
	if !c.has(name) {
		return 0, nil
	}
	n, err := strconv.ParseInt(c.query.Get(name), 10, 32)
	if err != nil {
		return 0, refuseArgument(name)
	}
	return int(n), nil
}

// boolParam returns the value of a boolean parameter of the query, or nil if
// the parameter is absent.
func (c *call) boolParam(name string) (*bool, *apiError) {
	if !c.has(name) {
		return nil, nil
	}
	switch c.query.Get(name) {
	case "true":
		return ptr(true), nil
	case "false":
		return ptr(false), nil
	}
	return nil, refuseArgument(name)
}

// flagParam returns the value of a boolean parameter of the query, or false if
// the parameter is absent.
func (c *call) flagParam(name string) (bool, *apiError) {
	b, refusal := c.boolParam(name)
	return b != nil && *b, refusal
}

// listParam returns all values of a parameter of the query. The parameter may
// be repeated, and may have several values separated by commas.
func (c *call) listParam(name string) []string {
	var values []string
	for _, v := range c.query[name] {
		values = append(values, strings.Split(v, ",")...)
	}
	return values
}

// sinceParam reads the parameter sinceVersionId of the query. It returns the
// number of the last change that the client has read.
func (c *call) sinceParam(d *dataset) (uint64, *apiError) {
	if !c.has("sinceVersionId") {
		return 0, nil
	}
	seq, ok := d.since(c.query.Get("sinceVersionId"))
	if !ok {
		return 0, refuse(numInvalidVersion)
	}
	return seq, nil
}

// refuseRepeated refuses a request that contains an item twice, and records a
// violation of RuleDuplicateItems.
func (c *call) refuseRepeated(number int, info *wireErrorInfo) *apiError {
	c.srv.recorder.addRequestViolation(c.entry, RuleDuplicateItems, "%s contains an item twice (%d)", c.path, number)
	return refuseItems(number, info)
}
