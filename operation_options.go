package appsandbooks

// OperationOption changes how an operation is carried out.
type OperationOption func(*operationOptions)

type operationOptions struct {
	planOnly bool
	bisect   bool
	resend   bool
	journal  Journal
	onward   bool // the journal is the one that Resume was given
	progress func(Progress)
}

// PlanOnly plans the operation without sending anything: look at
// [Operation.Plan], then call Submit or Wait, or drop it.
func PlanOnly() OperationOption { return func(o *operationOptions) { o.planOnly = true } }

// WithBisection searches for the bad items of a request that was refused
// without naming them, by sending halves of it: at most 64 more requests for
// each that was refused.
func WithBisection() OperationOption { return func(o *operationOptions) { o.bisect = true } }

// WithResend sends again, up to three times, what reading back did not find after a request
// whose fate is unknown, or whose event stayed PENDING beyond the stall time.
// Apple advises the latter. If the first request is still carried out later, the
// pairs are the same, but each such request is an event more. Revoke and the
// deferred Disassociate of subscriptions are never sent again.
func WithResend() OperationOption { return func(o *operationOptions) { o.resend = true } }

// maxResends bounds WithResend, for each pair.
const maxResends = 3

// WithProgress calls f after each step, never from two goroutines at once. It
// must return quickly.
func WithProgress(f func(Progress)) OperationOption {
	return func(o *operationOptions) { o.progress = f }
}

// WithJournal makes the operation survive a crash: see [Journal].
func WithJournal(j Journal) OperationOption { return func(o *operationOptions) { o.journal = j } }

// WithContinuedJournal is WithJournal for an operation that [Client.Resume] takes up
// from that very journal: it goes on behind the entries that are there, instead
// of beginning again with the whole operation. It is for journals whose entries
// are kept whole or not at all, such as rows of a table.
func WithContinuedJournal(j Journal) OperationOption {
	return func(o *operationOptions) { o.journal, o.onward = j, true }
}
