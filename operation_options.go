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
	resendOverdue   bool
	resendLost      bool
	journal         func(ctx context.Context, entry []byte) error
	continueJournal bool // true if the new journal entries follow the entries that Resume has read
	progress        func(Progress)
}

// WithPlanOnly plans the operation without sending anything. Read [Operation.Plan], then
// call [Operation.Wait] or [Operation.Step] to carry it out, or discard it.
func WithPlanOnly() OperationOption {
	return func(o *operationOptions) error { o.planOnly = true; return nil }
}

// WithBisection searches for the invalid items when the service refuses a request
// without naming them. It sends the two halves of the request, then the halves of
// each half that is refused, and so on. It adds at most 64 requests for each request
// that was refused. The option is saved with the operation.
func WithBisection() OperationOption {
	return func(o *operationOptions) error { o.bisect = true; return nil }
}

// WithResendOverdue sends pairs again, up to three times for each pair, when their event
// stays PENDING for the stall time and reading back does not find them. Apple
// advises to do so. The first event may still be carried out later. A pair that is assigned
// already should not use a second license, but Apple does not promise that. Revoke and the
// deferred Disassociate of subscriptions are never sent again. The option is saved with the
// operation.
func WithResendOverdue() OperationOption {
	return func(o *operationOptions) error { o.resendOverdue = true; return nil }
}

// WithResendLost sends pairs again, up to three times for each pair, when no usable answer
// came to their request and reading back does not find them. Apple does not advise this: the
// service may carry out the first request later. Then both requests become events. Without the
// option, such a pair is unconfirmed until six stall times (an hour by default; see
// [WithStallTime]) have passed, and then has failed. Revoke and the deferred Disassociate of subscriptions are
// never sent again. The option is saved with the operation.
func WithResendLost() OperationOption {
	return func(o *operationOptions) error { o.resendLost = true; return nil }
}

// WithProgress calls f after each change of a request's state, and never from two
// goroutines at the same time. f must return quickly: the operation goes on after f returns.
// f may call every method of the operation. Wait, Step and Verify return [ErrBusy] there, and
// Retry and Undo return [ErrUnfinished] or [ErrBusy].
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
// before it sends anything. With [WithPlanOnly], planning writes nothing; the first Wait or
// Step writes the plan. Retry and Undo write the plan at once. After that it writes an entry for each step: before a
// request is sent, after the service has accepted it, before a poll, and when an
// outcome is known. An entry is text that ends with a newline. It contains no secrets.
// When write returns nil, the entry must be stored durably. Appending to a file and
// syncing the file is enough. If write returns an error, the request is not sent. The
// context that write receives is never canceled. write may call the methods of the operation
// that WithProgress allows.
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
