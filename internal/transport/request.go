package transport

import (
	"net/url"
	"time"
)

// Class says what repeating a request may do.
type Class int

const (
	// Read changes nothing: repeat at will.
	Read Class = iota
	// Write may start work each time it arrives: it is repeated only when the
	// earlier attempt certainly started nothing.
	Write
	// Poll changes nothing, but must not be asked again soon after an answer
	// that was lost on its way: it is repeated like a Write.
	Poll
	// Repeatable changes state, but the same request twice leaves the same
	// state as once.
	Repeatable
)

// Request is one logical request, sent as one or more attempts.
type Request struct {
	Method string
	URL    *url.URL
	Name   string // of the endpoint, for logs and traces: a path without ids
	Body   []byte // nil: no body and no Content-Type
	Class  Class
	Page   bool // a page read, of which only a few may be in flight
	Turn   Turn
	Auth   bool
	// Decode reads the body of a success, which is invalid afterwards.
	Decode func(body []byte) error
	// Grace is how long an attempt under way may go on after the context ends,
	// so that an answer on its way is not lost. No attempt begins in it.
	Grace time.Duration
	// Secret is what the body holds and no error or log may, like the token.
	Secret string
	// IDs gives the ids of users and devices in the request, which no error or
	// log may hold either. It is asked only after a failure.
	IDs func() []string
}

// Turn puts the first attempts of requests that run at the same time in order.
// The zero value is no order.
type Turn struct {
	After <-chan struct{} // closed when the request before has had its turn
	Taken func()          // called when this one is about to be sent; more than once if it is repeated
}
