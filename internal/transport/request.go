package transport

import (
	"net/url"
	"time"
)

// Class states what happens when the service receives a request twice. The retry rules depend on
// the class.
type Class int

const (
	// Read is a request that changes nothing. It is repeated after every failure that may be
	// temporary.
	Read Class = iota
	// Write is a request that can start new work each time it arrives. It is repeated only if the
	// earlier attempt certainly started nothing.
	Write
	// Poll is a request that changes nothing, but the service requires a pause between two polls.
	// It is repeated under the same conditions as a Write, because an attempt without an answer
	// counts as a poll.
	Poll
	// Repeatable is a request that changes state, but two equal requests leave the same state as
	// one. It is repeated like a Read.
	Repeatable
)

// Request is one request to an endpoint. The transport sends it in one or more attempts.
type Request struct {
	Method string
	URL    *url.URL
	Name   string // the endpoint's name for logs and traces: a path without ids
	Body   []byte // the body of the request; nil means no body and no Content-Type
	Class  Class
	Page   bool // the request reads a page of a list; at most PageReads of them run at once
	Turn   Turn
	Auth   bool // sends the content token
	// Decode reads the body of a successful answer. The body is invalid after Decode returns.
	Decode func(body []byte) error
	// Grace is how long an attempt in progress can continue after the context
	// ended, so that its answer is not lost. No attempt starts in this time.
	Grace time.Duration
	// MaxAttempts is the largest number of attempts if it is smaller than Config.MaxAttempts; 0
	// means no smaller number.
	MaxAttempts int
	// NoPause makes the request fail instead of waiting for the end of a pause (Retry-After).
	NoPause bool
	// Secret is a secret in the body of the request. Like the token, the secret never appears in
	// an error or a log.
	Secret string
	// IDs returns the ids of users and devices in the request. The ids never appear in an error
	// or a log. IDs is called only after a failure.
	IDs func() []string

	// Unsure is set by Do: an attempt ended with Verdict.Unsure, so the service may have carried
	// it out.
	Unsure bool
}

// Turn defines the order of the first attempts of concurrent requests. The zero
// value defines no order.
type Turn struct {
	// After is closed when the previous request has its slot, or ended without a slot.
	After <-chan struct{}
	// Taken is called when this request has a slot, once for each attempt.
	Taken func()
}
