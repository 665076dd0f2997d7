package transport

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

// withoutURL removes every *url.Error from err, because the query of its URL contains ids of
// users and devices. Two of these errors are nested if a RoundTripper is itself a client.
// withoutURL also removes the part of an invalid answer that net/http quotes in its error.
func withoutURL(err error) error {
	for u := (*url.Error)(nil); errors.As(err, &u); {
		err = u.Err
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	if at := strings.IndexByte(text, '"'); at >= 0 && strings.Contains(text[:at], "malformed ") {
		return newRedactedError(strings.TrimRight(text[:at], ": "), err, false)
	}
	return err
}

// redactError does what withoutURL does. It also replaces secrets and ids in the text of the
// error, for example in an error of the caller's own RoundTripper.
func (c *callState) redactError(err error) error {
	err = withoutURL(err)
	if err == nil {
		return nil
	}
	text := err.Error()
	redacted := c.redactText(text)
	if redacted == text {
		return err
	}
	hasSecret := redactSpans(text, c.secrets(), nil) != text
	return newRedactedError(redacted, err, !hasSecret)
}

// withoutContextError hides from errors.Is that err is a timeout, or the cancellation of an
// attempt: net/http reports the time limit of an attempt as context.DeadlineExceeded, which
// callers take for the end of their own context. The text stays.
func withoutContextError(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return &redactedError{
		text: err.Error(),
		is: func(target error) bool {
			hidden := target == context.DeadlineExceeded || target == context.Canceled //nolint:errorlint // target is what the caller of errors.Is looks for
			return !hidden && errors.Is(err, target)
		},
		as: func(target any) bool { return errors.As(err, target) },
	}
}

// redactedError replaces an error that must not be printed or found as it is. Its functions decide
// what errors.Is and errors.As find. The wrapped error is held in closures, so that no verb of
// package fmt can print it.
type redactedError struct {
	text string
	is   func(error) bool
	as   func(any) bool
}

// newRedactedError returns an error with the given text that wraps err. If allowAs is false,
// errors.As finds no type in err, because its value holds a secret.
func newRedactedError(text string, err error, allowAs bool) error {
	return &redactedError{
		text: text,
		is:   func(target error) bool { return errors.Is(err, target) },
		as:   func(target any) bool { return allowAs && errors.As(err, target) },
	}
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.is(target) }
func (e *redactedError) As(target any) bool   { return e.as(target) }
