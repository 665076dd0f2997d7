package transport

import (
	"errors"
	"fmt"
	"time"
)

// Failure describes a request of the transport that ended without success.
type Failure struct {
	Err        error         // the error from Inspect, or the cause if no usable answer came
	Status     int           // HTTP status of the last answer; 0 if no answer came
	Excerpt    string        // first bytes of the last answer's body, at most 512
	Attempts   int           // number of attempts that were started
	Ambiguous  bool          // the request is a Write, and the service may have carried it out
	RetryAfter time.Duration // the pause that the service last requested, or the rest of it; 0 if none
	Cut        bool          // the body of the last answer ended too early
	Ended      bool          // the caller's context or Config.Lifetime has ended
}

// failure returns the Failure of a request that ended without success. err is the error of the
// retry loop. It is used only if no attempt has a result: then it is the error of the context or
// of prepareAttempt.
func (c *callState) failure(err error) *Failure {
	end := c.endError()
	f := &Failure{
		Err:        c.lastErr,
		Status:     c.status,
		Attempts:   c.attempts,
		Ambiguous:  c.ambiguous,
		RetryAfter: c.retryAfter,
		Cut:        c.truncated,
		Ended:      end != nil,
	}
	switch {
	case end != nil:
		f.Err = withPrevious(end, c.lastErr)
	case err != nil && !c.judged:
		f.Err = withPrevious(c.redactError(err), c.lastErr)
	}
	var paused interface{ RetryAfter() time.Duration }
	if errors.As(f.Err, &paused) {
		f.RetryAfter = paused.RetryAfter()
	}
	if c.body != nil {
		// Redact more text than the excerpt keeps: a secret that is cut in the middle of the text
		// would not be recognized.
		const excerpt, redacted = 512, 8 << 10
		f.Excerpt = c.redactText(string(c.body.Bytes()[:min(c.body.Len(), redacted)]))
		f.Excerpt = f.Excerpt[:min(len(f.Excerpt), excerpt)]
	}
	return f
}

// withPrevious adds the error of the previous attempt to err. It returns err alone if no attempt
// failed before, or if one of the two errors includes the other.
func withPrevious(err, previous error) error {
	if previous == nil || errors.Is(previous, err) || errors.Is(err, previous) {
		return err
	}
	return fmt.Errorf("%w (before that: %w)", err, previous)
}
