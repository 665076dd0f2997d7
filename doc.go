// Package appsandbooks is a client for version 2 of Apple's App, Book, and
// Subscription Management API ("Apps and Books"). A device management service
// holds one content token for each organizational unit, and wants to say: these
// licences belong to these users and devices. This package makes it so, tells
// when it is true, and tells exactly what is not.
//
//	client, err := appsandbooks.NewClient(stoken) // the content of a .vpptoken file
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//
//	op, err := client.Assets.Associate(ctx, appsandbooks.AssetChange{
//		Assets:        []appsandbooks.AssetID{{AdamID: "361309726"}},
//		ClientUserIDs: []string{"user-1"},
//		SerialNumbers: serials, // any number of them
//	})
//	if err != nil {
//		return err // nothing was accepted
//	}
//	report, err := op.Wait(ctx)
//	for o := range report.Problems() {
//		log.Println(o.SerialNumber, o.Status, o.Err)
//	}
//
// # The model
//
// An asset is an app or a book, a licence the right to assign it once. An
// assignment is a licence that belongs to a user or to a device; a seat is the
// same for an in-app subscription, and belongs to users only. The service
// carries out changes later: each request that it accepts is an event, which can
// be asked for its status and is reported by notifications.
//
// An [Operation] is the SDK's own: one change of any size, as one or more events.
// Its [Report] gives every pair of an asset and a target exactly one outcome:
// succeeded, failed (and why), or unconfirmed (and why).
//
// Success means assigned, not installed, and not even that a serial number
// exists: [Operation.Verify] reads the assignments back. Send the install
// command only after that success.
//
// # Errors
//
// Every answer that is not a success, an error inside HTTP 200 among them, is
// an [*Error]. Ask what it means with errors.Is and the [ErrorNumber] constants,
// or with [IsAuth], [IsForbidden], [IsRetryable], [IsLimit], [IsDuplicate] and
// [IsNotFound]; they look into the errors of operations ([*OperationError]) and
// events ([*EventError]) too. Neither the token nor the ids of people are in any
// message.
//
// # What is tried again
//
// A call is up to five attempts (see [WithRetry]), with a random wait between
// them that grows. The rules may change in a minor release:
//
//   - Reads are repeated after network errors, cut bodies, 429 and 5xx (but 501).
//   - Any request is repeated after an error of the service that says "later"
//     (9603, 9644, 9646, 9729): such an answer proves that nothing was started.
//   - Any request is repeated when it was certainly never sent.
//   - A write that was sent and got no usable answer is not repeated. It is
//     [ErrAmbiguous]; operations settle it by reading back.
//   - A question for an event's status is not repeated when its answer was lost:
//     it may have been PENDING. The waiters ask again when it is time.
//   - Retry-After, in seconds or as a date, on 429 and any 5xx, holds back all
//     requests of the client, and of those that share its [Limiter]. A pause longer
//     than [WithMaxPause] ends the call, with Error.RetryAfter set.
//   - A wait that the context's deadline leaves no room for is not begun.
//   - Redirects, certificate errors and refusals (4xx) are final.
//   - Retries spend a budget of 100 that successes refill slowly, so that an
//     outage is not made worse.
//
// # Pace
//
// The service names the requests that it takes in a second for an organizational
// unit (15, unless its configuration says otherwise). The client keeps to it
// exactly; several clients of one unit share a [Limiter] ([WithLimiter]). At most
// five pages are read at once, and the status of an event is asked for no sooner
// than 30 seconds after it was PENDING.
//
// # Lists
//
// Each list comes as List (one page), Pages and All (iterators). Iterators
// request nothing before the loop begins, can be used again, and give an error
// as their last element ([ErrRestarted] alone is followed by more). [Collect]
// gathers what they yield.
//
// Up to five pages are read in parallel, ahead of the loop and in order; a loop
// that ends early ends its requests too. Memory is a few pages, however many
// records there are.
//
// Data can change while it is read. The pages say so (PageInfo.Changed), and the
// walk goes on; Restarts in a filter begins it again instead. Users.Changes and
// Assignments.Changes read what changed since an earlier walk: its
// PageInfo.FirstVersionID is what to keep for them.
//
// # Notifications
//
// The service POSTs notifications to a URL of the caller, best effort: they get
// lost, come twice and in any order. A [NotificationHandler] receives them. It
// hands each to the hooks of the caller once, and acknowledges it only when they
// have returned nil. [ConfigService.Register] tells the service where it is.
//
// Give [Client.Notify] as the Notify of [NotificationHooks], and those who wait
// for an operation or an event end as soon as it is true. The status stays the
// truth: everything works without notifications, only later.
//
// # Ownership
//
// Two services that manage the same organizational unit do damage without
// noticing. With [WithOwner], a client stops writing ([ErrTakenOver]) once an
// answer shows another service.
//
// # Testing
//
// Apple offers no sandbox. Package [appsandbookstest] is a stateful stand-in for
// the service, in memory or over TCP, in real or in virtual time, with faults on
// demand.
//
// [appsandbookstest]: https://pkg.go.dev/github.com/appsandbooks/appsandbooks/appsandbookstest
package appsandbooks
