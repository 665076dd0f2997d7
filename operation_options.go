package appsandbooks

import (
	"context"
	"errors"
)

// OperationOption changes a default of an operation. It fails on a value that
// makes no sense.
type OperationOption func(*operationOptions) error

type operationOptions struct {
	planOnly        bool
	bisect          bool
	resend          bool
	journal         func(ctx context.Context, entry []byte) error
	continueJournal bool // the journal is the one that Resume was given
	progress        func(Progress)
}

// WithPlanOnly plans the operation without sending anything: look at
// [Operation.Plan], then call Submit or Wait, or drop it.
func WithPlanOnly() OperationOption {
	return func(o *operationOptions) error { o.planOnly = true; return nil }
}

// WithBisection searches for the bad items of a request that was refused
// without naming them, by sending halves of it: at most 64 more requests for
// each that was refused.
func WithBisection() OperationOption {
	return func(o *operationOptions) error { o.bisect = true; return nil }
}

// WithResend sends again, up to three times, what reading back did not find after a request
// whose fate is unknown, or whose event stayed PENDING beyond the stall time.
// Apple advises the latter. If the first request is still carried out later, the
// pairs are the same, but each such request is an event more. Revoke and the
// deferred Disassociate of subscriptions are never sent again.
func WithResend() OperationOption {
	return func(o *operationOptions) error { o.resend = true; return nil }
}

// maxResends bounds WithResend, for each pair.
const maxResends = 3

// WithProgress calls f after each step, never from two goroutines at once. It
// must return quickly.
func WithProgress(f func(Progress)) OperationOption {
	return func(o *operationOptions) error {
		if f == nil {
			return errors.New("WithProgress: nil")
		}
		o.progress = f
		return nil
	}
}

// WithJournal keeps a journal of the operation, so that it survives a crash. The
// operation calls write with one entry for its plan before it sends anything, and
// then before each request is sent, after its event is known, and when its outcome
// is known. An entry is a line of text, newline included, without secrets. When
// write returns, the entry must be stored durably; an error keeps the request from
// being sent. Appending to a file and syncing it is enough.
//
// [Client.Resume] reads the entries, in their order, one after another. The result
// of a request that was about to be sent and has no event is then unknown.
func WithJournal(write func(ctx context.Context, entry []byte) error) OperationOption {
	return func(o *operationOptions) error { return o.setJournal("WithJournal", write) }
}

// WithContinuedJournal is [WithJournal] for an operation that [Client.Resume]
// resumes from the same journal: new entries follow those that exist, and the
// journal does not begin again with the whole operation. It is for journals that
// keep each entry completely or not at all, such as rows of a table.
func WithContinuedJournal(write func(ctx context.Context, entry []byte) error) OperationOption {
	return func(o *operationOptions) error {
		o.continueJournal = true
		return o.setJournal("WithContinuedJournal", write)
	}
}

func (o *operationOptions) setJournal(option string, write func(context.Context, []byte) error) error {
	if write == nil {
		return errors.New(option + ": nil")
	}
	o.journal = write
	return nil
}
