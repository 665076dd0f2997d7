package appsandbooks

import (
	"context"
	"errors"
)

// An OperationOption changes a default of an operation. An invalid value makes the
// call fail with [ErrInvalid].
type OperationOption func(*operationOptions) error

type operationOptions struct {
	planOnly        bool
	bisect          bool
	resend          bool
	journal         func(ctx context.Context, entry []byte) error
	continueJournal bool // true if the new journal entries follow the entries that Resume has read
	progress        func(Progress)
}

// WithPlanOnly plans the operation without sending anything. Read [Operation.Plan],
// then call Submit or Wait to send the operation, or discard it.
func WithPlanOnly() OperationOption {
	return func(o *operationOptions) error { o.planOnly = true; return nil }
}

// WithBisection searches for the invalid items when the service refuses a request
// without naming them. It sends the two halves of the request, then the halves of
// each half that is refused, and so on. It adds at most 64 requests for each request
// that was refused.
func WithBisection() OperationOption {
	return func(o *operationOptions) error { o.bisect = true; return nil }
}

// WithResend sends pairs again, up to three times for each pair, when reading back
// does not find them. It applies to a request whose result is unknown, and to a
// request whose event stayed PENDING longer than the stall time. Apple advises to
// resend in the second case. If the service also processes the first request later,
// the assignments are the same, but each request that is sent again is one more event.
// Revoke and the deferred Disassociate of subscriptions are never sent again.
func WithResend() OperationOption {
	return func(o *operationOptions) error { o.resend = true; return nil }
}

// maxResends is how often WithResend sends a pair again.
const maxResends = 3

// WithProgress calls f after each change of a request's state, and never from two
// goroutines at the same time. f must return quickly.
func WithProgress(f func(Progress)) OperationOption {
	return func(o *operationOptions) error {
		if f == nil {
			return errors.New("WithProgress: the function is nil")
		}
		o.progress = f
		return nil
	}
}

// WithJournal keeps a journal of the operation, so that the operation can be resumed
// after a crash. The operation calls write with one entry that holds the whole plan
// before it sends anything. After that it writes an entry for each step: before a
// request is sent, after the service has accepted it, before a poll, and when an
// outcome is known. An entry is text that ends with a newline. It contains no secrets.
// When write returns nil, the entry must be stored durably. Appending to a file and
// syncing the file is enough. If write returns an error, the request is not sent. The
// context that write receives is never canceled.
//
// [Client.Resume] reads all entries, joined in the order in which they were written.
// If the last entry of a request shows that it was about to be sent, and no event is
// recorded, the result of that request is unknown.
func WithJournal(write func(ctx context.Context, entry []byte) error) OperationOption {
	return func(o *operationOptions) error { return o.setJournal("WithJournal", write) }
}

// WithContinuedJournal is [WithJournal] for an operation that [Client.Resume]
// resumes from the same journal. New entries follow the existing ones, and the
// operation does not write the whole plan again. Use it for a journal that stores
// each entry completely or not at all, for example as a row of a table.
func WithContinuedJournal(write func(ctx context.Context, entry []byte) error) OperationOption {
	return func(o *operationOptions) error {
		o.continueJournal = true
		return o.setJournal("WithContinuedJournal", write)
	}
}

// setJournal sets the journal's write function. option is the name for the error if
// write is nil.
func (o *operationOptions) setJournal(option string, write func(context.Context, []byte) error) error {
	if write == nil {
		return errors.New(option + ": the function is nil")
	}
	o.journal = write
	return nil
}
