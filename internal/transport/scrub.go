package transport

import (
	"errors"
	"net/url"
	"strings"
)

// scrub drops the URL that net/http puts into its errors, a second one of a
// transport that is a client itself included: its query names users and devices.
// It also drops what net/http quotes of an answer that it cannot parse.
func scrub(err error) error {
	for u := (*url.Error)(nil); errors.As(err, &u); {
		err = u.Err
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	if at := strings.IndexByte(text, '"'); at >= 0 && strings.Contains(text[:at], "malformed ") {
		return scrubbed(strings.TrimRight(text[:at], ": "), err, false)
	}
	return err
}

// scrub also drops what a transport of the caller's own, or anybody else, says of
// secrets and ids.
func (c *call) scrub(err error) error {
	err = scrub(err)
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := c.clean(text)
	if clean == text {
		return err
	}
	return scrubbed(clean, err, c.without(text, false) == text)
}

// scrubbedError stands for an error whose text must not be printed. What it is
// can still be asked; the error itself is out of reach of those who print values.
type scrubbedError struct {
	text string
	is   func(error) bool
	as   func(any) bool
}

// scrubbed keeps the types within reach of errors.As if they hold no secret.
func scrubbed(text string, err error, types bool) error {
	s := &scrubbedError{text: text, is: func(target error) bool { return errors.Is(err, target) }}
	s.as = func(target any) bool { return types && errors.As(err, target) }
	return s
}

func (e *scrubbedError) Error() string        { return e.text }
func (e *scrubbedError) Is(target error) bool { return e.is(target) }
func (e *scrubbedError) As(target any) bool   { return e.as(target) }
